"""What a transform is, and its inverse."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.constraints import ByValue, Constraint, real
from ppl.errors import ConstraintError
from ppl.typing import Shape


class Transform(ByValue):
    """A differentiable map ``y = t(x)`` from ``domain`` to ``codomain``.

    A subclass defines ``__call__``, ``_inverse`` and ``log_abs_det_jacobian``; maps that change shapes define ``forward_shape``
    and ``inverse_shape`` too. ``bijective`` tells whether ``inv`` undoes the map exactly; ``sign`` is the sign of the derivative
    of a monotone scalar map, else ``None``.

    :param cache_size: 0 or 1, taken for compatibility: it changes no result. ``with_cache`` makes a transform that remembers.
    :raises ConstraintError: if ``cache_size`` is another number.

    >>> from ppl import ops, transforms
    >>> class Shift(transforms.Transform):
    ...     def __call__(self, x):
    ...         return x + 1.0
    >>> float(Shift()(ops.array(2.0)))
    3.0
    """

    domain: Constraint = real
    codomain: Constraint = real
    bijective: bool = True
    sign: Any = None

    def __init__(self, *, cache_size: int = 0) -> None:
        check_cache_size(cache_size)

    def __call__(self, x: Any) -> Any:
        """Return ``y = t(x)``."""
        raise NotImplementedError(f"{type(self).__name__} does not define its forward map")

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        """Return ``log |det dy/dx|``, one number an event: the shape of ``x`` without its event axes.

        :param intermediates: what ``call_with_intermediates(x)`` gave beside ``y``; it spares work and changes nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no log-determinant: it is not bijective")

    def call_with_intermediates(self, x: Any) -> tuple[Any, Any]:
        """Return ``y`` and what ``log_abs_det_jacobian`` can use again, ``None`` if there is nothing.

        >>> from ppl import ops, transforms
        >>> t, x = transforms.StickBreakingTransform(), ops.array([0.5, -1.0])
        >>> y, intermediates = t.call_with_intermediates(x)
        >>> round(float(t.log_abs_det_jacobian(x, y, intermediates)), 4)
        -3.6234
        """
        return self(x), None

    @property
    def inv(self) -> Transform:
        """The inverse transform; ``t.inv.inv`` is ``t``."""
        return InverseTransform(self)

    @property
    def event_dim(self) -> int:
        """The number of axes of one event, of input and output whichever has more."""
        return max(self.domain.event_dim, self.codomain.event_dim)

    def forward_shape(self, shape: Shape) -> Shape:
        """Return the shape of ``t(x)`` for ``x`` of ``shape``."""
        return tuple(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return the shape of ``t.inv(y)`` for ``y`` of ``shape``."""
        return tuple(shape)

    def with_cache(self, cache_size: int = 1) -> Transform:
        """Return a transform that gives back the very ``x`` of its last ``y``: see :class:`CachedTransform`.

        :param cache_size: 1, or 0 for one that remembers nothing.
        """
        return CachedTransform(self) if check_cache_size(cache_size) else self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in vars(self).items())})"


def check_cache_size(cache_size: int) -> int:
    """Return ``cache_size``.

    :raises ConstraintError: if it is neither 0 nor 1.
    """
    if cache_size not in (0, 1):
        raise ConstraintError(f"a transform can remember its last pair or nothing; expected cache_size 0 or 1, got {cache_size}")
    return cache_size


def operand(value: Any) -> Any:
    """Return a transform's parameter as the active backend can use it: numbers stay, foreign arrays and lists are converted."""
    return value if isinstance(value, (int, float)) or ops.is_array(value) else ops.array(value)


def apply(part: Any, x: Any) -> tuple[Any, Any]:
    """Return ``y`` and the intermediates of a ``part``, which may be a transform of the library below and have none."""
    call = getattr(part, "call_with_intermediates", None)
    return call(x) if call else (part(x), None)


def log_det_of(part: Any, x: Any, y: Any, intermediates: Any) -> Any:
    """Return the log-determinant of a ``part``, which need not know of intermediates if it gave none."""
    if intermediates is None:
        return part.log_abs_det_jacobian(x, y)
    return part.log_abs_det_jacobian(x, y, intermediates=intermediates)


class InverseTransform(Transform):
    """The inverse of ``base``.

    >>> from ppl import ops, transforms
    >>> float(transforms.ExpTransform().inv(ops.array(1.0)))
    0.0
    """

    def __init__(self, base: Transform) -> None:
        self.base = base

    domain = property(lambda self: self.base.codomain)
    codomain = property(lambda self: self.base.domain)
    bijective = property(lambda self: self.base.bijective)
    sign = property(lambda self: self.base.sign)
    inv = property(lambda self: self.base)

    def __call__(self, x):
        return self.base._inverse(x)

    def _inverse(self, y):
        return self.base(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return -self.base.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape):
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape):
        return self.base.forward_shape(shape)

    def with_cache(self, cache_size=1):
        return InverseTransform(self.base.with_cache(cache_size))

    def __repr__(self) -> str:
        return f"{self.base!r}.inv"


class CachedTransform(Transform):
    """``base``, remembering its last result ``y`` and the ``x`` that gave it, for as long as ``y`` lives.

    It pays where inverting is slow, or inexact as that of ``tanh`` far out. ``inv`` looks for the same array, not for an equal
    one, and looks whether it was written to since.

    >>> from ppl import ops, transforms
    >>> t = transforms.TanhTransform()
    >>> cached = t.with_cache()
    >>> y = cached(ops.array([40.0]))
    >>> float(cached.inv(y)[0]), float(t.inv(y)[0])
    (40.0, inf)
    """

    def __init__(self, base: Transform) -> None:
        self.base, self._last = base, _LastPair()

    domain = property(lambda self: self.base.domain)
    codomain = property(lambda self: self.base.codomain)
    bijective = property(lambda self: self.base.bijective)
    sign = property(lambda self: self.base.sign)

    def __call__(self, x):
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x):
        y, intermediates = self.base.call_with_intermediates(x)
        self._last.remember(x, y)
        return y, intermediates

    def _inverse(self, y):
        x = self._last.recall(y)
        return self.base._inverse(y) if x is None else x

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return log_det_of(self.base, x, y, intermediates)

    def forward_shape(self, shape):
        return self.base.forward_shape(shape)

    def inverse_shape(self, shape):
        return self.base.inverse_shape(shape)

    def with_cache(self, cache_size=1):
        return self if check_cache_size(cache_size) else self.base

    def __repr__(self) -> str:
        return f"{self.base!r}.with_cache()"


class _LastPair(ByValue):
    """A result and the argument that gave it. The result is held weakly, so that neither outlives it."""

    __slots__ = ("_pair",)

    def remember(self, x: Any, y: Any) -> None:
        self._pair = None
        tracing = ops.autodiff.is_tracing()
        # Copies, because arrays of some libraries can be written to behind the cache's back; traced values cannot.
        copies = (x, y) if tracing else (x + 0, ops.autodiff.stop_gradient(y) + 0)
        self._pair = (self._weakly(y), tracing, *copies)

    def _weakly(self, y: Any) -> Callable[[], Any]:
        try:
            return weakref.ref(y, self._forget)
        except TypeError:  # scalars and recorded values of numpy take no weak reference
            return lambda: y

    def _forget(self, dead: Any) -> None:
        if self._pair is not None and self._pair[0] is dead:
            self._pair = None

    def recall(self, y: Any) -> Any:
        pair = getattr(self, "_pair", None)
        if pair is None or pair[0]() is not y or pair[1] != ops.autodiff.is_tracing():
            return None
        _, tracing, x, copy = pair
        if tracing:
            return x
        return x + 0 if bool(ops.all(copy == y)) else None

    def __getstate__(self) -> None:
        return None
