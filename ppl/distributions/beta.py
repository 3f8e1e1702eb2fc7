"""The beta distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import quantile
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Beta(ExponentialFamily):
    r"""Beta distribution of concentrations :math:`\alpha` and :math:`\beta`.

    .. math:: p(x) = x^{\alpha - 1} (1 - x)^{\beta - 1} / B(\alpha, \beta), \quad 0 \le x \le 1

    :param concentration1: :math:`\alpha`, positive.
    :param concentration0: :math:`\beta`, positive.
    :raises ConstraintError: if a concentration has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Beta(2.0, 3.0).log_prob(0.4)), 4)
    0.547
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, concentration1, concentration0, *, validate_args=None):
        self.concentration1, self.concentration0 = self.promote(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration1 / (self.concentration1 + self.concentration0))

    @property
    def variance(self):
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total * total * (total + 1.0))

    def rsample(self, sample_shape=(), rng_key=None):
        return random.beta(rng_key, self.concentration1, self.concentration0, self.shape(sample_shape))

    def log_prob(self, value):
        a, b = self.concentration1, self.concentration0
        inside = (value >= 0) & (value <= 1)
        safe = ops.where(inside, value, 0.5)
        log_prob = ops.xlogy(a - 1.0, safe) + ops.xlog1py(b - 1.0, -safe) - ops.betaln(a, b)
        return ops.where(inside, log_prob, -math.inf)

    def cdf(self, value):
        return ops.betainc(self.concentration1, self.concentration0, ops.clip(value, min=0.0, max=1.0))

    def icdf(self, value):
        return ops.expit(quantile.beta_odds(self.concentration1, self.concentration0, value, 1.0 - value))

    def entropy(self):
        a, b = self.concentration1, self.concentration0
        weighted = (a - 1.0) * ops.digamma(a) + (b - 1.0) * ops.digamma(b)
        return ops.betaln(a, b) - weighted + (a + b - 2.0) * ops.digamma(a + b)
