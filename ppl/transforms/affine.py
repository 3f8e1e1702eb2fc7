"""Shift and scale."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class AffineTransform(Transform):
    r"""``y = loc + scale * x`` for each element.

    :param loc: shift.
    :param scale: factor, not zero.
    :param domain: the set that ``x`` lies in; the codomain follows from it.
    :param event_dim: number of trailing axes that form one event.
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
        base = self.base_domain
        if isinstance(base, constraints.interval):
            return constraints.interval(self.loc + self.scale * base.lower_bound, self.loc + self.scale * base.upper_bound)
        if not isinstance(base, (constraints.greater_than, constraints.less_than)):
            return constraints.real
        bound = base.lower_bound if isinstance(base, constraints.greater_than) else base.upper_bound
        rising = isinstance(base, constraints.greater_than)
        # A scale of unknown sign (an array) is taken as positive, which is what every constraint of this library builds.
        flipped = isinstance(self.scale, (int, float)) and self.scale < 0
        image = self.loc + self.scale * bound
        return constraints.greater_than(image) if rising != flipped else constraints.less_than(image)

    @property
    def sign(self):
        if isinstance(self.scale, (int, float)):
            return 1 if self.scale > 0 else -1
        return ops.sign(self.scale)

    def __call__(self, x):
        return self.loc + self.scale * x

    def _inverse(self, y):
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x, y):
        scale = ops.abs(self.scale) if ops.is_array(self.scale) else abs(self.scale)
        log_scale = ops.log(ops.array(scale))
        return ops.sum_rightmost(ops.zeros_like(x) + log_scale, self.event_ndims)

    def forward_shape(self, shape):
        return ops.broadcast_shapes(tuple(shape), ops.shape(self.loc), ops.shape(self.scale))

    inverse_shape = forward_shape


def _with_event(base, event_dim):
    return constraints.independent(base, event_dim) if event_dim else base
