"""Shift and scale."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform, operand


class AffineTransform(Transform):
    r"""``y = loc + scale * x`` for each element.

    :param loc: shift.
    :param scale: factor, not zero.
    :param domain: the set that ``x`` lies in; the codomain follows from it.
    :param event_dim: number of trailing axes that form one event.

    >>> from ppl import ops, transforms
    >>> t = transforms.AffineTransform(1.0, 2.0)
    >>> float(t(ops.array(3.0))), float(t.inv(ops.array(7.0)))
    (7.0, 3.0)
    """

    def __init__(self, loc, scale, domain=constraints.real, event_dim=0):
        self.loc, self.scale = loc, scale
        self.base_domain, self.event_ndims = domain, event_dim

    @property
    def domain(self):
        return _with_event(self.base_domain, self.event_ndims)

    @property
    def codomain(self):
        return _with_event(self._image(), self.event_ndims)

    def _image(self):
        base, loc, scale = self.base_domain, operand(self.loc), operand(self.scale)
        if isinstance(base, constraints.interval):
            ends = loc + scale * base.lower_bound, loc + scale * base.upper_bound
            return constraints.interval(*(reversed(ends) if self._falling else ends))
        if not isinstance(base, (constraints.greater_than, constraints.less_than)):
            return constraints.real
        bound = base.lower_bound if isinstance(base, constraints.greater_than) else base.upper_bound
        rising = isinstance(base, constraints.greater_than)
        image = loc + scale * bound
        return constraints.greater_than(image) if rising != self._falling else constraints.less_than(image)

    @property
    def _falling(self):
        """Whether the scale is known to be negative; that of an array is not, and counts as positive."""
        return isinstance(self.scale, (int, float)) and self.scale < 0

    @property
    def sign(self):
        if isinstance(self.scale, (int, float)):
            return 1 if self.scale > 0 else -1
        return ops.sign(operand(self.scale))

    def __call__(self, x):
        return operand(self.loc) + operand(self.scale) * x

    def _inverse(self, y):
        return (y - operand(self.loc)) / operand(self.scale)

    def log_abs_det_jacobian(self, x, y):
        scale = operand(self.scale)
        log_scale = math.log(abs(scale)) if isinstance(scale, (int, float)) else ops.log(ops.abs(scale))
        return ops.sum_rightmost(ops.zeros_like(x) + log_scale, self.event_ndims)

    def forward_shape(self, shape):
        return ops.broadcast_shapes(tuple(shape), ops.shape(operand(self.loc)), ops.shape(operand(self.scale)))

    inverse_shape = forward_shape


def _with_event(base, event_dim):
    return constraints.independent(base, event_dim) if event_dim else base
