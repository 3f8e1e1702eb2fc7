"""The binomial distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import (
    counts_in_common,
    counts_up_to_largest,
    in_range,
    log_choose,
    log_power,
    log_power_of_rest,
    summed_entropy,
    times_log,
    whole_count,
)
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import COUNTS
from ppl.ops import random


class Binomial(Distribution):
    r"""Number of successes in :math:`n` independent trials of probability :math:`p`.

    .. math:: P(k) = \binom{n}{k} p^k (1 - p)^{n - k}, \quad k = 0, \ldots, n

    :param total_count: :math:`n`, a whole number; may be an array.
    :param probs: success probability, in [0, 1].
    :param logits: log odds of a success; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or a parameter leaves its constraint.

    The support is enumerated where all of a batch have one ``total_count``.

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
    gaps = COUNTS

    def __init__(self, total_count=1, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        self._whole_count = whole_count(total_count)
        self.total_count, parameter = self.promote(total_count, probs if logits is None else logits)
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
        return self._log_mass(value)

    def _log_mass(self, value):
        inside, value = in_range(value, self.total_count)
        failures = self.total_count - value
        if self._given == "logits":
            score = times_log(value, ops.log_expit(self.logits)) + times_log(failures, ops.log_expit(-self.logits))
        else:
            score = log_power(self.probs, value) + log_power_of_rest(self.probs, failures)
        score = score + log_choose(value, failures)
        return ops.where(inside, score, -math.inf)

    def cdf(self, value):
        # P(K <= k) = I_{1-p}(n - k, k + 1); at k = n the first argument is zero and the answer one.
        inside, successes = in_range(ops.floor(value), self.total_count - 1.0)
        failures = ops.where(inside, self.total_count - successes, ops.ones_like(self.total_count))
        mass = ops.betainc(failures, successes + 1.0, 1.0 - self.probs)
        return ops.where(inside, mass, ops.astype(value >= 0, self.dtype))

    def entropy(self):
        _, counts = counts_up_to_largest(self, "entropy")
        return summed_entropy(self._log_mass(self._enumerated(counts, False)))

    def enumerate_support(self, expand=True):
        return self._enumerated(counts_in_common(self), expand)


class BinomialLogits(Binomial):
    r"""Binomial distribution of log odds :math:`\ell`.

    .. math:: P(k) = \binom{n}{k} e^{k \ell} / (1 + e^\ell)^n

    :param logits: log odds of a success.
    :param total_count: :math:`n`, a whole number; may be an array.
    :raises ConstraintError: if ``total_count`` is no whole number.

    >>> from ppl import distributions as dist
    >>> round(float(dist.BinomialLogits(-0.5, 10).log_prob(4.0)), 4)
    -1.3937
    """

    arg_constraints = {"total_count": constraints.nonnegative_integer, "logits": constraints.real}

    def __init__(self, logits, total_count=1, *, validate_args=None):
        super().__init__(total_count, logits=logits, validate_args=validate_args)


class BinomialProbs(Binomial):
    r"""Binomial distribution of probability :math:`p`.

    .. math:: P(k) = \binom{n}{k} p^k (1 - p)^{n - k}

    :param probs: success probability, in [0, 1].
    :param total_count: :math:`n`, a whole number; may be an array.
    :raises ConstraintError: if a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.BinomialProbs(0.3, 10).log_prob(4.0)), 4)
    -1.6088
    """

    arg_constraints = {"total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval}

    def __init__(self, probs, total_count=1, *, validate_args=None):
        super().__init__(total_count, probs=probs, validate_args=validate_args)
