"""funsor's choice of an array library, which it makes once for the whole process."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import funsor

from ppl.backend import Backend
from ppl.errors import BackendError

LIBRARIES = ("numpy", "torch", "jax")

_claimed: str | None = None
_lock = threading.RLock()


def claim(beneath: Backend) -> None:
    """Make funsor work on the arrays of ``beneath`` from now on.

    :raises BackendError: if it works on those of another library already, or cannot hold them.
    """
    global _claimed
    library = beneath.library
    if library not in LIBRARIES:
        raise BackendError(
            f"backend 'funsor' was entered over backend {beneath.name!r}, whose arrays are those of {library!r}; expected one of "
            f"{', '.join(map(repr, LIBRARIES))}; try with pyro_backend('numpy'), pyro_backend('funsor')"
        )
    with _lock:
        # Before the first claim "numpy" may be what funsor starts with; any other library was chosen by someone.
        held = _claimed or (None if funsor.get_backend() == "numpy" else funsor.get_backend())
        if held not in (None, library):
            raise BackendError(_refusal(held, library))
        if _claimed is None:
            _switch(library)
            _claimed = library


@contextmanager
def claimed() -> Iterator[None]:
    """Hold funsor for a block: how it interprets expressions is one stack for all threads.

    :raises BackendError: if someone has since given funsor to another array library.
    """
    with _lock:
        if funsor.get_backend() != _claimed:
            raise BackendError(_refusal(funsor.get_backend(), _claimed))
        yield


def _refusal(held: str | None, wanted: str | None) -> str:
    return (
        f"backend 'funsor' was asked for {wanted} arrays, but funsor serves one array library a process and works on {held} "
        "arrays in this one; try a new process"
    )


def _switch(library: str) -> None:
    """Call ``funsor.set_backend`` without the distributions, for which funsor would import, and patch, other whole libraries."""
    name = f"funsor.{library}.distributions"
    absent = library != "numpy" and name not in sys.modules
    if absent:
        sys.modules[name] = ModuleType(name)
    try:
        funsor.set_backend(library)
        if library != "numpy":
            importlib.import_module(f"funsor.{library}")
    finally:
        if absent:
            del sys.modules[name]
