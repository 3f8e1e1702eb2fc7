"""The multivariate normal distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.ops import random


class MultivariateNormal(Distribution):
    r"""Normal distribution over vectors of length :math:`n`, of mean :math:`\mu` and covariance :math:`\Sigma = L L^T`.

    .. math:: \log p(x) = -\tfrac12 \|L^{-1} (x - \mu)\|^2 - \sum_i \log L_{ii} - \tfrac n2 \log 2 \pi

    :param loc: mean; a scalar stands for a constant vector.
    :param covariance_matrix: :math:`\Sigma`, positive definite.
    :param precision_matrix: :math:`\Sigma^{-1}`, positive definite.
    :param scale_tril: :math:`L`, lower triangular with positive diagonal; exactly one of the three is given.
    :raises ConstraintError: if not exactly one is given, or it leaves its constraint.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.MultivariateNormal(ops.zeros((2,)), covariance_matrix=ops.array([[2.0, 0.5], [0.5, 1.0]]))
    >>> round(float(d.log_prob(ops.array([1.0, -1.0]))), 4)
    -3.2605
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc=0.0, covariance_matrix=None, precision_matrix=None, scale_tril=None, *, validate_args=None):
        matrices = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        name = self._given = self.one_of(**matrices)
        (loc, matrix), batch_shape = self.promote_events((loc if ops.ndim(loc) else [loc], 1), (matrices[name], 2))
        if validation.wanted(validate_args):
            # Before the factorisation, which some libraries refuse with an error of their own.
            validation.check_parameter("MultivariateNormal", name, self.arg_constraints[name], matrix)
        self.loc = ops.broadcast_to(loc, (*batch_shape, matrix.shape[-1]))
        setattr(self, name, matrix)
        if name == "covariance_matrix":
            self.scale_tril = ops.cholesky(matrix)
        elif name == "precision_matrix":
            self.scale_tril = precision_to_scale_tril(matrix)
        super().__init__(batch_shape, (matrix.shape[-1],), validate_args=validate_args)

    @derived_parameter
    def covariance_matrix(self):
        """The covariance."""
        return self.scale_tril @ ops.matrix_transpose(self.scale_tril)

    @derived_parameter
    def precision_matrix(self):
        """The inverse of the covariance."""
        identity = ops.eye(self.scale_tril.shape[-1], dtype=self.dtype)
        return ops.cholesky_solve(self.scale_tril, ops.broadcast_to(identity, tuple(self.scale_tril.shape)))

    mean = property(lambda self: self.loc)
    variance = property(lambda self: ops.sum(ops.square(self.scale_tril), axis=-1))

    def rsample(self, sample_shape=(), rng_key=None):
        noise = random.normal(rng_key, self.shape(sample_shape), self.dtype)
        return self.loc + ops.squeeze(self.scale_tril @ ops.expand_dims(noise, -1), -1)

    def log_prob(self, value):
        centred = ops.expand_dims(value - self.loc, -1)
        whitened = ops.solve_triangular(self.scale_tril, centred)
        quadratic = ops.sum(ops.square(ops.squeeze(whitened, -1)), axis=-1)
        return -0.5 * quadratic - self._half_log_det() - self.scale_tril.shape[-1] * HALF_LOG_TWO_PI

    def entropy(self):
        return self._half_log_det() + 0.5 * self.scale_tril.shape[-1] * (1.0 + math.log(2.0 * math.pi))

    def _half_log_det(self):
        return ops.sum(ops.log(ops.diagonal(self.scale_tril)), axis=-1)


def precision_to_scale_tril(precision):
    """Return the lower Cholesky factor of the inverse, without forming the inverse.

    With both axes reversed, the factor of the precision becomes an upper factor ``U`` of ``U U^T``; its inverse, transposed, is
    lower triangular and factors the covariance.
    """
    reversed_factor = ops.cholesky(ops.flip(ops.flip(precision, axis=-1), axis=-2))
    upper_transposed = ops.matrix_transpose(ops.flip(ops.flip(reversed_factor, axis=-1), axis=-2))
    identity = ops.broadcast_to(ops.eye(precision.shape[-1], dtype=precision.dtype), tuple(precision.shape))
    return ops.solve_triangular(upper_transposed, identity)
