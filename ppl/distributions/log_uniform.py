"""The log-uniform distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.distributions.pareto import log_ratio
from ppl.ops import random

SMALL_HALF_WIDTH = 0.5
SERIES_TERMS = range(1, 9)


class LogUniform(Distribution):
    r"""Distribution of a number whose logarithm is uniform: the reciprocal, or Jeffreys, law of a scale.

    .. math:: p(x) = \frac{1}{x \log(b / a)}, \quad a \le x \le b

    :param low: lower end :math:`a`, positive.
    :param high: upper end :math:`b`, above ``low``.
    :raises ConstraintError: if ``low`` has a non-positive element, or ``high`` does not lie above ``low`` everywhere.

    >>> from ppl import distributions as dist
    >>> round(float(dist.LogUniform(1.0, 10.0).log_prob(2.0)), 4)
    -1.5272
    """

    arg_constraints = {"low": constraints.positive, "high": constraints.dependent}
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, low, high, *, validate_args=None):
        self.low, self.high = self.promote(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    def _check_parameters(self, validate_args):
        super()._check_parameters(validate_args)
        if self._validates:
            validation.check_parameter("LogUniform", "high", constraints.greater_than(self.low), self.high)

    @property
    def support(self):
        """The interval itself, both ends included."""
        return constraints.interval(self.low, self.high)

    @property
    def log_width(self):
        """The logarithm of the ratio of the ends."""
        return log_ratio(self.high, self.low)

    mean = property(lambda self: (self.high - self.low) / self.log_width)

    @property
    def variance(self):
        # The mean times what the arithmetic mean of the ends exceeds it by; a series where the two would cancel.
        half = 0.5 * self.log_width
        small = half < SMALL_HALF_WIDTH
        tiny = ops.where(small, half, 0.0)
        series = sum(2.0 * n / math.factorial(2 * n + 1) * tiny ** (2 * n) for n in SERIES_TERMS)
        middle = ops.sqrt(self.low) * ops.sqrt(self.high)
        return self.mean * ops.where(small, middle * series, 0.5 * (self.low + self.high) - self.mean)

    def rsample(self, sample_shape=(), rng_key=None):
        draw = self.icdf(random.uniform(rng_key, self.shape(sample_shape), self.dtype))
        return ops.minimum(draw, self.high)

    def log_prob(self, value):
        inside = (value >= self.low) & (value <= self.high)
        log_value = ops.log(ops.where(inside, value, self.low))
        return ops.where(inside, -log_value - ops.log(self.log_width), -math.inf)

    def cdf(self, value):
        value = ops.minimum(ops.maximum(value, self.low), self.high)
        return log_ratio(value, self.low) / self.log_width

    def icdf(self, value):
        return self.low * ops.exp(value * self.log_width)

    def entropy(self):
        return 0.5 * (ops.log(self.low) + ops.log(self.high)) + ops.log(self.log_width)
