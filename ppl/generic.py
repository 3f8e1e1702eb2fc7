"""Programs that choose their implementation at run time: ``pyro_backend`` and modules that follow it.

>>> from ppl.generic import distributions as dist, ops, pyro_backend
>>> with pyro_backend("numpy"):
...     float(dist.Normal(0.0, 1.0).log_prob(ops.array(0.0)))
-0.9189385332046727
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

from ppl import registry
from ppl.backend import Backend, Layer
from ppl.errors import BackendError
from ppl.registry import set_backend

__all__ = ["GenericModule", "distributions", "handlers", "infer", "ops", "optim", "primitives", "pyro", "pyro_backend",
           "register_backend", "set_backend"]  # fmt: skip

_DEFAULT_MODULES: dict[str, str] = {}
_routes: ContextVar[Mapping[str, str] | None] = ContextVar("ppl_routes", default=None)
# Other implementations of the language over the same arrays.
_frontends: dict[str, dict[str, str]] = {
    "minipyro": dict.fromkeys(("pyro", "primitives", "handlers", "infer", "optim"), "ppl.contrib.minipyro")
}


class _CurrentBackend(Mapping[str, str]):
    """A read-only view of the module that each name leads to in this context."""

    def _view(self) -> dict[str, str]:
        return {**_DEFAULT_MODULES, **(_routes.get() or {})}

    def __getitem__(self, key: str) -> str:
        return self._view()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._view())

    def __len__(self) -> int:
        return len(self._view())

    def __repr__(self) -> str:
        return repr(self._view())


class GenericModule:
    """A module whose attributes come from the module that the current backend names.

    :param name: the key in :attr:`current_backend`, such as ``"distributions"``.
    :param default_backend: the import path used while no block says otherwise.

    >>> from ppl.generic import GenericModule, infer
    >>> GenericModule.current_backend["infer"], infer
    ('ppl.infer', GenericModule('infer' -> 'ppl.infer'))
    """

    current_backend: ClassVar[Mapping[str, str]] = _CurrentBackend()

    def __init__(self, name: str, default_backend: str) -> None:
        self._name = name
        _DEFAULT_MODULES[name] = default_backend

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        path = GenericModule.current_backend[self._name]
        try:
            return getattr(importlib.import_module(path), attribute)
        except AttributeError:
            raise AttributeError(
                f"module {path!r}, the current backend of {self._name!r}, has no attribute {attribute!r}"
            ) from None

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(GenericModule.current_backend[self._name]))

    def __repr__(self) -> str:
        return f"GenericModule({self._name!r} -> {GenericModule.current_backend[self._name]!r})"


@contextmanager
def pyro_backend(*args: Any, **kwargs: str) -> Iterator[Backend]:
    """Run a block on another backend: ``with pyro_backend("jax"): ...``.

    :param args: a name (``"torch"``, ``"jax"``, ``"numpy"``, ``"pyro"``, ``"funsor"`` over the one that is active, or a
        registered one), a :class:`~ppl.backend.Backend`, or a dict from module name to import path such as
        ``{"infer": "my.infer"}``. ``"minipyro"`` is such a dict: the arrays stay those of the active backend.
    :param kwargs: module names and import paths, as in the dict.
    :raises BackendError: for an unknown name, a missing library, or a module name that does not exist.

    Blocks nest, are local to the thread or task, and seed nothing.

    >>> import ppl
    >>> with ppl.pyro_backend("numpy") as backend:
    ...     backend.name
    'numpy'
    """
    if len(args) > 1:
        raise BackendError(f"pyro_backend takes one name or one dict, got {len(args)} positional arguments")
    with ExitStack() as stack:
        for choice in (*args, kwargs) if kwargs else args:
            if isinstance(choice, str) and choice in _frontends:
                choice = _frontends[choice]
            if isinstance(choice, Mapping):
                unknown = sorted(set(choice) - set(_DEFAULT_MODULES))
                if unknown:
                    raise BackendError(f"unknown module name {unknown[0]!r}; expected one of {sorted(_DEFAULT_MODULES)}")
                token = _routes.set({**(_routes.get() or {}), **choice})
                stack.callback(_routes.reset, token)
            else:
                stack.enter_context(registry.using(choice))
        yield registry.active()


def register_backend(alias: str, new_backend: Backend | Layer | Callable[[], Backend | Layer] | Mapping[str, str]) -> None:
    """Make ``pyro_backend(alias)`` choose ``new_backend``.

    :param new_backend: a :class:`~ppl.backend.Backend`, a :class:`~ppl.backend.Layer`, a function that returns one, or a
        dict from module name to import path (a second frontend over the same arrays).
    :raises BackendError: if the value is none of these or lacks a part of the contract.

    >>> import ppl
    >>> ppl.register_backend("mine", {"inference": "mine.infer"})
    Traceback (most recent call last):
        ...
    ppl.errors.BackendError: unknown module name 'inference'; expected one of [...]
    """
    if isinstance(new_backend, Mapping):
        unknown = sorted(set(new_backend) - set(_DEFAULT_MODULES))
        if unknown:
            raise BackendError(f"unknown module name {unknown[0]!r}; expected one of {sorted(_DEFAULT_MODULES)}")
        _frontends[alias] = dict(new_backend)
    elif isinstance(new_backend, Backend | Layer) or callable(new_backend):
        registry.register(alias, new_backend)
    else:
        raise BackendError(f"a backend is a Backend value, a function or a dict of modules, got {type(new_backend).__name__}")


pyro = GenericModule("pyro", "ppl")
primitives = GenericModule("primitives", "ppl.primitives")
handlers = GenericModule("handlers", "ppl.handlers")
distributions = GenericModule("distributions", "ppl.distributions")
infer = GenericModule("infer", "ppl.infer")
optim = GenericModule("optim", "ppl.optim")
ops = GenericModule("ops", "ppl.ops")
