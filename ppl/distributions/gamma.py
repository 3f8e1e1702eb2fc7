"""The gamma distribution."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.ops import random


class Gamma(Distribution):
    r"""Gamma distribution of concentration :math:`\alpha` and rate :math:`\beta`.

    .. math:: p(x) = \beta^\alpha x^{\alpha - 1} e^{-\beta x} / \Gamma(\alpha), \quad x \ge 0

    :param concentration: :math:`\alpha`, positive.
    :param rate: :math:`\beta`, the reciprocal of the scale, positive.
    :raises ConstraintError: if a parameter has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Gamma(2.0, 1.0).log_prob(1.5)), 4)
    -1.0945
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        self.concentration, self.rate = self.promote(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.rate)
    variance = property(lambda self: self.concentration / (self.rate * self.rate))

    def rsample(self, sample_shape=(), rng_key=None):
        return random.gamma(rng_key, self.concentration, self.shape(sample_shape)) / self.rate

    def log_prob(self, value):
        a, rate = self.concentration, self.rate
        return a * ops.log(rate) + ops.xlogy(a - 1.0, value) - rate * value - ops.gammaln(a)

    def cdf(self, value):
        return ops.gammainc(self.concentration, self.rate * value)

    def entropy(self):
        a = self.concentration
        return a - ops.log(self.rate) + ops.gammaln(a) + (1.0 - a) * ops.digamma(a)
