"""Small calculations by numpy where the active backend would compile a program for each operation and shape.

What happens once, before a fit, is some hundred operations of a few numbers each. Where each of them is compiled, as on jax, that
takes seconds; on the host it takes no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

from ppl import registry
from ppl.backend import Backend
from ppl.errors import BackendError
from ppl.ops import autodiff, random, shaping

LARGEST = 10**5
"""Arrays of more entries are data rather than tables."""

_wanted: ContextVar[bool] = ContextVar("ppl_host_wanted", default=False)
_PLAIN = (bool, int, float, str, type(None), type)


class _Stays(Exception):
    """Something cannot be moved to the host."""


@contextmanager
def preferred() -> Iterator[None]:
    """Let :func:`evaluate` use the host inside the block, in this thread or task, where single operations are compiled."""
    token = _wanted.set(registry.active().optim.STEP == "compiled")
    try:
        yield
    finally:
        _wanted.reset(token)


def evaluate(function: Callable[..., Any], *operands: Any, stays: bool = False) -> Any:
    """Return ``function(*operands)``, inside of :func:`preferred` worked out by the numpy backend.

    :param function: calls nothing but :mod:`ppl.ops` and methods of the operands.
    :param operands: arrays, and constraints, transforms and distributions of this library, or what holds such.
    :param stays: whether the result is host arrays anyway, such as :func:`ppl.ops.to_numpy` gives.

    Abstract or large arrays, objects of the user's own, and whatever fails on the host stay where they are. Arrays among the
    results come back; a floating one has the widest type among those of the operands.

    >>> from ppl import ops
    >>> from ppl.ops import host
    >>> with host.preferred():
    ...     total = host.evaluate(ops.sum, ops.ones((3,)))
    >>> ops.is_array(total), float(total)
    (True, 3.0)
    """
    if not _wanted.get():
        return function(*operands)
    backend = _host()
    if backend is None or registry.active() is backend:
        return function(*operands)
    move = _Move(backend)
    token = _wanted.set(False)
    try:
        moved = [move(operand) for operand in operands]
        with registry.using(backend), backend.infer.quiet():
            result = function(*moved)
        return result if stays else move.back(result)
    except Exception:
        # What is wrong with the operands is said where they are at home.
        return function(*operands)
    finally:
        _wanted.reset(token)


def draw(distribution: Any, sample_shape: Any = (), rng_key: Any = None) -> Any:
    """Return ``distribution.sample(sample_shape, rng_key)``, inside of :func:`preferred` drawn by the numpy backend.

    The numbers are others there, and as reproducible.

    >>> from ppl import distributions as dist
    >>> from ppl.ops import host, random
    >>> with host.preferred():
    ...     draws = host.draw(dist.Gamma(2.0, 1.0), (3,), random.key(0))
    >>> tuple(draws.shape)
    (3,)
    """
    if not _wanted.get() or rng_key is None or autodiff.is_tracing():
        return distribution.sample(sample_shape, rng_key=rng_key)
    # An int, since any backend makes a key of one.
    seed = registry.active().infer.entropy(rng_key) % 2**64
    return evaluate(_drawn, distribution, tuple(sample_shape), seed)


def _drawn(distribution: Any, sample_shape: tuple[int, ...], seed: int) -> Any:
    return distribution.sample(sample_shape, rng_key=random.key(seed))


def _host() -> Backend | None:
    try:
        return registry.load("numpy")
    except BackendError:
        return None


class _Move:
    """Objects with their arrays on the host, and results back.

    :param backend: that of the host.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.home: str | None = None
        self.floating = ""
        self._moved: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        """Return ``value`` on the host; the same object for the same one."""
        if isinstance(value, _PLAIN):
            return value
        if id(value) not in self._moved:
            self._moved[id(value)] = self._array(value) if shaping.is_array(value) else self._object(value)
        return self._moved[id(value)]

    def _array(self, value: Any) -> Any:
        if prod(value.shape) > LARGEST:
            raise _Stays
        # By the protocol, which abstract values and those of derivatives refuse.
        host = value.__array__()
        if host.dtype.kind not in "biuf":
            raise _Stays
        self.home = shaping.device(value)
        if host.dtype.kind == "f" and (not self.floating or host.dtype.itemsize > int(self.floating[5:]) // 8):
            self.floating = host.dtype.name
        return host

    def _object(self, value: Any) -> Any:
        cls = type(value)
        if cls in (tuple, list):
            items = cls(self(item) for item in value)
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        if isinstance(value, tuple) and hasattr(cls, "_fields"):
            return cls(*(self(item) for item in value))
        if cls is dict:
            return {key: self(item) for key, item in value.items()}
        if not cls.__module__.startswith("ppl.") or not hasattr(value, "__dict__"):
            raise _Stays
        state = {name: self(attribute) for name, attribute in vars(value).items()}
        home = cls.on(self.backend) if hasattr(cls, "on") else cls
        if home is cls and all(state[name] is attribute for name, attribute in vars(value).items()):
            # Some are told by who they are.
            return value
        moved = object.__new__(home)
        vars(moved).update(state)
        return moved

    def back(self, result: Any) -> Any:
        """Return a result with its arrays on the active backend."""
        if hasattr(result, "dtype") and hasattr(result, "shape"):
            array = shaping.array(result, dtype=(self.floating or None) if result.dtype.kind == "f" else None)
            return array if self.home in (None, shaping.device(array)) else shaping.to_device(array, self.home)
        if isinstance(result, _PLAIN):
            return result
        if type(result) in (tuple, list):
            return type(result)(self.back(item) for item in result)
        raise _Stays
