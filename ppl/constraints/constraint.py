"""What a constraint is, and the one that is known only on an instance."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.errors import ConstraintError


class ByValue:
    """Equal to an object of its own type with equal attributes; an array is equal to itself only, and a name does not count."""

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine if key != "name")

    def __hash__(self) -> int:
        return hash(type(self))


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    plain = (bool, int, float, ByValue)
    if isinstance(left, plain) and isinstance(right, plain):
        return bool(left == right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(_same(*pair) for pair in zip(left, right, strict=True))
    return False


class Constraint(ByValue):
    """A set of admissible values.

    ``event_dim`` is the number of trailing axes that are judged together; ``is_discrete`` tells counted from measured sets.

    >>> from ppl import constraints
    >>> class even(constraints.Constraint):
    ...     def check(self, value):
    ...         return value % 2 == 0
    >>> even().check(4)
    True
    """

    event_dim: Any = 0
    is_discrete: Any = False
    name: str | None = None
    # Whether ``check`` is plain arithmetic with Python numbers, so that a host copy of the value can be checked as well.
    host_checkable: bool = False

    def check(self, value: Any) -> Any:
        """Return whether each event of ``value`` lies in the set; NaN lies in none."""
        raise NotImplementedError(f"{type(self).__name__} does not define check(value)")

    def holds_throughout(self, value: Any) -> bool:
        """Return whether every number of a host array lies in the set; intervals need no more than its extremes."""
        return bool(self.check(value).all())

    def feasible_like(self, prototype: Any) -> Any:
        """Return some member of the set for each event of ``prototype``, an array of the same shape and dtype."""
        raise NotImplementedError(f"{self!r} names no feasible point")

    def __call__(self, value: Any) -> Any:
        return self.check(value)

    def __repr__(self) -> str:
        if self.name:
            return self.name
        arguments = ", ".join(f"{key}={value}" for key, value in vars(self).items())
        return f"{type(self).__name__.lstrip('_')}({arguments})"


class _Dependent(Constraint):
    """A set that depends on other parameters and is known only on an instance."""

    def __init__(self, is_discrete: bool = False, event_dim: int = 0) -> None:
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, value: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> Any:
        return type(self)(is_discrete, event_dim) if value is None else self.check(value)

    def check(self, value: Any) -> Any:
        raise ConstraintError("a dependent constraint has no check of its own; expected an instance's constraint; try d.support")

    def __repr__(self) -> str:
        return "dependent"


class dependent_property(property):
    """A property whose value is a constraint computed from an instance, usable with or without arguments."""

    def __init__(self, fn: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn: Any) -> dependent_property:
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """Return whether ``constraint`` is known only on an instance."""
    return isinstance(constraint, (_Dependent, dependent_property))


def tolerance(value: Any, size: int = 1) -> float:
    """Return the rounding to allow for in a sum of ``size`` terms: what a user's own normalisation leaves behind."""
    return max(1e-6, 10 * size * float(ops.finfo(value).eps))


dependent = _Dependent()
