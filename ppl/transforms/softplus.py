"""The softplus."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class SoftplusTransform(Transform):
    """``y = log(1 + exp(x))``, from the reals to the positive numbers; far out it is the identity.

    >>> from ppl import ops, transforms
    >>> round(float(transforms.SoftplusTransform()(ops.array(0.0))), 4)
    0.6931
    """

    codomain = constraints.softplus_positive
    sign = 1

    def __call__(self, x):
        return ops.softplus(x)

    def _inverse(self, y):
        return y + ops.log(-ops.expm1(-y))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return -ops.softplus(-x)
