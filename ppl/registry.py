"""Which backend is active, and how one is found.

The order is: the innermost ``pyro_backend`` block of this context, then ``set_backend``, then the environment variable
``PPL_BACKEND``, then numpy. A :class:`~ppl.backend.Layer`, such as funsor, is laid over the backend that is active where it
is chosen.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ppl.backend import CONTRACT, PARTS, Backend, Gap, Layer
from ppl.errors import BackendError, GapError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "ppl.backends"
ALIASES = {"pyro": "torch"}
BUNDLED = {"numpy": "ppl_numpy", "torch": "ppl_torch", "jax": "ppl_jax", "funsor": "ppl_funsor"}
INSTALL = {
    "torch": "pip install 'ppl-generic[torch]'",
    "jax": "pip install 'ppl-generic[jax]'",
    "numpy": "pip install numpy scipy autograd",
    "funsor": "pip install 'ppl-generic[funsor]'",
}

_loaders: dict[str, Callable[[], Backend | Layer]] = {}
_loaded: dict[str, Backend | Layer] = {}
_laid: dict[tuple[str, Backend], Backend] = {}
_default: Backend | None = None
_scoped: ContextVar[Backend | None] = ContextVar("ppl_backend", default=None)


def active() -> Backend:
    """Return the backend that primitives, ``ops`` and distributions use here and now.

    >>> from ppl import registry
    >>> with registry.using("numpy"):
    ...     registry.active().name
    'numpy'
    """
    return _scoped.get() or _default or _load_default()


def _load_default() -> Backend:
    global _default
    _default = _load(os.environ.get("PPL_BACKEND") or "numpy", lambda: load("numpy"))
    return _default


def set_backend(name: str | Backend) -> None:
    """Make ``name`` the backend of the whole process, outside any ``pyro_backend`` block.

    :raises BackendError: if it is unknown or its library is not installed; the old choice stays.

    >>> import ppl
    >>> ppl.set_backend("nunpy")
    Traceback (most recent call last):
        ...
    ppl.errors.BackendError: unknown backend 'nunpy'; expected one of ...; did you mean 'numpy'?
    """
    global _default
    _default = load(name)


@contextmanager
def using(backend: str | Backend) -> Iterator[Backend]:
    """Activate ``backend`` for a block, in this thread or task only."""
    chosen = load(backend)
    token = _scoped.set(chosen)
    try:
        yield chosen
    finally:
        _scoped.reset(token)


def load(name: str | Backend) -> Backend:
    """Return the backend called ``name``, importing its package on first use.

    :raises BackendError: if no backend has that name, or its array library is missing.

    >>> from ppl import registry
    >>> registry.load("numpy").name
    'numpy'
    """
    return _load(name, active)


def _load(name: str | Backend, beneath: Callable[[], Backend]) -> Backend:
    if isinstance(name, Backend):
        return name
    if not isinstance(name, str):
        raise BackendError(f"a backend is chosen by name or value, got {type(name).__name__}; try one of {names()}")
    name, _, address = name.partition(":")
    name = ALIASES.get(name, name)
    found = _loaded.get(name)
    if found is None:
        found = _loaded[name] = _import(name)
    if isinstance(found, Layer):
        return _lay(found, load(address) if address else beneath())
    if address:
        raise BackendError(f"backend {name!r} has arrays of its own and lies over no other; try {name!r} or {address!r} alone")
    return found


def _import(name: str) -> Backend | Layer:
    loader = _loaders.get(name) or _find(name)
    try:
        backend = loader()
    except ModuleNotFoundError as error:
        hint = INSTALL.get(name, f"install the package {error.name!r}")
        raise BackendError(f"backend {name!r} needs the library {error.name!r}, which is not installed; try: {hint}") from error
    if isinstance(backend, Backend):
        _require_complete(name, backend)
    elif not isinstance(backend, Layer):
        raise BackendError(f"backend {name!r} must be a ppl.backend.Backend value, got {type(backend).__name__}")
    return backend


def _lay(layer: Layer, beneath: Backend) -> Backend:
    """Return ``layer`` over ``beneath``: one value for each pair, and no layer over itself."""
    if beneath.name == layer.name:
        return beneath
    if (layer.name, beneath) not in _laid:
        backend = layer.over(beneath)
        _require_complete(layer.name, backend)
        _laid[layer.name, beneath] = backend
    return _laid[layer.name, beneath]


def _require_complete(name: str, backend: Backend) -> None:
    """Refuse a backend without a part, or with a part that lacks a name of the contract which is no gap."""
    absent = []
    for part in PARTS:
        module = getattr(backend, part, None)
        if module is None:
            absent.append(part)
            continue
        names = sorted(name for name in CONTRACT.get(part, ()) if not hasattr(module, name) and name not in backend.gaps)
        absent += [f"{part}.{name}" for name in names]
    if absent:
        raise BackendError(
            f"backend {name!r} is incomplete: it lacks {', '.join(absent)}; expected every part of ppl.backend.Backend with "
            "every name of its contract; try to add them, or a function's name to gaps with the reason"
        )


def _find(name: str) -> Callable[[], Backend | Layer]:
    if name in BUNDLED and importlib.util.find_spec(BUNDLED[name]):
        return lambda: importlib.import_module(BUNDLED[name]).backend
    for entry_point in _advertised():
        if entry_point.name == name:
            return entry_point.load
    if name in BUNDLED:
        raise BackendError(
            f"backend {name!r} comes with this project, but its package {BUNDLED[name]!r} cannot be imported; try: "
            "pip install -e . in the checkout"
        )
    close = get_close_matches(name, names(), n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "; try one of these, or install the package that provides it"
    raise BackendError(f"unknown backend {name!r}; expected one of {', '.join(map(repr, names()))}{guess}")


def _advertised() -> Iterable[EntryPoint]:
    # Reading what is installed takes longer than the rest of this package, and the bundled backends need none of it.
    import importlib.metadata

    return importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)


def names() -> list[str]:
    """Return the names that :func:`load` knows: bundled, registered and advertised by installed packages.

    >>> from ppl import registry
    >>> {"jax", "numpy", "pyro", "torch"} <= set(registry.names())
    True
    """
    return sorted({entry_point.name for entry_point in _advertised()} | set(BUNDLED) | set(_loaders) | set(ALIASES))


def register(name: str, backend: Backend | Layer | Callable[[], Backend | Layer]) -> None:
    """Add a backend under ``name``: a :class:`~ppl.backend.Backend`, a :class:`~ppl.backend.Layer` over others, or a function
    that returns one of them on first use.

    :raises BackendError: if a part or a function of the contract is absent, with the list of them; nothing is registered then.
    """
    if isinstance(backend, Backend):
        _require_complete(name, backend)
    _loaded.pop(name, None)
    _loaders[name] = (lambda: backend) if isinstance(backend, Backend | Layer) else backend


def gap(feature: str) -> GapError | None:
    """Return the error to raise if the active backend declares a gap for ``feature``, else ``None``.

    >>> from ppl import registry
    >>> registry.gap("sum") is None
    True
    """
    backend = active()
    reason = backend.gaps.get(feature)
    if not reason:
        return None
    version = getattr(sys.modules.get(backend.library), "__version__", "")
    facts = [f"{backend.library} {version}"] if version else []
    facts += [f"since {reason.since}"] if isinstance(reason, Gap) and reason.since else []
    when = f" ({', '.join(facts)})" if facts else ""
    return GapError(f"{feature} is not available on backend {backend.name!r}{when}: {reason}")
