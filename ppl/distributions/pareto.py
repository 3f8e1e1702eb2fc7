"""The Pareto distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Pareto(Distribution):
    r"""Pareto distribution of smallest value :math:`s` and tail exponent :math:`\alpha`.

    .. math:: p(x) = \alpha s^\alpha x^{-\alpha - 1}, \quad x \ge s

    :param scale: :math:`s`, positive, in the units of the values.
    :param alpha: tail exponent, positive; the mean is finite above one, the variance above two.
    :raises ConstraintError: if a parameter has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Pareto(1.0, 3.0).log_prob(2.0)), 4)
    -1.674
    """

    arg_constraints = {"scale": constraints.positive, "alpha": constraints.positive}
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, scale, alpha, *, validate_args=None):
        self.scale, self.alpha = self.promote(scale, alpha)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self):
        """Numbers not below ``scale``."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self):
        finite = self.alpha > 1.0
        alpha = ops.where(finite, self.alpha, 2.0)
        return ops.where(finite, self.scale * (alpha / (alpha - 1.0)), math.inf)

    @property
    def variance(self):
        finite = self.alpha > 2.0
        alpha = ops.where(finite, self.alpha, 3.0)
        spread = alpha / (ops.square(alpha - 1.0) * (alpha - 2.0))
        return ops.where(finite, ops.square(self.scale) * spread, math.inf)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.scale * ops.exp(random.exponential(rng_key, self.shape(sample_shape), self.dtype) / self.alpha)

    def log_prob(self, value):
        inside = value >= self.scale
        value = ops.where(inside, value, self.scale)
        log_prob = ops.log(self.alpha) - self.alpha * log_ratio(value, self.scale) - ops.log(value)
        return ops.where(inside, log_prob, -math.inf)

    def cdf(self, value):
        return -ops.expm1(-self.alpha * log_ratio(ops.where(value >= self.scale, value, self.scale), self.scale))

    def icdf(self, value):
        return self.scale * ops.exp(-ops.log1p(-value) / self.alpha)

    def entropy(self):
        return ops.log(self.scale) - ops.log(self.alpha) + 1.0 + 1.0 / self.alpha


def log_ratio(value, scale):
    """Return ``log(value / scale)`` of positive numbers to full relative precision where they are close, and without overflow."""
    near = (value > 0.5 * scale) & (value < 2.0 * scale)
    close = ops.where(near, value, scale)
    return ops.where(near, ops.log1p((close - scale) / scale), ops.log(value) - ops.log(scale))
