"""The Poisson distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import in_range, log_power
from ppl.distributions.distribution import Distribution
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import COUNTS, NO_CLOSED_FORM, NOT_FINITE
from ppl.ops import random

# From here on two terms of Stirling's series have all digits of the logarithm of a factorial.
STIRLING_FROM = 1000.0
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Poisson(ExponentialFamily):
    r"""Poisson distribution of rate :math:`\lambda`.

    .. math:: P(k) = \lambda^k e^{-\lambda} / k!, \quad k = 0, 1, 2, \ldots

    :param rate: mean and variance; not negative.
    :raises ConstraintError: if ``rate`` has a negative element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Poisson(3.0).log_prob(2.0)), 4)
    -1.4959
    """

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    gaps = {**COUNTS, "entropy": NO_CLOSED_FORM, "enumerate_support": NOT_FINITE}

    def __init__(self, rate, *, validate_args=None):
        (self.rate,) = self.promote(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = property(lambda self: self.rate)
    variance = property(lambda self: self.rate)

    def sample(self, sample_shape=(), rng_key=None):
        return random.poisson(rng_key, ops.autodiff.stop_gradient(self.rate), self.shape(sample_shape))

    def log_prob(self, value):
        inside, value = in_range(value)
        large = value >= STIRLING_FROM
        near = ops.where(large, ops.ones_like(value), value)
        far = ops.where(large, value, ops.full_like(value, STIRLING_FROM))
        # Large counts: rate and count are compared before the logarithm, and log k! - k log k + k comes from Stirling's series
        # (Abramowitz and Stegun 6.1.41), so that no two terms of the size of k log k cancel.
        remainder = HALF_LOG_TWO_PI + 0.5 * ops.log(far) + (1.0 - 1.0 / (30.0 * far * far)) / (12.0 * far)
        factorial = ops.where(large, remainder, ops.gammaln(near + 1.0))
        shift = ops.where(large, value, ops.zeros_like(value)) - self.rate
        ratio = self.rate / ops.where(large, far, ops.ones_like(far))
        return ops.where(inside, log_power(ratio, value) + shift - factorial, -math.inf)

    def cdf(self, value):
        inside, value = in_range(ops.floor(value))
        return ops.where(inside, ops.gammaincc(value + 1.0, self.rate), 0.0)

    # Not that of an exponential family: it lacks the expectation of log k!.
    entropy = Distribution.entropy
