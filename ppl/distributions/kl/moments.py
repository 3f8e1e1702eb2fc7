"""Expectations of simple functions of one number under each family: what the divergence between two families is made of.

A class below holds one distribution and gives, of the following, what has a closed form for its family:

- ``mean``, and ``spread(center)``, the expectation of ``(x - center)**2``;
- ``log_mean`` and ``log_variance``, the mean and the variance of ``log(x)``;
- ``log_complement_mean``, the expectation of ``log(1 - x)``;
- ``log_power(s)``, the logarithm of the expectation of ``x**s``, and ``reciprocal_mean``, the expectation of ``1 / x``;
- ``log_laplace(t)``, the logarithm of the expectation of ``exp(-t * x)`` for positive ``t``;
- ``absolute_deviation(center)``, the expectation of ``|x - center|``.

The formulas are those of Johnson, Kotz and Balakrishnan, *Continuous univariate distributions*, vol. 1 and 2.
"""

import math

from ppl import ops
from ppl.distributions.asymmetric_laplace import AsymmetricLaplace
from ppl.distributions.beta import Beta
from ppl.distributions.cauchy import Cauchy
from ppl.distributions.chi2 import Chi2
from ppl.distributions.exponential import Exponential
from ppl.distributions.fisher_snedecor import FisherSnedecor
from ppl.distributions.gamma import Gamma
from ppl.distributions.gumbel import Gumbel
from ppl.distributions.half_cauchy import HalfCauchy
from ppl.distributions.half_normal import HalfNormal
from ppl.distributions.inverse_gamma import InverseGamma
from ppl.distributions.kumaraswamy import Kumaraswamy
from ppl.distributions.laplace import Laplace
from ppl.distributions.log_normal import LogNormal
from ppl.distributions.log_uniform import LogUniform
from ppl.distributions.normal import Normal
from ppl.distributions.pareto import Pareto
from ppl.distributions.skew_laplace import SkewLaplace
from ppl.distributions.soft_laplace import SoftLaplace
from ppl.distributions.student_t import StudentT
from ppl.distributions.uniform import Uniform
from ppl.distributions.weibull import Weibull

EULER_GAMMA = 0.5772156649015329
LOG_TWO = math.log(2.0)
STEEP = 50.0
NARROW = 0.05


def finite_if(condition, formula, value, instead=1.0):
    """Return ``formula(value)`` where ``condition`` holds and infinity elsewhere.

    There the formula sees ``instead``, so that its derivative is finite: a gradient through ``where`` is NaN if that of the side
    not chosen is.
    """
    return ops.where(condition, formula(ops.where(condition, value, instead)), math.inf)


def gamma_parameters(d):
    """Return concentration and rate of a distribution of the gamma kind."""
    if isinstance(d, Chi2):
        return 0.5 * d.df, ops.full_like(d.df, 0.5)
    if isinstance(d, Exponential):
        return ops.ones_like(d.rate), d.rate
    return d.concentration, d.rate


class Moments:
    """What a family has a closed form for; ``kind`` names its support.

    :param p: the distribution.
    """

    kind = "real"

    def __init__(self, p):
        self.p = p

    mean = property(lambda self: self.p.mean)

    def spread(self, center):
        return self.p.variance + ops.square(self.mean - center)


class PositiveMoments(Moments):
    """Moments of a positive variable."""

    kind = "positive"

    @property
    def reciprocal_mean(self):
        return ops.exp(self.log_power(-ops.ones_like(self.log_mean)))


class NormalMoments(Moments):
    """Moments of a normal."""

    def log_laplace(self, t):
        return 0.5 * ops.square(t * self.p.scale) - t * self.p.loc

    def absolute_deviation(self, center):
        z = (self.p.loc - center) / (self.p.scale * math.sqrt(2.0))
        return self.p.scale * math.sqrt(2.0 / math.pi) * ops.exp(-z * z) + (self.p.loc - center) * ops.erf(z)


class LaplaceMoments(Moments):
    """Moments of a Laplace."""

    def log_laplace(self, t):
        slope = t * self.p.scale
        return -t * self.p.loc + finite_if(slope < 1.0, lambda x: -ops.log1p(-x * x), slope, 0.5)

    def absolute_deviation(self, center):
        distance = ops.abs(self.p.loc - center)
        return distance + self.p.scale * ops.exp(-distance / self.p.scale)


class GumbelMoments(Moments):
    """Moments of a Gumbel."""

    def log_laplace(self, t):
        return ops.gammaln(1.0 + t * self.p.scale) - t * self.p.loc


class TwoSidedMoments(Moments):
    """Asymmetric and skew Laplace: exponential decay at two scales."""

    def log_laplace(self, t):
        growing = finite_if(t * self.p.left_scale < 1.0, lambda slope: -ops.log1p(-slope), t * self.p.left_scale, 0.5)
        return growing - ops.log1p(t * self.p.right_scale) - t * self.p.loc

    def absolute_deviation(self, center):
        left, right, distance = self.p.left_scale, self.p.right_scale, self.p.loc - center
        below = distance > 0.0
        side, shift = ops.where(below, left, right), self.mean - center
        beyond = ops.square(side) / (left + right) * ops.exp(-ops.abs(distance) / side)
        return 2.0 * beyond + ops.where(below, shift, -shift)


class SoftLaplaceMoments(Moments):
    """Moments of a hyperbolic secant."""

    def log_laplace(self, t):
        slope = t * self.p.scale
        return finite_if(slope < 1.0, lambda x: -ops.log(ops.cos(0.5 * math.pi * x)), slope, 0.5) - t * self.p.loc


class StudentMoments(Moments):
    """The variance is NaN where there is no mean; this is infinite there."""

    def spread(self, center):
        variance = finite_if(self.p.df > 2.0, lambda df: df / (df - 2.0), self.p.df, 3.0)
        return ops.square(self.p.scale) * variance + ops.square(self.p.loc - center)


class CauchyMoments(Moments):
    """Moments of a Cauchy: they are infinite."""

    def spread(self, center):
        return ops.full_like(self.p.scale * center, math.inf)

    absolute_deviation = spread


class GammaMoments(PositiveMoments):
    """Gamma, exponential and chi-squared."""

    @property
    def log_mean(self):
        concentration, rate = gamma_parameters(self.p)
        return ops.digamma(concentration) - ops.log(rate)

    @property
    def log_variance(self):
        return ops.polygamma(1, gamma_parameters(self.p)[0])

    def log_power(self, s):
        concentration, rate = gamma_parameters(self.p)
        return log_gamma_ratio(concentration, s) - s * ops.log(rate)

    def log_laplace(self, t):
        concentration, rate = gamma_parameters(self.p)
        return -concentration * ops.log1p(t / rate)


class ExponentialMoments(GammaMoments):
    """Moments of an exponential besides those of a gamma."""

    def absolute_deviation(self, center):
        inside, scale = ops.maximum(center, ops.zeros_like(center)), 1.0 / self.p.rate
        return inside - center + inside - scale + 2.0 * scale * ops.exp(-inside / scale)


class InverseGammaMoments(PositiveMoments):
    """Moments of an inverse gamma."""

    log_mean = property(lambda self: ops.log(self.p.rate) - ops.digamma(self.p.concentration))
    log_variance = property(lambda self: ops.polygamma(1, self.p.concentration))

    def log_power(self, s):
        return log_gamma_ratio(self.p.concentration, -s) + s * ops.log(self.p.rate)


class LogNormalMoments(PositiveMoments):
    """Moments of a log-normal."""

    log_mean = property(lambda self: self.p.loc)
    log_variance = property(lambda self: ops.square(self.p.scale))

    def log_power(self, s):
        return s * self.p.loc + 0.5 * ops.square(s * self.p.scale)


class WeibullMoments(PositiveMoments):
    """Moments of a Weibull."""

    log_mean = property(lambda self: ops.log(self.p.scale) - EULER_GAMMA / self.p.concentration)
    log_variance = property(lambda self: math.pi**2 / 6.0 / ops.square(self.p.concentration))

    def log_power(self, s):
        ratio = s / self.p.concentration
        return log_gamma_ratio(ops.ones_like(ratio), ratio) + s * ops.log(self.p.scale)


class HalfNormalMoments(PositiveMoments):
    """Moments of a half normal."""

    log_mean = property(lambda self: ops.log(self.p.scale) - 0.5 * (EULER_GAMMA + LOG_TWO))
    log_variance = property(lambda self: ops.full_like(self.p.scale, math.pi**2 / 8.0))

    def log_power(self, s):
        half = ops.full_like(self.p.scale, 0.5)
        return log_gamma_ratio(half, 0.5 * s) + s * (ops.log(self.p.scale) + 0.5 * LOG_TWO)

    def log_laplace(self, t):
        slope = t * self.p.scale
        steep = slope > STEEP
        gentle, inverse = ops.where(steep, 1.0, slope), 1.0 / ops.where(steep, ops.square(slope), 1.0)
        # The two terms of the closed form cancel where it is steep; the series is Mills' ratio, asymptotic.
        series = inverse * (-1.0 + inverse * (3.0 + inverse * (-15.0 + inverse * 105.0)))
        mills = 0.5 * math.log(2.0 / math.pi) + 0.5 * ops.log(inverse) + ops.log1p(ops.where(steep, series, 0.0))
        return ops.where(steep, mills, LOG_TWO + 0.5 * ops.square(gentle) + ops.log_ndtr(-gentle))

    def absolute_deviation(self, center):
        inside, mean = ops.maximum(center, ops.zeros_like(center)), self.p.scale * math.sqrt(2.0 / math.pi)
        z = inside / (self.p.scale * math.sqrt(2.0))
        return inside - center + mean - inside + 2.0 * (inside * ops.erf(z) + mean * ops.expm1(-z * z))


class HalfCauchyMoments(PositiveMoments):
    """Moments of a half Cauchy; those of its powers below the first are finite."""

    mean = property(lambda self: ops.full_like(self.p.scale, math.inf))
    log_mean = property(lambda self: ops.log(self.p.scale))
    log_variance = property(lambda self: ops.full_like(self.p.scale, math.pi**2 / 4.0))

    def spread(self, center):
        return ops.full_like(self.p.scale * center, math.inf)

    absolute_deviation = spread

    def log_power(self, s):
        return s * ops.log(self.p.scale) + finite_if(ops.abs(s) < 1.0, lambda s: -ops.log(ops.cos(0.5 * math.pi * s)), s, 0.5)


class FisherSnedecorMoments(PositiveMoments):
    """The ratio of two gamma variables, each divided by its mean."""

    @property
    def log_mean(self):
        return ops.log(self.p.df2 / self.p.df1) + ops.digamma(0.5 * self.p.df1) - ops.digamma(0.5 * self.p.df2)

    log_variance = property(lambda self: ops.polygamma(1, 0.5 * self.p.df1) + ops.polygamma(1, 0.5 * self.p.df2))

    def log_power(self, s):
        ratio = log_gamma_ratio(0.5 * self.p.df1, s) + log_gamma_ratio(0.5 * self.p.df2, -s)
        return ratio + s * ops.log(self.p.df2 / self.p.df1)


class ParetoMoments(PositiveMoments):
    """Moments of a Pareto."""

    kind = "above"
    log_mean = property(lambda self: ops.log(self.p.scale) + 1.0 / self.p.alpha)
    log_variance = property(lambda self: 1.0 / ops.square(self.p.alpha))

    def log_power(self, s):
        ratio = s / self.p.alpha
        return s * ops.log(self.p.scale) + finite_if(ratio < 1.0, lambda ratio: -ops.log1p(-ratio), ratio, 0.5)


class BetaMoments(PositiveMoments):
    """Moments of a beta."""

    kind = "unit"

    @property
    def log_mean(self):
        return ops.digamma(self.p.concentration1) - ops.digamma(self.p.concentration1 + self.p.concentration0)

    @property
    def log_variance(self):
        return ops.polygamma(1, self.p.concentration1) - ops.polygamma(1, self.p.concentration1 + self.p.concentration0)

    @property
    def log_complement_mean(self):
        return ops.digamma(self.p.concentration0) - ops.digamma(self.p.concentration1 + self.p.concentration0)

    def log_power(self, s):
        a, b = self.p.concentration1, self.p.concentration0
        return finite_if(a + s > 0.0, lambda raised: ops.betaln(raised, b) - ops.betaln(a, b), a + s)


class KumaraswamyMoments(PositiveMoments):
    """Moments of a Kumaraswamy, whose power ``concentration1`` has a beta distribution."""

    kind = "unit"

    @property
    def log_mean(self):
        return -(EULER_GAMMA + ops.digamma(self.p.concentration0 + 1.0)) / self.p.concentration1

    @property
    def log_variance(self):
        return (math.pi**2 / 6.0 - ops.polygamma(1, self.p.concentration0 + 1.0)) / ops.square(self.p.concentration1)

    def log_power(self, s):
        raised, b = 1.0 + s / self.p.concentration1, self.p.concentration0
        return ops.log(b) + finite_if(raised > 0.0, lambda raised: ops.betaln(raised, b), raised)


class UniformMoments(PositiveMoments):
    """Moments of the logarithm are those of the part above zero: a divergence that needs them is infinite if there is more."""

    kind = "interval"
    log_mean = property(lambda self: log_mean_of_interval(*self._above_zero()))

    @property
    def log_variance(self):
        low, high = self._above_zero()
        half = -0.5 * _log_ratio(low, high)
        narrow = ops.square(ops.where(half < NARROW, half, 0.0))
        series = narrow * (1.0 / 3.0 - narrow * (1.0 / 15.0 - narrow * (2.0 / 189.0 - narrow / 675.0)))
        wide = 1.0 - low * high * ops.square(2.0 * half / (high - low))
        return ops.where((half < NARROW) & (low > 0.0), series, wide)

    @property
    def log_complement_mean(self):
        below_one = ops.minimum(self.p.high, ops.ones_like(self.p.high))
        low = ops.where(self.p.low < below_one, self.p.low, below_one - 1.0)
        return log_mean_of_interval(1.0 - below_one, 1.0 - low)

    @property
    def reciprocal_mean(self):
        low, high = self._above_zero()
        return ops.where(low > 0.0, -_log_ratio(low, high) / (high - low), math.inf)

    def log_power(self, s):
        low, high = self._above_zero()
        exponent = (s + 1.0) * ops.where(low > 0.0, _log_ratio(low, high), -1.0)
        part = ops.where(low > 0.0, ops.log(-ops.expm1(exponent)), 0.0)
        return (s + 1.0) * ops.log(high) + part - ops.log((s + 1.0) * (high - low))

    def log_laplace(self, t):
        width = t * (self.p.high - self.p.low)
        return ops.log(-ops.expm1(-width) / width) - t * self.p.low

    def absolute_deviation(self, center):
        low, high = self.p.low, self.p.high
        inside = ops.minimum(ops.maximum(center, low), high)
        within = 0.5 * (ops.square(inside - low) + ops.square(high - inside)) / (high - low)
        return ops.abs(center - inside) + within

    def _above_zero(self):
        low = ops.maximum(self.p.low, ops.zeros_like(self.p.low))
        return low, ops.where(self.p.high > low, self.p.high, low + 1.0)


class LogUniformMoments(PositiveMoments):
    """Moments of a log-uniform."""

    kind = "positive interval"
    log_mean = property(lambda self: 0.5 * (ops.log(self.p.low) + ops.log(self.p.high)))
    log_variance = property(lambda self: ops.square(ops.log(self.p.high / self.p.low)) / 12.0)

    def log_power(self, s):
        width = s * ops.log(self.p.high / self.p.low)
        return s * ops.log(self.p.low) + ops.log(ops.expm1(width) / width)


def log_gamma_ratio(a, s):
    r"""Return :math:`\log \Gamma(a + s) / \Gamma(a)`, infinite where ``a + s`` is not positive."""
    return finite_if(a + s > 0.0, lambda raised: ops.gammaln(raised) - ops.gammaln(a), a + s)


def log_mean_of_interval(low, high):
    """Return the mean of ``log(x)`` for ``x`` uniform between ``low``, not negative, and ``high``."""
    return ops.log(high) - 1.0 - low * _log_ratio(low, high) / (high - low)


def _log_ratio(low, high):
    """Return ``log(low / high)``, zero where ``low`` is zero: it comes multiplied by ``low``."""
    return ops.log1p(-ops.where(low > 0.0, (high - low) / high, 0.0))


MOMENTS = {
    AsymmetricLaplace: TwoSidedMoments,
    Beta: BetaMoments,
    Cauchy: CauchyMoments,
    Chi2: GammaMoments,
    Exponential: ExponentialMoments,
    FisherSnedecor: FisherSnedecorMoments,
    Gamma: GammaMoments,
    Gumbel: GumbelMoments,
    HalfCauchy: HalfCauchyMoments,
    HalfNormal: HalfNormalMoments,
    InverseGamma: InverseGammaMoments,
    Kumaraswamy: KumaraswamyMoments,
    Laplace: LaplaceMoments,
    LogNormal: LogNormalMoments,
    LogUniform: LogUniformMoments,
    Normal: NormalMoments,
    Pareto: ParetoMoments,
    SkewLaplace: TwoSidedMoments,
    SoftLaplace: SoftLaplaceMoments,
    StudentT: StudentMoments,
    Uniform: UniformMoments,
    Weibull: WeibullMoments,
}
