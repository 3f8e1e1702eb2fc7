"""The normal distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Normal(ExponentialFamily):
    r"""Normal distribution of mean :math:`\mu` and standard deviation :math:`\sigma`.

    .. math:: p(x) = (2 \pi \sigma^2)^{-1/2} e^{-z^2 / 2}, \quad z = (x - \mu) / \sigma

    :param loc: mean, broadcast with ``scale``; any real number.
    :param scale: standard deviation, positive.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Normal(0.0, 1.0).log_prob(0.5)), 4)
    -1.0439
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: self.loc)
    variance = property(lambda self: self.scale * self.scale)
    stddev = property(lambda self: self.scale)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.loc + self.scale * random.normal(rng_key, self.shape(sample_shape), self.dtype)

    def log_prob(self, value):
        # In this order numpy reuses one temporary array; a name for the standardised value would cost two more.
        return ((value - self.loc) / self.scale) ** 2 * -0.5 - (ops.log(self.scale) + HALF_LOG_TWO_PI)

    def cdf(self, value):
        return ops.ndtr((value - self.loc) / self.scale)

    def icdf(self, value):
        return self.loc + self.scale * ops.ndtri(value)

    def entropy(self):
        return 0.5 + HALF_LOG_TWO_PI + ops.log(self.scale)
