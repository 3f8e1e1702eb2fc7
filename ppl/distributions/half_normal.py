"""The half normal distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random

HALF_LOG_TWO_OVER_PI = 0.5 * math.log(2.0 / math.pi)


class HalfNormal(Distribution):
    r"""Absolute value of a normal variable of mean zero and standard deviation :math:`\sigma`.

    .. math:: p(x) = \sqrt{2 / \pi} \, \sigma^{-1} e^{-x^2 / 2 \sigma^2}, \quad x \ge 0

    :param scale: standard deviation of the normal behind it, positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.HalfNormal(1.0).log_prob(1.0)), 4)
    -0.7258
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, scale=1.0, *, validate_args=None):
        (self.scale,) = self.promote(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    mean = property(lambda self: self.scale * math.sqrt(2.0 / math.pi))
    variance = property(lambda self: ops.square(self.scale) * (1.0 - 2.0 / math.pi))

    def rsample(self, sample_shape=(), rng_key=None):
        return ops.abs(self.scale * random.normal(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        z = value / self.scale
        return ops.where(value >= 0, HALF_LOG_TWO_OVER_PI - ops.log(self.scale) - 0.5 * z * z, -math.inf)

    def cdf(self, value):
        return ops.erf(ops.clip(value, min=0.0) / (self.scale * math.sqrt(2.0)))

    def icdf(self, value):
        return self.scale * math.sqrt(2.0) * ops.erfinv(value)

    def entropy(self):
        return 0.5 * math.log(0.5 * math.pi) + 0.5 + ops.log(self.scale)
