"""Sets of numbers, judged one by one."""

import math

from ppl import ops
from ppl.constraints.constraint import Constraint


class _Real(Constraint):
    name = "real"
    host_checkable = True

    def check(self, value):
        return value == value

    def holds_throughout(self, value):
        largest = value.max()
        return bool(largest == largest)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class greater_than(Constraint):
    """Numbers above ``lower_bound``.

    >>> from ppl import constraints
    >>> constraints.greater_than(1.0), constraints.greater_than(1.0).check(1.0)
    (greater_than(lower_bound=1.0), False)
    """

    def __init__(self, lower_bound):
        self.lower_bound = lower_bound

    def check(self, value):
        return value > self.lower_bound

    def holds_throughout(self, value):
        return bool(self.check(value.min()))

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

    def __init__(self):
        super().__init__(0.0)


class _SoftplusPositive(_Positive):
    """The positive numbers, reached by the softplus instead of the exponential."""

    name = "softplus_positive"


class _Nonnegative(greater_than_eq):
    name = "nonnegative"
    host_checkable = True

    def __init__(self):
        super().__init__(0.0)


class less_than(Constraint):
    """Numbers below ``upper_bound``.

    >>> from ppl import constraints
    >>> constraints.less_than(1.0).check(0.5)
    True
    """

    def __init__(self, upper_bound):
        self.upper_bound = upper_bound

    def check(self, value):
        return value < self.upper_bound

    def feasible_like(self, prototype):
        return self.upper_bound - ops.ones_like(prototype)


class less_than_eq(less_than):
    """Numbers not above ``upper_bound``.

    >>> from ppl import constraints
    >>> constraints.less_than_eq(1.0).check(1.0)
    True
    """

    def check(self, value):
        return value <= self.upper_bound


class half_line(Constraint):
    """Numbers beyond ``bound``: above it where ``direction`` is positive, below it where it is negative.

    It says for arrays, entry by entry, what :class:`greater_than` and :class:`less_than` say for all entries at once.

    >>> from ppl import constraints, ops
    >>> ops.to_numpy(constraints.half_line(1.0, ops.array([1.0, -1.0])).check(ops.array([2.0, 2.0]))).tolist()
    [True, False]
    """

    def __init__(self, bound, direction):
        self.bound, self.direction = bound, direction

    def check(self, value):
        return (value - self.bound) * self.direction > 0

    def feasible_like(self, prototype):
        return self.bound + self.direction * ops.ones_like(prototype)


class interval(Constraint):
    """Numbers from ``lower_bound`` to ``upper_bound``, both ends included.

    >>> from ppl import constraints
    >>> constraints.interval(0.0, 4.0).check(4.0), constraints.half_open_interval(0.0, 4.0).check(4.0)
    (True, False)
    """

    def __init__(self, lower_bound, upper_bound):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound)

    def holds_throughout(self, value):
        return bool(self.check(value.min()) & self.check(value.max()))

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


class open_interval(interval):
    """Numbers between ``lower_bound`` and ``upper_bound``, both ends excluded.

    >>> from ppl import constraints
    >>> constraints.open_interval(0.0, 4.0).check(0.0)
    False
    """

    def check(self, value):
        return (value > self.lower_bound) & (value < self.upper_bound)


class _UnitInterval(interval):
    name = "unit_interval"
    host_checkable = True

    def __init__(self):
        super().__init__(0.0, 1.0)


class _Circular(interval):
    """Angles in radians from -pi to pi."""

    name = "circular"
    host_checkable = True

    def __init__(self):
        super().__init__(-math.pi, math.pi)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


def is_whole(value):
    """Return whether each number is whole; NaN and infinities are not."""
    return value % 1 == 0


class _Boolean(Constraint):
    name = "boolean"
    host_checkable = True
    is_discrete = True

    def check(self, value):
        return (value == 0) | (value == 1)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class _Integer(Constraint):
    name = "integer"
    is_discrete = True

    def check(self, value):
        return is_whole(value)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class integer_interval(Constraint):
    """Whole numbers from ``lower_bound`` to ``upper_bound``, both ends included.

    >>> from ppl import constraints
    >>> constraints.integer_interval(0, 4).check(2), constraints.integer_interval(0, 4).check(2.5)
    (True, False)
    """

    is_discrete = True

    def __init__(self, lower_bound, upper_bound):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        self.host_checkable = isinstance(lower_bound, int) and isinstance(upper_bound, int)

    def check(self, value):
        return is_whole(value) & (value >= self.lower_bound) & (value <= self.upper_bound)

    def holds_throughout(self, value):
        if value.dtype.kind not in "iu":
            return super().holds_throughout(value)
        if self.lower_bound == 0:
            # As unsigned numbers the negative ones are the largest: one pass instead of two.
            return bool(value.view(f"u{value.dtype.itemsize}").max() <= self.upper_bound)
        return bool((value.min() >= self.lower_bound) & (value.max() <= self.upper_bound))

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype) + self.lower_bound


class integer_greater_than_eq(Constraint):
    """Whole numbers not below ``lower_bound``.

    >>> from ppl import constraints
    >>> constraints.integer_greater_than_eq(1).check(1)
    True
    """

    is_discrete = True

    def __init__(self, lower_bound):
        self.lower_bound = lower_bound

    def check(self, value):
        return is_whole(value) & (value >= self.lower_bound)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype) + self.lower_bound


class integer_greater_than(Constraint):
    """Whole numbers above ``lower_bound``.

    >>> from ppl import constraints
    >>> constraints.integer_greater_than(1).check(1)
    False
    """

    is_discrete = True

    def __init__(self, lower_bound):
        self.lower_bound = lower_bound

    def check(self, value):
        return is_whole(value) & (value > self.lower_bound)

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype) + self.lower_bound + 1


class _NonnegativeInteger(integer_greater_than_eq):
    name = "nonnegative_integer"

    def __init__(self):
        super().__init__(0)


class _PositiveInteger(integer_greater_than_eq):
    name = "positive_integer"

    def __init__(self):
        super().__init__(1)


real = _Real()
positive = _Positive()
softplus_positive = _SoftplusPositive()
nonnegative = _Nonnegative()
unit_interval = _UnitInterval()
circular = _Circular()
boolean = _Boolean()
integer = _Integer()
nonnegative_integer = _NonnegativeInteger()
positive_integer = _PositiveInteger()
