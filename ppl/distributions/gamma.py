"""The gamma distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import quantile
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Gamma(ExponentialFamily):
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
    gaps = CONTINUOUS

    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        self.concentration, self.rate = self.promote(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.rate)
    variance = property(lambda self: self.concentration / (self.rate * self.rate))

    def rsample(self, sample_shape=(), rng_key=None):
        return random.gamma(rng_key, self.concentration, self.shape(sample_shape)) / self.rate

    def log_prob(self, value):
        a, rate = self.concentration, self.rate
        inside = self._knows_support()
        constant = a * ops.log(rate) - ops.gammaln(a)
        log_prob = ops.xlogy(a - 1.0, value if inside else ops.abs(value)) - rate * value + constant
        return log_prob if inside else ops.where(value >= 0, log_prob, -math.inf)

    def cdf(self, value):
        return ops.gammainc(self.concentration, self.rate * ops.clip(value, min=0.0))

    def icdf(self, value):
        return quantile.standard_gamma(self.concentration, value, 1.0 - value) / self.rate

    def entropy(self):
        a = self.concentration
        return a - ops.log(self.rate) + ops.gammaln(a) + (1.0 - a) * ops.digamma(a)
