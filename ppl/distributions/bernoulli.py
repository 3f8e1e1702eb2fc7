"""The Bernoulli distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import in_range, log_power, log_power_of_rest, times_log
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import as_floating
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import COUNTS
from ppl.ops import random


class Bernoulli(ExponentialFamily):
    r"""Bernoulli distribution: one with probability :math:`p`, else zero.

    .. math:: P(x) = p^x (1 - p)^{1 - x}, \quad \operatorname{logit} p = \ell

    :param probs: probability of one, in [0, 1].
    :param logits: log odds of one; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or ``probs`` leaves [0, 1].

    With validation off, a value between zero and one is scored by the same formula, the negative cross entropy.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Bernoulli(0.25).log_prob(1.0)), 4)
    -1.3863
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    gaps = {"rsample": COUNTS["rsample"]}

    def __init__(self, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        (parameter,) = self.promote(probs if logits is None else logits)
        setattr(self, self._given, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))
    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1.0 - self.probs))

    def sample(self, sample_shape=(), rng_key=None):
        return random.bernoulli(rng_key, ops.autodiff.stop_gradient(self.probs), self.shape(sample_shape))

    def log_prob(self, value):
        if self._given == "logits" and self._knows_support():
            # Zero or one for certain: one function of the log odds of what was seen.
            (value,) = as_floating(value)
            return ops.log_expit((2.0 * value - 1.0) * self.logits)
        inside, value = in_range(value, 1.0)
        if self._given == "logits":
            # One logarithm for both outcomes: the unlikely one costs the size of the log odds more. In this form infinite log
            # odds give no NaN, as value * logits - softplus(logits) would.
            likely = self.logits >= 0.0
            size = ops.where(likely, self.logits, -self.logits)
            score = -times_log(ops.where(likely, 1.0 - value, value), size) - ops.log1p(ops.exp(-size))
        else:
            score = log_power(self.probs, value) + log_power_of_rest(self.probs, 1.0 - value)
        return ops.where(inside, score, -math.inf)

    def cdf(self, value):
        below_one = ops.where(value < 0, ops.zeros_like(self.probs), 1.0 - self.probs)
        return ops.where(value < 1, below_one, ops.ones_like(below_one))

    def icdf(self, value):
        return ops.astype(value > 1.0 - self.probs, self.dtype)

    def entropy(self):
        probs = self.probs
        return -ops.xlogy(probs, probs) - ops.xlog1py(1.0 - probs, -probs)

    def enumerate_support(self, expand=True):
        return self._enumerated(ops.array([0.0, 1.0], dtype=self.dtype), expand)


class BernoulliLogits(Bernoulli):
    r"""Bernoulli distribution of log odds :math:`\ell`.

    .. math:: P(1) = 1 / (1 + e^{-\ell})

    :param logits: log odds of one.

    >>> from ppl import distributions as dist
    >>> round(float(dist.BernoulliLogits(-1.2).log_prob(1.0)), 4)
    -1.4633
    """

    arg_constraints = {"logits": constraints.real}

    def __init__(self, logits, *, validate_args=None):
        super().__init__(logits=logits, validate_args=validate_args)


class BernoulliProbs(Bernoulli):
    r"""Bernoulli distribution of probability :math:`p`.

    .. math:: P(1) = p

    :param probs: probability of one, in [0, 1].
    :raises ConstraintError: if ``probs`` leaves [0, 1].

    >>> from ppl import distributions as dist
    >>> round(float(dist.BernoulliProbs(0.25).log_prob(1.0)), 4)
    -1.3863
    """

    arg_constraints = {"probs": constraints.unit_interval}

    def __init__(self, probs, *, validate_args=None):
        super().__init__(probs=probs, validate_args=validate_args)
