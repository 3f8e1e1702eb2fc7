"""The von Mises distribution of an angle."""

import math

from ppl import constraints, ops
from ppl.distributions import quantile
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS
from ppl.distributions.quadrature import integrate
from ppl.ops import random

TWO_PI = 2.0 * math.pi
# Beyond this exponent the density is below rounding; the nodes suffice for the integral up to there.
EXPONENT = 40.0
NODES = 48


class VonMises(Distribution):
    r"""Von Mises distribution of an angle in radians: the normal distribution of the circle.

    .. math:: p(x) = \frac{e^{\kappa \cos(x - \mu)}}{2 \pi I_0(\kappa)}

    The density is periodic, so that any real number is an angle; draws lie from :math:`-\pi` to :math:`\pi`. ``mean`` and
    ``variance`` are the circular ones, :math:`\mu` and :math:`1 - I_1(\kappa) / I_0(\kappa)`, and ``cdf`` starts at :math:`-\pi`.
    The gradient through a draw is that of a function on the circle, one that does not jump between :math:`-\pi` and :math:`\pi`.

    :param loc: mean direction :math:`\mu`, in radians; any real number.
    :param concentration: :math:`\kappa`, positive; for large values close to the reciprocal of the variance in square radians.
    :raises ConstraintError: if ``concentration`` has a non-positive element.

    Source of the sampler: D. J. Best and N. I. Fisher, "Efficient simulation of the von Mises distribution", Applied Statistics
    28 (1979), pp. 152-157.

    >>> from ppl import distributions as dist
    >>> round(float(dist.VonMises(0.5, 2.0).log_prob(1.0)), 4)
    -0.9067
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = True
    gaps = CONTINUOUS

    def __init__(self, loc, concentration, *, validate_args=None):
        self.loc, self.concentration = self.promote(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: self.loc)

    @property
    def variance(self):
        """The circular variance: one less the length of the mean vector."""
        reach = _reach(self.concentration)

        def integrands(angle):
            weight = _shape(angle, ops.expand_dims(self.concentration, -1))
            return [weight, weight * 2.0 * ops.square(ops.sin(0.5 * angle))]

        mass, spread = integrate(integrands, reach, NODES)
        return spread / mass

    def sample(self, sample_shape=(), rng_key=None):
        loc, concentration = ops.autodiff.stop_gradient((self.loc, self.concentration))
        return _wrapped(loc + _draw(rng_key, concentration, self.shape(sample_shape)))

    def rsample(self, sample_shape=(), rng_key=None):
        angle = _draw(rng_key, ops.autodiff.stop_gradient(self.concentration), self.shape(sample_shape))
        cdf = _centred_cdf(angle, self.concentration)
        angle = quantile.with_gradient(angle, cdf, self._density(angle), ops.autodiff.stop_gradient(cdf))
        return _wrapped(self.loc + angle)

    def _density(self, angle):
        return _shape(angle, self.concentration) / (TWO_PI * ops.i0e(self.concentration))

    def log_prob(self, value):
        half = ops.sin(0.5 * (value - self.loc))
        return -2.0 * self.concentration * half * half - ops.log(TWO_PI * ops.i0e(self.concentration))

    def cdf(self, value):
        return self._turns(ops.clip(value, min=-math.pi, max=math.pi)) - self._turns(-math.pi)

    def _turns(self, value):
        """Return the distribution function of the angle unrolled around ``loc``: one more for each turn, 1/2 at ``loc``."""
        angle = value - self.loc
        turns = ops.floor((angle + math.pi) / TWO_PI)
        return turns + _centred_cdf(angle - TWO_PI * turns, self.concentration)

    def icdf(self, value):
        valid = (value >= 0) & (value <= 1)
        unrolled = ops.where(valid, value, 0.5) + self._turns(-math.pi)
        turns = ops.floor(unrolled)
        angle = _centred_icdf(unrolled - turns, self.concentration)
        quantile_of_angle = quantile.with_gradient(
            angle, _centred_cdf(angle, self.concentration), self._density(angle), unrolled - turns
        )
        return ops.where(valid, self.loc + quantile_of_angle + TWO_PI * turns, math.nan)

    def entropy(self):
        return ops.log(TWO_PI * ops.i0e(self.concentration)) + self.concentration * self.variance


def _wrapped(angle):
    return angle - TWO_PI * ops.floor((angle + math.pi) / TWO_PI)


def _shape(angle, concentration):
    """Return the density over its maximum."""
    half = ops.sin(0.5 * angle)
    return ops.exp(-2.0 * concentration * half * half)


def _reach(concentration):
    """Return the angle beyond which the density is below rounding."""
    return 2.0 * ops.asin(ops.sqrt(ops.clip(0.5 * EXPONENT / concentration, max=1.0)))


def _mass(length, concentration):
    return integrate(lambda angle: [_shape(angle, ops.expand_dims(concentration, -1))], length, NODES)[0]


def _centred_cdf(angle, concentration):
    """Return the distribution function around a mean of zero, for angles from -pi to pi."""
    reach = ops.autodiff.stop_gradient(_reach(concentration))
    part = _mass(ops.minimum(ops.abs(angle), reach), concentration) / _mass(reach, concentration)
    return 0.5 + 0.5 * ops.sign(angle) * part


def _centred_icdf(probability, concentration):
    """Return its inverse, without gradients. The function bends away from zero, so that Newton's method from there is safe."""
    stop = ops.autodiff.stop_gradient
    probability, concentration = ops.broadcast_arrays(stop(probability), stop(concentration))
    start, turn = ops.zeros_like(probability), ops.full_like(probability, math.pi)
    return quantile.invert(_miss, start, -turn, turn, probability, concentration)


def _miss(angle, probability, concentration):
    slope = _shape(angle, concentration) / (TWO_PI * ops.i0e(concentration))
    return _centred_cdf(angle, concentration) - probability, slope


def _draw(rng_key, concentration, shape):
    """Draw angles around zero: rejection from a wrapped Cauchy distribution, each element until it is accepted."""
    concentration = ops.broadcast_to(concentration, shape)
    root = ops.sqrt(1.0 + 4.0 * ops.square(concentration))
    # The envelope's parameter less one, by the conjugate: the difference itself has no digits at high concentrations.
    excess = (1.0 + 1.0 / (root + 2.0 * concentration)) / (2.0 * concentration)

    def unfinished(state):
        return ops.any(~state[2])

    def step(state):
        key, angle, accepted = state
        key, key_cauchy, key_accept, key_sign = random.split(key, 4)
        half = (0.5 * math.pi) * random.open_uniform(key_cauchy, shape, concentration.dtype)
        # With f the cosine of the proposal, 1 - f and concentration * (1 + excess - f) lose nothing.
        below = 2.0 * excess * ops.square(ops.sin(half)) / (excess + 2.0 * ops.square(ops.cos(half)))
        ratio = concentration * (excess + below)
        threshold = ops.log(random.open_uniform(key_accept, shape, concentration.dtype))
        good = ops.log(ratio) + 1.0 - ratio >= threshold
        sign = ops.where(random.uniform(key_sign, shape, concentration.dtype) < 0.5, -1.0, 1.0)
        proposal = sign * 2.0 * ops.asin(ops.sqrt(ops.clip(0.5 * below, max=1.0)))
        return key, ops.where(good & ~accepted, proposal, angle), accepted | good

    none = ops.zeros(shape, dtype=concentration.dtype)
    return ops.control.while_loop(unfinished, step, (rng_key, none, none > 0))[1]
