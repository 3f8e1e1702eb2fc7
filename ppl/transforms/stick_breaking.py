"""Stick breaking, a bijection to the simplex."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class StickBreakingTransform(Transform):
    r"""From ``K - 1`` reals to the simplex of ``K`` coordinates; zero goes to the centre.

    .. math:: z_i = \operatorname{expit}(x_i - \log(K - i)), \quad y_i = z_i \prod_{j<i} (1 - z_j)

    Source: Stan Reference Manual, "Unit simplex".

    >>> from ppl import ops, transforms
    >>> [round(float(weight), 4) for weight in transforms.StickBreakingTransform()(ops.zeros((2,)))]
    [0.3333, 0.3333, 0.3333]
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def __call__(self, x):
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x):
        log_piece, log_rest = _log_pieces(x)
        none = ops.zeros_like(x[..., :1])
        left = ops.cumsum(log_rest, axis=-1)
        y = ops.exp(ops.concat([log_piece, none], axis=-1) + ops.concat([none, left], axis=-1))
        return y, (log_piece, log_rest)

    def _inverse(self, y):
        rest = ops.flip(ops.cumsum(ops.flip(y[..., 1:], axis=-1), axis=-1), axis=-1)
        return ops.safe_log(y[..., :-1]) - ops.safe_log(rest) + _offset(y[..., 1:])

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        log_piece, log_rest = _log_pieces(x) if intermediates is None else intermediates
        size = ops.shape(x)[-1]
        # the rest of the stick before piece i enters as sum_{j<i} log_rest_j, that is (size - j) times in all
        times = ops.array([float(size - j) for j in range(size)], dtype=x.dtype)
        return ops.sum(log_piece + times * log_rest, axis=-1)

    def forward_shape(self, shape):
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape):
        return (*shape[:-1], shape[-1] - 1)


def _offset(x):
    size = ops.shape(x)[-1]
    return ops.array([math.log(size - i) for i in range(size)], dtype=x.dtype)


def _log_pieces(x):
    shifted = x - _offset(x)
    return ops.log_expit(shifted), ops.log_expit(-shifted)
