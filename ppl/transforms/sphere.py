"""Vectors scaled to length one."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class SphereTransform(Transform):
    """``y = x / |x|``: one coordinate more than the sphere has, so not bijective. The origin goes to the point of equal entries.

    >>> from ppl import ops, transforms
    >>> [round(float(entry), 4) for entry in transforms.SphereTransform()(ops.array([3.0, -4.0]))]
    [0.6, -0.8]
    """

    domain = constraints.real_vector
    codomain = constraints.sphere
    bijective = False

    def __call__(self, x):
        # The result does not change with the scale; dividing by the largest entry keeps the squares representable.
        largest = ops.autodiff.stop_gradient(ops.max(ops.abs(x), axis=-1, keepdims=True))
        at_origin = largest == 0
        scaled = ops.where(at_origin, ops.ones_like(x), x) / ops.where(at_origin, ops.ones_like(largest), largest)
        return scaled / ops.sqrt(ops.sum(scaled * scaled, axis=-1, keepdims=True))

    def _inverse(self, y):
        return y
