"""The logistic sigmoid."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class SigmoidTransform(Transform):
    """``y = 1 / (1 + exp(-x))``, from the reals to the open unit interval.

    The result is kept one rounding step away from 0 and 1, so that densities there stay finite.

    >>> from ppl import ops, transforms
    >>> x = ops.array(0.0)
    >>> y = transforms.SigmoidTransform()(x)
    >>> float(y), round(float(transforms.SigmoidTransform().log_abs_det_jacobian(x, y)), 4)
    (0.5, -1.3863)
    """

    codomain = constraints.unit_interval
    sign = 1

    def __call__(self, x):
        limits = ops.finfo(x)
        return ops.clip(ops.expit(x), min=float(limits.tiny), max=1.0 - float(limits.eps))

    def _inverse(self, y):
        return ops.log(y) - ops.log1p(-y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return -ops.softplus(-x) - ops.softplus(x)
