"""Options and fixtures of the whole suite: which backends, which device, one seed a test."""

import hashlib
import importlib.util
import random

import numpy
import pytest

LIBRARIES = {"numpy": "numpy", "torch": "torch", "jax": "jax"}


def pytest_addoption(parser):
    parser.addoption("--backends", default=None, help="comma-separated backends; a named one that is missing is an error")
    parser.addoption("--device", default="cpu", choices=["cpu", "cuda"], help="where torch and jax put their arrays")
    parser.addoption("--nightly", action="store_true", help="run the long statistical tests too")


def chosen_backends(config):
    named = config.getoption("--backends")
    if named:
        return [name.strip() for name in named.split(",")]
    return [name for name, library in LIBRARIES.items() if importlib.util.find_spec(library)]


def pytest_configure(config):
    for name in chosen_backends(config):
        if name not in LIBRARIES:
            raise pytest.UsageError(f"--backends names {name!r}; expected some of {', '.join(LIBRARIES)}")
        if importlib.util.find_spec(LIBRARIES[name]) is None:
            raise pytest.UsageError(f"--backends names {name!r}, whose library is not installed")
    if "jax" in chosen_backends(config):
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_platforms", config.getoption("--device"))
    if "torch" in chosen_backends(config) and config.getoption("--device") == "cuda":
        import torch

        torch.set_default_device("cuda")


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        names = chosen_backends(metafunc.config)
        only = metafunc.definition.get_closest_marker("backends")
        if only:
            names = [name for name in names if name in only.args]
        metafunc.parametrize("backend", names, indirect=True)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="long statistical test; run with --nightly")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(skip)


@pytest.fixture
def seed(request):
    """A stable hash of the test's id."""
    return int.from_bytes(hashlib.sha256(request.node.nodeid.encode()).digest()[:4], "little") >> 1


@pytest.fixture
def rng(seed):
    """A numpy generator for the data of a test."""
    return numpy.random.default_rng(seed)


@pytest.fixture
def backend(request, seed):
    """The name of the backend under test, active and in float64 for the length of the test."""
    import ppl
    from ppl import ops

    with ppl.pyro_backend(request.param):
        before = ops.default_dtype()
        ops.set_default_dtype("float64")
        ppl.set_rng_seed(seed)
        ppl.clear_param_store()
        random.seed(seed)
        try:
            yield request.param
        finally:
            ops.set_default_dtype(before)
            ppl.clear_param_store()
