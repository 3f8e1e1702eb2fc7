"""The Gumbel distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random

EULER_GAMMA = 0.5772156649015329


class Gumbel(Distribution):
    r"""Gumbel distribution of location :math:`\mu` and scale :math:`\beta`: the limit law of a largest value.

    .. math:: p(x) = \beta^{-1} e^{-(z + e^{-z})}, \quad z = (x - \mu) / \beta

    :param loc: location, which is the mode; any real number.
    :param scale: scale, positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Gumbel(0.0, 1.0).log_prob(0.5)), 4)
    -1.1065
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: self.loc + EULER_GAMMA * self.scale)
    variance = property(lambda self: ops.square(math.pi * self.scale) / 6.0)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.icdf(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        return -(z + ops.exp(-z)) - ops.log(self.scale)

    def cdf(self, value):
        return ops.exp(-ops.exp((self.loc - value) / self.scale))

    def icdf(self, value):
        return self.loc - self.scale * ops.log(-ops.log(value))

    def entropy(self):
        return 1.0 + EULER_GAMMA + ops.log(self.scale)
