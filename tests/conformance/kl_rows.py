"""Families of numbers and counts for the divergences, each twice, and their truth: scipy.stats or the formula in numpy."""

import numpy as np
from scipy import stats
from scipy.special import expit, logsumexp


class Kumaraswamy:
    def __init__(self, a, b):
        self.a, self.b = a, b

    def logpdf(self, x):
        return np.log(self.a * self.b) + (self.a - 1) * np.log(x) + (self.b - 1) * np.log1p(-(x**self.a))


class ZeroInflated:
    """A base count with probability ``1 - gate``, else zero."""

    def __init__(self, base, gate):
        self.base, self.gate = base, gate

    def logpmf(self, x):
        count = np.log1p(-self.gate) + self.base.logpmf(x)
        return np.where(x == 0, logsumexp([count, np.full(np.shape(x), np.log(self.gate))], axis=0), count)


def gamma(concentration, rate):
    return stats.gamma(concentration, scale=1 / rate)


def asymmetric_laplace(loc, scale, asymmetry):
    return stats.laplace_asymmetric(asymmetry, loc=loc, scale=scale)


def skew_laplace(loc, left, right):
    return asymmetric_laplace(loc, np.sqrt(left * right), np.sqrt(left / right))


def negative_binomial(total_count, probs):
    return stats.nbinom(total_count, 1 - probs)


# family: (kind of support, parameters as p, parameters as q, oracle)
MEASURED = {
    "AsymmetricLaplace": ("real", (0.3, 0.7, 1.4), (-0.2, 1.2, 0.8), asymmetric_laplace),
    "Beta": ("unit", (1.7, 2.9), (2.2, 1.4), stats.beta),
    "Cauchy": ("real", (0.3, 0.8), (-0.5, 1.7), stats.cauchy),
    "Chi2": ("positive", (3.5,), (2.3,), stats.chi2),
    "Exponential": ("positive", (1.8,), (0.7,), lambda rate: stats.expon(scale=1 / rate)),
    "FisherSnedecor": ("positive", (5.0, 11.0), (4.0, 6.0), stats.f),
    "Gamma": ("positive", (2.6, 1.9), (1.4, 0.6), gamma),
    "Gumbel": ("real", (0.4, 0.6), (-0.3, 1.1), stats.gumbel_r),
    "HalfCauchy": ("positive", (0.9,), (1.6,), lambda scale: stats.halfcauchy(scale=scale)),
    "HalfNormal": ("positive", (0.8,), (1.5,), lambda scale: stats.halfnorm(scale=scale)),
    "InverseGamma": ("positive", (4.2, 1.3), (2.1, 0.8), lambda a, rate: stats.invgamma(a, scale=rate)),
    "Kumaraswamy": ("unit", (1.6, 2.3), (1.6, 1.2), Kumaraswamy),
    "Laplace": ("real", (0.2, 0.7), (-0.4, 1.3), stats.laplace),
    "LogNormal": ("positive", (0.1, 0.5), (-0.3, 0.9), lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc))),
    "LogUniform": ("interval", (0.3, 0.8), (0.1, 3.0), stats.loguniform),
    "Normal": ("real", (0.5, 0.9), (-0.2, 1.4), stats.norm),
    "Pareto": ("above", (0.5, 4.5), (0.15, 1.8), lambda scale, alpha: stats.pareto(alpha, scale=scale)),
    "SkewLaplace": ("real", (0.3, 0.9, 0.5), (-0.2, 0.6, 1.1), skew_laplace),
    "SoftLaplace": ("real", (0.4, 0.6), (0.0, 1.0), stats.hypsecant),
    "StudentT": ("real", (5.5, 0.4, 0.8), (4.0, 0.0, 1.0), stats.t),
    "Uniform": ("interval", (0.2, 0.9), (-0.5, 1.6), lambda low, high: stats.uniform(low, high - low)),
    "Weibull": ("positive", (1.2, 2.1), (0.9, 0.5), lambda scale, k: stats.weibull_min(k, scale=scale)),
}

COUNTED = {
    "Bernoulli": ((0.3,), (0.45,), stats.bernoulli),
    "BetaBinomial": ((1.3, 2.4, 6), (2.2, 1.7, 6), lambda a, b, n: stats.betabinom(n, a, b)),
    "Binomial": ((6, 0.35), (6, 0.6), stats.binom),
    "GammaPoisson": ((2.0, 1.5), (1.4, 0.7), lambda a, rate: stats.nbinom(a, rate / (1 + rate))),
    "Geometric": ((0.4,), (0.25,), lambda probs: stats.geom(probs, loc=-1)),
    "NegativeBinomial": ((3.0, 0.4), (3.0, 0.55), negative_binomial),
    "Poisson": ((2.3,), (3.1,), stats.poisson),
    "ZeroInflatedPoisson": ((0.2, 1.5), (0.3, 2.0), lambda gate, rate: ZeroInflated(stats.poisson(rate), gate)),
    "ZeroInflatedNegativeBinomial": ((0.2, 3.0, 0.4), (0.3, 2.0, 0.5),
                                     lambda gate, n, probs: ZeroInflated(negative_binomial(n, probs), gate)),
}  # fmt: skip

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
WIDE = 80.0


def expected_log_ratio(name_p, name_q, params_p, params_q):
    """Return the divergence by quadrature, or infinity if it grows with the range, or ``q`` has no mass in some of it."""
    kind, _, _, oracle_p = MEASURED[name_p]
    p, q = oracle_p(*params_p), MEASURED[name_q][3](*params_q)
    if not _holds(name_q, params_q, _ends(kind, params_p)):
        return np.inf
    kinks = [params[0] for name, params in ((name_p, params_p), (name_q, params_q)) if "Laplace" in name]
    inner, outer = (_integral(p, q, kind, params_p, reach, kinks) for reach in (WIDE / 2, WIDE))
    return outer if abs(outer - inner) < 1e-4 * abs(outer) else np.inf


def _ends(kind, params):
    return {"real": (-np.inf, np.inf), "positive": (0, np.inf), "unit": (0, 1), "interval": params, "above": (params[0], np.inf)}[
        kind
    ]


def _holds(name_q, params_q, ends):
    low, high = _ends(MEASURED[name_q][0], params_q)
    return low <= ends[0] and ends[1] <= high


def _integral(p, q, kind, params, reach, kinks):
    """Gauss-Legendre panels in a variable that draws both ends of the support out to infinity."""
    low, high = _ends(kind, params)
    if kind == "real":
        to_x, slope, of_x = np.sinh, np.cosh, np.arcsinh
    elif np.isinf(high):
        to_x, slope, of_x = (lambda t: low + np.exp(t)), np.exp, lambda x: np.log(max(x - low, 1e-30))
    else:
        to_x, slope = (lambda t: low + (high - low) * expit(t)), lambda t: (high - low) * expit(t) * expit(-t)
        of_x = lambda x: np.log(max(x - low, 1e-30) / max(high - x, 1e-30))  # noqa: E731
    edges = np.unique(np.concatenate([np.linspace(-reach, reach, 641), [t for t in map(of_x, kinks) if abs(t) < reach]]))
    half = 0.5 * np.diff(edges)[:, None]
    t = edges[:-1, None] + half * (1 + NODES)
    x = to_x(t)
    with np.errstate(all="ignore"):
        density = np.exp(p.logpdf(x))
        terms = np.where((density > 0) & (x > low) & (x < high), density * (p.logpdf(x) - q.logpdf(x)) * slope(t), 0.0)
    return float(np.sum(terms * half * WEIGHTS))


def summed_log_ratio(p, q, most=3000):
    """Return the divergence of counts as a sum; terms of probability zero are nothing."""
    x = np.arange(most)
    with np.errstate(divide="ignore"):
        log_p, log_q = p.logpmf(x), q.logpmf(x)
    possible = np.exp(log_p) > 0
    return float(np.sum(np.exp(log_p[possible]) * (log_p[possible] - log_q[possible])))
