"""Student's t distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.ops import random


class StudentT(Distribution):
    r"""Student's t distribution of :math:`\nu` degrees of freedom, location :math:`\mu` and scale :math:`\sigma`.

    .. math:: p(x) = \frac{(1 + z^2 / \nu)^{-(\nu + 1) / 2}}{\sigma \sqrt{\nu} \, B(1/2, \nu / 2)}, \quad z = (x - \mu) / \sigma

    :param df: degrees of freedom, positive.
    :param loc: location.
    :param scale: scale, positive; it is not the standard deviation.
    :raises ConstraintError: if ``df`` or ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.StudentT(4.0, 0.0, 1.0).log_prob(1.5)), 4)
    -2.0965
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, *, validate_args=None):
        self.df, self.loc, self.scale = self.promote(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    mean = property(lambda self: ops.where(self.df > 1, self.loc, math.nan))

    @property
    def variance(self):
        finite = self.df > 2
        excess = ops.where(finite, self.df - 2.0, ops.ones_like(self.df))
        infinite = ops.where(self.df > 1, ops.full_like(self.df, math.inf), ops.full_like(self.df, math.nan))
        return ops.where(finite, ops.square(self.scale) * self.df / excess, infinite)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.loc + self.scale * random.standard_t(rng_key, self.df, self.shape(sample_shape))

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        normalizer = ops.log(self.scale) + 0.5 * ops.log(self.df) + _log_beta(self.df)
        return -0.5 * (self.df + 1.0) * ops.log1p(z * z / self.df) - normalizer

    def cdf(self, value):
        z = (value - self.loc) / self.scale
        tail = 0.5 * ops.betainc(0.5 * self.df, ops.full_like(self.df, 0.5), self.df / (self.df + z * z))
        return ops.where(z < 0, tail, 1.0 - tail)

    def entropy(self):
        half = 0.5 * (self.df + 1.0)
        spread = half * (ops.digamma(half) - ops.digamma(0.5 * self.df))
        return spread + 0.5 * ops.log(self.df) + _log_beta(self.df) + ops.log(self.scale)


def _log_beta(df):
    return ops.betaln(ops.full_like(df, 0.5), 0.5 * df)
