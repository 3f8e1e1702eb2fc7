"""The binomial distribution."""

from ppl import constraints, ops
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.ops import random


class Binomial(Distribution):
    r"""Number of successes in :math:`n` independent trials of probability :math:`p`.

    .. math:: P(k) = \binom{n}{k} p^k (1 - p)^{n - k}, \quad k = 0, \ldots, n

    :param total_count: :math:`n`, a whole number; may be an array.
    :param probs: success probability, in [0, 1].
    :param logits: log odds of a success; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Binomial(10, 0.3).log_prob(4.0)), 4)
    -1.6088
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(self, total_count=1, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        parameter, self.total_count = self.promote(probs if logits is None else logits, total_count)
        setattr(self, self._given, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)

    @property
    def support(self):
        """Whole numbers up to ``total_count``."""
        return constraints.integer_interval(0, self.total_count)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))
    mean = property(lambda self: self.total_count * self.probs)

    @property
    def variance(self):
        probs = self.probs
        return self.total_count * probs * (1.0 - probs)

    def sample(self, sample_shape=(), rng_key=None):
        probs = ops.autodiff.stop_gradient(self.probs)
        return random.binomial(rng_key, self.total_count, probs, self.shape(sample_shape))

    def log_prob(self, value):
        failures = self.total_count - value
        ways = ops.gammaln(self.total_count + 1.0) - ops.gammaln(value + 1.0) - ops.gammaln(failures + 1.0)
        if self._given == "logits":
            return ways + value * ops.log_expit(self.logits) + failures * ops.log_expit(-self.logits)
        return ways + ops.xlogy(value, self.probs) + ops.xlog1py(failures, -self.probs)

    def cdf(self, value):
        # P(K <= k) = I_{1-p}(n - k, k + 1); at k = n the first argument is zero and the answer one.
        successes = ops.floor(value)
        below = successes < self.total_count
        failures = ops.where(below, self.total_count - successes, ops.ones_like(self.total_count))
        return ops.where(below, ops.betainc(failures, successes + 1.0, 1.0 - self.probs), 1.0)

    def enumerate_support(self, expand=True):
        counts = ops.to_numpy(self.total_count)
        least, most = int(counts.min()), int(counts.max())
        if least != most:
            raise NotImplementedError(
                f"Binomial enumerates its support only for one total_count; received counts from {least} to {most}; "
                "try one Binomial for each"
            )
        return self._enumerated(ops.arange(0, most + 1, dtype=self.dtype), expand)
