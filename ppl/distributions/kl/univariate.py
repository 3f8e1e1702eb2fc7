"""Divergences within one family of measured numbers, in forms that stay accurate where the two nearly agree.

They are collected by Gil, Alajaji and Linder (2013), *Renyi divergence measures for commonly used univariate continuous
distributions*, and follow from the densities.
"""

import math

from ppl import ops
from ppl.distributions.beta import Beta
from ppl.distributions.cauchy import Cauchy
from ppl.distributions.chi2 import Chi2
from ppl.distributions.exponential import Exponential
from ppl.distributions.gamma import Gamma
from ppl.distributions.gumbel import Gumbel
from ppl.distributions.half_cauchy import HalfCauchy
from ppl.distributions.half_normal import HalfNormal
from ppl.distributions.inverse_gamma import InverseGamma
from ppl.distributions.kl.moments import EULER_GAMMA, gamma_parameters
from ppl.distributions.kl.registry import register_kl
from ppl.distributions.kumaraswamy import Kumaraswamy
from ppl.distributions.laplace import Laplace
from ppl.distributions.log_normal import LogNormal
from ppl.distributions.normal import Normal
from ppl.distributions.uniform import Uniform
from ppl.distributions.von_mises import VonMises
from ppl.distributions.weibull import Weibull


@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def normal(p, q):
    r"""Return :math:`\log(\sigma_q / \sigma_p) + (\sigma_p^2 + (\mu_p - \mu_q)^2) / 2 \sigma_q^2 - 1/2`."""
    log_ratio = ops.log(p.scale / q.scale)
    return 0.5 * (ops.expm1(2.0 * log_ratio) + ops.square((p.loc - q.loc) / q.scale)) - log_ratio


@register_kl(HalfNormal, HalfNormal)
def half_normal(p, q):
    r"""Return :math:`\log(\sigma_q / \sigma_p) + \sigma_p^2 / 2 \sigma_q^2 - 1/2`."""
    log_ratio = ops.log(p.scale / q.scale)
    return 0.5 * ops.expm1(2.0 * log_ratio) - log_ratio


@register_kl(Laplace, Laplace)
def laplace(p, q):
    r"""Return :math:`\log(b_q / b_p) + (b_p e^{-d / b_p} + d) / b_q - 1` for locations :math:`d` apart."""
    distance = ops.abs(p.loc - q.loc)
    ratio = p.scale / q.scale
    return ratio * ops.expm1(-distance / p.scale) + distance / q.scale + (ratio - 1.0) - ops.log(ratio)


@register_kl(Cauchy, Cauchy)
def cauchy(p, q):
    """Chyzak and Nielsen (2019), *A closed-form formula for the Kullback-Leibler divergence between Cauchy distributions*."""
    return ops.log1p((ops.square(p.scale - q.scale) + ops.square(p.loc - q.loc)) / (4.0 * p.scale * q.scale))


@register_kl(HalfCauchy, HalfCauchy)
def half_cauchy(p, q):
    r"""Return :math:`\log((\gamma_p + \gamma_q)^2 / 4 \gamma_p \gamma_q)`, that of Cauchy variables of one location."""
    return ops.log1p(ops.square(p.scale - q.scale) / (4.0 * p.scale * q.scale))


@register_kl(Gumbel, Gumbel)
def gumbel(p, q):
    r"""Return :math:`\gamma (r - 1) - \log r + s - 1 + \Gamma(1 + r) e^{-s}`: scales of ratio r, locations s of q apart."""
    ratio, shift = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return EULER_GAMMA * (ratio - 1.0) - ops.log(ratio) + shift + ops.expm1(ops.gammaln(1.0 + ratio) - shift)


@register_kl(Weibull, Weibull)
def weibull(p, q):
    """The logarithm of a Weibull variable is a Gumbel variable, mirrored."""
    ratio, shift = q.concentration / p.concentration, q.concentration * ops.log(p.scale / q.scale)
    return EULER_GAMMA * (ratio - 1.0) - ops.log(ratio) - shift + ops.expm1(ops.gammaln(1.0 + ratio) + shift)


@register_kl(Exponential, Exponential)
def exponential(p, q):
    r"""Return :math:`r - 1 - \log r` for the ratio :math:`r` of the rate of q to that of p."""
    log_ratio = ops.log(q.rate / p.rate)
    return ops.expm1(log_ratio) - log_ratio


def gamma(p, q):
    """Return that of two gamma distributions; the exponential and the chi-squared are."""
    return _gamma(*gamma_parameters(p), *gamma_parameters(q))


for family_p in (Gamma, Chi2, Exponential):
    for family_q in (Gamma, Chi2, Exponential):
        if (family_p, family_q) != (Exponential, Exponential):
            register_kl(family_p, family_q)(gamma)


@register_kl(InverseGamma, InverseGamma)
def inverse_gamma(p, q):
    """Return that of the reciprocals, which are gamma distributed."""
    return _gamma(p.concentration, p.rate, q.concentration, q.rate)


def _gamma(a, rate, b, other_rate):
    log_ratio = ops.log(other_rate / rate)
    shape = (a - b) * ops.digamma(a) - ops.gammaln(a) + ops.gammaln(b)
    return shape - (b - a) * log_ratio + a * (ops.expm1(log_ratio) - log_ratio)


@register_kl(Beta, Beta)
def beta(p, q):
    """Return that of a two-parameter exponential family in ``log(x)`` and ``log(1 - x)``."""
    a, b, total = p.concentration1, p.concentration0, p.concentration1 + p.concentration0
    first, second = a - q.concentration1, b - q.concentration0
    moved = first * ops.digamma(a) + second * ops.digamma(b) - (first + second) * ops.digamma(total)
    return ops.betaln(q.concentration1, q.concentration0) - ops.betaln(a, b) + moved


def _same_power(p, q):
    return not ops.autodiff.is_tracing() and bool(ops.all(p.concentration1 == q.concentration1))


@register_kl(Kumaraswamy, Kumaraswamy, when=_same_power)
def kumaraswamy(p, q):
    """With a common power, ``-log(1 - x**power)`` is exponential under both."""
    log_ratio = ops.log(q.concentration0 / p.concentration0)
    return ops.expm1(log_ratio) - log_ratio


@register_kl(Uniform, Uniform)
def uniform(p, q):
    """Return the logarithm of the ratio of widths, if the one lies within the other."""
    held = ops.logical_and(q.low <= p.low, p.high <= q.high)
    return ops.where(held, ops.log((q.high - q.low) / (p.high - p.low)), math.inf)


@register_kl(VonMises, VonMises)
def von_mises(p, q):
    """The mean resultant length of the first times the difference of the natural parameters, less that of the normalizers."""
    a, b = p.concentration, q.concentration
    length = ops.i1e(a) / ops.i0e(a)
    return ops.log(ops.i0e(b) / ops.i0e(a)) + (b - a) + length * (a - b * ops.cos(p.loc - q.loc))
