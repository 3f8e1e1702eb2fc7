"""The von Mises-Fisher distribution of a direction in space."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.errors import ShapeError
from ppl.ops import random

LOG_TWO_PI = math.log(2.0 * math.pi)
# Below this concentration the moments come from a power series, above from the closed form, which cancels near zero.
SERIES = 0.3
# coth k - 1/k over k, in powers of k squared.
LANGEVIN = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875, 4 / 18243225)


class VonMises3D(Distribution):
    r"""Von Mises-Fisher distribution on the unit sphere of three dimensions.

    .. math:: p(x) = \frac{\kappa}{4 \pi \sinh \kappa} e^{c \cdot x}, \quad \kappa = |c|, \; |x| = 1

    Densities are over the area of the sphere. ``mean`` and ``variance`` are those of the three coordinates.

    :param concentration: the vector :math:`c` along the last axis, of size 3: it points to the most likely direction, and its
        length is the concentration; zero gives the uniform distribution.
    :raises ShapeError: if the last axis is not of size 3.

    Source: R. Fisher, "Dispersion on a sphere", Proc. R. Soc. A 217 (1953); its distribution function along the mean direction
    has a closed inverse, by which it is drawn.

    >>> from ppl import distributions as dist, ops
    >>> round(float(dist.VonMises3D(ops.array([0.0, 0.0, 2.0])).log_prob(ops.array([0.0, 0.6, 0.8]))), 4)
    -1.5262
    """

    arg_constraints = {"concentration": constraints.real_vector}
    support = constraints.sphere
    has_rsample = True
    gaps = {**CONTINUOUS, **VECTOR}

    def __init__(self, concentration, *, validate_args=None):
        (self.concentration,), batch_shape = self.promote_events((concentration, 1))
        if self.concentration.shape[-1] != 3:
            raise ShapeError(
                f"VonMises3D needs a concentration of shape (..., 3), received {tuple(self.concentration.shape)}; "
                "try VonMises for an angle"
            )
        super().__init__(batch_shape, (3,), validate_args=validate_args)

    def _length(self, keepdims=False):
        """Return the concentration, with the gradient zero where it vanishes."""
        square = ops.sum(ops.square(self.concentration), axis=-1, keepdims=keepdims)
        zero = square == 0
        return ops.where(zero, 0.0, ops.sqrt(ops.where(zero, 1.0, square)))

    @property
    def mean(self):
        return self.concentration * _langevin(self._length(keepdims=True))[0]

    @property
    def variance(self):
        ratio, bend = _langevin(self._length(keepdims=True))
        return ratio + ops.square(self.concentration) * bend

    def rsample(self, sample_shape=(), rng_key=None):
        key_height, key_turn = random.split(rng_key)
        shape = self.shape(sample_shape)
        length = self._length(keepdims=True)
        # Below the cutoff the distribution is the uniform one to rounding.
        cutoff = ops.finfo(length).tiny ** 0.25
        flat = length < cutoff
        safe = ops.where(flat, 1.0, length)
        uniform = random.open_uniform(key_height, (*shape[:-1], 1), self.dtype)
        fall = ops.where(flat, 2.0 * uniform, -ops.log1p(uniform * ops.expm1(-2.0 * safe)) / safe)
        pole = ops.array([0.0, 0.0, 1.0], dtype=self.dtype)
        direction = ops.where(flat, pole, self.concentration / safe)
        noise = random.normal(key_turn, shape, self.dtype)
        across = noise - ops.sum(noise * direction, axis=-1, keepdims=True) * direction
        across = across / ops.sqrt(ops.sum(ops.square(across), axis=-1, keepdims=True))
        return (1.0 - fall) * direction + ops.sqrt(fall * (2.0 - fall)) * across

    def log_prob(self, value):
        length = self._length()
        # Twice k / (1 - exp(-2 k)), which is 1 at zero.
        flat = length == 0
        safe = ops.where(flat, 1.0, length)
        scale = ops.where(flat, 1.0, -2.0 * safe / ops.expm1(-2.0 * safe))
        along = ops.sum(self.concentration * value, axis=-1)
        return along - length + ops.log(0.5 * scale) - LOG_TWO_PI

    def entropy(self):
        length = self._length()
        flat = length == 0
        safe = ops.where(flat, 1.0, length)
        scale = ops.where(flat, 1.0, -2.0 * safe / ops.expm1(-2.0 * safe))
        ratio = _langevin(length)[0]
        return LOG_TWO_PI - ops.log(0.5 * scale) + length * (1.0 - length * ratio)


def _langevin(length):
    """Return ``A / k`` and ``(A' - A / k) / k**2`` for ``A = coth k - 1 / k``: the moments of the coordinates."""
    small = length < SERIES
    square = ops.square(ops.where(small, length, 0.0))
    ratio_series = bend_series = ops.zeros_like(length)
    for power, term in reversed(list(enumerate(LANGEVIN))):
        ratio_series = ratio_series * square + term
        if power:
            bend_series = bend_series * square + 2 * power * term
    k = ops.where(small, 1.0, length)
    decay = ops.exp(-2.0 * k)
    ratio = ((1.0 + decay) / (1.0 - decay) - 1.0 / k) / k
    slope = 1.0 / (k * k) - 4.0 * decay / ops.square(1.0 - decay)
    return ops.where(small, ratio_series, ratio), ops.where(small, bend_series, (slope - ratio) / (k * k))
