"""The identity."""

from ppl import ops
from ppl.constraints import independent, real
from ppl.transforms.transform import Transform, check_cache_size


class IdentityTransform(Transform):
    """``y = x`` on a set of ``event_dim`` axes.

    :param constraint: the set mapped to itself, or the number of axes of one real event.

    >>> from ppl import ops, transforms
    >>> float(transforms.identity_transform(ops.array(2.0)))
    2.0
    """

    sign = 1

    def __init__(self, constraint=real, *, event_dim=0, cache_size=0):
        check_cache_size(cache_size)
        axes = constraint if isinstance(constraint, int) else event_dim
        base = real if isinstance(constraint, int) else constraint
        self.constraint = independent(base, axes) if axes else base

    domain = codomain = property(lambda self: self.constraint)

    def __call__(self, x):
        return x

    def _inverse(self, y):
        return y

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        zero = ops.zeros_like(x)
        return ops.sum_rightmost(zero, self.constraint.event_dim)


identity_transform = IdentityTransform()
