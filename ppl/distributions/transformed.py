"""Distributions of a transformed variable."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.masked import has_score_function
from ppl.distributions.score_parts import ScoreParts, is_zero
from ppl.errors import GapError
from ppl.ops import autodiff
from ppl.transforms import AffineTransform, ComposeTransform, as_constraint, as_transform
from ppl.transforms.transform import operand


class TransformedDistribution(Distribution):
    r"""Distribution of :math:`y = t(x)` for :math:`x` drawn from a base.

    .. math:: \log p(y) = \log p_x(t^{-1}(y)) - \log |\det dt / dx|

    :param base_distribution: the distribution of :math:`x`.
    :param transforms: a bijective transform, or a list of them applied from first to last.

    Mean, variance and entropy are known if all transforms are affine, ``cdf`` and ``icdf`` if all are monotone maps of numbers.

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
    has_score_function = property(lambda self: has_score_function(self.base_dist))
    dtype = property(lambda self: self.base_dist.dtype)

    @property
    def mean(self):
        self._require_affine("mean")
        return self._push(self.base_dist.mean)[-1]

    @property
    def variance(self):
        self._require_affine("variance")
        variance = ops.broadcast_to(self.base_dist.variance, self.shape())
        for transform in self.transforms:
            variance = variance * ops.square(operand(transform.scale))
        return variance

    def _require_affine(self, operation):
        for transform in self.transforms:
            if not isinstance(transform, AffineTransform):
                raise GapError(
                    f"TransformedDistribution has no {operation} under {type(transform).__name__}: it is known for affine "
                    "transforms only; try an average over draws"
                )

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
        inside = self._reached(value) if intermediates is None else None
        if inside is None:
            x, log_det = self._pull(value, intermediates)
            return self._summed(self.base_dist.log_prob(x)) - log_det
        # The inverse may be NaN outside, and so its gradient: there it is taken at another point.
        x, log_det = self._pull(ops.where(inside, value, as_constraint(self.support).feasible_like(value)))
        density = self._summed(self.base_dist.log_prob(x)) - log_det
        return ops.where(ops.all(inside, axis=tuple(range(-self.event_dim, 0))) if self.event_dim else inside, density, -math.inf)

    def _reached(self, value):
        """Return where numbers lie in the codomain, or ``None`` if they are known to, or are judged together."""
        if not self.transforms or (self._validates and not autodiff.is_tracing()):
            return None
        codomain = as_constraint(self.transforms[-1].codomain)
        while isinstance(codomain, constraints.independent):
            codomain = codomain.base_constraint
        bounded = isinstance(codomain, (constraints.greater_than, constraints.less_than, constraints.interval))
        return codomain.check(value) if bounded else None

    def _pull(self, value, intermediates=None):
        """Return the base value behind ``value``, and the log determinant of the map from it."""
        event_dim, log_det, y = self.event_dim, 0.0, value
        for position in reversed(range(len(self.transforms))):
            transform = self.transforms[position]
            x = transform.inv(y) if intermediates is None else intermediates[position]
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            local = transform.log_abs_det_jacobian(x, y)
            log_det = log_det + ops.sum_rightmost(local, event_dim - transform.domain.event_dim)
            y = x
        return y, log_det

    def _summed(self, term):
        """Return a term of the base, one number for each of its events, summed over the events of this distribution."""
        event_dim = self.event_dim
        for transform in self.transforms:
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
        return ops.sum_rightmost(term, event_dim - self.base_dist.event_dim)

    def score_parts(self, value):
        if not self.has_rsample:
            # The density of a draw that is a constant depends on the transforms' parameters through the base value too.
            return super().score_parts(value)
        x, log_det = self._pull(value)
        log_prob, score, entropy_term = (part if is_zero(part) else self._summed(part) for part in self.base_dist.score_parts(x))
        return ScoreParts(log_prob - log_det, score, entropy_term if is_zero(entropy_term) else entropy_term - log_det)

    def entropy(self):
        self._require_affine("entropy")
        if not self.transforms:
            return self._summed(self.base_dist.entropy())
        anywhere = ops.zeros(self.shape(), dtype=self.dtype)
        return self._summed(self.base_dist.entropy()) + self._pull(anywhere)[1]

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
            raise GapError(
                "TransformedDistribution has no cdf or icdf here: they need monotone maps of numbers; expected transforms that "
                "state their sign"
            )
        return sign * (probability - 0.5) + 0.5

    def expand(self, batch_shape):
        batch_shape = tuple(batch_shape)
        chain = ComposeTransform(self.transforms)
        shape = chain.inverse_shape((*batch_shape, *self._event_shape))
        base_batch = shape[: len(shape) - self.base_dist.event_dim]
        return TransformedDistribution(self.base_dist.expand(base_batch), self.transforms)

    def __repr__(self):
        return f"TransformedDistribution({self.base_dist!r}, {self.transforms})"
