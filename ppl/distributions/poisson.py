"""The Poisson distribution."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.ops import random


class Poisson(Distribution):
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

    def __init__(self, rate, *, validate_args=None):
        (self.rate,) = self.promote(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = property(lambda self: self.rate)
    variance = property(lambda self: self.rate)

    def sample(self, sample_shape=(), rng_key=None):
        return random.poisson(rng_key, ops.autodiff.stop_gradient(self.rate), self.shape(sample_shape))

    def log_prob(self, value):
        return ops.xlogy(value, self.rate) - self.rate - ops.gammaln(value + 1.0)

    def cdf(self, value):
        return ops.gammaincc(ops.floor(value) + 1.0, self.rate)
