"""The point mass."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import VECTOR
from ppl.errors import GapError, ShapeError


class Delta(Distribution):
    r"""All mass at one point.

    .. math:: \log p(x) = d \text{ where } x = v, \quad -\infty \text{ elsewhere}

    :param v: the point; its dtype is kept.
    :param log_density: :math:`d`, so that the family stays closed under differentiable maps; broadcast over the batch.
    :param event_dim: number of trailing axes of ``v`` that form one event.
    :raises ShapeError: if ``v`` has fewer axes than ``event_dim``.

    A sampler must not move a point that was drawn at random: use it for values that are known.

    >>> from ppl import distributions as dist
    >>> [float(dist.Delta(2.0).log_prob(value)) for value in (2.0, 3.0)]
    [0.0, -inf]
    """

    arg_constraints = {"v": constraints.dependent, "log_density": constraints.real}
    has_rsample = True
    gaps = {"enumerate_support": "its one value needs no sum"}

    def __init__(self, v=0.0, log_density=0.0, event_dim=0, *, validate_args=None):
        v = v if ops.is_array(v) else ops.array(v)
        split = v.ndim - event_dim
        if event_dim < 0 or split < 0:
            raise ShapeError(f"Delta of event_dim={event_dim} needs as many axes, received a point of shape {tuple(v.shape)}")
        batch_shape, event_shape = tuple(v.shape[:split]), tuple(v.shape[split:])
        (log_density,) = self.promote(log_density)
        if tuple(log_density.shape) != batch_shape:
            batch_shape = ops.broadcast_shapes(batch_shape, tuple(log_density.shape))
            v, log_density = ops.broadcast_to(v, batch_shape + event_shape), ops.broadcast_to(log_density, batch_shape)
        self.v, self.log_density = v, log_density
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    @property
    def support(self):
        """The reals, as wide as the event."""
        return constraints.independent(constraints.real, self.event_dim) if self.event_dim else constraints.real

    mean = property(lambda self: self.v)
    variance = property(lambda self: ops.zeros_like(self.v))

    def _parameter_event_dim(self, name, constraint):
        return len(self._event_shape) if name == "v" else 0

    def rsample(self, sample_shape=(), rng_key=None):
        return ops.broadcast_to(self.v, self.shape(sample_shape))

    def log_prob(self, value):
        same = value == self.v
        if self.event_dim:
            same = ops.all(same, axis=tuple(range(-self.event_dim, 0)))
        return ops.where(same, self.log_density, -math.inf)

    def cdf(self, value):
        self._check_scalar("cdf")
        return ops.astype(value >= self.v, self.log_density.dtype)

    def icdf(self, value):
        self._check_scalar("icdf")
        return ops.broadcast_to(self.v, ops.broadcast_shapes(tuple(value.shape), tuple(self.batch_shape)))

    def _check_scalar(self, operation):
        if self.event_dim:
            raise GapError(f"Delta of event_dim={self.event_dim} has no {operation}: {VECTOR[operation]}")

    def entropy(self):
        return -self.log_density
