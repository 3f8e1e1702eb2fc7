"""The normal distribution on an interval."""

import math

from ppl import ops
from ppl.distributions.gaps import CONTINUOUS
from ppl.distributions.quadrature import integrate
from ppl.distributions.truncated import Truncated
from ppl.ops import random

# Beyond so many deviations, or so large an exponent, a part of an integral is below rounding; the nodes suffice for the rest.
REACH = 9.0
EXPONENT = 40.0
NODES = 48
# From here on, in deviations, the upper tail comes from a continued fraction of this depth instead of the quantile function.
FAR_OUT = 8.0
DEPTH = 24
NEWTON_STEPS = 4


class TruncatedNormal(Truncated):
    r"""Normal variable of mean :math:`\mu` and standard deviation :math:`\sigma`, given that it lies between two bounds.

    .. math:: p(x) = \frac{\phi(z)}{\sigma (\Phi(\beta) - \Phi(\alpha))}, \quad z = \frac{x - \mu}{\sigma}, \;
        \alpha = \frac{l - \mu}{\sigma}, \; \beta = \frac{h - \mu}{\sigma}, \quad l \le x \le h

    It keeps its digits a million deviations out, where both tail probabilities are zero in floating point.

    :param loc: mean :math:`\mu` of the normal before truncation; any real number.
    :param scale: its standard deviation :math:`\sigma`, positive.
    :param low: lower bound :math:`l`, finite, in the unit of ``loc``; a keyword. ``None`` is no bound.
    :param high: upper bound :math:`h`, finite and above ``low``; a keyword. ``None`` is no bound.
    :raises ConstraintError: if ``scale`` has a non-positive element, or ``high`` does not lie above ``low``.

    >>> from ppl import distributions as dist
    >>> round(float(dist.TruncatedNormal(0.0, 1.0, low=1.0).log_prob(1.5)), 4)
    -0.2029
    """

    gaps = CONTINUOUS

    @property
    def mean(self):
        frame = _Frame(self)
        mass, first = frame.masses(frame.length, (0, 1))
        return frame.place(first / mass)

    @property
    def variance(self):
        frame = _Frame(self)
        mass, first, second = frame.masses(frame.length, (0, 1, 2))
        return ops.square(self.scale) * (second / mass - ops.square(first / mass))

    def rsample(self, sample_shape=(), rng_key=None):
        uniform = random.open_uniform(rng_key, self.shape(sample_shape), self.dtype)
        return self._quantile(uniform, polished=False)

    def log_prob(self, value):
        frame = _Frame(self)
        inside = self.support.check(value)
        s = ops.where(inside, frame.distance(value), 0.0)
        (mass,) = frame.masses(frame.length, (0,))
        return ops.where(inside, -(frame.near + 0.5 * s) * s - ops.log(mass * self.scale), -math.inf)

    def cdf(self, value):
        frame = _Frame(self)
        (mass,) = frame.masses(frame.length, (0,))
        (part,) = frame.masses(ops.clip(ops.minimum(frame.distance(value), frame.length), min=0.0), (0,))
        return ops.where(frame.mirrored, 1.0 - part / mass, part / mass)

    def icdf(self, value):
        valid = (value >= 0) & (value <= 1)
        return ops.where(valid, self._quantile(ops.where(valid, value, 0.5), polished=True), math.nan)

    def _quantile(self, probability, polished):
        """Return the quantile, with the gradients of the implicit function; ``polished`` to rounding in narrow intervals also."""
        frame = _Frame(self)
        share = ops.where(frame.mirrored, 1.0 - probability, probability)
        rest = ops.where(frame.mirrored, probability, 1.0 - probability)
        return frame.place(frame.quantile(share, rest, polished))

    def entropy(self):
        frame = _Frame(self)
        mass, first, second = frame.masses(frame.length, (0, 1, 2))
        return ops.log(self.scale * mass) + (frame.near * first + 0.5 * second) / mass


class _Frame:
    r"""Distances :math:`s` in deviations from the bound nearer to the mean, where the density goes as :math:`e^{-a s - s^2 / 2}`.

    With :math:`a` that bound in deviations from the mean, nothing subtracts two tail probabilities. The line is mirrored where
    the upper bound is the nearer one; a bound beyond the reach is replaced by the reach.
    """

    def __init__(self, d):
        self.scale = d.scale
        low = ops.full_like(d.loc, -math.inf) if d.low is None else (d.low - d.loc) / d.scale
        high = ops.full_like(d.loc, math.inf) if d.high is None else (d.high - d.loc) / d.scale
        self.mirrored = -high > low
        near = ops.where(self.mirrored, -high, low)
        cut = near < -REACH
        self.near = ops.where(cut, -REACH, near)
        self.far = ops.where(self.mirrored, -low, high)
        self.sign = ops.where(self.mirrored, -ops.ones_like(d.loc), 1.0)
        bound = ops.where(self.mirrored, d.loc if d.high is None else d.high, d.loc if d.low is None else d.low)
        self.base = ops.where(cut, d.loc - self.sign * d.scale * REACH, bound)
        width = self.far - self.near
        if d.low is not None and d.high is not None:
            width = ops.where(cut, width, (d.high - d.low) / d.scale)
        self.width = width
        tail = 2.0 * EXPONENT / (ops.abs(self.near) + ops.sqrt(ops.square(self.near) + 2.0 * EXPONENT))
        self.length = ops.minimum(width, ops.where(self.near < 0, REACH - self.near, tail))

    def distance(self, value):
        return self.sign * (value - self.base) / self.scale

    def place(self, distance):
        return self.base + self.sign * self.scale * distance

    def masses(self, length, powers):
        """Return the integrals of ``s**k`` times the density's shape, for ``s`` from 0 to ``length``."""

        def integrands(s):
            weight = ops.exp(-(ops.expand_dims(self.near, -1) + 0.5 * s) * s)
            return [weight if power == 0 else weight * s**power for power in powers]

        return integrate(integrands, length, NODES)

    def quantile(self, share, rest, polished):
        """Return the distance below which the mass has the given ``share``, and ``rest = 1 - share`` lies beyond."""
        stop = ops.autodiff.stop_gradient
        near, far, width = stop(self.near), stop(self.far), stop(self.width)
        s = ops.where(near < FAR_OUT, *self._both_quantiles(near, far, width, stop(share), stop(rest)))
        s = ops.clip(ops.minimum(s, width), min=0.0)
        finite = ops.isfinite(s)
        safe = ops.where(finite, s, 0.0)
        (mass,) = (stop(mass) for mass in self.masses(self.length, (0,)))
        if polished:
            (part,) = self.masses(ops.minimum(safe, stop(self.length)), (0,))
            miss = ops.where((share > 0) & (rest > 0) & finite, share * mass - part, 0.0)
            safe = stop(ops.clip(ops.minimum(safe + miss * _growth(near, safe), width), min=0.0))
            s = ops.where(finite, safe, s)
        growth = _growth(near, safe)
        bounded = ops.isfinite(far)
        end = ops.where(bounded, width, 0.0)
        shrink = ops.where(bounded, ops.exp((near + 0.5 * (safe + end)) * (safe - end)), 0.0)
        moves = (
            (stop(rest) * growth - 1.0, self.near),
            (stop(share) * shrink, ops.where(bounded, self.far, 0.0)),
            (mass * growth, share),
        )
        for slope, parameter in moves:
            s = s + ops.where(finite, slope, 0.0) * (parameter - stop(parameter))
        return s

    @staticmethod
    def _both_quantiles(near, far, width, share, rest):
        """Return the distance from the normal quantile function, for a bound near the mean, and from the tail, far out."""
        a = ops.clip(near, max=FAR_OUT)
        below, above = ops.ndtr(a), ops.ndtr(-ops.maximum(far, a))
        mass = ops.where(a > 0, ops.ndtr(-a) - above, ops.ndtr(ops.maximum(far, a)) - below)
        lower, upper = below + share * mass, above + rest * mass
        left = lower < upper
        z = ops.where(left, 1.0, -1.0) * ops.ndtri(ops.where(left, lower, upper))

        # -log T(s) = (a + s / 2) s + log(r(a + s) / r(a)), with r the hazard; its slope is the hazard at a + s.
        a = ops.clip(near, min=FAR_OUT)
        hazard = _hazard(a)
        bounded = ops.isfinite(width)
        end = ops.where(bounded, width, 0.0)
        log_left = -(a + 0.5 * end) * end - ops.log(_hazard(a + end) / hazard)
        gone = ops.where(bounded, -ops.expm1(log_left), 1.0)
        fall = -ops.log1p(-share * gone)
        s = 2.0 * fall / (hazard + ops.sqrt(ops.square(hazard) + 2.0 * fall))
        for _ in range(NEWTON_STEPS):
            there = _hazard(a + s)
            s = s - ((a + 0.5 * s) * s + ops.log(there / hazard) - fall) / there
        return z - near, s


def _growth(near, s):
    """Return the density at the near bound over that at distance ``s``."""
    return ops.exp((near + 0.5 * s) * s)


def _hazard(x):
    """Return the normal density over its upper tail, for ``x`` far out: Laplace's continued fraction."""
    fraction = x
    for k in range(DEPTH, 0, -1):
        fraction = x + k / fraction
    return fraction
