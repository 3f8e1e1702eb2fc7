"""Batch axes reinterpreted as event axes."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class IndependentTransform(Transform):
    """``base`` with its ``reinterpreted_batch_ndims`` rightmost batch axes counted into the event.

    >>> from ppl import ops, transforms
    >>> x = ops.array([1.0, 2.0])
    >>> t = transforms.IndependentTransform(transforms.ExpTransform(), 1)
    >>> float(t.log_abs_det_jacobian(x, t(x)))
    3.0
    """

    def __init__(self, base_transform, reinterpreted_batch_ndims):
        self.base_transform, self.reinterpreted_batch_ndims = base_transform, reinterpreted_batch_ndims

    domain = property(lambda self: constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims))
    codomain = property(lambda self: constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims))
    bijective = property(lambda self: self.base_transform.bijective)
    sign = property(lambda self: self.base_transform.sign)

    def __call__(self, x):
        return self.base_transform(x)

    def _inverse(self, y):
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x, y):
        return ops.sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape):
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape):
        return self.base_transform.inverse_shape(shape)
