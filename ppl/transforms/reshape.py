"""Another shape for the same numbers."""

import math

from ppl import constraints, ops
from ppl.errors import ShapeError
from ppl.transforms.transform import Transform, check_cache_size


class ReshapeTransform(Transform):
    """Events of ``in_shape`` to events of ``out_shape``, entries in the same order.

    :param in_shape: the shape of one event of ``x``.
    :param out_shape: the shape of one event of ``y``.
    :raises ShapeError: if they hold different numbers of entries, or a value has another shape.

    >>> from ppl import ops, transforms
    >>> t = transforms.ReshapeTransform((6,), (2, 3))
    >>> tuple(t(ops.zeros((4, 6))).shape), t.inverse_shape((4, 2, 3))
    ((4, 2, 3), (4, 6))
    """

    def __init__(self, in_shape, out_shape, *, cache_size=0):
        check_cache_size(cache_size)
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ShapeError(
                f"ReshapeTransform keeps the number of entries; received in_shape {self.in_shape} and out_shape {self.out_shape}"
            )

    domain = property(lambda self: constraints.independent(constraints.real, len(self.in_shape)))
    codomain = property(lambda self: constraints.independent(constraints.real, len(self.out_shape)))

    def __call__(self, x):
        return ops.reshape(x, self.forward_shape(ops.shape(x)))

    def _inverse(self, y):
        return ops.reshape(y, self.inverse_shape(ops.shape(y)))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum_rightmost(ops.zeros_like(x), len(self.in_shape))

    def forward_shape(self, shape):
        return _replaced(tuple(shape), self.in_shape, self.out_shape)

    def inverse_shape(self, shape):
        return _replaced(tuple(shape), self.out_shape, self.in_shape)


def _replaced(shape, event, other):
    split = len(shape) - len(event)
    if split < 0 or shape[split:] != event:
        raise ShapeError(f"ReshapeTransform expected a shape that ends in {event}, received {shape}")
    return shape[:split] + other
