"""Binomial counts of a beta probability."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import (
    counts_in_common,
    counts_up_to_largest,
    in_range,
    log_multisets,
    summed_entropy,
    whole_count,
)
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import COUNTS
from ppl.ops import random


class BetaBinomial(Distribution):
    r"""Binomial distribution of :math:`n` trials whose success probability is drawn from a beta distribution.

    .. math:: P(k) = \binom{n}{k} \frac{B(\alpha + k, \beta + n - k)}{B(\alpha, \beta)}, \quad k = 0, \ldots, n

    :param concentration1: :math:`\alpha`, the weight of success, positive.
    :param concentration0: :math:`\beta`, the weight of failure, positive.
    :param total_count: :math:`n`, a whole number; may be an array.
    :raises ConstraintError: if a parameter leaves its constraint.

    The support is enumerated where all of a batch have one ``total_count``.

    >>> from ppl import distributions as dist
    >>> round(float(dist.BetaBinomial(2.0, 3.0, 10).log_prob(4.0)), 4)
    -1.9671
    """

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "total_count": constraints.nonnegative_integer,
    }
    has_enumerate_support = True
    gaps = {**COUNTS, "cdf": "it is a hypergeometric function that not every library has"}

    def __init__(self, concentration1, concentration0, total_count=1, *, validate_args=None):
        self._whole_count = whole_count(total_count)
        self.concentration1, self.concentration0, self.total_count = self.promote(concentration1, concentration0, total_count)
        super().__init__(self.total_count.shape, validate_args=validate_args)

    @property
    def support(self):
        """Whole numbers up to ``total_count``."""
        return constraints.integer_interval(0, self.total_count)

    mean = property(lambda self: self.total_count * self.concentration1 / (self.concentration1 + self.concentration0))

    @property
    def variance(self):
        total = self.concentration1 + self.concentration0
        spread = (total + self.total_count) / (total + 1.0)
        return self.mean * (self.concentration0 / total) * spread

    def sample(self, sample_shape=(), rng_key=None):
        key_probs, key_count = random.split(rng_key)
        concentration1, concentration0 = ops.autodiff.stop_gradient((self.concentration1, self.concentration0))
        shape = self.shape(sample_shape)
        probs = random.beta(key_probs, concentration1, concentration0, shape)
        return random.binomial(key_count, self.total_count, probs, shape)

    def log_prob(self, value):
        return self._log_mass(value)

    def _log_mass(self, value):
        inside, value = in_range(value, self.total_count)
        a, b, n = self.concentration1, self.concentration0, self.total_count
        return ops.where(inside, log_multisets(value, a) + log_multisets(n - value, b) - log_multisets(n, a + b), -math.inf)

    def entropy(self):
        _, counts = counts_up_to_largest(self, "entropy")
        return summed_entropy(self._log_mass(self._enumerated(counts, False)))

    def enumerate_support(self, expand=True):
        return self._enumerated(counts_in_common(self), expand)
