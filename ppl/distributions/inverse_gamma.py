"""The inverse gamma distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import quantile
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class InverseGamma(Distribution):
    r"""Distribution of the reciprocal of a gamma variable of concentration :math:`\alpha` and rate :math:`\beta`.

    .. math:: p(x) = \beta^\alpha x^{-\alpha - 1} e^{-\beta / x} / \Gamma(\alpha), \quad x > 0

    :param concentration: :math:`\alpha`, positive; the mean is infinite up to 1 and the variance up to 2.
    :param rate: :math:`\beta`, positive; values scale with it.
    :raises ConstraintError: if a parameter has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.InverseGamma(3.0, 2.0).log_prob(0.8)), 4)
    -0.2211
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        self.concentration, self.rate = self.promote(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self):
        finite = self.concentration > 1
        return ops.where(finite, self.rate / ops.where(finite, self.concentration - 1.0, 1.0), math.inf)

    @property
    def variance(self):
        finite = self.concentration > 2
        a = ops.where(finite, self.concentration, 3.0)
        return ops.where(finite, ops.square(self.rate / (a - 1.0)) / (a - 2.0), math.inf)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.rate / random.gamma(rng_key, self.concentration, self.shape(sample_shape))

    def log_prob(self, value):
        a, rate = self.concentration, self.rate
        inside = value > 0
        safe = ops.where(inside, value, 1.0)
        log_prob = a * ops.log(rate) - (a + 1.0) * ops.log(safe) - rate / safe - ops.gammaln(a)
        return ops.where(inside, log_prob, -math.inf)

    def cdf(self, value):
        inside = value > 0
        below = ops.gammaincc(self.concentration, self.rate / ops.where(inside, value, 1.0))
        return ops.where(inside, below, 0.0)

    def icdf(self, value):
        reciprocal = quantile.standard_gamma(self.concentration, 1.0 - value, value)
        zero = reciprocal == 0
        return ops.where(zero, math.inf, self.rate / ops.where(zero, 1.0, reciprocal))

    def entropy(self):
        a = self.concentration
        return a + ops.log(self.rate) + ops.gammaln(a) - (1.0 + a) * ops.digamma(a)
