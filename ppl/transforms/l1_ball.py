"""Vectors to the ball of the absolute-value norm."""

import math

from ppl import constraints, ops
from ppl.transforms.tanh import atanh, log_one_minus_tanh_squared
from ppl.transforms.transform import Transform


class L1BallTransform(Transform):
    r"""From reals to vectors whose absolute values sum to less than one, by breaking a stick with signs.

    .. math:: y_i = \tanh(x_i) \prod_{j<i} (1 - |\tanh x_j|)

    >>> from ppl import ops, transforms
    >>> [round(float(entry), 4) for entry in transforms.L1BallTransform()(ops.array([0.5, -1.0]))]
    [0.4621, -0.4096]
    """

    domain = constraints.real_vector
    codomain = constraints.l1_ball

    def __call__(self, x):
        return ops.tanh(x) * ops.exp(_log_left(x))

    def _inverse(self, y):
        used = ops.cumsum(ops.abs(y), axis=-1)
        left = 1.0 - ops.concat([ops.zeros_like(used[..., :1]), used[..., :-1]], axis=-1)
        return atanh(y / left)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum(_log_left(x) + log_one_minus_tanh_squared(x), axis=-1)


def _log_left(x):
    """Return the logarithm of what is left of the stick before each piece."""
    log_rest = math.log(2.0) - ops.softplus(2.0 * ops.abs(x))
    left = ops.cumsum(log_rest, axis=-1)
    return ops.concat([ops.zeros_like(left[..., :1]), left[..., :-1]], axis=-1)
