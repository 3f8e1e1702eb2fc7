"""The log-normal distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.ops import random


class LogNormal(Distribution):
    r"""Distribution of :math:`e^y` for normal :math:`y`.

    .. math:: p(x) = \frac{1}{x \sigma \sqrt{2 \pi}} e^{-z^2 / 2}, \quad z = (\log x - \mu) / \sigma, \quad x > 0

    :param loc: mean of the logarithm.
    :param scale: standard deviation of the logarithm, positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.LogNormal(0.0, 1.0).log_prob(2.0)), 4)
    -1.8523
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: ops.exp(self.loc + 0.5 * ops.square(self.scale)))

    @property
    def variance(self):
        # Both factors stay finite where exp(scale^2) would not.
        squared = ops.square(self.scale)
        return -ops.expm1(-squared) * ops.exp(2.0 * (self.loc + squared))

    def rsample(self, sample_shape=(), rng_key=None):
        return ops.exp(self.loc + self.scale * random.normal(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        positive = value > 0.0
        log_value = ops.log(ops.where(positive, value, 1.0))
        z = (log_value - self.loc) / self.scale
        log_prob = -0.5 * z * z - ops.log(self.scale) - HALF_LOG_TWO_PI - log_value
        return ops.where(positive, log_prob, -math.inf)

    def cdf(self, value):
        positive = value > 0.0
        log_value = ops.log(ops.where(positive, value, 1.0))
        return ops.where(positive, ops.ndtr((log_value - self.loc) / self.scale), 0.0)

    def icdf(self, value):
        return ops.exp(self.loc + self.scale * ops.ndtri(value))

    def entropy(self):
        return 0.5 + HALF_LOG_TWO_PI + ops.log(self.scale) + self.loc
