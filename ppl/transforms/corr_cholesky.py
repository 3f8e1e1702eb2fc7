"""Vectors to Cholesky factors of correlation matrices."""

from ppl import constraints, ops
from ppl.transforms.lower_cholesky import matrix_side
from ppl.transforms.tanh import atanh, log_one_minus_tanh_squared
from ppl.transforms.transform import Transform


class CorrCholeskyTransform(Transform):
    r"""From ``n (n - 1) / 2`` reals to Cholesky factors of correlation matrices.

    With :math:`r = \tanh x` filled row by row below the diagonal,

    .. math:: y_{ij} = r_{ij} \prod_{k<j} \sqrt{1 - r_{ik}^2}, \quad y_{ii} = \prod_{k<i} \sqrt{1 - r_{ik}^2}

    The log-determinant is that of the map to the entries below the diagonal.
    Source: Lewandowski, Kurowicka and Joe 2009, section 2; Stan Reference Manual, "Cholesky factors of correlation matrices".

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.CorrCholeskyTransform()(ops.zeros((1,)))).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky

    def __call__(self, x):
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x):
        entries = ops.vector_to_tril(x, diagonal=-1)
        log_left = _log_left(entries)
        n = ops.shape(entries)[-1]
        return (ops.tanh(entries) + ops.eye(n, dtype=x.dtype)) * ops.tril(ops.exp(0.5 * log_left)), log_left

    def _inverse(self, y):
        squares = ops.cumsum(y * y, axis=-1)
        before = ops.concat([ops.zeros_like(squares[..., :1]), squares[..., :-1]], axis=-1)
        below = ops.tril(y, -1) != 0
        left = ops.where(below, 1.0 - before, ops.ones_like(y))
        return ops.tril_to_vector(atanh(ops.tril(y, -1) / ops.sqrt(left)), diagonal=-1)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        log_left = _log_left(ops.vector_to_tril(x, diagonal=-1)) if intermediates is None else intermediates
        left = ops.tril(log_left, -1)
        return ops.sum(0.5 * left, axis=(-2, -1)) + ops.sum(log_one_minus_tanh_squared(x), axis=-1)

    def forward_shape(self, shape):
        side = matrix_side(shape[-1], diagonal=False)
        return (*shape[:-1], side, side)

    def inverse_shape(self, shape):
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _log_left(entries):
    """Return ``log prod_{k<j} (1 - tanh(entries_ik)**2)`` for each entry ``ij``."""
    logs = ops.cumsum(log_one_minus_tanh_squared(entries), axis=-1)
    return ops.concat([ops.zeros_like(logs[..., :1]), logs[..., :-1]], axis=-1)
