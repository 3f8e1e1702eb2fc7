"""The Weibull distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.distributions.gumbel import EULER_GAMMA
from ppl.distributions.pareto import log_ratio
from ppl.ops import random

# The Riemann zeta function at 2, 3, ..., 9.
ZETA = (1.6449340668482264, 1.2020569031595942, 1.0823232337111382, 1.0369277551433699, 1.0173430619844491,
        1.0083492773819228, 1.0040773561979443, 1.0020083928260822)  # fmt: skip
# Below it eight terms of the series keep eleven digits, and above it the differences of log-gammas do.
SMALL_RECIPROCAL = 0.02


class Weibull(Distribution):
    r"""Weibull distribution of scale :math:`\lambda` and concentration :math:`k`.

    .. math:: p(x) = \frac{k}{\lambda} \left(\frac{x}{\lambda}\right)^{k - 1} e^{-(x / \lambda)^k}, \quad x \ge 0

    :param scale: :math:`\lambda`, positive, in the units of the values: the quantile of :math:`1 - 1 / e`.
    :param concentration: shape :math:`k`, positive; below one the density has a pole at zero, at one it is exponential.
    :raises ConstraintError: if a parameter has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Weibull(1.0, 2.0).log_prob(0.5)), 4)
    -0.25
    """

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, scale, concentration, *, validate_args=None):
        self.scale, self.concentration = self.promote(scale, concentration)
        super().__init__(self.scale.shape, validate_args=validate_args)

    mean = property(lambda self: self.scale * ops.exp(ops.gammaln(1.0 + 1.0 / self.concentration)))

    @property
    def variance(self):
        # E[x^2] / E[x]^2 - 1, through its logarithm; a series in 1 / k where the two log-gammas would cancel.
        reciprocal = 1.0 / self.concentration
        small = reciprocal < SMALL_RECIPROCAL
        large, tiny = ops.where(small, 1.0, reciprocal), ops.where(small, reciprocal, 0.0)
        excess = ops.gammaln(1.0 + 2.0 * large) - 2.0 * ops.gammaln(1.0 + large)
        series = sum((-1) ** n * zeta * (2.0**n - 2.0) / n * tiny**n for n, zeta in enumerate(ZETA, 2))
        return ops.square(self.mean) * ops.expm1(ops.where(small, series, excess))

    def rsample(self, sample_shape=(), rng_key=None):
        return self.icdf(random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        k, log_scale = self.concentration, ops.log(self.scale)
        positive = value > 0.0
        log_value = log_ratio(ops.where(positive, value, self.scale), self.scale)
        log_prob = ops.log(k) - log_scale + (k - 1.0) * log_value - ops.exp(k * log_value)
        pole = ops.full_like(k, math.inf)
        at_zero = ops.where(k == 1.0, -log_scale - value / self.scale, ops.where(k > 1.0, -pole, pole))
        return ops.where(positive, log_prob, ops.where(value == 0.0, at_zero, -math.inf))

    def cdf(self, value):
        positive = value > 0.0
        log_value = log_ratio(ops.where(positive, value, self.scale), self.scale)
        return ops.where(positive, -ops.expm1(-ops.exp(self.concentration * log_value)), 0.0)

    def icdf(self, value):
        return self.scale * ops.exp(ops.log(-ops.log1p(-value)) / self.concentration)

    def entropy(self):
        k = self.concentration
        return EULER_GAMMA * (1.0 - 1.0 / k) + ops.log(self.scale) - ops.log(k) + 1.0
