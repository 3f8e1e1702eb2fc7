"""Batch dimensions taken as event dimensions."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import VECTOR
from ppl.distributions.score_parts import ScoreParts, is_zero
from ppl.distributions.wrapper import Wrapper
from ppl.errors import GapError, ShapeError


class Independent(Wrapper):
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
    has_enumerate_support = property(lambda self: self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support)

    def log_prob(self, value):
        return ops.sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def _current_batch_shape(self):
        shape = tuple(self.base_dist.batch_shape)
        return shape[: len(shape) - self.reinterpreted_batch_ndims]

    def score_parts(self, value):
        parts = self.base_dist.score_parts(value)
        # Of a draw that is reparameterised in full, or not at all, two of the parts are one array.
        distinct = {id(part): part for part in parts}
        sums = {
            key: part if is_zero(part) else ops.sum_rightmost(part, self.reinterpreted_batch_ndims)
            for key, part in distinct.items()
        }
        return ScoreParts(*(sums[id(part)] for part in parts))

    def entropy(self):
        return ops.sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def cdf(self, value):
        self._refuse_vectors("cdf", VECTOR["cdf"])
        return self.base_dist.cdf(value)

    def icdf(self, value):
        self._refuse_vectors("icdf", VECTOR["icdf"])
        return self.base_dist.icdf(value)

    def enumerate_support(self, expand=True):
        self._refuse_vectors("enumerate_support", "the product of its coordinates' supports grows with the power of their number")
        return self.base_dist.enumerate_support(expand)

    def _refuse_vectors(self, operation, reason):
        if self.reinterpreted_batch_ndims:
            raise GapError(f"Independent over {self.reinterpreted_batch_ndims} batch dimension(s) has no {operation}: {reason}")

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
