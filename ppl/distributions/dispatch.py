"""How one public class of distributions serves every backend.

A class such as :class:`~ppl.distributions.Gamma` is a *definition*: calling it makes an object of a class built for the active
backend, which is a subclass of the definition. The backend's ``distributions`` module may bring, all optional:

- ``NATIVE``: dict from family name to a class that replaces the shared definition of this library's own family;
- ``BASE``: a class mixed in behind every shared definition;
- ``register(cls)``: called with each class built;
- ``convert_constraint`` and ``convert_transform``: from the library's own objects to ours.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ppl import registry
from ppl.backend import Backend
from ppl.registry import active, using

DRAWS = frozenset({"sample", "rsample", "__call__", "sample_with_intermediates"})
SCORES = frozenset({"log_prob", "score_parts", "cdf", "icdf"})
STATIC = frozenset({
    "arg_constraints", "batch_shape", "event_dim", "event_shape", "has_enumerate_support", "has_rsample", "is_discrete", "shape",
    "support", "definition", "promote",
})  # fmt: skip


class derived_parameter:
    """A parameter computed from another spelling; an attribute of the same name set on the instance wins."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.compute(instance)


def checked_inside(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that hands its value on to one that checks it, so that this is not done twice."""
    vars(method)["checked_inside"] = True
    return method


class DistributionMeta(type):
    """The type of definitions: a call builds, once a backend, the class that serves it, and makes an object of that."""

    backend: Backend | None

    def on(cls, backend: Backend) -> type:
        """Return the class that serves ``backend``."""
        return built_class(getattr(cls, "definition", cls), backend)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.backend is None:
            return type.__call__(built_class(cls, None), *args, **kwargs)
        if cls.backend is active():
            return type.__call__(cls, *args, **kwargs)
        with using(cls.backend):
            return type.__call__(cls, *args, **kwargs)


_built: dict[tuple[Any, Backend], type] = {}


def built_class(definition: Any, backend: Backend | None) -> Any:
    """Return the class of ``definition`` for ``backend``, or for the active one."""
    if backend is None:
        own = definition.backend_name
        backend = registry.load(own) if own else active()
    built = _built.get((definition, backend))
    if built is None:
        built = _built[definition, backend] = _build(definition, backend)
    return built


def _build(definition: Any, backend: Backend) -> Any:
    module = backend.distributions
    native = getattr(module, "NATIVE", {}).get(definition.__name__)
    base = getattr(module, "BASE", None)
    if native is not None and definition in native.__mro__:
        bases: tuple = (native,)
    elif base is None or definition.backend_name is not None:
        bases = (definition,)
    else:
        bases = (definition, base)
    namespace = {"backend": backend, "definition": definition, "__doc__": definition.__doc__, "__module__": definition.__module__}
    built = DistributionMeta(definition.__name__, bases, namespace)
    built.__qualname__ = definition.__qualname__
    for name in _methods(definition):
        checked = name != "icdf" and name not in definition.gaps
        guarded = _guard(name, inspect.getattr_static(built, name), backend, checked)
        if guarded is not None:
            setattr(built, name, guarded)
    register = getattr(module, "register", None)
    if register is not None:
        register(built)
    return built


def _methods(definition: type) -> set[str]:
    names = {name for cls in definition.__mro__ if cls is not object for name in vars(cls)}
    return {name for name in names if (not name.startswith("_") or name == "__call__") and name not in STATIC}


def _guard(name: str, member: Any, backend: Backend, checked: bool) -> Any:
    """Return ``member`` made to run under ``backend`` whichever is active, or ``None`` if it needs no guard."""
    if isinstance(member, property) and member.fget is not None:
        return property(_switching(member.fget, backend), doc=member.__doc__)
    if isinstance(member, derived_parameter):
        return derived_parameter(_switching(member.compute, backend))
    if not inspect.isfunction(member):
        return None
    if name in DRAWS:
        return _drawing(member, backend)
    if name in SCORES:
        return _scoring(member, backend, checked and not hasattr(member, "checked_inside"))
    return _switching(member, backend)


def _switching(method: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self, *args, **kwargs):
        if active() is backend:
            return method(self, *args, **kwargs)
        with using(backend):
            return method(self, *args, **kwargs)

    return call


def _drawing(method: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """Guard a method that draws: shapes may be ints, keys may come first, and a missing key is the stream's next."""
    takes_key = _accepts(method, "rng_key")
    random = backend.random

    @functools.wraps(method)
    def call(self, sample_shape=(), rng_key=None, *, key=None, **kwargs):
        if active() is not backend:
            with using(backend):
                return call(self, sample_shape, rng_key, key=key, **kwargs)
        if type(sample_shape) is not tuple:
            if random.is_key(sample_shape):
                sample_shape, rng_key = (() if rng_key is None else rng_key), sample_shape
            sample_shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
        if key is not None:
            rng_key = key
        if takes_key:
            return method(self, sample_shape, random.next_key() if rng_key is None else rng_key, **kwargs)
        if rng_key is None:
            return method(self, sample_shape, **kwargs)
        with random.scope(rng_key):
            return method(self, sample_shape, **kwargs)

    return call


def _accepts(method: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return any(parameter.name == name or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _scoring(method: Callable[..., Any], backend: Backend, checked: bool) -> Callable[..., Any]:
    """Guard a method that takes a value: it is converted once and, if ``checked`` with validation on, must be in the support."""
    is_array, array = backend.ops.is_array, backend.ops.array

    @functools.wraps(method)
    def call(self, value, *args, **kwargs):
        if active() is not backend:
            with using(backend):
                return call(self, value, *args, **kwargs)
        if not is_array(value):
            value = array(value)
        if checked and self._validates:
            self._check_value(value)
        return method(self, value, *args, **kwargs)

    return call


def revive(definition: Any, backend_name: str, state: dict[str, Any]) -> Any:
    """Rebuild a pickled or copied object without running its ``__init__``."""
    return blank(built_class(definition, registry.load(backend_name)), state)


def blank(cls: Any, state: dict[str, Any]) -> Any:
    """Return an object of ``cls`` with exactly the attributes of ``state``."""
    instance = object.__new__(cls)
    instance.__dict__.update(state)
    return instance
