"""Shift and matrix product."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform, check_cache_size, operand


class LowerCholeskyAffine(Transform):
    """``y = loc + scale_tril @ x``: standard normal vectors to those of covariance ``scale_tril @ scale_tril.T``.

    :param loc: shift, of shape ``(..., n)``.
    :param scale_tril: lower triangular matrix of shape ``(..., n, n)`` without zeros on its diagonal.

    >>> from ppl import ops, transforms
    >>> t = transforms.LowerCholeskyAffine(ops.array([1.0, 2.0]), ops.array([[2.0, 0.0], [1.0, 3.0]]))
    >>> ops.to_numpy(t(ops.array([1.0, 1.0]))).tolist()
    [3.0, 6.0]
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(self, loc, scale_tril, *, cache_size=0):
        check_cache_size(cache_size)
        self.loc, self.scale_tril = loc, scale_tril

    def __call__(self, x):
        return operand(self.loc) + (operand(self.scale_tril) @ ops.expand_dims(x, -1))[..., 0]

    def _inverse(self, y):
        centred = ops.expand_dims(y - operand(self.loc), -1)
        factor = operand(self.scale_tril)
        batch = ops.broadcast_shapes(tuple(ops.shape(factor))[:-2], tuple(ops.shape(centred))[:-2])
        factor = ops.broadcast_to(factor, (*batch, *tuple(ops.shape(factor))[-2:]))
        centred = ops.broadcast_to(centred, (*batch, *tuple(ops.shape(centred))[-2:]))
        return ops.solve_triangular(factor, centred)[..., 0]

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        log_diagonal = ops.log(ops.abs(ops.diagonal(operand(self.scale_tril))))
        return ops.sum(ops.zeros_like(x) + log_diagonal, axis=-1)

    def forward_shape(self, shape):
        loc, factor = tuple(ops.shape(operand(self.loc))), tuple(ops.shape(operand(self.scale_tril)))
        return (*ops.broadcast_shapes(tuple(shape[:-1]), loc[:-1], factor[:-2]), shape[-1])

    inverse_shape = forward_shape
