"""The exponential."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform, check_cache_size


class ExpTransform(Transform):
    """``y = exp(x)``, from the reals to the positive numbers.

    :param domain: the set that ``x`` lies in, if it is smaller; the codomain follows from it.

    >>> from ppl import constraints, ops, transforms
    >>> round(float(transforms.ExpTransform()(ops.array(1.0))), 4)
    2.7183
    >>> transforms.ExpTransform(constraints.ordered_vector).codomain
    positive_ordered_vector
    """

    sign = 1

    def __init__(self, domain=constraints.real, *, cache_size=0):
        check_cache_size(cache_size)
        self.domain = domain

    @property
    def codomain(self):
        return _image(self.domain)

    def __call__(self, x):
        return ops.exp(x)

    def _inverse(self, y):
        return ops.log(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum_rightmost(x, self.domain.event_dim)

    def __repr__(self):
        return "ExpTransform()" if self.domain is constraints.real else f"ExpTransform(domain={self.domain!r})"


def _image(domain):
    if isinstance(domain, constraints.independent):
        return constraints.independent(_image(domain.base_constraint), domain.reinterpreted_batch_ndims)
    if domain == constraints.ordered_vector:
        return constraints.positive_ordered_vector
    if isinstance(domain, constraints.greater_than_eq):
        return constraints.greater_than_eq(_exp(domain.lower_bound))
    if isinstance(domain, constraints.greater_than):
        return constraints.greater_than(_exp(domain.lower_bound))
    if isinstance(domain, constraints.less_than):
        return constraints.open_interval(0.0, _exp(domain.upper_bound))
    if isinstance(domain, constraints.interval):
        return constraints.interval(_exp(domain.lower_bound), _exp(domain.upper_bound))
    return constraints.positive


def _exp(bound):
    return math.exp(bound) if isinstance(bound, (int, float)) else ops.exp(bound)
