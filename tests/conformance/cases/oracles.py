"""Frozen distributions of scipy.stats for the parameters of our families, and what scipy does not vectorise."""

import numpy as np
from scipy import stats


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

    def entropy(self):
        return np.array([row.entropy() for row in self.rows])


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

    def cdf(self, value):
        value = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), (len(self.rows),)))
        return np.stack([row.cdf(value[..., i]) for i, row in enumerate(self.rows)], axis=-1)

    def ppf(self, value):
        return np.stack([row.ppf(value[..., i]) for i, row in enumerate(self.rows)], axis=-1)

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
