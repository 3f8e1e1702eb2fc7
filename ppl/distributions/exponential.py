"""The exponential distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Exponential(ExponentialFamily):
    r"""Exponential distribution of rate :math:`\lambda`.

    .. math:: p(x) = \lambda e^{-\lambda x}, \quad x \ge 0

    :param rate: reciprocal of the mean, positive.
    :raises ConstraintError: if ``rate`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Exponential(2.0).log_prob(1.5)), 4)
    -2.3069
    """

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, rate=1.0, *, validate_args=None):
        (self.rate,) = self.promote(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = property(lambda self: 1.0 / self.rate)
    variance = property(lambda self: 1.0 / (self.rate * self.rate))
    stddev = property(lambda self: 1.0 / self.rate)

    def rsample(self, sample_shape=(), rng_key=None):
        return random.exponential(rng_key, self.shape(sample_shape), self.dtype) / self.rate

    def log_prob(self, value):
        return ops.where(value >= 0, ops.log(self.rate) - self.rate * value, -math.inf)

    def cdf(self, value):
        return -ops.expm1(-self.rate * ops.clip(value, min=0.0))

    def icdf(self, value):
        return -ops.log1p(-value) / self.rate

    def entropy(self):
        return 1.0 - ops.log(self.rate)
