"""The Kumaraswamy distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.distributions.gumbel import EULER_GAMMA
from ppl.distributions.weibull import SMALL_RECIPROCAL, ZETA
from ppl.ops import random

# Above this log ratio of the second moment to the squared mean, the latter is lost in rounding.
LARGE_EXCESS = 40.0


class Kumaraswamy(Distribution):
    r"""Kumaraswamy distribution of concentrations :math:`a` and :math:`b`: like a beta, with a closed distribution function.

    .. math:: p(x) = a b x^{a - 1} (1 - x^a)^{b - 1}, \quad 0 \le x \le 1

    :param concentration1: :math:`a`, positive.
    :param concentration0: :math:`b`, positive.
    :raises ConstraintError: if a parameter has a non-positive element.

    Source: Kumaraswamy 1980, A generalized probability density function for double-bounded random processes.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Kumaraswamy(2.0, 3.0).log_prob(0.5)), 4)
    0.5232
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, concentration1, concentration0, *, validate_args=None):
        self.concentration1, self.concentration0 = self.promote(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    mean = property(lambda self: ops.exp(self._log_moment(1.0 / self.concentration1)))

    @property
    def variance(self):
        # E[x^2] / E[x]^2 - 1, through its logarithm; the cumulants of log(x^a) where the two log-moments would cancel.
        reciprocal, b = 1.0 / self.concentration1, self.concentration0
        small = reciprocal < SMALL_RECIPROCAL
        large, tiny = ops.where(small, 1.0, reciprocal), ops.where(small, reciprocal, 0.0)
        log_second = self._log_moment(2.0 * large)
        excess = log_second - 2.0 * self._log_moment(large)
        # There the square of the mean is nothing beside the second moment, and may underflow.
        negligible = excess > LARGE_EXCESS
        series = 0.0
        for n, zeta in enumerate(ZETA, 2):
            cumulant = (-1) ** n * zeta / n - ops.polygamma(n - 1, 1.0 + b) / math.factorial(n)
            series = series + cumulant * (2.0**n - 2.0) * tiny**n
        relative = ops.expm1(ops.where(small, series, ops.where(negligible, 0.0, excess)))
        return ops.where(negligible, ops.exp(log_second), ops.square(self.mean) * relative)

    def _log_moment(self, power):
        """Return the logarithm of the expectation of ``x ** (a * power)``."""
        return ops.log(self.concentration0) + ops.betaln(1.0 + power, self.concentration0)

    def rsample(self, sample_shape=(), rng_key=None):
        log_survival = ops.log(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))
        return self._quantile(log_survival)

    def log_prob(self, value):
        a, b = self.concentration1, self.concentration0
        interior = (value > 0.0) & (value < 1.0)
        log_value = ops.log(ops.where(interior, value, 0.5))
        constant = ops.log(a) + ops.log(b)
        log_prob = constant + (a - 1.0) * log_value + (b - 1.0) * log1mexp(a * log_value)
        exponent = ops.where(value < 0.5, a, b)
        pole = ops.full_like(constant, math.inf)
        at_end = ops.where(exponent == 1.0, constant, ops.where(exponent > 1.0, -pole, pole))
        return ops.where(interior, log_prob, ops.where((value == 0.0) | (value == 1.0), at_end, -math.inf))

    def cdf(self, value):
        interior = (value > 0.0) & (value < 1.0)
        log_value = ops.log(ops.where(interior, value, 0.5))
        cdf = -ops.expm1(self.concentration0 * log1mexp(self.concentration1 * log_value))
        return ops.where(interior, cdf, ops.astype(value >= 1.0, cdf.dtype))

    def icdf(self, value):
        return self._quantile(ops.log1p(-value))

    def _quantile(self, log_survival):
        return ops.exp(log1mexp(log_survival / self.concentration0) / self.concentration1)

    def entropy(self):
        a, b = self.concentration1, self.concentration0
        harmonic = ops.digamma(b + 1.0) + EULER_GAMMA
        return (1.0 - 1.0 / b) + (1.0 - 1.0 / a) * harmonic - ops.log(a) - ops.log(b)


def log1mexp(x):
    """Return ``log(1 - exp(x))`` of numbers not above zero, to full precision (Maechler 2012, Accurately computing log1mexp)."""
    near = x > -math.log(2.0)
    close, far = ops.where(near, x, -1.0), ops.where(near, -1.0, x)
    return ops.where(near, ops.log(-ops.expm1(close)), ops.log1p(-ops.exp(far)))
