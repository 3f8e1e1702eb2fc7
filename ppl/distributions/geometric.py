"""The geometric distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.counting import in_range, times_log
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NOT_FINITE, NOT_PATHWISE
from ppl.ops import random


class Geometric(Distribution):
    r"""Number of failures before the first success, of probability :math:`p` in each trial.

    .. math:: P(k) = (1 - p)^k p, \quad k = 0, 1, 2, \ldots

    :param probs: success probability, in (0, 1].
    :param logits: log odds of a success; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or ``probs`` leaves (0, 1].

    >>> from ppl import distributions as dist
    >>> round(float(dist.Geometric(0.3).log_prob(2.0)), 4)
    -1.9173
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer
    gaps = {"rsample": NOT_PATHWISE, "enumerate_support": NOT_FINITE}

    def __init__(self, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        (parameter,) = self.promote(probs if logits is None else logits)
        setattr(self, self._given, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)
        if self._given == "probs" and self._validates:
            # After zero trials without a success there would be another, for ever.
            validation.check_parameter(type(self).__name__, "probs", constraints.positive, parameter)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))

    @property
    def _odds_against(self):
        return ops.exp(-self.logits) if self._given == "logits" else (1.0 - self.probs) / self.probs

    @property
    def _log_failure(self):
        return ops.log_expit(-self.logits) if self._given == "logits" else ops.log1p(-self.probs)

    mean = property(lambda self: self._odds_against)
    variance = property(lambda self: self._odds_against / self.probs)

    def sample(self, sample_shape=(), rng_key=None):
        # An exponential of rate -log(1 - p), rounded down, fails with probability 1 - p to stay below one more whole number.
        waiting = random.exponential(rng_key, self.shape(sample_shape), self.dtype)
        return ops.floor(waiting / -ops.autodiff.stop_gradient(self._log_failure))

    def log_prob(self, value):
        inside, value = in_range(value)
        if self._given == "logits":
            score = ops.log_expit(self.logits) + times_log(value, ops.log_expit(-self.logits))
        else:
            score = ops.log(self.probs) + ops.xlog1py(value, -self.probs)
        return ops.where(inside, score, -math.inf)

    def cdf(self, value):
        inside, value = in_range(ops.floor(value))
        return ops.where(inside, -ops.expm1((value + 1.0) * self._log_failure), 0.0)

    def icdf(self, value):
        trials = ops.ceil(ops.log1p(-value) / self._log_failure) - 1.0
        return ops.maximum(trials, 0.0)

    def entropy(self):
        probs, odds = self.probs, self._odds_against
        log_success = ops.log_expit(self.logits) if self._given == "logits" else ops.log(probs)
        return -log_success - times_log(odds, self._log_failure)
