"""Sets of vectors: the last axis is judged as one."""

from ppl import ops
from ppl.constraints.combinations import independent
from ppl.constraints.constraint import Constraint, tolerance
from ppl.constraints.scalars import is_whole, real


class _RealVector(independent):
    name = "real_vector"

    def __init__(self):
        super().__init__(real, 1)

    def __repr__(self) -> str:
        return "real_vector"


class _Simplex(Constraint):
    name = "simplex"
    event_dim = 1

    def check(self, value):
        off_by = ops.abs(ops.sum(value, axis=-1) - 1.0)
        return ops.all(value >= 0, axis=-1) & (off_by < tolerance(value, ops.shape(value)[-1]))

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

    def __init__(self, upper_bound):
        self.upper_bound = upper_bound

    def check(self, value):
        return ops.all(is_whole(value) & (value >= 0), axis=-1) & (ops.sum(value, axis=-1) == self.upper_bound)

    def feasible_like(self, prototype):
        return one_hot.feasible_like(prototype) * ops.expand_dims(ops.array(self.upper_bound), -1)


class _OrderedVector(Constraint):
    name = "ordered_vector"
    event_dim = 1

    def check(self, value):
        return ops.all(value[..., 1:] > value[..., :-1], axis=-1) & ops.all(value == value, axis=-1)

    def feasible_like(self, prototype):
        return ops.cumsum(ops.ones_like(prototype), axis=-1)


class _PositiveOrderedVector(_OrderedVector):
    name = "positive_ordered_vector"

    def check(self, value):
        return super().check(value) & ops.all(value > 0, axis=-1)


class _Sphere(Constraint):
    """Vectors of Euclidean length one."""

    name = "sphere"
    event_dim = 1

    def check(self, value):
        return ops.abs(ops.sum(value * value, axis=-1) - 1.0) < tolerance(value, ops.shape(value)[-1])

    def feasible_like(self, prototype):
        return ops.full_like(prototype, ops.shape(prototype)[-1] ** -0.5)


class _L1Ball(Constraint):
    """Vectors whose absolute values sum to at most one."""

    name = "l1_ball"
    event_dim = 1

    def check(self, value):
        return ops.sum(ops.abs(value), axis=-1) <= 1.0 + tolerance(value, ops.shape(value)[-1])

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class zero_sum(Constraint):
    """Arrays whose sums along each of the last ``event_dim`` axes are zero.

    >>> from ppl import constraints, ops
    >>> bool(constraints.zero_sum(1).check(ops.array([1.0, -3.0, 2.0])))
    True
    """

    def __init__(self, event_dim=1):
        self.event_dim = event_dim

    def check(self, value):
        axes = tuple(range(-self.event_dim, 0))
        size = sum(ops.shape(value)[axis] for axis in axes)
        allowed = tolerance(value, size) * (1.0 + ops.max(ops.abs(value), axis=axes, keepdims=True))
        holds = ops.all(value == value, axis=axes)
        for axis in axes:
            holds = holds & ops.all(ops.abs(ops.sum(value, axis=axis, keepdims=True)) <= allowed, axis=axes)
        return holds

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


real_vector = _RealVector()
simplex = _Simplex()
one_hot = _OneHot()
ordered_vector = _OrderedVector()
positive_ordered_vector = _PositiveOrderedVector()
sphere = _Sphere()
l1_ball = _L1Ball()
