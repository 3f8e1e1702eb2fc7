"""The absolute value."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class AbsTransform(Transform):
    """``y = |x|``: two to one, so it has an inverse image (the positive one) but no log-determinant.

    >>> from ppl import ops, transforms
    >>> float(transforms.AbsTransform()(ops.array(-2.0)))
    2.0
    """

    codomain = constraints.positive
    bijective = False

    def __call__(self, x):
        return ops.abs(x)

    def _inverse(self, y):
        return y
