"""The matrix normal distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.multivariate_normal import log_det, squared_norm, whiten
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.errors import ShapeError
from ppl.ops import random


class MatrixNormal(Distribution):
    r"""Normal distribution over matrices of :math:`n` rows and :math:`p` columns, of mean :math:`M`.

    .. math:: X = M + A Z B^T, \quad Z_{ij} \sim N(0, 1), \quad
        \log p(X) = -\tfrac12 \|A^{-1} (X - M) B^{-T}\|_F^2 - p \log |A| - n \log |B| - \tfrac{np}2 \log 2 \pi

    Rows have the covariance :math:`A A^T` among each other, columns :math:`B B^T`.

    :param loc: :math:`M`, shape ``(..., n, p)``.
    :param scale_tril_row: :math:`A`, shape ``(..., n, n)``, lower triangular with positive diagonal.
    :param scale_tril_column: :math:`B`, shape ``(..., p, p)``, lower triangular with positive diagonal.
    :raises ConstraintError: if a factor is not lower triangular with positive diagonal.
    :raises ShapeError: if the sizes of the three differ.

    Gupta and Nagar (2000), "Matrix Variate Distributions", chapter 2.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.MatrixNormal(ops.zeros((2, 1)), ops.array([[1.0, 0.0], [0.5, 2.0]]), ops.array([[3.0]]))
    >>> round(float(d.log_prob(ops.array([[1.0], [-2.0]]))), 4)
    -4.8706
    """

    arg_constraints = {
        "loc": constraints.independent(constraints.real, 2),
        "scale_tril_row": constraints.lower_cholesky,
        "scale_tril_column": constraints.lower_cholesky,
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, loc, scale_tril_row, scale_tril_column, *, validate_args=None):
        arrays, batch_shape = self.promote_events((loc, 2), (scale_tril_row, 2), (scale_tril_column, 2))
        self.loc, self.scale_tril_row, self.scale_tril_column = arrays
        rows, columns = self.loc.shape[-2:]
        shapes = [tuple(array.shape[-2:]) for array in arrays]
        if shapes[1:] != [(rows, rows), (columns, columns)]:
            raise ShapeError(
                f"{type(self).__name__}: factors do not fit loc of event shape {shapes[0]}; expected scale_tril_row "
                f"{(rows, rows)} and scale_tril_column {(columns, columns)}, received {shapes[1]} and {shapes[2]}"
            )
        super().__init__(batch_shape, (rows, columns), validate_args=validate_args)

    mean = property(lambda self: self.loc)

    @property
    def variance(self):
        return ops.outer(*(ops.sum(ops.square(factor), axis=-1) for factor in (self.scale_tril_row, self.scale_tril_column)))

    def rsample(self, sample_shape=(), rng_key=None):
        noise = random.normal(rng_key, self.shape(sample_shape), self.dtype)
        return self.loc + self.scale_tril_row @ noise @ ops.matrix_transpose(self.scale_tril_column)

    def log_prob(self, value):
        # One axis is whitened while the other leads, as if its entries were so many draws.
        rows_first = ops.moveaxis(value - self.loc, -2, 0)
        rows_last = ops.moveaxis(whiten(self.scale_tril_column, rows_first), 0, -1)
        whitened = whiten(self.scale_tril_row, ops.moveaxis(rows_last, -2, 0))
        squares = ops.sum(squared_norm(whitened), axis=0)
        return -0.5 * squares - self._log_det() - self._size() * HALF_LOG_TWO_PI

    def entropy(self):
        return self._log_det() + 0.5 * self._size() * (1.0 + math.log(2.0 * math.pi))

    def _size(self):
        return math.prod(self._event_shape)

    def _log_det(self):
        rows, columns = self._event_shape
        return columns * log_det(self.scale_tril_row) + rows * log_det(self.scale_tril_column)
