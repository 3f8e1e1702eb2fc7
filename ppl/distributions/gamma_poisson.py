"""Poisson counts of a gamma rate."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import in_range, log_multisets
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import COUNTS, NO_CLOSED_FORM, NOT_FINITE
from ppl.distributions.negative_binomial import draw_gamma_poisson


class GammaPoisson(Distribution):
    r"""Poisson distribution whose rate is drawn from a gamma distribution of concentration :math:`\alpha` and rate :math:`\beta`.

    .. math:: P(k) = \frac{\Gamma(\alpha + k)}{\Gamma(\alpha) \, k!} \frac{\beta^\alpha}{(1 + \beta)^{\alpha + k}}

    :param concentration: :math:`\alpha`, positive.
    :param rate: :math:`\beta`, the reciprocal of the gamma's scale, positive.
    :raises ConstraintError: if a parameter has a non-positive element.

    It is the negative binomial distribution of :math:`\alpha` failures and success probability :math:`1 / (1 + \beta)`.

    >>> from ppl import distributions as dist
    >>> round(float(dist.GammaPoisson(2.0, 0.5).log_prob(3.0)), 4)
    -2.0273
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative_integer
    gaps = {**COUNTS, "entropy": NO_CLOSED_FORM, "enumerate_support": NOT_FINITE}

    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        self.concentration, self.rate = self.promote(concentration, rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.rate)
    variance = property(lambda self: self.concentration / self.rate * (1.0 + 1.0 / self.rate))

    def sample(self, sample_shape=(), rng_key=None):
        concentration, rate = ops.autodiff.stop_gradient((self.concentration, self.rate))
        return draw_gamma_poisson(rng_key, concentration, 1.0 / rate, self.shape(sample_shape))

    def log_prob(self, value):
        inside, value = in_range(value)
        decay = self.concentration * ops.log1p(1.0 / self.rate) + value * ops.log1p(self.rate)
        return ops.where(inside, log_multisets(value, self.concentration) - decay, -math.inf)

    def cdf(self, value):
        inside, value = in_range(ops.floor(value))
        return ops.where(inside, ops.betainc(self.concentration, value + 1.0, self.rate / (1.0 + self.rate)), 0.0)
