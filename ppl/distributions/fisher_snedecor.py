"""The F distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import quantile
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class FisherSnedecor(Distribution):
    r"""Distribution of the ratio of two chi-squared variables, each over its degrees of freedom.

    .. math:: p(x) = \frac{r^a (1 + r)^{-a - b}}{x \, B(a, b)}, \quad a = \nu_1 / 2, \; b = \nu_2 / 2, \; r = a x / b, \; x > 0

    :param df1: degrees of freedom :math:`\nu_1` of the numerator, positive.
    :param df2: degrees of freedom :math:`\nu_2` of the denominator, positive; the mean is infinite up to 2, the variance up to 4.
    :raises ConstraintError: if a parameter has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.FisherSnedecor(3.0, 5.0).log_prob(0.8)), 4)
    -0.8181
    """

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, df1, df2, *, validate_args=None):
        self.df1, self.df2 = self.promote(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def mean(self):
        finite = self.df2 > 2
        return ops.where(finite, self.df2 / ops.where(finite, self.df2 - 2.0, 1.0), math.inf)

    @property
    def variance(self):
        finite = self.df2 > 4
        n, m = self.df1, ops.where(finite, self.df2, 5.0)
        variance = 2.0 * ops.square(m / (m - 2.0)) * (n + m - 2.0) / (n * (m - 4.0))
        return ops.where(finite, variance, math.inf)

    def rsample(self, sample_shape=(), rng_key=None):
        key1, key2 = random.split(rng_key)
        shape = self.shape(sample_shape)
        numerator = random.gamma(key1, 0.5 * self.df1, shape) / self.df1
        return numerator / (random.gamma(key2, 0.5 * self.df2, shape) / self.df2)

    def log_prob(self, value):
        a, b = 0.5 * self.df1, 0.5 * self.df2
        inside = value >= 0
        safe = ops.where(inside, value, 1.0)
        ratio = a / b
        normalizer = ops.betaln(a, b) - a * ops.log(ratio)
        return ops.where(inside, ops.xlogy(a - 1.0, safe) - (a + b) * ops.log1p(ratio * safe) - normalizer, -math.inf)

    def cdf(self, value):
        a, b = 0.5 * self.df1, 0.5 * self.df2
        odds = a * ops.clip(value, min=0.0) / b
        # From the side on which the argument keeps its digits.
        low = odds < 1
        near = ops.where(low, odds, 1.0)
        far = ops.where(low, 1.0, odds)
        below = ops.betainc(a, b, near / (1.0 + near))
        above = ops.betainc(b, a, 1.0 / (1.0 + far))
        return ops.where(low, below, 1.0 - above)

    def icdf(self, value):
        odds = ops.exp(quantile.beta_odds(0.5 * self.df1, 0.5 * self.df2, value, 1.0 - value))
        return self.df2 / self.df1 * odds

    def entropy(self):
        a, b = 0.5 * self.df1, 0.5 * self.df2
        weighted = (1.0 - a) * ops.digamma(a) - (1.0 + b) * ops.digamma(b) + (a + b) * ops.digamma(a + b)
        return ops.betaln(a, b) + ops.log(b / a) + weighted
