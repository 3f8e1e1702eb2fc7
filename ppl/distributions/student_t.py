"""Student's t distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import quantile
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random

NEAR_MIDDLE = 9.0


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
    gaps = CONTINUOUS

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
        return _log_prob(value - self.loc, self.scale, self.df)

    def cdf(self, value):
        return _standard_cdf((value - self.loc) / self.scale, self.df)

    def icdf(self, value):
        # The square over df has the odds of a beta variable, whose probability is that of the interval around the middle.
        df = ops.autodiff.stop_gradient(self.df)
        p = ops.autodiff.stop_gradient(value)
        central, both_tails = ops.abs(2.0 * p - 1.0), 2.0 * ops.minimum(p, 1.0 - p)
        odds = quantile.beta_odds(ops.full_like(df, 0.5), 0.5 * df, central, both_tails)
        z = ops.sign(p - 0.5) * ops.sqrt(df) * ops.exp(0.5 * odds)
        safe = ops.where(ops.isfinite(z), z, 0.0)
        density = ops.where(ops.isfinite(z), ops.exp(_log_prob(safe, 1.0, df)), 0.0)
        return self.loc + self.scale * quantile.with_gradient(z, _standard_cdf(safe, self.df), density, value)

    def entropy(self):
        half = 0.5 * (self.df + 1.0)
        spread = half * (ops.digamma(half) - ops.digamma(0.5 * self.df))
        return spread + 0.5 * ops.log(self.df) + _log_beta(self.df) + ops.log(self.scale)


def _log_beta(df):
    return ops.betaln(ops.full_like(df, 0.5), 0.5 * df)


def _log_prob(distance, scale, df):
    # In this order numpy reuses its temporaries, and each operation on the whole array counts.
    spread = scale * ops.sqrt(df)
    return ops.log1p((distance / spread) ** 2) * (-0.5 * (df + 1.0)) - (ops.log(spread) + _log_beta(df))


def _standard_cdf(z, df):
    # Near the middle from the interval around it, which keeps its digits at many degrees of freedom; farther out from the tail.
    # At the very middle the incomplete beta function has no slope, so the tangent stands in.
    half, middle = ops.full_like(df, 0.5), z == 0
    square = ops.where(middle, 1.0, z * z)
    near = square < NEAR_MIDDLE
    inner, outer = square / (df + square), df / (df + square)
    near_part = ops.betainc(half, 0.5 * df, ops.where(near, inner, 0.5))
    far_part = ops.betainc(0.5 * df, half, ops.where(near, 0.5, outer))
    below = 0.5 * ops.where(near, 1.0 - near_part, far_part)
    tangent = 0.5 + z * ops.exp(-_log_beta(df)) / ops.sqrt(df)
    return ops.where(middle, tangent, ops.where(z < 0, below, 1.0 - below))
