"""The Gaussian random walk."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.multivariate_normal import squared_norm
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.errors import ConstraintError
from ppl.ops import random


class GaussianRandomWalk(Distribution):
    r"""Random walk of :math:`T` steps from zero with independent normal increments.

    .. math:: x_t = x_{t - 1} + \sigma \epsilon_t, \quad \epsilon_t \sim N(0, 1), \quad x_0 = 0, \quad t = 1, \ldots, T

    :param scale: standard deviation :math:`\sigma` of each increment, positive.
    :param num_steps: :math:`T`, a whole number, at least 1; one draw has the shape ``(num_steps,)``.
    :raises ConstraintError: if ``scale`` has a non-positive element, or ``num_steps`` is not a whole number above zero.

    >>> from ppl import distributions as dist, ops
    >>> round(float(dist.GaussianRandomWalk(0.5, 3).log_prob(ops.array([0.5, 0.0, -1.0]))), 4)
    -3.6774
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.real_vector
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, scale=1.0, num_steps=1, *, validate_args=None):
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ConstraintError(
                f"{type(self).__name__}: num_steps counts the steps; expected an int of at least 1, received {num_steps!r}"
            )
        self.num_steps = num_steps
        (self.scale,) = self.promote(scale)
        super().__init__(self.scale.shape, (num_steps,), validate_args=validate_args)

    mean = property(lambda self: ops.zeros(tuple(self.shape()), dtype=self.dtype))

    @property
    def variance(self):
        return ops.expand_dims(ops.square(self.scale), -1) * ops.arange(1, self.num_steps + 1, dtype=self.dtype)

    def rsample(self, sample_shape=(), rng_key=None):
        noise = random.normal(rng_key, self.shape(sample_shape), self.dtype)
        return ops.expand_dims(self.scale, -1) * ops.cumsum(noise, axis=-1)

    def log_prob(self, value):
        increments = ops.concat([value[..., :1], value[..., 1:] - value[..., :-1]], axis=-1)
        whitened = increments / ops.expand_dims(self.scale, -1)
        return -0.5 * squared_norm(whitened) - self.num_steps * (ops.log(self.scale) + HALF_LOG_TWO_PI)

    def entropy(self):
        return self.num_steps * (ops.log(self.scale) + 0.5 * (1.0 + math.log(2.0 * math.pi)))
