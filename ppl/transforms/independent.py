"""Batch axes reinterpreted as event axes."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform, check_cache_size, log_det_of


class IndependentTransform(Transform):
    """``base`` with its ``reinterpreted_batch_ndims`` rightmost batch axes counted into the event.

    >>> from ppl import ops, transforms
    >>> x = ops.array([1.0, 2.0])
    >>> t = transforms.IndependentTransform(transforms.ExpTransform(), 1)
    >>> float(t.log_abs_det_jacobian(x, t(x)))
    3.0
    """

    def __init__(self, base_transform, reinterpreted_batch_ndims, *, cache_size=0):
        check_cache_size(cache_size)
        self.base_transform, self.reinterpreted_batch_ndims = base_transform, reinterpreted_batch_ndims

    domain = property(lambda self: constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims))
    codomain = property(lambda self: constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims))
    bijective = property(lambda self: self.base_transform.bijective)
    sign = property(lambda self: self.base_transform.sign)

    def __call__(self, x):
        return self.base_transform(x)

    def call_with_intermediates(self, x):
        return self.base_transform.call_with_intermediates(x)

    def _inverse(self, y):
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum_rightmost(log_det_of(self.base_transform, x, y, intermediates), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape):
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape):
        return self.base_transform.inverse_shape(shape)
