"""What a transform is, and its inverse."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.constraints import ByValue, Constraint, real
from ppl.typing import Shape


class Transform(ByValue):
    """A differentiable map ``y = t(x)`` from ``domain`` to ``codomain``.

    A subclass defines ``__call__``, ``_inverse`` and ``log_abs_det_jacobian``; maps that change shapes define ``forward_shape``
    and ``inverse_shape`` too. ``bijective`` tells whether ``inv`` undoes the map exactly; ``sign`` is the sign of the derivative
    of a monotone scalar map, else ``None``.

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

    def __call__(self, x: Any) -> Any:
        """Return ``y = t(x)``."""
        raise NotImplementedError(f"{type(self).__name__} does not define its forward map")

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Return ``log |det dy/dx|``, one number an event: the shape of ``x`` without its event axes."""
        raise NotImplementedError(f"{type(self).__name__} has no log-determinant: it is not bijective")

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in vars(self).items())})"


def operand(value: Any) -> Any:
    """Return a transform's parameter as the active backend can use it: numbers stay, foreign arrays and lists are converted."""
    return value if isinstance(value, (int, float)) or ops.is_array(value) else ops.array(value)


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

    def log_abs_det_jacobian(self, x, y):
        return -self.base.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape):
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape):
        return self.base.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{self.base!r}.inv"
