"""The soft Laplace distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class SoftLaplace(Distribution):
    r"""Smooth density with the exponential tails of a Laplace: the hyperbolic secant distribution.

    .. math:: p(x) = \frac{2}{\pi \sigma} \, \frac{1}{e^z + e^{-z}}, \quad z = (x - \mu) / \sigma

    :param loc: mean and median; any real number.
    :param scale: scale of the tails, positive; the standard deviation is :math:`\pi \sigma / 2`.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    The density is log-concave and has all derivatives, so gradients of it are continuous where a Laplace has its corner.

    >>> from ppl import distributions as dist
    >>> round(float(dist.SoftLaplace(0.0, 1.0).log_prob(0.5)), 4)
    -1.2648
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc, scale, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: self.loc)
    variance = property(lambda self: ops.square(0.5 * math.pi * self.scale))

    def rsample(self, sample_shape=(), rng_key=None):
        return self.icdf(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        return math.log(2.0 / math.pi) - ops.log(self.scale) - ops.logaddexp(z, -z)

    def cdf(self, value):
        tail = (2.0 / math.pi) * ops.atan(ops.exp(-ops.abs(value - self.loc) / self.scale))
        return ops.where(value < self.loc, tail, 1.0 - tail)

    def icdf(self, value):
        lower = value < 0.5
        distance = -ops.log(ops.tan(0.5 * math.pi * ops.where(lower, value, 1.0 - value)))
        return self.loc + self.scale * ops.where(lower, -distance, distance)

    def entropy(self):
        return math.log(2.0 * math.pi) + ops.log(self.scale)
