"""A fixed power."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform, check_cache_size, operand


class PowerTransform(Transform):
    """``y = x ** exponent`` on the positive numbers.

    :param exponent: any number but zero.

    >>> from ppl import ops, transforms
    >>> round(float(transforms.PowerTransform(3.0)(ops.array(2.0))), 4)
    8.0
    """

    domain = constraints.positive
    codomain = constraints.positive

    def __init__(self, exponent, *, cache_size=0):
        check_cache_size(cache_size)
        self.exponent = exponent

    @property
    def sign(self):
        if isinstance(self.exponent, (int, float)):
            return 1 if self.exponent > 0 else -1
        return ops.sign(operand(self.exponent))

    def __call__(self, x):
        return ops.power(x, operand(self.exponent))

    def _inverse(self, y):
        return ops.power(y, 1.0 / operand(self.exponent))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        exponent = ops.array(self.exponent)
        return ops.log(ops.abs(exponent)) + (exponent - 1.0) * ops.log(x)

    def forward_shape(self, shape):
        return ops.broadcast_shapes(tuple(shape), ops.shape(operand(self.exponent)))

    inverse_shape = forward_shape
