"""Log densities from outside: what :mod:`scipy.stats` says of a distribution at a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from scipy import special, stats

from ppl import distributions
from ppl.testing.diagnosis.runs import host

Density = Callable[[Any, Any], Any]


class _Parameters:
    """The parameters of a distribution as numpy arrays."""

    def __init__(self, fn: Any) -> None:
        self._fn = fn

    def __getattr__(self, name: str) -> Any:
        return host(getattr(self._fn, name)).astype("float64")


def _multivariate_normal(p: Any, x: Any) -> Any:
    covariance = p.covariance_matrix
    offset = x - p.loc
    precision = numpy.linalg.inv(covariance)
    quadratic = numpy.einsum("...i,...ij,...j->...", offset, precision, offset)
    return -0.5 * (quadratic + numpy.linalg.slogdet(2.0 * numpy.pi * covariance)[1])


def _dirichlet(p: Any, x: Any) -> Any:
    a = p.concentration
    return special.gammaln(a.sum(-1)) - special.gammaln(a).sum(-1) + special.xlogy(a - 1.0, x).sum(-1)


def _categorical(p: Any, x: Any) -> Any:
    probs = p.probs
    index = x.astype(int)[..., None]
    shape = numpy.broadcast_shapes(index.shape[:-1], probs.shape[:-1])
    probs = numpy.broadcast_to(probs, (*shape, probs.shape[-1]))
    return numpy.log(numpy.take_along_axis(probs, numpy.broadcast_to(index, (*shape, 1)), axis=-1))[..., 0]


def _multinomial(p: Any, x: Any) -> Any:
    total = x.sum(-1)
    return special.gammaln(total + 1.0) - special.gammaln(x + 1.0).sum(-1) + special.xlogy(x, p.probs).sum(-1)


# The first class that a distribution is an instance of decides.
DENSITIES: dict[str, tuple[str, Density]] = {
    "Normal": ("scipy.stats.norm", lambda p, x: stats.norm.logpdf(x, p.loc, p.scale)),
    "LogNormal": ("scipy.stats.lognorm", lambda p, x: stats.lognorm.logpdf(x, p.scale, scale=numpy.exp(p.loc))),
    "HalfNormal": ("scipy.stats.halfnorm", lambda p, x: stats.halfnorm.logpdf(x, scale=p.scale)),
    "HalfCauchy": ("scipy.stats.halfcauchy", lambda p, x: stats.halfcauchy.logpdf(x, scale=p.scale)),
    "Cauchy": ("scipy.stats.cauchy", lambda p, x: stats.cauchy.logpdf(x, p.loc, p.scale)),
    "StudentT": ("scipy.stats.t", lambda p, x: stats.t.logpdf(x, p.df, p.loc, p.scale)),
    "Laplace": ("scipy.stats.laplace", lambda p, x: stats.laplace.logpdf(x, p.loc, p.scale)),
    "Gumbel": ("scipy.stats.gumbel_r", lambda p, x: stats.gumbel_r.logpdf(x, p.loc, p.scale)),
    "Exponential": ("scipy.stats.expon", lambda p, x: stats.expon.logpdf(x, scale=1.0 / p.rate)),
    "Gamma": ("scipy.stats.gamma", lambda p, x: stats.gamma.logpdf(x, p.concentration, scale=1.0 / p.rate)),
    "InverseGamma": ("scipy.stats.invgamma", lambda p, x: stats.invgamma.logpdf(x, p.concentration, scale=p.rate)),
    "Beta": ("scipy.stats.beta", lambda p, x: stats.beta.logpdf(x, p.concentration1, p.concentration0)),
    "Uniform": ("scipy.stats.uniform", lambda p, x: stats.uniform.logpdf(x, p.low, p.high - p.low)),
    "Weibull": ("scipy.stats.weibull_min", lambda p, x: stats.weibull_min.logpdf(x, p.concentration, scale=p.scale)),
    "Pareto": ("scipy.stats.pareto", lambda p, x: stats.pareto.logpdf(x, p.alpha, scale=p.scale)),
    "VonMises": ("scipy.stats.vonmises", lambda p, x: stats.vonmises.logpdf(x, p.concentration, p.loc)),
    "Bernoulli": ("scipy.stats.bernoulli", lambda p, x: stats.bernoulli.logpmf(x, p.probs)),
    "Geometric": ("scipy.stats.geom", lambda p, x: stats.geom.logpmf(x, p.probs, loc=-1)),
    "Poisson": ("scipy.stats.poisson", lambda p, x: stats.poisson.logpmf(x, p.rate)),
    "Binomial": ("scipy.stats.binom", lambda p, x: stats.binom.logpmf(x, p.total_count, p.probs)),
    "NegativeBinomial": ("scipy.stats.nbinom", lambda p, x: stats.nbinom.logpmf(x, p.total_count, 1.0 - p.probs)),
    "Categorical": ("the table of probabilities", _categorical),
    "Multinomial": ("the multinomial formula over scipy.special", _multinomial),
    "Dirichlet": ("the Dirichlet formula over scipy.special", _dirichlet),
    "MultivariateNormal": ("the normal formula over numpy.linalg", _multivariate_normal),
}  # fmt: skip


def log_density(fn: Any, value: Any) -> tuple[str, Any] | None:
    """Return where the truth comes from and the log density of ``value``, of the batch shape; ``None`` if nothing knows it.

    :param value: a numpy array.
    """
    if isinstance(fn, distributions.Independent):
        inner = log_density(fn.base_dist, value)
        count = fn.reinterpreted_batch_ndims
        return inner and (inner[0], inner[1].sum(axis=tuple(range(-count, 0))))
    if isinstance(fn, distributions.ExpandedDistribution):
        inner = log_density(fn.base_dist, value)
        return inner and (inner[0], numpy.broadcast_to(inner[1], numpy.broadcast_shapes(inner[1].shape, tuple(fn.batch_shape))))
    if isinstance(fn, distributions.MixtureSameFamily):
        parts = log_density(fn.component_distribution, numpy.expand_dims(value, value.ndim - len(fn.event_shape)))
        weights = _Parameters(fn.mixture_distribution).probs
        return parts and (f"{parts[0]}, mixed", special.logsumexp(parts[1] + numpy.log(weights), axis=-1))
    for name, (source, density) in DENSITIES.items():
        if isinstance(fn, getattr(distributions, name)):
            with numpy.errstate(all="ignore"):
                found = numpy.asarray(density(_Parameters(fn), numpy.asarray(value, dtype="float64")))
            return source, numpy.broadcast_to(found, numpy.broadcast_shapes(found.shape, tuple(fn.batch_shape)))
    return None
