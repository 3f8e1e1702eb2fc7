"""Vectors to lower triangular and symmetric matrices and Cholesky factors; Cholesky factors to positive definite matrices."""

import math

from ppl import constraints, ops
from ppl.errors import ShapeError
from ppl.transforms.exp import ExpTransform
from ppl.transforms.softplus import SoftplusTransform
from ppl.transforms.transform import Transform


def matrix_side(size, diagonal):
    """Return the side of the matrix whose triangle holds ``size`` entries, diagonal included or not.

    :raises ShapeError: if no triangle has that size.
    """
    side = (math.isqrt(8 * size + 1) - 1) // 2
    if side * (side + 1) // 2 != size:
        raise ShapeError(f"no triangular matrix has {size} free entries; expected n(n+1)/2 for some n")
    return side if diagonal else side + 1


class _FromTriangle(Transform):
    """From a vector that holds a triangle row by row, with its diagonal or without."""

    domain = constraints.real_vector
    with_diagonal = True

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum(ops.zeros_like(x), axis=-1)

    def forward_shape(self, shape):
        side = matrix_side(shape[-1], self.with_diagonal)
        return (*shape[:-1], side, side)

    def inverse_shape(self, shape):
        side = shape[-1]
        return (*shape[:-2], side * (side + 1) // 2 if self.with_diagonal else side * (side - 1) // 2)


class LowerTriangularTransform(_FromTriangle):
    """From ``n (n + 1) / 2`` reals to lower triangular matrices, row by row.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.LowerTriangularTransform()(ops.array([1.0, 2.0, 3.0]))).tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """

    codomain = constraints.lower_triangular

    def __call__(self, x):
        return ops.vector_to_tril(x, diagonal=0)

    def _inverse(self, y):
        return ops.tril_to_vector(y, diagonal=0)


class SymmetricTransform(_FromTriangle):
    """From ``n (n + 1) / 2`` reals to symmetric matrices, whose lower triangle they are row by row.

    The log-determinant is that of the map to the entries on and below the diagonal.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.SymmetricTransform()(ops.array([1.0, 2.0, 3.0]))).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """

    codomain = constraints.symmetric

    def __call__(self, x):
        lower = ops.vector_to_tril(x, diagonal=0)
        return lower + ops.matrix_transpose(ops.tril(lower, -1))

    def _inverse(self, y):
        return ops.tril_to_vector(y, diagonal=0)


class UnitLowerCholeskyTransform(_FromTriangle):
    """From ``n (n - 1) / 2`` reals to lower triangular matrices of unit diagonal.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.UnitLowerCholeskyTransform()(ops.array([5.0]))).tolist()
    [[1.0, 0.0], [5.0, 1.0]]
    """

    codomain = constraints.unit_lower_cholesky
    with_diagonal = False

    def __call__(self, x):
        lower = ops.vector_to_tril(x, diagonal=-1)
        return lower + ops.eye(ops.shape(lower)[-1], dtype=x.dtype)

    def _inverse(self, y):
        return ops.tril_to_vector(y, diagonal=-1)


class _WithPositiveDiagonal(_FromTriangle):
    """The diagonal goes through ``diagonal``, a map to the positive numbers."""

    diagonal: Transform = ExpTransform()

    def __call__(self, x):
        matrix = ops.vector_to_tril(x, diagonal=0)
        return ops.tril(matrix, -1) + ops.diag_embed(self.diagonal(ops.diagonal(matrix)))

    def _inverse(self, y):
        return ops.tril_to_vector(ops.tril(y, -1) + ops.diag_embed(self.diagonal.inv(ops.diagonal(y))), diagonal=0)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        ends_of_rows = [i * (i + 3) // 2 for i in range(ops.shape(y)[-1])]
        unconstrained = ops.take(x, ops.array(ends_of_rows, dtype="int64"), axis=-1)
        return ops.sum(self.diagonal.log_abs_det_jacobian(unconstrained, ops.diagonal(y)), axis=-1)


class LowerCholeskyTransform(_WithPositiveDiagonal):
    """From ``n (n + 1) / 2`` reals to lower triangular matrices of positive diagonal.

    Entries run row by row; those on the diagonal are exponentiated.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.LowerCholeskyTransform()(ops.array([0.0, 5.0, 0.0]))).tolist()
    [[1.0, 0.0], [5.0, 1.0]]
    """

    codomain = constraints.lower_cholesky


class SoftplusLowerCholeskyTransform(_WithPositiveDiagonal):
    """From ``n (n + 1) / 2`` reals to lower triangular matrices of positive diagonal, which goes through the softplus.

    >>> from ppl import ops, transforms
    >>> y = transforms.SoftplusLowerCholeskyTransform()(ops.array([0.0, 5.0, 0.0]))
    >>> [[round(float(entry), 4) for entry in row] for row in ops.to_numpy(y)]
    [[0.6931, 0.0], [5.0, 0.6931]]
    """

    codomain = constraints.softplus_lower_cholesky
    diagonal = SoftplusTransform()


class ScaledUnitLowerCholeskyTransform(_WithPositiveDiagonal):
    r"""From ``n (n + 1) / 2`` reals to Cholesky factors as a unit lower triangular matrix with scaled rows.

    .. math:: y_{ii} = \operatorname{softplus}(x_{ii}), \quad y_{ij} = y_{ii} x_{ij} \quad (j < i)

    >>> from ppl import ops, transforms
    >>> y = transforms.ScaledUnitLowerCholeskyTransform()(ops.array([0.0, 5.0, 0.0]))
    >>> [[round(float(entry), 4) for entry in row] for row in ops.to_numpy(y)]
    [[0.6931, 0.0], [3.4657, 0.6931]]
    """

    codomain = constraints.scaled_unit_lower_cholesky
    diagonal = SoftplusTransform()

    def __call__(self, x):
        matrix = ops.vector_to_tril(x, diagonal=0)
        scales = self.diagonal(ops.diagonal(matrix))
        return ops.tril(matrix, -1) * ops.expand_dims(scales, -1) + ops.diag_embed(scales)

    def _inverse(self, y):
        scales = ops.diagonal(y)
        unit = ops.tril(y, -1) / ops.expand_dims(scales, -1)
        return ops.tril_to_vector(unit + ops.diag_embed(self.diagonal.inv(scales)), diagonal=0)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        # Row i has i entries beside its diagonal, each multiplied by the scale.
        powers = ops.arange(ops.shape(y)[-1], dtype=y.dtype)
        scales = ops.diagonal(y)
        return super().log_abs_det_jacobian(x, y) + ops.sum(powers * ops.log(scales), axis=-1)


class CholeskyProductTransform(Transform):
    r"""``y = x x^T``, from lower Cholesky factors to positive definite matrices.

    .. math:: \log\left|\frac{dy}{dx}\right| = n \log 2 + \sum_i (n - i) \log x_{ii}, \quad i = 0, \ldots, n - 1

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.CholeskyProductTransform()(ops.array([[2.0, 0.0], [1.0, 3.0]]))).tolist()
    [[4.0, 2.0], [2.0, 10.0]]
    """

    domain = constraints.lower_cholesky
    codomain = constraints.positive_definite

    def __call__(self, x):
        return x @ ops.matrix_transpose(x)

    def _inverse(self, y):
        return ops.cholesky(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        n = ops.shape(x)[-1]
        powers = ops.array([float(n - i) for i in range(n)], dtype=x.dtype)
        return n * math.log(2.0) + ops.sum(powers * ops.log(ops.diagonal(x)), axis=-1)


class CholeskyTransform(Transform):
    """The lower Cholesky factor of a positive definite matrix: the inverse of :class:`CholeskyProductTransform`.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.CholeskyTransform()(ops.array([[4.0, 2.0], [2.0, 10.0]]))).tolist()
    [[2.0, 0.0], [1.0, 3.0]]
    """

    domain = constraints.positive_definite
    codomain = constraints.lower_cholesky

    def __call__(self, x):
        return ops.cholesky(x)

    def _inverse(self, y):
        return y @ ops.matrix_transpose(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return -CholeskyProductTransform().log_abs_det_jacobian(y, x)


class CorrMatrixCholeskyTransform(CholeskyTransform):
    r"""The lower Cholesky factor of a correlation matrix.

    .. math:: \log\left|\frac{dy}{dx}\right| = -\sum_i (n - 1 - i) \log y_{ii}, \quad i = 0, \ldots, n - 1

    The log-determinant is that of the map between the entries below the diagonals.

    >>> from ppl import ops, transforms
    >>> y = transforms.CorrMatrixCholeskyTransform()(ops.array([[1.0, 0.6], [0.6, 1.0]]))
    >>> [[round(float(entry), 4) for entry in row] for row in ops.to_numpy(y)]
    [[1.0, 0.0], [0.6, 0.8]]
    """

    domain = constraints.corr_matrix
    codomain = constraints.corr_cholesky

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        n = ops.shape(y)[-1]
        powers = ops.array([float(n - 1 - i) for i in range(n)], dtype=y.dtype)
        return -ops.sum(powers * ops.log(ops.diagonal(y)), axis=-1)
