"""The identity."""

from ppl import ops
from ppl.constraints import real
from ppl.transforms.transform import Transform


class IdentityTransform(Transform):
    """``y = x`` on a set of ``event_dim`` axes.

    :param constraint: the set mapped to itself.

    >>> from ppl import ops, transforms
    >>> float(transforms.identity_transform(ops.array(2.0)))
    2.0
    """

    sign = 1

    def __init__(self, constraint=real):
        self.constraint = constraint

    domain = codomain = property(lambda self: self.constraint)

    def __call__(self, x):
        return x

    def _inverse(self, y):
        return y

    def log_abs_det_jacobian(self, x, y):
        zero = ops.zeros_like(x)
        return ops.sum_rightmost(zero, self.constraint.event_dim)


identity_transform = IdentityTransform()
