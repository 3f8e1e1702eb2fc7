"""The Laplace distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class Laplace(Distribution):
    r"""Laplace, or double exponential, distribution of location :math:`\mu` and scale :math:`b`.

    .. math:: p(x) = \frac{1}{2 b} e^{-|x - \mu| / b}

    :param loc: mean and median; any real number.
    :param scale: mean distance from ``loc``, positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Laplace(0.0, 1.0).log_prob(0.5)), 4)
    -1.1931
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: self.loc)
    variance = property(lambda self: 2.0 * ops.square(self.scale))

    def rsample(self, sample_shape=(), rng_key=None):
        return self.icdf(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        return -ops.abs(value - self.loc) / self.scale - ops.log(2.0 * self.scale)

    def cdf(self, value):
        tail = 0.5 * ops.exp(-ops.abs(value - self.loc) / self.scale)
        return ops.where(value < self.loc, tail, 1.0 - tail)

    def icdf(self, value):
        lower = value < 0.5
        distance = -ops.log(2.0 * ops.where(lower, value, 1.0 - value))
        return self.loc + self.scale * ops.where(lower, -distance, distance)

    def entropy(self):
        return 1.0 + math.log(2.0) + ops.log(self.scale)
