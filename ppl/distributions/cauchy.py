"""The Cauchy distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Cauchy(Distribution):
    r"""Cauchy distribution of location :math:`\mu` and scale :math:`\gamma`; it has no mean.

    .. math:: p(x) = \frac{1}{\pi \gamma (1 + z^2)}, \quad z = (x - \mu) / \gamma

    :param loc: location, which is the median; any real number.
    :param scale: half the distance between the quartiles, positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Cauchy(0.0, 1.0).log_prob(1.0)), 4)
    -1.8379
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: ops.full_like(self.loc, math.nan))
    variance = property(lambda self: ops.full_like(self.loc, math.inf))

    def rsample(self, sample_shape=(), rng_key=None):
        return self.icdf(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        return -math.log(math.pi) - ops.log(self.scale) - ops.log1p(z * z)

    def cdf(self, value):
        # The angle seen from infinity keeps the digits of a far lower tail, which 1/2 + atan(z) / pi cancels.
        return ops.atan2(self.scale, self.loc - value) / math.pi

    def icdf(self, value):
        lower = value < 0.5
        cotangent = ops.reciprocal(ops.tan(math.pi * ops.where(lower, value, 1.0 - value)))
        return self.loc + self.scale * ops.where(lower, -cotangent, cotangent)

    def entropy(self):
        return math.log(4.0 * math.pi) + ops.log(self.scale)
