"""Vectors to Cholesky factors, and Cholesky factors to positive definite matrices."""

import math

from ppl import constraints, ops
from ppl.errors import ShapeError
from ppl.transforms.transform import Transform


def matrix_side(size, diagonal):
    """Return the side of the matrix whose triangle holds ``size`` entries, diagonal included or not.

    :raises ShapeError: if no triangle has that size.
    """
    side = (math.isqrt(8 * size + 1) - 1) // 2
    if side * (side + 1) // 2 != size:
        raise ShapeError(f"no triangular matrix has {size} free entries; expected n(n+1)/2 for some n")
    return side if diagonal else side + 1


class LowerCholeskyTransform(Transform):
    """From ``n (n + 1) / 2`` reals to lower triangular matrices of positive diagonal.

    Entries run row by row; those on the diagonal are exponentiated.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.LowerCholeskyTransform()(ops.array([0.0, 5.0, 0.0]))).tolist()
    [[1.0, 0.0], [5.0, 1.0]]
    """

    domain = constraints.real_vector
    codomain = constraints.lower_cholesky

    def __call__(self, x):
        matrix = ops.vector_to_tril(x, diagonal=0)
        return ops.tril(matrix, -1) + ops.diag_embed(ops.exp(ops.diagonal(matrix)))

    def _inverse(self, y):
        return ops.tril_to_vector(ops.tril(y, -1) + ops.diag_embed(ops.log(ops.diagonal(y))), diagonal=0)

    def log_abs_det_jacobian(self, x, y):
        return ops.sum(ops.log(ops.diagonal(y)), axis=-1)

    def forward_shape(self, shape):
        side = matrix_side(shape[-1], diagonal=True)
        return (*shape[:-1], side, side)

    def inverse_shape(self, shape):
        return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


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

    def log_abs_det_jacobian(self, x, y):
        n = ops.shape(x)[-1]
        powers = ops.array([float(n - i) for i in range(n)], dtype=x.dtype)
        return n * math.log(2.0) + ops.sum(powers * ops.log(ops.diagonal(x)), axis=-1)
