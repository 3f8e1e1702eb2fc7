"""The multivariate normal distribution, and whitening by a triangular factor."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.errors import ShapeError
from ppl.ops import random


class MultivariateNormal(Distribution):
    r"""Normal distribution over vectors of length :math:`n`, of mean :math:`\mu` and covariance :math:`\Sigma = L L^T`.

    .. math:: \log p(x) = -\tfrac12 \|L^{-1} (x - \mu)\|^2 - \sum_i \log L_{ii} - \tfrac n2 \log 2 \pi

    :param loc: mean; a scalar stands for a constant vector.
    :param covariance_matrix: :math:`\Sigma`, positive definite.
    :param precision_matrix: :math:`\Sigma^{-1}`, positive definite.
    :param scale_tril: :math:`L`, lower triangular with positive diagonal; exactly one of the three is given.
    :raises ConstraintError: if not exactly one is given, or it leaves its constraint.
    :raises ShapeError: if the matrix is not square, or ``loc`` has another length.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.MultivariateNormal(ops.zeros((2,)), covariance_matrix=ops.array([[2.0, 0.5], [0.5, 1.0]]))
    >>> round(float(d.log_prob(ops.array([1.0, -1.0]))), 4)
    -3.2605
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, loc=0.0, covariance_matrix=None, precision_matrix=None, scale_tril=None, *, validate_args=None):
        matrices = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        name = self._given = self.one_of(**matrices)
        (loc, matrix), batch_shape = self.promote_events((loc if ops.ndim(loc) else [loc], 1), (matrices[name], 2))
        check_sizes(type(self).__name__, loc, name, matrix)
        if validation.wanted(validate_args):
            # Before the factorisation, which some libraries refuse with an error of their own.
            validation.check_parameter(type(self).__name__, name, self.arg_constraints[name], matrix)
        self.loc = ops.broadcast_to(loc, (*batch_shape, matrix.shape[-1]))
        setattr(self, name, matrix)
        if name == "covariance_matrix":
            self.scale_tril = ops.cholesky(matrix)
        elif name == "precision_matrix":
            self.scale_tril = precision_to_scale_tril(matrix)
        super().__init__(batch_shape, (matrix.shape[-1],), validate_args=validate_args)

    @derived_parameter
    def covariance_matrix(self):
        """The covariance."""
        return self.scale_tril @ ops.matrix_transpose(self.scale_tril)

    @derived_parameter
    def precision_matrix(self):
        """The inverse of the covariance."""
        return ops.cholesky_solve(self.scale_tril, identity_like(self.scale_tril))

    mean = property(lambda self: self.loc)
    variance = property(lambda self: ops.sum(ops.square(self.scale_tril), axis=-1))

    def rsample(self, sample_shape=(), rng_key=None):
        noise = random.normal(rng_key, self.shape(sample_shape), self.dtype)
        return self.loc + colour(self._factor, noise)

    def log_prob(self, value):
        factor = self._factor
        normalizer = log_det(factor) + factor.shape[-1] * HALF_LOG_TWO_PI
        return -0.5 * squared_norm(whiten(factor, value - self.loc)) - normalizer

    def entropy(self):
        return log_det(self.scale_tril) + 0.5 * self.scale_tril.shape[-1] * (1.0 + math.log(2.0 * math.pi))

    # The factor as ``log_prob`` takes it: it may lack batch axes that ``loc`` has.
    _factor = property(lambda self: self.scale_tril)


def check_sizes(family, loc, name, matrix):
    """Refuse a matrix that is not square or that ``loc``, unless it is a constant, does not fit."""
    rows, columns = tuple(matrix.shape[-2:])
    if rows != columns or loc.shape[-1] not in (1, rows):
        raise ShapeError(
            f"{family}: loc and {name} do not fit; expected shapes (..., n) and (..., n, n), received {tuple(loc.shape)} and "
            f"{tuple(matrix.shape)}"
        )


def log_det(factor):
    """Return the logarithm of the determinant of a triangular factor with positive diagonal."""
    return ops.sum(ops.log(ops.diagonal(factor)), axis=-1)


def squared_norm(vectors):
    """Return the sum of squares along the last axis, in one pass and without an array of squares."""
    return ops.einsum("...i,...i->...", vectors, vectors)


def whiten(factor, vectors):
    """Return :math:`L^{-1} x` for the vectors :math:`x` along the last axis.

    :param factor: lower triangular :math:`L`, shape ``(*batch, n, n)``; axes of size one broadcast.
    :param vectors: shape ``(*many, *batch, n)``; the result has the same shape.

    All vectors that share a factor are solved at once. From ``n`` of them on, the factor is inverted once and multiplied: from
    the left (:math:`X L = I`), because the error of :math:`X x` is then of the size of a triangular solve's, which that of a
    right inverse is not (Druinsky and Toledo 2012, "How accurate is inv(A)*b?").
    """
    size = factor.shape[-1]
    rows, restore = _as_rows(vectors, len(factor.shape) - 2)
    if rows.shape[-2] < size:
        return restore(ops.matrix_transpose(ops.solve_triangular(factor, ops.matrix_transpose(rows))))
    return restore(rows @ ops.solve_triangular(factor, identity_like(factor), transpose=True))


def colour(matrix, vectors):
    r"""Return :math:`A x` for the vectors :math:`x` along the last axis, as :func:`whiten` does for the inverse.

    :param matrix: :math:`A`, shape ``(*batch, m, n)``.
    :param vectors: shape ``(*many, *batch, n)``; the result has ``m`` in place of ``n``.
    """
    rows, restore = _as_rows(vectors, len(matrix.shape) - 2)
    return restore(rows @ ops.matrix_transpose(matrix))


def _as_rows(vectors, batch_ndim):
    """Return vectors that share a matrix as rows, shape ``(*batch, many, n)``, and the function that undoes it."""
    shape = tuple(vectors.shape)
    split = len(shape) - 1 - batch_ndim
    rows = ops.reshape(vectors, (math.prod(shape[:split]), *shape[split:]))
    if not batch_ndim:
        return rows, lambda rows: ops.reshape(rows, (*shape[:-1], rows.shape[-1]))
    return ops.moveaxis(rows, 0, -2), lambda rows: ops.reshape(ops.moveaxis(rows, -2, 0), (*shape[:-1], rows.shape[-1]))


def identity_like(matrix):
    """Return identities of the shape and dtype of square matrices."""
    return ops.broadcast_to(ops.eye(matrix.shape[-1], dtype=matrix.dtype), tuple(matrix.shape))


def precision_to_scale_tril(precision):
    """Return the lower Cholesky factor of the inverse, without forming the inverse.

    With both axes reversed, the factor of the precision becomes an upper factor ``U`` of ``U U^T``; its inverse, transposed, is
    lower triangular and factors the covariance.
    """
    reversed_factor = ops.cholesky(ops.flip(ops.flip(precision, axis=-1), axis=-2))
    upper_transposed = ops.matrix_transpose(ops.flip(ops.flip(reversed_factor, axis=-1), axis=-2))
    return ops.solve_triangular(upper_transposed, identity_like(precision))
