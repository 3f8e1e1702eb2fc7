"""Shift and scale."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform, check_cache_size, operand


class AffineTransform(Transform):
    r"""``y = loc + scale * x`` for each element.

    :param loc: shift.
    :param scale: factor, not zero; the entries of an array may differ in sign.
    :param domain: the set that ``x`` lies in; the codomain follows from it.
    :param event_dim: number of trailing axes that form one event.

    >>> from ppl import ops, transforms
    >>> t = transforms.AffineTransform(1.0, 2.0)
    >>> float(t(ops.array(3.0))), float(t.inv(ops.array(7.0)))
    (7.0, 3.0)
    """

    def __init__(self, loc, scale, domain=constraints.real, event_dim=0, *, cache_size=0):
        check_cache_size(cache_size)
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
        known = isinstance(scale, (int, float))
        if isinstance(base, constraints.interval):
            ends = loc + scale * base.lower_bound, loc + scale * base.upper_bound
            if known:
                return _interval_like(base, scale > 0)(*(ends if scale > 0 else reversed(ends)))
            return _interval_like(base, rising=False)(ops.minimum(*ends), ops.maximum(*ends))
        if not isinstance(base, (constraints.greater_than, constraints.less_than)):
            return constraints.real
        above = isinstance(base, constraints.greater_than)
        image = loc + scale * (base.lower_bound if above else base.upper_bound)
        if not known:
            return constraints.half_line(image, ops.sign(scale) if above else -ops.sign(scale))
        return _half_line_like(base, above == (scale > 0))(image)

    @property
    def sign(self):
        if isinstance(self.scale, (int, float)):
            return 1 if self.scale > 0 else -1
        return ops.sign(operand(self.scale))

    def __call__(self, x):
        return operand(self.loc) + operand(self.scale) * x

    def _inverse(self, y):
        return (y - operand(self.loc)) / operand(self.scale)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        scale = operand(self.scale)
        log_scale = math.log(abs(scale)) if isinstance(scale, (int, float)) else ops.log(ops.abs(scale))
        return ops.sum_rightmost(ops.zeros_like(x) + log_scale, self.event_ndims)

    def forward_shape(self, shape):
        return ops.broadcast_shapes(tuple(shape), ops.shape(operand(self.loc)), ops.shape(operand(self.scale)))

    inverse_shape = forward_shape


def _with_event(base, event_dim):
    return constraints.independent(base, event_dim) if event_dim else base


def _interval_like(base, rising):
    """Return the class of intervals whose ends are in or out as those of ``base``; a half-open one has no mirror image."""
    if isinstance(base, constraints.open_interval):
        return constraints.open_interval
    return constraints.half_open_interval if rising and isinstance(base, constraints.half_open_interval) else constraints.interval


def _half_line_like(base, above):
    closed = isinstance(base, (constraints.greater_than_eq, constraints.less_than_eq))
    if above:
        return constraints.greater_than_eq if closed else constraints.greater_than
    return constraints.less_than_eq if closed else constraints.less_than
