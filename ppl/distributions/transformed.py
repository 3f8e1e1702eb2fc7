"""Distributions of a transformed variable."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.transforms import ComposeTransform, as_transform


class TransformedDistribution(Distribution):
    r"""Distribution of :math:`y = t(x)` for :math:`x` drawn from a base.

    .. math:: \log p(y) = \log p_x(t^{-1}(y)) - \log |\det dt / dx|

    :param base_distribution: the distribution of :math:`x`.
    :param transforms: a bijective transform, or a list of them applied from first to last.

    >>> from ppl import distributions as dist
    >>> d = dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.ExpTransform())
    >>> round(float(d.log_prob(2.0)), 4)
    -1.8523
    """

    def __init__(self, base_distribution, transforms, *, validate_args=None):
        listed = list(transforms) if isinstance(transforms, (list, tuple)) else [transforms]
        self.transforms = [as_transform(transform) for transform in listed]
        chain = ComposeTransform(self.transforms)
        missing = chain.domain.event_dim - base_distribution.event_dim
        shape = tuple(base_distribution.shape())
        reached = chain.inverse_shape(chain.forward_shape(shape))
        if reached != shape:
            # An array-valued parameter of a transform adds batch axes that the base must draw independently.
            split = len(reached) - base_distribution.event_dim
            base_distribution = base_distribution.expand(reached[:split])
        self.base_dist = base_distribution.to_event(missing) if missing > 0 else base_distribution
        event_dim = chain.codomain.event_dim + max(self.base_dist.event_dim - chain.domain.event_dim, 0)
        shape = chain.forward_shape(tuple(self.base_dist.shape()))
        split = len(shape) - event_dim
        super().__init__(shape[:split], shape[split:], validate_args=validate_args)

    def _current_batch_shape(self):
        shape = ComposeTransform(self.transforms).forward_shape(tuple(self.base_dist.shape()))
        return shape[: len(shape) - len(self._event_shape)]

    has_rsample = property(lambda self: self.base_dist.has_rsample)
    dtype = property(lambda self: self.base_dist.dtype)

    @property
    def support(self):
        """The codomain of the last transform, as wide as the event."""
        if not self.transforms:
            return self.base_dist.support
        codomain = self.transforms[-1].codomain
        missing = len(self._event_shape) - codomain.event_dim
        return constraints.independent(codomain, missing) if missing > 0 else codomain

    def sample(self, sample_shape=(), rng_key=None):
        return ops.autodiff.stop_gradient(self._push(self.base_dist.sample(sample_shape, rng_key))[-1])

    def rsample(self, sample_shape=(), rng_key=None):
        return self._push(self.base_dist.rsample(sample_shape, rng_key))[-1]

    def sample_with_intermediates(self, sample_shape=(), rng_key=None):
        """Return a draw and the values on its way, base value first, for ``log_prob(value, intermediates)``."""
        stages = self._push(self.base_dist(sample_shape, rng_key))
        return stages[-1], stages[:-1]

    def transform_with_intermediates(self, base_value):
        """Return the transformed ``base_value`` and the values on its way, base value first."""
        stages = self._push(base_value)
        return stages[-1], stages[:-1]

    def _push(self, value):
        stages = [value]
        for transform in self.transforms:
            stages.append(transform(stages[-1]))
        return stages

    def log_prob(self, value, intermediates=None):
        """Return the log density; ``intermediates`` of the draw spare the inversion."""
        event_dim, log_det, y = self.event_dim, 0.0, value
        for position in reversed(range(len(self.transforms))):
            transform = self.transforms[position]
            x = transform.inv(y) if intermediates is None else intermediates[position]
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            local = transform.log_abs_det_jacobian(x, y)
            log_det = log_det + ops.sum_rightmost(local, event_dim - transform.domain.event_dim)
            y = x
        return ops.sum_rightmost(self.base_dist.log_prob(y), event_dim - self.base_dist.event_dim) - log_det

    def cdf(self, value):
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        return self._reflected(self.base_dist.cdf(value))

    def icdf(self, value):
        value = self.base_dist.icdf(self._reflected(value))
        for transform in self.transforms:
            value = transform(value)
        return value

    def _reflected(self, probability):
        sign = ComposeTransform(self.transforms).sign
        if sign is None:
            raise NotImplementedError("cdf and icdf need monotone scalar transforms; expected transforms that state their sign")
        return sign * (probability - 0.5) + 0.5

    def expand(self, batch_shape):
        batch_shape = tuple(batch_shape)
        chain = ComposeTransform(self.transforms)
        shape = chain.inverse_shape((*batch_shape, *self._event_shape))
        base_batch = shape[: len(shape) - self.base_dist.event_dim]
        return TransformedDistribution(self.base_dist.expand(base_batch), self.transforms)

    def __repr__(self):
        return f"TransformedDistribution({self.base_dist!r}, {self.transforms})"
