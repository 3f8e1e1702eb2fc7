"""Rounding kept from reaching the edge of an open set."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform, operand


class KeepInside(Transform):
    """``y = x``, moved off the edges that ``constraint`` excludes by one rounding where ``x`` was rounded onto them.

    :param constraint: an interval or a half-line.

    >>> from ppl import constraints, ops, transforms
    >>> t = transforms.KeepInside(constraints.greater_than(2.0))
    >>> bool(t(ops.array(2.0)) > 2.0), float(t(ops.array(3.0)))
    (True, 3.0)
    """

    sign = 1

    def __init__(self, constraint):
        self.constraint = constraint

    domain = codomain = property(lambda self: self.constraint)

    def __call__(self, x):
        c = self.constraint
        if isinstance(c, constraints.half_line):
            edge, above = operand(c.bound), operand(c.direction) > 0
            return ops.where(above, ops.maximum(x, _beside(edge, x, 1)), ops.minimum(x, _beside(edge, x, -1)))
        if isinstance(c, (constraints.greater_than, constraints.open_interval)):
            x = ops.maximum(x, _beside(operand(c.lower_bound), x, 1))
        if isinstance(c, (constraints.less_than, constraints.open_interval, constraints.half_open_interval)):
            x = ops.minimum(x, _beside(operand(c.upper_bound), x, -1))
        return x

    def _inverse(self, y):
        return y

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.zeros_like(x)


def _beside(edge, x, direction):
    """Return the number next to ``edge``, in the precision of ``x``, or the one after it."""
    limits = ops.finfo(x)
    edge = ops.array(edge, dtype=x.dtype) if isinstance(edge, (int, float)) else edge
    return edge + direction * ops.clip(float(limits.eps) * ops.abs(edge), min=float(limits.tiny))
