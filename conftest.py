"""Options and fixtures of the whole suite: which backends, which device, one seed a test."""

import hashlib
import importlib.util
import os
import random

import hypothesis
import numpy
import pytest

LIBRARIES = {"numpy": "numpy", "torch": "torch", "jax": "jax"}
STRICT = "strict"


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
    # The everyday suite repeats itself exactly; nights explore new examples.
    hypothesis.settings.register_profile("suite", derandomize=not config.getoption("--nightly"), deadline=None)
    hypothesis.settings.load_profile("suite")
    chosen = chosen_backends(config)
    for name in chosen:
        if name not in (*LIBRARIES, STRICT):
            raise pytest.UsageError(f"--backends names {name!r}; expected some of {', '.join((*LIBRARIES, STRICT))}")
        if name in LIBRARIES and importlib.util.find_spec(LIBRARIES[name]) is None:
            raise pytest.UsageError(f"--backends names {name!r}, whose library is not installed")
    if "jax" in chosen:
        import jax

        jax.config.update("jax_enable_x64", True)
        # The suite compiles thousands of programs and runs each for microseconds: compiling must be cheap.
        jax.config.update("jax_disable_most_optimizations", True)
        jax.config.update("jax_platforms", config.getoption("--device"))
    if "torch" in chosen and "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        # Each worker has a core: more threads would wait for each other.
        torch.set_num_threads(1)
    if "torch" in chosen and config.getoption("--device") == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda: torch finds no CUDA device; expected one, try --device cpu")
        torch.set_default_device("cuda")


def pytest_generate_tests(metafunc):
    if "backend" not in metafunc.fixturenames:
        return
    names = chosen_backends(metafunc.config)
    if metafunc.definition.get_closest_marker("strict") and "numpy" in names:
        names = [*names, STRICT]
    only = metafunc.definition.get_closest_marker("backends")
    if only:
        names = [name for name in names if name in only.args]
    metafunc.parametrize("backend", names, indirect=True)


def expect_gaps(items):
    """A test marked ``needs(feature)`` must fail, with the error of a gap, on a backend that declares one for the feature."""
    from ppl import registry

    for item in items:
        for marker in item.iter_markers("needs"):
            name = item.callspec.params["backend"]
            reason = registry.load(name).gaps.get(marker.args[0]) if name in LIBRARIES else None
            if reason:
                # Reports travel between processes as plain strings.
                item.add_marker(pytest.mark.xfail(reason=str(reason), raises=NotImplementedError, strict=True))


def pytest_collection_modifyitems(config, items):
    expect_gaps(items)
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
def device(request):
    """The device that the run was asked to use; numpy arrays are always on the cpu."""
    return request.config.getoption("--device")


@pytest.fixture
def backend(request, seed):
    """The name of the backend under test, active and in float64 for the length of the test."""
    import ppl
    from ppl import ops, registry

    if request.param == STRICT:
        from ppl.testing import StrictBackend

        registry.register(STRICT, StrictBackend)
    with ppl.pyro_backend(request.param):
        before = ops.default_dtype()
        ops.set_default_dtype("float64")
        ops.random.set_rng_seed(seed)
        numpy.random.seed(seed)
        random.seed(seed)
        ppl.clear_param_store()
        try:
            yield request.param
        finally:
            ops.set_default_dtype(before)
            ppl.clear_param_store()
