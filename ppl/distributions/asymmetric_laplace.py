"""The asymmetric Laplace distribution."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.ops import random


class TwoSidedExponential(Distribution):
    """What laws of exponential decay at different scales on the two sides of ``loc`` share; abstract.

    A family adds its parameters and ``left_scale`` and ``right_scale``. A draw is ``loc`` plus an exponential of mean
    ``right_scale`` less one of mean ``left_scale`` (Kotz, Kozubowski and Podgorski 2001, proposition 3.2.1).
    """

    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    mean = property(lambda self: self.loc + (self.right_scale - self.left_scale))
    variance = property(lambda self: ops.square(self.left_scale) + ops.square(self.right_scale))

    def rsample(self, sample_shape=(), rng_key=None):
        noise = random.exponential(rng_key, (2, *self.shape(sample_shape)), self.dtype)
        return self.loc + (self.right_scale * noise[0] - self.left_scale * noise[1])

    def log_prob(self, value):
        left, right = self.left_scale, self.right_scale
        return -ops.abs(value - self.loc) / ops.where(value < self.loc, left, right) - ops.log(left + right)

    def cdf(self, value):
        left, right = self.left_scale, self.right_scale
        below = value < self.loc
        side = ops.where(below, left, right)
        tail = side / (left + right) * ops.exp(-ops.abs(value - self.loc) / side)
        return ops.where(below, tail, 1.0 - tail)

    def icdf(self, value):
        left, right = self.left_scale, self.right_scale
        below = value * (left + right) < left
        side = ops.where(below, left, right)
        distance = -side * ops.log(ops.where(below, value, 1.0 - value) * ((left + right) / side))
        return self.loc + ops.where(below, -distance, distance)

    def entropy(self):
        return 1.0 + ops.log(self.left_scale + self.right_scale)


class AsymmetricLaplace(TwoSidedExponential):
    r"""Laplace distribution whose decay differs on the two sides of :math:`\mu` by an asymmetry :math:`\kappa`.

    .. math::
        p(x) = \frac{1}{\ell + r} \begin{cases} e^{(x - \mu) / \ell} & x < \mu \\ e^{-(x - \mu) / r} & x \ge \mu \end{cases}
        \quad \ell = \sigma \kappa, \ r = \sigma / \kappa

    :param loc: mode; any real number.
    :param scale: :math:`\sigma`, the geometric mean of the scales of the two sides, positive.
    :param asymmetry: :math:`\kappa`, positive; above one the left tail is the heavier, at one the two are equal.
    :raises ConstraintError: if ``scale`` or ``asymmetry`` has a non-positive element.

    :class:`SkewLaplace` takes the two scales themselves.

    >>> from ppl import distributions as dist
    >>> round(float(dist.AsymmetricLaplace(0.0, 1.0, 2.0).log_prob(-1.0)), 4)
    -1.4163
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "asymmetry": constraints.positive}

    def __init__(self, loc=0.0, scale=1.0, asymmetry=1.0, *, validate_args=None):
        self.loc, self.scale, self.asymmetry = self.promote(loc, scale, asymmetry)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def left_scale(self):
        """The scale of the decay below ``loc``."""
        return self.scale * self.asymmetry

    @property
    def right_scale(self):
        """The scale of the decay above ``loc``."""
        return self.scale / self.asymmetry
