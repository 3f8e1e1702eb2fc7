"""Bijections of the reals that bend at zero."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform, check_cache_size, operand


class LeakyReLUTransform(Transform):
    """``y = x`` for positive ``x``, else ``negative_slope * x``.

    :param negative_slope: a positive number.

    >>> from ppl import ops, transforms
    >>> [round(float(y), 4) for y in transforms.LeakyReLUTransform()(ops.array([-1.0, 2.0]))]
    [-0.01, 2.0]
    """

    sign = 1

    def __init__(self, negative_slope=0.01, *, cache_size=0):
        check_cache_size(cache_size)
        self.negative_slope = negative_slope

    def __call__(self, x):
        return ops.where(x >= 0, x, self.negative_slope * x)

    def _inverse(self, y):
        return ops.where(y >= 0, y, y / self.negative_slope)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        zero = ops.zeros_like(x)
        return ops.where(x >= 0, zero, zero + math.log(self.negative_slope))


class ELUTransform(Transform):
    """``y = x`` for positive ``x``, else ``exp(x) - 1``.

    >>> from ppl import ops, transforms
    >>> [round(float(y), 4) for y in transforms.ELUTransform()(ops.array([-1.0, 2.0]))]
    [-0.6321, 2.0]
    """

    codomain = constraints.greater_than_eq(-1.0)
    sign = 1

    def __call__(self, x):
        zero = ops.zeros_like(x)
        return ops.where(x >= 0, x, ops.expm1(ops.minimum(x, zero)))

    def _inverse(self, y):
        zero = ops.zeros_like(y)
        return ops.where(y >= 0, y, ops.log1p(ops.minimum(y, zero)))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.minimum(x, ops.zeros_like(x))


class PositivePowerTransform(Transform):
    """``y = sign(x) |x| ** exponent`` on all reals.

    :param exponent: a positive number.

    >>> from ppl import ops, transforms
    >>> [round(float(y), 4) for y in transforms.PositivePowerTransform(2.0)(ops.array([-3.0, 2.0]))]
    [-9.0, 4.0]
    """

    sign = 1

    def __init__(self, exponent, *, cache_size=0):
        check_cache_size(cache_size)
        self.exponent = exponent

    def __call__(self, x):
        return _signed_power(x, operand(self.exponent))

    def _inverse(self, y):
        return _signed_power(y, 1.0 / operand(self.exponent))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        exponent = ops.array(self.exponent)
        return ops.log(exponent) + (exponent - 1.0) * ops.safe_log(ops.abs(x))

    def forward_shape(self, shape):
        return ops.broadcast_shapes(tuple(shape), ops.shape(operand(self.exponent)))

    inverse_shape = forward_shape


def _signed_power(x, exponent):
    size = ops.clip(ops.abs(x), min=float(ops.finfo(x).tiny))
    return x * ops.power(size, exponent - 1.0)
