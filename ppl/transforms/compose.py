"""One transform after another."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class ComposeTransform(Transform):
    """Apply ``parts`` from first to last.

    :param parts: a sequence of transforms; an empty one is the identity.

    >>> from ppl import ops, transforms
    >>> t = transforms.ComposeTransform([transforms.AffineTransform(0.0, 2.0), transforms.ExpTransform()])
    >>> round(float(t(ops.array(0.5))), 4)
    2.7183
    """

    def __init__(self, parts):
        self.parts = tuple(parts)

    @property
    def domain(self):
        if not self.parts:
            return constraints.real
        # Walking back from the output, each part either needs more axes than have been seen or passes them on.
        event_dim = self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            event_dim = max(event_dim + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim)
        return _with_event_dim(self.parts[0].domain, event_dim)

    @property
    def codomain(self):
        if not self.parts:
            return constraints.real
        event_dim = self.parts[0].domain.event_dim
        for part in self.parts:
            event_dim = max(event_dim + part.codomain.event_dim - part.domain.event_dim, part.codomain.event_dim)
        return _with_event_dim(self.parts[-1].codomain, event_dim)

    bijective = property(lambda self: all(part.bijective for part in self.parts))

    @property
    def sign(self):
        sign = 1
        for part in self.parts:
            if part.sign is None:
                return None
            sign = sign * part.sign
        return sign

    @property
    def inv(self):
        return ComposeTransform([part.inv for part in reversed(self.parts)])

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y):
        for part in reversed(self.parts):
            y = part.inv(y)
        return y

    def log_abs_det_jacobian(self, x, y):
        if not self.parts:
            return ops.zeros_like(x)
        event_dim = self.domain.event_dim
        total = 0.0
        for index, part in enumerate(self.parts, start=1):
            output = y if index == len(self.parts) else part(x)
            total = total + ops.sum_rightmost(part.log_abs_det_jacobian(x, output), event_dim - part.domain.event_dim)
            event_dim += part.codomain.event_dim - part.domain.event_dim
            x = output
        return total

    def forward_shape(self, shape):
        for part in self.parts:
            shape = part.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape):
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return tuple(shape)


def _with_event_dim(constraint, event_dim):
    missing = event_dim - constraint.event_dim
    return constraints.independent(constraint, missing) if missing > 0 else constraint
