"""The exponential."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class ExpTransform(Transform):
    """``y = exp(x)``, from the reals to the positive numbers.

    >>> from ppl import ops, transforms
    >>> round(float(transforms.ExpTransform()(ops.array(1.0))), 4)
    2.7183
    """

    codomain = constraints.positive
    sign = 1

    def __call__(self, x):
        return ops.exp(x)

    def _inverse(self, y):
        return ops.log(y)

    def log_abs_det_jacobian(self, x, y):
        return x
