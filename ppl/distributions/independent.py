"""Batch dimensions taken as event dimensions."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.score_parts import ScoreParts, is_zero
from ppl.errors import ShapeError


class Independent(Distribution):
    r"""``base_distribution`` with its rightmost batch dimensions counted into the event.

    .. math:: \log p(x) = \sum_i \log p_i(x_i)

    :param base_distribution: a distribution.
    :param reinterpreted_batch_ndims: how many batch dimensions become event dimensions.
    :raises ShapeError: if there are not so many.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.Independent(dist.Normal(ops.zeros((3,)), 1.0), 1)
    >>> tuple(d.event_shape), round(float(d.log_prob(ops.zeros((3,)))), 4)
    ((3,), -2.7568)
    """

    def __init__(self, base_distribution, reinterpreted_batch_ndims, *, validate_args=None):
        check_reinterpretation(base_distribution, reinterpreted_batch_ndims)
        split = len(base_distribution.batch_shape) - reinterpreted_batch_ndims
        shape = base_distribution.shape()
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        super().__init__(shape[:split], shape[split:], validate_args=validate_args)

    support = property(lambda self: constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims))
    has_rsample = property(lambda self: self.base_dist.has_rsample)
    has_enumerate_support = property(lambda self: self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support)
    mean = property(lambda self: self.base_dist.mean)
    variance = property(lambda self: self.base_dist.variance)
    dtype = property(lambda self: self.base_dist.dtype)

    def sample(self, sample_shape=(), rng_key=None):
        return self.base_dist.sample(sample_shape, rng_key)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.base_dist.rsample(sample_shape, rng_key)

    def log_prob(self, value):
        return ops.sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def _current_batch_shape(self):
        shape = tuple(self.base_dist.batch_shape)
        return shape[: len(shape) - self.reinterpreted_batch_ndims]

    def _check_value(self, value):
        """Nothing here: the base distribution checks the same value."""

    def score_parts(self, value):
        parts = self.base_dist.score_parts(value)
        return ScoreParts(
            *(part if is_zero(part) else ops.sum_rightmost(part, self.reinterpreted_batch_ndims) for part in parts)
        )

    def entropy(self):
        return ops.sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand=True):
        if self.reinterpreted_batch_ndims:
            raise NotImplementedError("Independent does not enumerate the product of its coordinates' supports")
        return self.base_dist.enumerate_support(expand)

    def expand(self, batch_shape):
        inner = self.event_shape[: self.reinterpreted_batch_ndims]
        return Independent(self.base_dist.expand((*batch_shape, *inner)), self.reinterpreted_batch_ndims)

    def __repr__(self):
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


def check_reinterpretation(base_distribution, reinterpreted_batch_ndims):
    """Refuse to reinterpret more batch dimensions than there are.

    :raises ShapeError: naming both numbers.
    """
    available = len(base_distribution.batch_shape)
    if not 0 <= reinterpreted_batch_ndims <= available:
        raise ShapeError(
            f"to_event({reinterpreted_batch_ndims}) of {type(base_distribution).__name__}: expected between 0 and {available} "
            f"batch dimensions, since the batch shape is {tuple(base_distribution.batch_shape)}; try expand or a smaller number"
        )


Distribution.wrappers["independent"] = Independent
