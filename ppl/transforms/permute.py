"""Reordering along an axis."""

from ppl import constraints, ops
from ppl.errors import ShapeError
from ppl.transforms.transform import Transform, check_cache_size


class PermuteTransform(Transform):
    """``y[i] = x[permutation[i]]`` along axis ``dim``.

    :param permutation: the numbers 0 to n - 1 in some order: a sequence or an array.
    :param dim: a negative number: the axis that is reordered; all axes from it on form one event.
    :raises ShapeError: if ``permutation`` is none, or ``dim`` is not negative.

    >>> from ppl import ops, transforms
    >>> t = transforms.PermuteTransform([2, 0, 1])
    >>> ops.to_numpy(t(ops.array([10.0, 20.0, 30.0]))).tolist(), t.inv_permutation
    ([30.0, 10.0, 20.0], (1, 2, 0))
    """

    def __init__(self, permutation, *, dim=-1, cache_size=0):
        check_cache_size(cache_size)
        self.permutation, self.dim = tuple(int(position) for position in permutation), dim
        if sorted(self.permutation) != list(range(len(self.permutation))):
            raise ShapeError(f"PermuteTransform needs each of 0 to n - 1 once, received {self.permutation}")
        if dim >= 0:
            raise ShapeError(f"PermuteTransform counts its axis from the right; expected dim < 0, received {dim}")

    domain = codomain = property(
        lambda self: constraints.real_vector if self.dim == -1 else constraints.independent(constraints.real, -self.dim)
    )

    @property
    def inv_permutation(self):
        """The permutation that undoes this one."""
        return tuple(sorted(range(len(self.permutation)), key=self.permutation.__getitem__))

    def __call__(self, x):
        return ops.take(x, ops.array(self.permutation, dtype="int64"), axis=self.dim)

    def _inverse(self, y):
        return ops.take(y, ops.array(self.inv_permutation, dtype="int64"), axis=self.dim)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum_rightmost(ops.zeros_like(x), -self.dim)
