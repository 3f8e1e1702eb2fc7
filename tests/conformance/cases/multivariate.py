"""Rows of the multivariate families."""

import itertools

import mpmath
import numpy as np
from scipy import stats

from cases.foundation import FACTOR, LOC
from ppl.testing.case import Case

SCALE = [[2.0, 0.3], [0.3, 0.5]]
SCALE_FACTOR = [[1.2, 0.0], [-0.4, 0.7]]
WIDE_LOC = [[0.5, -1.0, 2.0], [0.0, 0.3, -0.7]]
COV_FACTOR = [[1.0, 0.5], [-0.3, 2.0], [0.2, 0.1], [0.0, -1.5]]


class Batch:
    """One oracle for each element of a batch of arrays."""

    def __init__(self, rows, batch_shape, event_ndim):
        self.rows, self.batch_shape, self.event_ndim = rows, batch_shape, event_ndim

    def _stacked(self, parts, axis=0):
        parts = np.stack([np.asarray(part) for part in parts], axis=axis)
        return parts.reshape(parts.shape[:axis] + self.batch_shape + parts.shape[axis + 1 :])

    def rvs(self, size, random_state):
        return self._stacked([row.rvs(size=size, random_state=random_state) for row in self.rows], len(size))

    def logpdf(self, value):
        split = value.ndim - self.event_ndim - len(self.batch_shape)
        flat = value.reshape(*value.shape[:split], len(self.rows), *value.shape[value.ndim - self.event_ndim :])
        return self._stacked([row.logpdf(np.take(flat, i, axis=split)) for i, row in enumerate(self.rows)], split)

    def mean(self):
        return self._stacked([row.mean() for row in self.rows])

    def var(self):
        return self._stacked([row.var() for row in self.rows])

    def entropy(self):
        return self._stacked([row.entropy() for row in self.rows])


def batched(make, event_ndim, **events):
    """Return the oracle of ``make``, one for each element of the batch; each parameter comes with its number of event axes."""
    shapes = [np.shape(value)[: np.ndim(value) - ndim] for value, ndim in events.values()]
    batch_shape = np.broadcast_shapes(*shapes)
    wide = {
        name: np.broadcast_to(value, batch_shape + np.shape(value)[np.ndim(value) - ndim :])
        for name, (value, ndim) in events.items()
    }
    rows = [make(**{name: value[index] for name, value in wide.items()}) for index in np.ndindex(*batch_shape)]
    return Batch(rows, batch_shape, event_ndim) if batch_shape else rows[0]


class Vector:
    """A normal distribution of scipy, with the variances of its coordinates."""

    def __init__(self, mean, covariance):
        self.frozen = stats.multivariate_normal(mean, covariance, allow_singular=False)

    def rvs(self, size, random_state):
        return self.frozen.rvs(size=size, random_state=random_state).reshape(*size, self.frozen.dim)

    def logpdf(self, value):
        return np.reshape(self.frozen.logpdf(value), value.shape[:-1])

    def mean(self):
        return self.frozen.mean

    def var(self):
        return np.diag(self.frozen.cov)

    def entropy(self):
        return self.frozen.entropy()


def low_rank(loc, cov_factor, cov_diag):
    return batched(
        lambda loc, cov_factor, cov_diag: Vector(loc, cov_factor @ cov_factor.T + np.diag(cov_diag)),
        1, loc=(loc, 1), cov_factor=(cov_factor, 2), cov_diag=(cov_diag, 1),
    )  # fmt: skip


def first_of_low_rank(loc, cov_factor, cov_diag):
    return stats.norm(loc[0], (cov_factor[0] @ cov_factor[0] + cov_diag[0]) ** 0.5)


def random_walk(scale, num_steps):
    """A normal distribution of covariance ``scale**2 * min(s, t)``."""
    steps = np.arange(1, num_steps + 1)
    return batched(lambda scale: Vector(np.zeros(num_steps), scale**2 * np.minimum(steps, steps[:, None])), 1, scale=(scale, 0))


class MatrixNormal:
    """scipy's, which knows no standard deviations."""

    def __init__(self, loc, scale_tril_row, scale_tril_column):
        self.loc, self.row, self.column = loc, scale_tril_row @ scale_tril_row.T, scale_tril_column @ scale_tril_column.T
        self.frozen = stats.matrix_normal(loc, self.row, self.column)

    def rvs(self, size, random_state):
        count = int(np.prod(size))
        return self.frozen.rvs(size=count, random_state=random_state).reshape(*size, *self.loc.shape)

    def logpdf(self, value):
        return np.reshape(self.frozen.logpdf(value), value.shape[:-2])

    def mean(self):
        return self.loc

    def var(self):
        return np.outer(np.diag(self.row), np.diag(self.column))

    def entropy(self):
        return self.frozen.entropy()


def matrix_normal(loc, scale_tril_row, scale_tril_column):
    return batched(
        MatrixNormal, 2, loc=(loc, 2), scale_tril_row=(scale_tril_row, 2), scale_tril_column=(scale_tril_column, 2)
    )  # fmt: skip


class Wishart:
    """scipy's, which takes matrices in the first two axes."""

    def __init__(self, df, scale):
        self.frozen, self.size = stats.wishart(float(df), scale), scale.shape[-1]

    def rvs(self, size, random_state):
        count = int(np.prod(size))
        return np.reshape(self.frozen.rvs(size=count, random_state=random_state), (*size, self.size, self.size))

    def logpdf(self, value):
        points = value.reshape(-1, self.size, self.size)
        return np.reshape([self.frozen.logpdf(point) for point in points], value.shape[:-2])

    def mean(self):
        return np.reshape(self.frozen.mean(), (self.size, self.size))

    def var(self):
        return np.reshape(self.frozen.var(), (self.size, self.size))

    def entropy(self):
        return self.frozen.entropy()


def wishart(df, covariance_matrix=None, precision_matrix=None, scale_tril=None):
    if precision_matrix is not None:
        covariance_matrix = np.linalg.inv(precision_matrix)
    if scale_tril is not None:
        covariance_matrix = scale_tril @ np.swapaxes(scale_tril, -1, -2)
    return batched(Wishart, 2, df=(df, 0), scale=(covariance_matrix, 2))


class LKJ:
    """Lewandowski, Kurowicka and Joe 2009 by its C-vine; the constant is their equation 16, the moments are integrals."""

    def __init__(self, size, eta):
        self.size, self.eta = size, float(eta)

    def rvs(self, size, random_state):
        factor = np.zeros((*size, self.size, self.size))
        factor[..., 0, 0] = 1.0
        for row in range(1, self.size):
            remaining = np.ones(size)
            for column in range(row):
                half = self.eta + (self.size - 2 - column) / 2
                partial = 2 * random_state.beta(half, half, size) - 1
                factor[..., row, column] = partial * np.sqrt(remaining)
                remaining = remaining * (1 - partial**2)
            factor[..., row, row] = np.sqrt(remaining)
        return factor

    def log_constant(self):
        """Return the logarithm of the integral of ``det(R)**(eta - 1)`` over correlation matrices."""
        d, eta = self.size, mpmath.mpf(self.eta)
        total = mpmath.mpf(0)
        for k in range(1, d):
            half = eta + mpmath.mpf(d - k - 1) / 2
            total += (2 * eta - 2 + d - k) * (d - k) * mpmath.log(2) + (d - k) * mpmath.log(mpmath.beta(half, half))
        return float(total)

    def logpdf(self, value):
        diagonal = np.log(np.diagonal(value, axis1=-2, axis2=-1)[..., 1:])
        determinant = 2 * diagonal.sum(-1)
        jacobian = (diagonal * np.arange(self.size - 2, -1, -1)).sum(-1)
        return (self.eta - 1) * determinant + jacobian - self.log_constant()

    def _diagonal(self, function):
        """Return expectations of a function of the squared diagonal, whose entries are what a Beta leaves of the unit row."""
        out = [function(mpmath.mpf(1))]
        for row in range(1, self.size):
            a, b = mpmath.mpf(self.eta) + mpmath.mpf(self.size - 1 - row) / 2, mpmath.mpf(row) / 2

            # x = 1 - y**2 near one and x = y**2 near zero, so that half powers at the ends are smooth.
            def near_one(y, a=a, b=b):
                return 2 * y ** (2 * b - 1) * (1 - y * y) ** (a - 1) * function(1 - y * y)

            def near_zero(y, a=a, b=b):
                return 2 * y ** (2 * a - 1) * (1 - y * y) ** (b - 1) * function(y * y)

            half = mpmath.sqrt(mpmath.mpf(1) / 2)
            out.append((mpmath.quad(near_one, [0, half]) + mpmath.quad(near_zero, [0, half])) / mpmath.beta(a, b))
        return out

    def mean(self):
        return np.diag([float(value) for value in self._diagonal(mpmath.sqrt)])

    def var(self):
        means, squares = self._diagonal(mpmath.sqrt), self._diagonal(lambda x: x)
        out = np.diag([float(square - mean**2) for mean, square in zip(means, squares, strict=True)])
        for row, column in itertools.combinations(range(self.size), 2):
            # What is left of a row of norm one is shared by its entries alike.
            out[column, row] = float(1 - squares[column]) / column
        return out

    def entropy(self):
        logarithms = [float(value) / 2 for value in self._diagonal(mpmath.log)[1:]]
        powers = 2 * (self.eta - 1) + np.arange(self.size - 2, -1, -1)
        return self.log_constant() - float(np.dot(powers, logarithms))


def lkj(dimension, concentration, sample_method="onion"):
    return batched(lambda eta: LKJ(dimension, eta), 2, eta=(concentration, 0))


def lkj_older(d, eta):
    return lkj(d, eta)


def _df(rng, batch_shape):
    return rng.uniform(1.5, 12.0, batch_shape)


WISHART = {"df": _df}

CASES = [
    Case("LowRankMultivariateNormal", {"loc": [*LOC, 0.1], "cov_factor": COV_FACTOR, "cov_diag": [0.5, 1.0, 2.0, 0.1]}, low_rank,
         (), (4,), marginal=first_of_low_rank),
    Case("LowRankMultivariateNormal", {"loc": WIDE_LOC, "cov_factor": [[1.0], [0.5], [-2.0]], "cov_diag": [0.5, 1.0, 2.0]},
         low_rank, (2,), (3,)),
    Case("GaussianRandomWalk", {"scale": 0.7, "num_steps": 4}, random_walk, (), (4,),
         marginal=lambda scale, num_steps: stats.norm(0.0, scale)),
    Case("GaussianRandomWalk", {"scale": [0.2, 3.0], "num_steps": 3}, random_walk, (2,), (3,)),
    Case("MatrixNormal", {"loc": WIDE_LOC, "scale_tril_row": SCALE_FACTOR, "scale_tril_column": FACTOR}, matrix_normal,
         (), (2, 3), smooth=("loc",), marginal=lambda loc, scale_tril_row, scale_tril_column: stats.norm(
             loc[0, 0], scale_tril_row[0, 0] * scale_tril_column[0, 0])),
    Case("MatrixNormal",
         {"loc": [WIDE_LOC, np.ones((2, 3))], "scale_tril_row": SCALE_FACTOR, "scale_tril_column": [FACTOR, np.eye(3)]},
         matrix_normal, (2,), (2, 3), smooth=("loc",)),
    Case("Wishart", {"df": 4.5, "covariance_matrix": SCALE}, wishart, (), (2, 2), smooth=("df",), label="covariance",
         generate=WISHART, marginal=lambda df, covariance_matrix: stats.chi2(df, scale=covariance_matrix[0, 0])),
    Case("Wishart", {"df": 3.2, "precision_matrix": SCALE}, wishart, (), (2, 2), smooth=("df",), label="precision",
         generate=WISHART, marginal=lambda df, precision_matrix: stats.chi2(df, scale=np.linalg.inv(precision_matrix)[0, 0])),
    Case("Wishart", {"df": [5.0, 7.5, 30.0], "scale_tril": FACTOR}, wishart, (3,), (3, 3), smooth=("df",), label="factor",
         generate=WISHART),
    Case("LKJCholesky", {"dimension": 3, "concentration": 1.7}, lkj, (), (3, 3)),
    Case("LKJCholesky", {"dimension": 4, "concentration": [0.6, 1.0, 8.0]}, lkj, (3,), (4, 4)),
    Case("LKJCholesky", {"dimension": 3, "concentration": 0.8, "sample_method": "cvine"}, lkj, (), (3, 3),
         smooth=("concentration",), label="cvine"),
    Case("LKJCorrCholesky", {"d": 3, "eta": 2.5}, lkj_older, (), (3, 3)),
]  # fmt: skip
