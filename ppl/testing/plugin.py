"""A plugin for pytest: each test that takes the fixture ``backend`` runs on every chosen backend.

    pytest -p ppl.testing.plugin --ppl-backends numpy,torch,jax

The line ``pytest_plugins = ["ppl.testing.plugin"]`` in the root ``conftest.py`` of a project does the same as ``-p``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from ppl import ops, registry
from ppl.errors import BackendError
from ppl.params import clear_param_store
from ppl.primitives import set_rng_seed

LIBRARIES = ("numpy", "torch", "jax")


def pytest_addoption(parser: Any) -> None:
    """Add ``--ppl-backends``."""
    parser.addoption(
        "--ppl-backends",
        default=None,
        help="comma-separated backends for tests that take the fixture 'backend'; one that is missing is an error; "
        "default: those of numpy, torch and jax that are installed",
    )


def chosen_backends(config: Any) -> list[str]:
    """Return the names that the command line chose."""
    named = config.getoption("--ppl-backends")
    if named is None:
        return [name for name in LIBRARIES if importlib.util.find_spec(name)]
    return [name.strip() for name in named.split(",") if name.strip()]


def pytest_configure(config: Any) -> None:
    """Refuse a backend that is unknown or whose library is not installed."""
    named = config.getoption("--ppl-backends")
    if named is not None and not chosen_backends(config):
        raise pytest.UsageError(f"--ppl-backends {named!r} names no backend; expected some of {', '.join(registry.names())}")
    for name in chosen_backends(config) if named is not None else []:
        try:
            registry.load(name)
        except BackendError as error:
            raise pytest.UsageError(f"--ppl-backends: {error}") from error


def pytest_generate_tests(metafunc: Any) -> None:
    """Run a test once for each backend, unless it chooses its backends itself."""
    chosen_by_test = any("backend" in str(marker.args[0]) for marker in metafunc.definition.iter_markers("parametrize"))
    if "backend" in metafunc.fixturenames and not chosen_by_test:
        metafunc.parametrize("backend", chosen_backends(metafunc.config), indirect=True)


@pytest.fixture
def backend(request: Any) -> Iterator[str]:
    """The name of the backend under test, active, seeded by the test's name, in float64 and with an empty param store."""
    digest = hashlib.sha256(request.node.nodeid.encode()).digest()
    with registry.using(request.param):
        before = ops.default_dtype()
        ops.set_default_dtype("float64")
        clear_param_store()
        set_rng_seed(int.from_bytes(digest[:4], "little") >> 1)
        try:
            yield request.param
        finally:
            ops.set_default_dtype(before)
            clear_param_store()
