"""The uniform distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Uniform(Distribution):
    r"""Uniform distribution on an interval.

    .. math:: p(x) = 1 / (b - a), \quad a \le x \le b

    :param low: lower end :math:`a`.
    :param high: upper end :math:`b`, above ``low``.
    :raises ConstraintError: if ``high`` does not lie above ``low`` everywhere.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Uniform(1.0, 3.0).log_prob(2.0)), 4)
    -0.6931
    """

    arg_constraints = {"low": constraints.dependent, "high": constraints.dependent}
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, low=0.0, high=1.0, *, validate_args=None):
        self.low, self.high = self.promote(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    def _check_parameters(self, validate_args):
        super()._check_parameters(validate_args)
        if self._validates:
            validation.check_parameter("Uniform", "high", constraints.greater_than(self.low), self.high)

    @property
    def support(self):
        """The interval itself, both ends included."""
        return constraints.interval(self.low, self.high)

    mean = property(lambda self: 0.5 * (self.low + self.high))
    variance = property(lambda self: ops.square(self.high - self.low) / 12.0)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.low + (self.high - self.low) * random.uniform(rng_key, self.shape(sample_shape), self.dtype)

    def log_prob(self, value):
        inside = (value >= self.low) & (value <= self.high)
        return ops.where(inside, -ops.log(self.high - self.low), -math.inf)

    def cdf(self, value):
        return ops.clip((value - self.low) / (self.high - self.low), min=0.0, max=1.0)

    def icdf(self, value):
        return self.low + (self.high - self.low) * value

    def entropy(self):
        return ops.log(self.high - self.low)
