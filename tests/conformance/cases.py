"""The table of distributions: one row gives a family the whole of ``test_distributions``."""

import numpy as np
from scipy import stats

from ppl.testing.case import Case


class Each:
    """An oracle for a batch of vector distributions, which scipy does not vectorise: one frozen distribution a row."""

    def __init__(self, rows):
        self.rows = rows

    def rvs(self, size, random_state):
        return np.stack([row.rvs(size=size, random_state=random_state) for row in self.rows], axis=len(size))

    def logpdf(self, value):
        return np.stack([_logpdf(row, value[..., i, :]) for i, row in enumerate(self.rows)], axis=-1)

    def mean(self):
        return np.stack([_mean(row) for row in self.rows])

    def var(self):
        return np.stack([_var(row) for row in self.rows])


def _logpdf(row, value):
    flat = value.reshape(-1, value.shape[-1])
    return np.array([row.logpdf(point) for point in flat]).reshape(value.shape[:-1])


def _mean(row):
    return row.mean() if callable(row.mean) else row.mean


def _var(row):
    return row.var() if hasattr(row, "var") else np.diag(row.cov)


def categorical(probs=None, logits=None):
    weights = np.exp(logits) if probs is None else np.asarray(probs)
    weights = weights / weights.sum(-1, keepdims=True)
    if weights.ndim > 1:
        return EachCategory([categorical(probs=row) for row in weights])
    return stats.rv_discrete(values=(np.arange(len(weights)), weights))


class EachCategory:
    def __init__(self, rows):
        self.rows = rows

    def rvs(self, size, random_state):
        return np.stack([row.rvs(size=size[:-1], random_state=random_state) for row in self.rows], axis=-1)

    def logpmf(self, value):
        return np.stack([row.logpmf(value[..., i]) for i, row in enumerate(self.rows)], axis=-1)

    def entropy(self):
        return np.array([row.entropy() for row in self.rows])


def expit(x):
    return 1.0 / (1.0 + np.exp(-np.asarray(x)))


def multivariate_normal(loc, covariance_matrix=None, precision_matrix=None, scale_tril=None):
    if precision_matrix is not None:
        covariance_matrix = np.linalg.inv(precision_matrix)
    if scale_tril is not None:
        covariance_matrix = scale_tril @ np.swapaxes(scale_tril, -1, -2)
    if np.ndim(loc) > 1 or np.ndim(covariance_matrix) > 2:
        shape = np.broadcast_shapes(np.shape(loc)[:-1], np.shape(covariance_matrix)[:-2])
        locs = np.broadcast_to(loc, (*shape, np.shape(loc)[-1]))
        covariances = np.broadcast_to(covariance_matrix, (*shape, *np.shape(covariance_matrix)[-2:]))
        return Each([stats.multivariate_normal(m, c) for m, c in zip(locs, covariances, strict=True)])
    return _Vector(stats.multivariate_normal(loc, covariance_matrix))


def first_normal(loc, covariance_matrix=None, precision_matrix=None):
    covariance = np.linalg.inv(precision_matrix) if covariance_matrix is None else covariance_matrix
    return stats.norm(loc[0], covariance[0, 0] ** 0.5)


class _Vector:
    """A single vector distribution of scipy, evaluated point by point (some refuse batches of points)."""

    def __init__(self, row):
        self.row = row

    def rvs(self, size, random_state):
        return self.row.rvs(size=size, random_state=random_state)

    def logpdf(self, value):
        return _logpdf(self.row, value)

    def mean(self):
        return _mean(self.row)

    def var(self):
        return _var(self.row)

    def entropy(self):
        return self.row.entropy()


def dirichlet(concentration):
    if np.ndim(concentration) > 1:
        return Each([stats.dirichlet(row) for row in concentration])
    return _Vector(stats.dirichlet(concentration))


def beta(concentration1, concentration0):
    return stats.beta(concentration1, concentration0)


def log_normal(loc, scale):
    return stats.lognorm(scale, scale=np.exp(loc))


def half_cauchy(scale):
    return stats.halfcauchy(scale=scale)


def gamma(concentration, rate=1.0):
    return stats.gamma(concentration, scale=1.0 / np.asarray(rate))


def uniform(low, high):
    return stats.uniform(low, np.asarray(high) - low)


COVARIANCE = [[2.0, 0.3, -0.4], [0.3, 0.5, 0.1], [-0.4, 0.1, 1.2]]
FACTOR = [[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.2, 0.9]]
LOC = [0.5, -1.0, 2.0]
ONES = [1.0, 1.0, 1.0]

CASES = [
    Case("Normal", {"loc": 0.3, "scale": 1.7}, stats.norm),
    Case("Normal", {"loc": [0.0, -2.0, 3.0], "scale": 0.4}, stats.norm, (3,)),
    Case("Bernoulli", {"probs": 0.3}, lambda probs: stats.bernoulli(probs)),
    Case("Bernoulli", {"logits": [-1.2, 0.0, 2.5]}, lambda logits: stats.bernoulli(expit(logits)), (3,), label="logits"),
    Case("Beta", {"concentration1": 2.5, "concentration0": 0.8}, beta),
    Case("Beta", {"concentration1": [0.6, 4.0], "concentration0": [1.0, 7.5]}, beta, (2,)),
    Case("Gamma", {"concentration": 2.2, "rate": 3.1}, gamma),
    Case("Gamma", {"concentration": [0.4, 1.0, 30.0], "rate": [[0.5], [2.0]]}, gamma, (2, 3)),
    Case("Exponential", {"rate": 2.5}, lambda rate: stats.expon(scale=1.0 / rate)),
    Case("Exponential", {"rate": [0.2, 4.0]}, lambda rate: stats.expon(scale=1.0 / rate), (2,)),
    Case("Uniform", {"low": -1.5, "high": 2.0}, uniform),
    Case("Uniform", {"low": [0.0, 5.0], "high": [1.0, 5.5]}, uniform, (2,)),
    Case("LogNormal", {"loc": 0.4, "scale": 0.6}, log_normal),
    Case("LogNormal", {"loc": [-0.5, 1.0], "scale": [0.2, 0.9]}, log_normal, (2,)),
    Case("HalfNormal", {"scale": 1.4}, lambda scale: stats.halfnorm(scale=scale)),
    Case("HalfNormal", {"scale": [0.1, 20.0]}, lambda scale: stats.halfnorm(scale=scale), (2,)),
    Case("HalfCauchy", {"scale": 1.4}, half_cauchy),
    Case("HalfCauchy", {"scale": [0.1, 20.0]}, half_cauchy, (2,)),
    Case("StudentT", {"df": 5.5, "loc": 0.3, "scale": 1.7}, stats.t),
    Case("StudentT", {"df": [3.5, 50.0], "loc": [0.0, 1.0], "scale": 0.4}, stats.t, (2,)),
    Case("Poisson", {"rate": 3.3}, lambda rate: stats.poisson(rate)),
    Case("Poisson", {"rate": [0.2, 1.0, 40.0]}, lambda rate: stats.poisson(rate), (3,)),
    Case("Binomial", {"total_count": 9, "probs": 0.35}, lambda total_count, probs: stats.binom(total_count, probs)),
    Case("Binomial", {"total_count": [3.0, 40.0], "logits": [0.5, -2.0]},
         lambda total_count, logits: stats.binom(np.asarray(total_count, int), expit(logits)), (2,), smooth=("logits",),
         label="logits"),
    Case("Categorical", {"probs": [0.2, 0.5, 0.3]}, categorical, smooth=()),
    Case("Categorical", {"logits": [[0.0, 1.0, -2.0, 0.5], [1.0, 1.0, 1.0, 3.0]]}, categorical, (2,), label="logits"),
    Case("Dirichlet", {"concentration": [0.7, 2.0, 5.0]}, dirichlet, (), (3,),
         marginal=lambda concentration: stats.beta(concentration[0], concentration[1:].sum())),
    Case("Dirichlet", {"concentration": [[1.0, 2.0], [8.0, 0.5]]}, dirichlet, (2,), (2,)),
    Case("MultivariateNormal", {"loc": LOC, "covariance_matrix": COVARIANCE}, multivariate_normal, (), (3,), smooth=("loc",),
         marginal=first_normal, label="covariance"),
    Case("MultivariateNormal", {"loc": LOC, "precision_matrix": COVARIANCE}, multivariate_normal, (), (3,), smooth=("loc",),
         marginal=first_normal, label="precision"),
    Case("MultivariateNormal", {"loc": [LOC, ONES], "scale_tril": FACTOR}, multivariate_normal, (2,), (3,), smooth=("loc",),
         label="factor"),
]  # fmt: skip
