"""The hyperbolic tangent."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform


def atanh(y):
    """Return the inverse hyperbolic tangent."""
    return 0.5 * (ops.log1p(y) - ops.log1p(-y))


def log_one_minus_tanh_squared(x):
    """Return ``log(1 - tanh(x)**2)`` without cancellation at large ``|x|``."""
    return 2.0 * (math.log(2.0) - x - ops.softplus(-2.0 * x))


class TanhTransform(Transform):
    """``y = tanh(x)``, from the reals to (-1, 1).

    >>> from ppl import ops, transforms
    >>> round(float(transforms.TanhTransform()(ops.array(1.0))), 4)
    0.7616
    """

    codomain = constraints.interval(-1.0, 1.0)
    sign = 1

    def __call__(self, x):
        return ops.tanh(x)

    def _inverse(self, y):
        return atanh(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return log_one_minus_tanh_squared(x)
