"""Distributions that are silent about some of their batch."""

from ppl import ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.score_parts import scale_and_mask
from ppl.transforms import as_constraint


class MaskedDistribution(Distribution):
    """``base_dist`` whose log density is zero where ``mask`` is false; draws are unchanged.

    :param base_dist: a distribution.
    :param mask: a bool, or an array of truth values that broadcasts with the batch shape.

    A masked value may be anything, NaN included: it reaches neither the density nor its gradient.

    >>> from ppl import distributions as dist
    >>> float(dist.MaskedDistribution(dist.Normal(0.0, 1.0), False).log_prob(0.5))
    0.0
    """

    def __init__(self, base_dist, mask, *, validate_args=None):
        batch_shape = tuple(base_dist.batch_shape)
        if not isinstance(mask, bool):
            mask = ops.astype(mask if ops.is_array(mask) else ops.array(mask), "bool")
            batch_shape = ops.broadcast_shapes(batch_shape, tuple(mask.shape))
            base_dist = base_dist.expand(batch_shape)
        self.base_dist, self._mask = base_dist, mask
        super().__init__(batch_shape, tuple(base_dist.event_shape), validate_args=validate_args)

    support = property(lambda self: self.base_dist.support)
    has_rsample = property(lambda self: self.base_dist.has_rsample)
    has_enumerate_support = property(lambda self: self.base_dist.has_enumerate_support)
    mean = property(lambda self: self.base_dist.mean)
    variance = property(lambda self: self.base_dist.variance)
    dtype = property(lambda self: self.base_dist.dtype)

    def sample(self, sample_shape=(), rng_key=None):
        return self.base_dist.sample(sample_shape, rng_key)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.base_dist.rsample(sample_shape, rng_key)

    def log_prob(self, value):
        if self._mask is False:
            shape = ops.broadcast_shapes(tuple(self.batch_shape), tuple(value.shape[: value.ndim - self.event_dim]))
            return ops.zeros(shape)
        return scale_and_mask(self.base_dist.log_prob(feasible(self, value, self._mask)), mask=self._mask)

    def _current_batch_shape(self):
        return tuple(self.base_dist.batch_shape)

    def _check_value(self, value):
        """Nothing here: the base distribution checks what is not masked."""

    def score_parts(self, value):
        return self.base_dist.score_parts(to_be_scored(self, value, self._mask)).scale_and_mask(mask=self._mask)

    def enumerate_support(self, expand=True):
        return self.base_dist.enumerate_support(expand)

    def expand(self, batch_shape):
        mask = self._mask if isinstance(self._mask, bool) else ops.broadcast_to(self._mask, tuple(batch_shape))
        return MaskedDistribution(self.base_dist.expand(batch_shape), mask)

    def __repr__(self):
        return f"MaskedDistribution({self.base_dist!r})"


def feasible(fn, value, mask):
    """Return ``value`` with a point of the support of ``fn`` in place of the elements that ``mask`` leaves out.

    A gradient through ``where`` is NaN if that of the side not chosen is, so a density that will be masked is taken there.
    """
    if mask is None or mask is True:
        return value
    try:
        point = as_constraint(fn.support).feasible_like(value)
    except (NotImplementedError, AttributeError):
        return value
    if mask is False:
        return point
    event_dim = len(fn.event_shape)
    return ops.where(ops.reshape(mask, (*ops.shape(mask), *(1,) * event_dim)) if event_dim else mask, value, point)


def to_be_scored(fn, value, mask):
    """Return ``value`` as :meth:`Distribution.score_parts` of a masked ``fn`` should see it.

    The score function counts at the value drawn, masked or not, so there only values that cannot be draws are replaced.
    """
    if mask is None or mask is True or fn.has_rsample:
        return feasible(fn, value, mask)
    return feasible(fn, value, as_constraint(fn.support).check(value) | mask)


Distribution.wrappers["masked"] = MaskedDistribution
