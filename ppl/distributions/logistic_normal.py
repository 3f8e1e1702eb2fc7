"""The logistic-normal distribution over the simplex."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, NO_CLOSED_FORM, VECTOR
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.ops import random
from ppl.transforms import StickBreakingTransform

STICK_BREAKING = StickBreakingTransform()


class LogisticNormal(Distribution):
    r"""Distribution of a point of the simplex whose stick-breaking coordinates are independent normals.

    .. math:: y = t(x), \quad x_i \sim \mathcal N(\mu_i, \sigma_i^2), \quad \log p(y) = \sum_i \log p(x_i) - \log |\det dt / dx|

    :param loc: means :math:`\mu` along the last axis, one fewer than the simplex has coordinates; a scalar stands for one.
    :param scale: standard deviations :math:`\sigma`, positive, broadcast with ``loc``.
    :raises ConstraintError: if ``scale`` has a non-positive element.

    The map :math:`t` is :class:`ppl.transforms.StickBreakingTransform`: a zero ``loc`` lies over the centre.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.LogisticNormal(ops.array([0.0, 0.5]), 1.0)
    >>> tuple(d.event_shape), round(float(d.log_prob(ops.array([0.2, 0.3, 0.5]))), 4)
    ((3,), 0.9176)
    """

    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    gaps = {**CONTINUOUS, **VECTOR, "mean": NO_CLOSED_FORM, "variance": NO_CLOSED_FORM, "entropy": NO_CLOSED_FORM}

    def __init__(self, loc, scale, *, validate_args=None):
        loc, scale = self.promote(loc, scale)
        self.loc, self.scale = (array if array.ndim else ops.reshape(array, (1,)) for array in (loc, scale))
        shape = tuple(self.loc.shape)
        super().__init__(shape[:-1], (shape[-1] + 1,), validate_args=validate_args)

    def rsample(self, sample_shape=(), rng_key=None):
        shape = (*sample_shape, *self.loc.shape)
        return STICK_BREAKING(self.loc + self.scale * random.normal(rng_key, shape, self.loc.dtype))

    def log_prob(self, value):
        x = STICK_BREAKING.inv(value)
        z = (x - self.loc) / self.scale
        density = -0.5 * z * z - ops.log(self.scale) - HALF_LOG_TWO_PI
        return ops.sum(density, axis=-1) - STICK_BREAKING.log_abs_det_jacobian(x, value)
