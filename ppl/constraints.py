"""Sets that parameters and values must lie in.

A constraint's ``check(value)`` gives one boolean an event: an array of the shape of ``value`` without its last ``event_dim``
axes. Names follow torch.distributions.constraints.

    >>> from ppl import ops
    >>> from ppl.constraints import lower_cholesky, one_hot, positive, positive_definite, simplex, unit_interval
    >>> bool(positive.check(2.0)), unit_interval
    (True, unit_interval)
    >>> [bool(simplex.check(ops.array(value))) for value in ([0.25, 0.75], [0.5, 0.75])]
    [True, False]
    >>> [bool(one_hot.check(ops.array(value))) for value in ([0.0, 1.0], [1.0, 1.0])]
    [True, False]
    >>> [bool(lower_cholesky.check(ops.array(value))) for value in ([[1.0, 0.0], [2.0, 3.0]], [[1.0, 0.0], [2.0, -3.0]])]
    [True, False]
    >>> [bool(positive_definite.check(ops.array(value))) for value in ([[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]])]
    [True, False]
"""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.errors import ConstraintError

__all__ = ["Constraint", "boolean", "corr_cholesky", "dependent", "dependent_property", "greater_than", "greater_than_eq",
           "half_open_interval", "independent", "integer_interval", "interval", "is_dependent", "less_than", "lower_cholesky",
           "lower_triangular", "multinomial", "nonnegative", "nonnegative_integer", "one_hot", "positive", "positive_definite",
           "positive_integer", "real", "real_vector", "simplex", "unit_interval"]  # fmt: skip


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

    event_dim: int = 0
    is_discrete: bool = False
    name: str | None = None
    # Whether ``check`` is plain arithmetic with Python numbers, so that a host copy of the value can be checked as well.
    host_checkable: bool = False

    def check(self, value: Any) -> Any:
        """Return whether each event of ``value`` lies in the set; NaN lies in none."""
        raise NotImplementedError(f"{type(self).__name__} does not define check(value)")

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


class _Real(Constraint):
    name = "real"
    host_checkable = True

    def check(self, value):
        return value == value

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class greater_than(Constraint):
    """Numbers above ``lower_bound``.

    >>> from ppl import constraints
    >>> constraints.greater_than(1.0), constraints.greater_than(1.0).check(1.0)
    (greater_than(lower_bound=1.0), False)
    """

    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound

    def check(self, value):
        return value > self.lower_bound

    def feasible_like(self, prototype):
        return ops.ones_like(prototype) + self.lower_bound


class greater_than_eq(greater_than):
    """Numbers not below ``lower_bound``.

    >>> from ppl import constraints
    >>> constraints.greater_than_eq(1.0).check(1.0)
    True
    """

    def check(self, value):
        return value >= self.lower_bound


class _Positive(greater_than):
    name = "positive"
    host_checkable = True

    def __init__(self) -> None:
        super().__init__(0.0)


class _Nonnegative(greater_than_eq):
    name = "nonnegative"
    host_checkable = True

    def __init__(self) -> None:
        super().__init__(0.0)


class less_than(Constraint):
    """Numbers below ``upper_bound``.

    >>> from ppl import constraints
    >>> constraints.less_than(1.0).check(0.5)
    True
    """

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value):
        return value < self.upper_bound

    def feasible_like(self, prototype):
        return self.upper_bound - ops.ones_like(prototype)


class interval(Constraint):
    """Numbers from ``lower_bound`` to ``upper_bound``, both ends included.

    >>> from ppl import constraints
    >>> constraints.interval(0.0, 4.0).check(4.0), constraints.half_open_interval(0.0, 4.0).check(4.0)
    (True, False)
    """

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype) + (self.lower_bound + self.upper_bound) / 2


class half_open_interval(interval):
    """Numbers from ``lower_bound``, included, to ``upper_bound``, excluded.

    >>> from ppl import constraints
    >>> constraints.half_open_interval(0.0, 4.0).check(4.0)
    False
    """

    def check(self, value):
        return (value >= self.lower_bound) & (value < self.upper_bound)


class _UnitInterval(interval):
    name = "unit_interval"
    host_checkable = True

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)


def _is_whole(value):
    return value % 1 == 0


class _Boolean(Constraint):
    name = "boolean"
    host_checkable = True
    is_discrete = True

    def check(self, value):
        return (value == 0) | (value == 1)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class integer_interval(Constraint):
    """Whole numbers from ``lower_bound`` to ``upper_bound``, both ends included.

    >>> from ppl import constraints
    >>> constraints.integer_interval(0, 4).check(2), constraints.integer_interval(0, 4).check(2.5)
    (True, False)
    """

    is_discrete = True

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value):
        return _is_whole(value) & (value >= self.lower_bound) & (value <= self.upper_bound)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype) + self.lower_bound


class integer_greater_than_eq(Constraint):
    """Whole numbers not below ``lower_bound``."""

    is_discrete = True

    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound

    def check(self, value):
        return _is_whole(value) & (value >= self.lower_bound)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype) + self.lower_bound


class _NonnegativeInteger(integer_greater_than_eq):
    name = "nonnegative_integer"

    def __init__(self) -> None:
        super().__init__(0)


class _PositiveInteger(integer_greater_than_eq):
    name = "positive_integer"

    def __init__(self) -> None:
        super().__init__(1)


def _tolerance(value, size=1):
    """Rounding to allow for in a sum of ``size`` terms: what a user's own normalisation leaves behind."""
    return max(1e-6, 10 * size * float(ops.finfo(value).eps))


class _Simplex(Constraint):
    name = "simplex"
    event_dim = 1

    def check(self, value):
        off_by = ops.abs(ops.sum(value, axis=-1) - 1.0)
        return ops.all(value >= 0, axis=-1) & (off_by < _tolerance(value, ops.shape(value)[-1]))

    def feasible_like(self, prototype):
        return ops.full_like(prototype, 1.0 / ops.shape(prototype)[-1])


class _OneHot(Constraint):
    name = "one_hot"
    event_dim = 1
    is_discrete = True

    def check(self, value):
        return ops.all((value == 0) | (value == 1), axis=-1) & (ops.sum(value, axis=-1) == 1)

    def feasible_like(self, prototype):
        first = ops.arange(ops.shape(prototype)[-1]) == 0
        return ops.where(first, ops.ones_like(prototype), ops.zeros_like(prototype))


class multinomial(Constraint):
    """Vectors of counts that sum to ``upper_bound``.

    >>> from ppl import constraints, ops
    >>> bool(constraints.multinomial(5).check(ops.array([2.0, 3.0, 0.0])))
    True
    """

    event_dim = 1
    is_discrete = True

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value):
        return ops.all(_is_whole(value) & (value >= 0), axis=-1) & (ops.sum(value, axis=-1) == self.upper_bound)

    def feasible_like(self, prototype):
        return one_hot.feasible_like(prototype) * ops.expand_dims(ops.array(self.upper_bound), -1)


def _every_entry(condition):
    return ops.all(condition, axis=(-2, -1))


class _LowerTriangular(Constraint):
    name = "lower_triangular"
    event_dim = 2

    def check(self, value):
        return _every_entry(ops.tril(value) == value)

    def feasible_like(self, prototype):
        return _identity_like(prototype)


def _identity_like(prototype):
    return ops.zeros_like(prototype) + ops.eye(ops.shape(prototype)[-1], dtype=prototype.dtype)


class _LowerCholesky(_LowerTriangular):
    name = "lower_cholesky"

    def check(self, value):
        return super().check(value) & ops.all(ops.diagonal(value) > 0, axis=-1)


class _CorrCholesky(_LowerCholesky):
    name = "corr_cholesky"

    def check(self, value):
        off_by = ops.abs(ops.sum(value * value, axis=-1) - 1.0)
        return super().check(value) & ops.all(off_by < _tolerance(value, ops.shape(value)[-1]), axis=-1)


class _PositiveDefinite(Constraint):
    name = "positive_definite"
    event_dim = 2

    def check(self, value):
        largest = ops.max(ops.abs(value), axis=(-2, -1), keepdims=True)
        symmetric = _every_entry(ops.abs(value - ops.matrix_transpose(value)) <= _tolerance(value) * largest)
        finite = _every_entry(ops.isfinite(value))
        # Eigenvalues of a matrix with NaN are an error in some libraries; such a matrix is refused by the other condition.
        safe = ops.where(ops.expand_dims(ops.expand_dims(finite, -1), -1), value, ops.zeros_like(value))
        eigenvalues, _ = ops.eigh((safe + ops.matrix_transpose(safe)) / 2)
        return finite & symmetric & ops.all(eigenvalues > 0, axis=-1)

    def feasible_like(self, prototype):
        return _identity_like(prototype)


class independent(Constraint):
    """A base constraint whose ``reinterpreted_batch_ndims`` rightmost batch axes are judged together.

    :raises ConstraintError: if the number of axes is negative.

    >>> from ppl import constraints, ops
    >>> bool(constraints.independent(constraints.positive, 1).check(ops.array([1.0, -1.0])))
    False
    """

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        if reinterpreted_batch_ndims < 0:
            raise ConstraintError(f"independent() takes a number of axes >= 0, got {reinterpreted_batch_ndims}")
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete

    def check(self, value):
        holds = self.base_constraint.check(value)
        if self.reinterpreted_batch_ndims == 0:
            return holds
        return ops.all(holds, axis=tuple(range(-self.reinterpreted_batch_ndims, 0)))

    def feasible_like(self, prototype):
        return self.base_constraint.feasible_like(prototype)

    def __repr__(self) -> str:
        return f"independent({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class _RealVector(independent):
    name = "real_vector"

    def __init__(self) -> None:
        super().__init__(real, 1)

    def __repr__(self) -> str:
        return "real_vector"


boolean = _Boolean()
dependent = _Dependent()
real = _Real()
real_vector = _RealVector()
positive = _Positive()
nonnegative = _Nonnegative()
unit_interval = _UnitInterval()
nonnegative_integer = _NonnegativeInteger()
positive_integer = _PositiveInteger()
simplex = _Simplex()
one_hot = _OneHot()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
corr_cholesky = _CorrCholesky()
positive_definite = _PositiveDefinite()
