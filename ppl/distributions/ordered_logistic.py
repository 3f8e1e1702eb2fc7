"""The ordered logistic distribution."""

from ppl import constraints, ops
from ppl.distributions.categorical import pick
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NOT_PATHWISE
from ppl.ops import random


class OrderedLogistic(Distribution):
    r"""Category in which a logistic variable around a predictor :math:`\eta` falls between cutpoints :math:`c` (McCullagh 1980).

    .. math:: P(K \le k) = 1 / (1 + e^{\eta - c_k}), \quad k = 0, \ldots, K - 2

    :param predictor: :math:`\eta`, a real number; its batch is broadcast with that of the cutpoints.
    :param cutpoints: :math:`c`, increasing along the last axis; one fewer than there are categories.
    :raises ConstraintError: if the cutpoints do not increase.

    Values have the library's integer dtype. Mean and variance take the numbers of the categories for quantities.

    >>> from ppl import distributions as dist
    >>> round(float(dist.OrderedLogistic(0.5, [-1.0, 0.0, 2.0]).log_prob(1)), 4)
    -1.6342
    """

    arg_constraints = {"predictor": constraints.real, "cutpoints": constraints.ordered_vector}
    has_enumerate_support = True
    gaps = {"rsample": NOT_PATHWISE}

    def __init__(self, predictor, cutpoints, *, validate_args=None):
        (self.predictor, self.cutpoints), batch_shape = self.promote_events((predictor, 0), (cutpoints, 1))
        super().__init__(batch_shape, validate_args=validate_args)

    @property
    def _distances(self):
        return self.cutpoints - ops.expand_dims(self.predictor, -1)

    @property
    def support(self):
        """Whole numbers up to the number of cutpoints."""
        return constraints.integer_interval(0, self.cutpoints.shape[-1])

    @property
    def logits(self):
        """The logarithms of the probabilities of the categories."""
        distances = self._distances
        edge = ops.zeros_like(distances[..., :1])
        # A difference of logistic functions, F(b) - F(a) = F(b) (1 - F(a)) (1 - exp(a - b)), in which nothing cancels.
        gaps = ops.log(-ops.expm1(self.cutpoints[..., :-1] - self.cutpoints[..., 1:]))
        below_upper = ops.concat([ops.log_expit(distances), edge], axis=-1)
        above_lower = ops.concat([edge, ops.log_expit(-distances)], axis=-1)
        return below_upper + above_lower + ops.concat([edge, gaps, edge], axis=-1)

    probs = property(lambda self: ops.exp(self.logits))
    mean = property(lambda self: ops.sum(ops.expit(-self._distances), axis=-1))

    @property
    def variance(self):
        exceeding = ops.expit(-self._distances)
        weights = 2.0 * ops.arange(0, exceeding.shape[-1], dtype=self.dtype) + 1.0
        return ops.sum(weights * exceeding, axis=-1) - ops.square(ops.sum(exceeding, axis=-1))

    def sample(self, sample_shape=(), rng_key=None):
        return random.categorical(rng_key, ops.autodiff.stop_gradient(self.logits), self.shape(sample_shape))

    def log_prob(self, value):
        return pick(self.logits, value, -float("inf"), -float("inf"))

    def cdf(self, value):
        return pick(ops.expit(self._distances), ops.floor(value), 0.0, 1.0)

    def icdf(self, value):
        return ops.sum(ops.astype(ops.expand_dims(value, -1) > ops.expit(self._distances), "int64"), axis=-1)

    def entropy(self):
        logits = self.logits
        return -ops.sum(ops.exp(logits) * logits, axis=-1)

    def enumerate_support(self, expand=True):
        return self._enumerated(ops.arange(self.cutpoints.shape[-1] + 1), expand)
