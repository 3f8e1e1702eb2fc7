"""Broadcasting of distributions whose parameters cannot be broadcast one by one."""

from ppl import ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.score_parts import ScoreParts, is_zero
from ppl.distributions.wrapper import Wrapper


class ExpandedDistribution(Wrapper):
    """Independent copies of ``base_dist`` that fill ``batch_shape``; the general way behind :meth:`Distribution.expand`.

    :param base_dist: a distribution whose batch shape broadcasts to ``batch_shape``.

    >>> from ppl import distributions as dist
    >>> tuple(dist.ExpandedDistribution(dist.Normal(0.0, 1.0), (3,)).sample().shape)
    (3,)
    """

    def __init__(self, base_dist, batch_shape, *, validate_args=None):
        base_dist._check_expandable(tuple(batch_shape))
        self.base_dist = base_dist
        super().__init__(batch_shape, tuple(base_dist.event_shape), validate_args=validate_args)

    mean = property(lambda self: ops.broadcast_to(self.base_dist.mean, self.shape()))
    variance = property(lambda self: ops.broadcast_to(self.base_dist.variance, self.shape()))

    def sample(self, sample_shape=(), rng_key=None):
        return self._fill(self.base_dist.sample, sample_shape, rng_key)

    def rsample(self, sample_shape=(), rng_key=None):
        return self._fill(self.base_dist.rsample, sample_shape, rng_key)

    def _fill(self, draw, sample_shape, rng_key):
        """Draw the new axes as sample axes, then move those that widen an axis of size one into its place."""
        base_shape = tuple(self.base_dist.batch_shape)
        new = len(self._batch_shape) - len(base_shape)
        widened = [i for i, size in enumerate(base_shape) if size != self._batch_shape[new + i]]
        extra = tuple(self._batch_shape[new + i] for i in widened)
        value = draw((*sample_shape, *self._batch_shape[:new], *extra), rng_key)
        # Axes: sample, new, one for each widened, then the base's batch. Swapping a pair leaves size one behind.
        ndim, first = len(value.shape), len(sample_shape) + new
        for position, i in enumerate(widened):
            axes = list(range(ndim))
            source, target = first + position, first + len(widened) + i
            axes[source], axes[target] = target, source
            value = ops.permute_dims(value, axes)
        return ops.reshape(value, self.shape(sample_shape))

    def log_prob(self, value):
        return self._filled(self.base_dist.log_prob(value))

    def score_parts(self, value):
        return ScoreParts(*(part if is_zero(part) else self._filled(part) for part in self.base_dist.score_parts(value)))

    def cdf(self, value):
        return self._filled(self.base_dist.cdf(value))

    def icdf(self, value):
        return self._filled(self.base_dist.icdf(value))

    def _filled(self, result):
        """Return ``result``, one number for each event, broadcast over the batch."""
        return ops.broadcast_to(result, ops.broadcast_shapes(tuple(result.shape), self._batch_shape))

    def entropy(self):
        return ops.broadcast_to(self.base_dist.entropy(), self._batch_shape)

    def enumerate_support(self, expand=True):
        values = self.base_dist.enumerate_support(expand=False)
        base_ndim = len(self.base_dist.batch_shape)
        event = tuple(values.shape[1 + base_ndim :])
        values = ops.reshape(values, (values.shape[0], *(1,) * len(self._batch_shape), *event))
        return ops.broadcast_to(values, (values.shape[0], *self.shape())) if expand else values

    def expand(self, batch_shape):
        self._check_expandable(tuple(batch_shape))
        return ExpandedDistribution(self.base_dist, batch_shape)

    def __repr__(self):
        return f"ExpandedDistribution({self.base_dist!r}, {self._batch_shape})"


Distribution.wrappers["expanded"] = ExpandedDistribution
