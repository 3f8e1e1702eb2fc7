"""The Cauchy distribution on an interval."""

import math

from ppl import ops
from ppl.distributions.gaps import CONTINUOUS, NO_CLOSED_FORM
from ppl.distributions.quadrature import integrate
from ppl.distributions.truncated import Truncated
from ppl.ops import random

# Up to this ratio of width to distance the closed form of the variance cancels, and quadrature of this size is exact.
NARROW = 0.3
NODES = 24


class TruncatedCauchy(Truncated):
    r"""Cauchy variable of location :math:`\mu` and scale :math:`\sigma`, given that it lies between two bounds.

    .. math:: p(x) = \frac{1}{\sigma (1 + z^2) (\arctan \beta - \arctan \alpha)}, \quad z = \frac{x - \mu}{\sigma}, \;
        \alpha = \frac{l - \mu}{\sigma}, \; \beta = \frac{h - \mu}{\sigma}, \quad l \le x \le h

    :param loc: location :math:`\mu` before truncation; any real number.
    :param scale: scale :math:`\sigma`, half the distance between the quartiles before truncation; positive.
    :param low: lower bound :math:`l`, finite, in the unit of ``loc``; a keyword. ``None`` is no bound.
    :param high: upper bound :math:`h`, finite and above ``low``; a keyword. ``None`` is no bound.
    :raises ConstraintError: if ``scale`` has a non-positive element, or ``high`` does not lie above ``low``.

    >>> from ppl import distributions as dist
    >>> round(float(dist.TruncatedCauchy(0.0, 1.0, low=1.0).log_prob(1.5)), 4)
    -0.9371
    """

    gaps = {**CONTINUOUS, "entropy": NO_CLOSED_FORM}

    def _deviations(self):
        """Return each bound in scales from the location, or ``None``."""
        return tuple(None if bound is None else (bound - self.loc) / self.scale for bound in (self.low, self.high))

    def _angle(self):
        """Return the angle between the bounds seen from the point one scale off the line: the probability times pi."""
        low, high = self._deviations()
        if low is None and high is None:
            return ops.full_like(self.loc, math.pi)
        if low is None or high is None:
            return _from_end(high) if low is None else _from_end(-low)
        return ops.atan2((self.high - self.low) / self.scale, 1.0 + low * high)

    @property
    def mean(self):
        low, high = self._deviations()
        if low is None or high is None:
            one_sided = {(True, False): -math.inf, (False, True): math.inf, (True, True): math.nan}
            return ops.full_like(self.loc, one_sided[low is None, high is None])
        width = (self.high - self.low) / self.scale
        growth = 0.5 * ops.log1p(width * (low + high) / (1.0 + low * low))
        return self.loc + self.scale * growth / self._angle()

    @property
    def variance(self):
        low, high = self._deviations()
        if low is None or high is None:
            return ops.full_like(self.loc, math.inf)
        width = (self.high - self.low) / self.scale
        reach = ops.sqrt(1.0 + low * low)
        narrow = width < NARROW * reach
        short = ops.where(narrow, width, NARROW * reach)

        def integrands(s):
            weight = 1.0 / (1.0 + ops.square(ops.expand_dims(low, -1) + s))
            return [weight, weight * s, weight * s * s]

        mass, first, second = integrate(integrands, short, NODES)
        wide = width / self._angle() - 1.0 - ops.square((self.mean - self.loc) / self.scale)
        return ops.square(self.scale) * ops.where(narrow, second / mass - ops.square(first / mass), wide)

    def rsample(self, sample_shape=(), rng_key=None):
        uniform = random.open_uniform(rng_key, self.shape(sample_shape), self.dtype)
        return self._quantile(uniform, 1.0 - uniform)

    def log_prob(self, value):
        inside = self.support.check(value)
        z = (ops.where(inside, value, self.loc) - self.loc) / self.scale
        return ops.where(inside, -ops.log1p(z * z) - ops.log(self.scale * self._angle()), -math.inf)

    def cdf(self, value):
        low, _ = self._deviations()
        z = (value - self.loc) / self.scale
        if self.low is None:
            angle = _from_end(z)
        else:
            angle = ops.atan2(ops.clip((value - self.low) / self.scale, min=0.0), 1.0 + low * ops.maximum(z, low))
        return ops.clip(angle / self._angle(), max=1.0)

    def icdf(self, value):
        valid = (value >= 0) & (value <= 1)
        safe = ops.where(valid, value, 0.5)
        return ops.where(valid, self._quantile(safe, 1.0 - safe), math.nan)

    def _quantile(self, lower, upper):
        # The angle from either end of the line; the smaller one has the digits.
        low, high = self._deviations()
        angle = self._angle()
        from_left = lower * angle if low is None else lower * angle + _from_end(low)
        from_right = upper * angle if high is None else upper * angle + _from_end(-high)
        left = from_left < from_right
        nearer = ops.where(left, -from_left, from_right)
        return self.loc + self.scale / ops.tan(nearer)


def _from_end(z):
    """Return ``arctan(z) + pi / 2`` without cancellation: the angle from the left end of the line."""
    return ops.atan2(ops.ones_like(z), -z)
