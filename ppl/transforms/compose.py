"""One transform after another."""

from ppl import constraints, ops
from ppl.transforms.transform import Transform, apply, check_cache_size, log_det_of


class ComposeTransform(Transform):
    """Apply ``parts`` from first to last.

    :param parts: a sequence of transforms; an empty one is the identity.

    >>> from ppl import ops, transforms
    >>> t = transforms.ComposeTransform([transforms.AffineTransform(0.0, 2.0), transforms.ExpTransform()])
    >>> round(float(t(ops.array(0.5))), 4)
    2.7183
    """

    def __init__(self, parts, *, cache_size=0):
        check_cache_size(cache_size)
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

    def call_with_intermediates(self, x):
        """Return ``y``, and for each part its input and what the part itself can use again."""
        if not self.parts:
            return x, None
        *stages, (last, _) = self._stages(x)
        y, own = apply(self.parts[-1], last)
        return y, [*stages, (last, own)]

    def _stages(self, x):
        """Return the input of each part, and what each but the last, which is not applied, can use again."""
        stages = []
        for part in self.parts[:-1]:
            y, own = apply(part, x)
            stages.append((x, own))
            x = y
        return [*stages, (x, None)]

    def _inverse(self, y):
        for part in reversed(self.parts):
            y = part.inv(y)
        return y

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        if not self.parts:
            return ops.zeros_like(x)
        intermediates = self._stages(x) if intermediates is None else intermediates
        event_dim = self.domain.event_dim
        total = 0.0
        outputs = [*(entry[0] for entry in intermediates[1:]), y]
        for part, (value, own), output in zip(self.parts, intermediates, outputs, strict=True):
            local = log_det_of(part, value, output, own)
            total = total + ops.sum_rightmost(local, event_dim - part.domain.event_dim)
            event_dim += part.codomain.event_dim - part.domain.event_dim
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
