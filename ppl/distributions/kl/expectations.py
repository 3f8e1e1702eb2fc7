r"""Divergences between different families of numbers.

.. math:: KL(p \| q) = -H(p) - E_p[\log q(x)]

The expectation is put together from the moments of :math:`p` that :math:`\log q` is made of; a pair is registered if they have
closed forms, and where the support of :math:`p` always exceeds that of :math:`q`, as infinite.
"""

import functools
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
from ppl.distributions.half_normal import HALF_LOG_TWO_OVER_PI, HalfNormal
from ppl.distributions.inverse_gamma import InverseGamma
from ppl.distributions.kl.moments import MOMENTS, gamma_parameters
from ppl.distributions.kl.registry import RULES, full_batch, register_kl
from ppl.distributions.kumaraswamy import Kumaraswamy
from ppl.distributions.laplace import Laplace
from ppl.distributions.log_normal import LogNormal
from ppl.distributions.log_uniform import LogUniform
from ppl.distributions.normal import HALF_LOG_TWO_PI, Normal
from ppl.distributions.pareto import Pareto
from ppl.distributions.skew_laplace import SkewLaplace
from ppl.distributions.soft_laplace import SoftLaplace
from ppl.distributions.student_t import StudentT
from ppl.distributions.uniform import Uniform
from ppl.distributions.weibull import Weibull


def log_normal_density(x, q):
    """Return the expected log density of a log-normal; ``x`` are the moments of ``p``, here and below."""
    z = (ops.square(x.log_mean - q.loc) + x.log_variance) / ops.square(q.scale)
    return -0.5 * z - x.log_mean - ops.log(q.scale) - HALF_LOG_TWO_PI


def normal_density(x, q):
    """Return the expected log density of a normal."""
    return -0.5 * x.spread(q.loc) / ops.square(q.scale) - ops.log(q.scale) - HALF_LOG_TWO_PI


def half_normal_density(x, q):
    """Return the expected log density of a half normal."""
    return HALF_LOG_TWO_OVER_PI - ops.log(q.scale) - 0.5 * x.spread(ops.zeros_like(q.scale)) / ops.square(q.scale)


def laplace_density(x, q):
    """Return the expected log density of a Laplace."""
    return -x.absolute_deviation(q.loc) / q.scale - ops.log(2.0 * q.scale)


def two_sided_density(x, q):
    """Return the expected log density of an asymmetric or skew Laplace."""
    deviation, shift = x.absolute_deviation(q.loc), x.mean - q.loc
    distances = 0.5 * (deviation + shift) / q.right_scale + 0.5 * (deviation - shift) / q.left_scale
    return -distances - ops.log(q.left_scale + q.right_scale)


def gumbel_density(x, q):
    """Return the expected log density of a Gumbel."""
    return (q.loc - x.mean) / q.scale - ops.log(q.scale) - ops.exp(x.log_laplace(1.0 / q.scale) + q.loc / q.scale)


def exponential_density(x, q):
    """Return the expected log density of an exponential."""
    return ops.log(q.rate) - q.rate * x.mean


def gamma_density(x, q):
    """Return the expected log density of a gamma or chi-squared."""
    a, rate = gamma_parameters(q)
    return a * ops.log(rate) + (a - 1.0) * x.log_mean - rate * x.mean - ops.gammaln(a)


def inverse_gamma_density(x, q):
    """Return the expected log density of an inverse gamma."""
    a, rate = q.concentration, q.rate
    return a * ops.log(rate) - (a + 1.0) * x.log_mean - rate * x.reciprocal_mean - ops.gammaln(a)


def weibull_density(x, q):
    """Return the expected log density of a Weibull."""
    k, log_scale = q.concentration, ops.log(q.scale)
    return ops.log(k) - k * log_scale + (k - 1.0) * x.log_mean - ops.exp(x.log_power(k) - k * log_scale)


def pareto_density(x, q):
    """Return the expected log density of a Pareto."""
    return ops.log(q.alpha) + q.alpha * ops.log(q.scale) - (q.alpha + 1.0) * x.log_mean


def beta_density(x, q):
    """Return the expected log density of a beta."""
    a, b = q.concentration1, q.concentration0
    return (a - 1.0) * x.log_mean + (b - 1.0) * x.log_complement_mean - ops.betaln(a, b)


def uniform_density(x, q):
    """Return the log density of a uniform."""
    return -ops.log(q.high - q.low)


def log_uniform_density(x, q):
    """Return the expected log density of a log-uniform."""
    return -x.log_mean - ops.log(ops.log(q.high / q.low))


# Family of q: kind of support, expected log density, and the moments of p that it takes besides mean and spread.
TARGETS = {
    AsymmetricLaplace: ("real", two_sided_density, ("absolute_deviation",)),
    Beta: ("unit", beta_density, ("log_mean", "log_complement_mean")),
    Cauchy: ("real", None, ()),
    Chi2: ("positive", gamma_density, ("log_mean",)),
    Exponential: ("positive", exponential_density, ()),
    FisherSnedecor: ("positive", None, ()),
    Gamma: ("positive", gamma_density, ("log_mean",)),
    Gumbel: ("real", gumbel_density, ("log_laplace",)),
    HalfCauchy: ("positive", None, ()),
    HalfNormal: ("positive", half_normal_density, ()),
    InverseGamma: ("positive", inverse_gamma_density, ("log_mean", "reciprocal_mean")),
    Kumaraswamy: ("unit", None, ()),
    Laplace: ("real", laplace_density, ("absolute_deviation",)),
    LogNormal: ("positive", log_normal_density, ("log_mean", "log_variance")),
    LogUniform: ("positive interval", log_uniform_density, ("log_mean",)),
    Normal: ("real", normal_density, ()),
    Pareto: ("above", pareto_density, ("log_mean",)),
    SkewLaplace: ("real", two_sided_density, ("absolute_deviation",)),
    SoftLaplace: ("real", None, ()),
    StudentT: ("real", None, ()),
    Uniform: ("interval", uniform_density, ()),
    Weibull: ("positive", weibull_density, ("log_mean", "log_power")),
}

# Kind of support of p: the kinds that always hold it, and those that never do. Between others the parameters decide.
HELD_BY = {
    "real": {"real"},
    "positive": {"real", "positive"},
    "unit": {"real", "positive", "unit"},
    "interval": {"real"},
    "positive interval": {"real", "positive"},
    "above": {"real", "positive"},
}
EXCEEDS = {
    "real": {"positive", "unit", "interval", "positive interval", "above"},
    "positive": {"unit", "interval", "positive interval", "above"},
    "unit": {"positive interval", "above"},
    "interval": set(),
    "positive interval": set(),
    "above": {"unit", "interval", "positive interval"},
}
ENDS = {
    "positive": lambda d: (0.0, math.inf),
    "unit": lambda d: (0.0, 1.0),
    "interval": lambda d: (d.low, d.high),
    "positive interval": lambda d: (d.low, d.high),
    "above": lambda d: (d.scale, math.inf),
}

# The density of q falls exponentially, or faster, where that of p falls as a power.
HEAVIER_TAIL = (
    (Cauchy, AsymmetricLaplace),
    (Cauchy, Gumbel),
    (Cauchy, SkewLaplace),
    (Cauchy, SoftLaplace),
    (HalfCauchy, AsymmetricLaplace),
    (HalfCauchy, Gumbel),
    (HalfCauchy, SkewLaplace),
    (HalfCauchy, SoftLaplace),
    (StudentT, Gumbel),
)


def infinite(p, q):
    """Return infinity: ``p`` reaches where ``q`` has no mass."""
    return full_batch(math.inf, p, q)


def by_expectation(p, q, moments, density):
    """Return the divergence where the support of ``q`` always holds that of ``p``."""
    return -p.entropy() - density(moments(p), q)


def within_support(p, q, moments, density, ends_p, ends_q):
    """Return the divergence where the support of ``q`` holds that of ``p``, and infinity elsewhere."""
    (low, high), (least, most) = ends_p(p), ends_q(q)
    held = (low >= least) & (high <= most)
    return ops.where(held, by_expectation(p, q, moments, density), math.inf)


def register_pairs():
    """Register each pair of families, but those that have a rule, for which the expectation has a closed form or is infinite."""
    for pair in HEAVIER_TAIL:
        register_kl(*pair)(infinite)
    for family_p, moments in MOMENTS.items():
        for family_q, (kind, density, needs) in TARGETS.items():
            if (family_p, family_q) in RULES:
                continue
            if kind in EXCEEDS[moments.kind]:
                register_kl(family_p, family_q)(infinite)
            elif density is not None and all(hasattr(moments, name) for name in needs):
                register_kl(family_p, family_q)(_formula(moments, kind, density))


def _formula(moments, kind, density):
    if kind in HELD_BY[moments.kind]:
        return functools.partial(by_expectation, moments=moments, density=density)
    ends = {"ends_p": ENDS[moments.kind], "ends_q": ENDS[kind]}
    return functools.partial(within_support, moments=moments, density=density, **ends)
