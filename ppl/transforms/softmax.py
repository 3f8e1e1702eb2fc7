"""The softmax, an overparameterised map to the simplex."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class SoftmaxTransform(Transform):
    """``y = softmax(x)`` along the last axis: the same number of coordinates as the simplex, so not bijective.

    >>> from ppl import ops, transforms
    >>> [float(weight) for weight in transforms.SoftmaxTransform()(ops.zeros((2,)))]
    [0.5, 0.5]
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = False

    def __call__(self, x):
        return ops.softmax(x, axis=-1)

    def _inverse(self, y):
        return ops.safe_log(y)
