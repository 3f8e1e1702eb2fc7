"""The half Cauchy distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class HalfCauchy(Distribution):
    r"""Absolute value of a Cauchy variable of scale :math:`\sigma`; it has no mean.

    .. math:: p(x) = \frac{2}{\pi \sigma (1 + (x / \sigma)^2)}, \quad x \ge 0

    :param scale: scale, and median; positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.HalfCauchy(1.0).log_prob(1.0)), 4)
    -1.1447
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, scale=1.0, *, validate_args=None):
        (self.scale,) = self.promote(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    mean = property(lambda self: ops.full_like(self.scale, math.inf))
    variance = property(lambda self: ops.full_like(self.scale, math.inf))

    def rsample(self, sample_shape=(), rng_key=None):
        return self.icdf(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        z = value / self.scale
        log_prob = math.log(2.0 / math.pi) - ops.log(self.scale) - ops.log1p(z * z)
        return ops.where(value >= 0, log_prob, -math.inf)

    def cdf(self, value):
        return (2.0 / math.pi) * ops.atan(ops.clip(value, min=0.0) / self.scale)

    def icdf(self, value):
        # The tangent of an angle near a right one is the cotangent of what is missing, which keeps its digits.
        lower = value < 0.5
        tangent = ops.tan((0.5 * math.pi) * ops.where(lower, value, 1.0 - value))
        return self.scale * ops.where(lower, tangent, ops.reciprocal(ops.where(lower, 1.0, tangent)))

    def entropy(self):
        return math.log(2.0 * math.pi) + ops.log(self.scale)
