"""The negative binomial distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import in_range, log_multisets, times_log
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import COUNTS, NO_CLOSED_FORM, NOT_FINITE
from ppl.ops import random

# Poisson rates beyond this are drawn at it: counts of a larger one fit no 64-bit integer.
LARGEST_RATE = 1e18


class NegativeBinomial(Distribution):
    r"""Number of successes, of probability :math:`p` in each trial, before the :math:`r`-th failure.

    .. math:: P(k) = \frac{\Gamma(r + k)}{\Gamma(r) \, k!} (1 - p)^r p^k, \quad k = 0, 1, 2, \ldots

    :param total_count: :math:`r`, not negative and not only whole; at zero there are no successes.
    :param probs: probability of a success, in [0, 1).
    :param logits: log odds of a success; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or a parameter leaves its constraint.

    Some authors and libraries count with the complement of ``probs``.

    >>> from ppl import distributions as dist
    >>> round(float(dist.NegativeBinomial(5.0, 0.3).log_prob(2.0)), 4)
    -1.4833
    """

    arg_constraints = {
        "total_count": constraints.nonnegative,
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer
    gaps = {**COUNTS, "entropy": NO_CLOSED_FORM, "enumerate_support": NOT_FINITE}

    def __init__(self, total_count, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        self.total_count, parameter = self.promote(total_count, probs if logits is None else logits)
        setattr(self, self._given, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))

    @property
    def _odds(self):
        return ops.exp(self.logits) if self._given == "logits" else self.probs / (1.0 - self.probs)

    @property
    def _failure(self):
        return ops.expit(-self.logits) if self._given == "logits" else 1.0 - self.probs

    mean = property(lambda self: self.total_count * self._odds)
    variance = property(lambda self: self.mean / self._failure)

    def sample(self, sample_shape=(), rng_key=None):
        total_count, odds = ops.autodiff.stop_gradient((self.total_count, self._odds))
        return draw_gamma_poisson(rng_key, total_count, odds, self.shape(sample_shape))

    def log_prob(self, value):
        inside, value = in_range(value)
        none = self.total_count == 0
        total_count = ops.where(none, ops.ones_like(self.total_count), self.total_count)
        if self._given == "logits":
            score = times_log(value, ops.log_expit(self.logits)) + times_log(total_count, ops.log_expit(-self.logits))
        else:
            score = ops.xlogy(value, self.probs) + ops.xlog1py(total_count, -self.probs)
        score = score + log_multisets(value, total_count)
        return ops.where(inside, ops.where(none, ops.where(value == 0, ops.zeros_like(score), -math.inf), score), -math.inf)

    def cdf(self, value):
        inside, value = in_range(ops.floor(value))
        none = self.total_count == 0
        mass = ops.betainc(ops.where(none, ops.ones_like(self.total_count), self.total_count), value + 1.0, self._failure)
        return ops.where(inside, ops.where(none, 1.0, mass), 0.0)


def draw_gamma_poisson(rng_key, concentration, scale, shape):
    """Draw Poisson counts whose rate is gamma of ``concentration`` and ``scale``, zero where the concentration is."""
    key_rate, key_count = random.split(rng_key)
    none = concentration == 0
    rate = random.gamma(key_rate, ops.where(none, ops.ones_like(concentration), concentration), shape) * scale
    rate = ops.where(none, 0.0, ops.minimum(rate, LARGEST_RATE))
    return random.poisson(key_count, rate, shape)
