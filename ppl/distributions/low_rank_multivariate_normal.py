"""The multivariate normal distribution whose covariance is a diagonal plus a matrix of low rank."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.multivariate_normal import colour, identity_like, squared_norm
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.errors import ShapeError
from ppl.ops import random


class LowRankMultivariateNormal(Distribution):
    r"""Normal distribution over vectors of length :math:`n`, of mean :math:`\mu` and covariance :math:`W W^T + D`.

    .. math:: \log p(x) = -\tfrac12 (x - \mu)^T (W W^T + D)^{-1} (x - \mu) - \tfrac12 \log |W W^T + D| - \tfrac n2 \log 2 \pi

    The density costs :math:`O(n r^2)` and no matrix of size :math:`n \times n` is formed.

    :param loc: mean :math:`\mu`, shape ``(..., n)``.
    :param cov_factor: :math:`W`, shape ``(..., n, r)``; the rank :math:`r` is usually far below :math:`n`.
    :param cov_diag: the diagonal of :math:`D`, shape ``(..., n)``, positive.
    :raises ConstraintError: if ``cov_diag`` has a non-positive element.
    :raises ShapeError: if the lengths of the three differ.

    The inverse and the determinant come from the capacitance :math:`I + W^T D^{-1} W` (Woodbury 1950, "Inverting modified
    matrices").

    >>> from ppl import distributions as dist, ops
    >>> d = dist.LowRankMultivariateNormal(ops.zeros((2,)), ops.array([[1.0], [2.0]]), ops.array([1.0, 0.5]))
    >>> round(float(d.log_prob(ops.array([1.0, -1.0]))), 4)
    -3.6926
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, loc, cov_factor, cov_diag, *, validate_args=None):
        arrays, batch_shape = self.promote_events((loc, 1), (cov_factor, 2), (cov_diag, 1))
        self.loc, self.cov_factor, self.cov_diag = arrays
        size = self.loc.shape[-1]
        if self.cov_factor.shape[-2] != size or self.cov_diag.shape[-1] != size:
            raise ShapeError(
                f"{type(self).__name__}: covariance does not fit loc of length {size}; expected cov_factor (..., {size}, rank) "
                f"and cov_diag (..., {size}), received {tuple(self.cov_factor.shape)} and {tuple(self.cov_diag.shape)}"
            )
        super().__init__(batch_shape, (size,), validate_args=validate_args)

    mean = property(lambda self: self.loc)
    variance = property(lambda self: ops.sum(ops.square(self.cov_factor), axis=-1) + self.cov_diag)

    @property
    def covariance_matrix(self):
        """The covariance, of size ``n`` by ``n``."""
        return self.cov_factor @ ops.matrix_transpose(self.cov_factor) + ops.diag_embed(self.cov_diag)

    @property
    def precision_matrix(self):
        """The inverse of the covariance."""
        scaled, _, regression = self._capacitance()
        inner = identity_like(ops.diag_embed(self.cov_diag)) - scaled @ regression
        return inner * ops.outer(*(2 * [1.0 / ops.sqrt(self.cov_diag)]))

    @property
    def scale_tril(self):
        """The lower Cholesky factor of the covariance."""
        scaled, _, _ = self._capacitance()
        inner = identity_like(ops.diag_embed(self.cov_diag)) + scaled @ ops.matrix_transpose(scaled)
        return ops.expand_dims(ops.sqrt(self.cov_diag), -1) * ops.cholesky(inner)

    def rsample(self, sample_shape=(), rng_key=None):
        key_factor, key_diag = random.split(rng_key)
        shape = self.shape(sample_shape)
        common = colour(self.cov_factor, random.normal(key_factor, (*shape[:-1], self.cov_factor.shape[-1]), self.dtype))
        return self.loc + common + ops.sqrt(self.cov_diag) * random.normal(key_diag, shape, self.dtype)

    def log_prob(self, value):
        scaled, log_det, regression = self._capacitance()
        target = (value - self.loc) / ops.sqrt(self.cov_diag)
        # The quadratic form is the least sum of squares of a ridge regression on the columns of W: a sum of positive terms, where
        # Woodbury's difference cancels if D is small, and flat in the coefficients, so that their errors count twice over.
        coefficients = colour(regression, target)
        residual = target - colour(scaled, coefficients)
        quadratic = squared_norm(residual) + squared_norm(coefficients)
        return -0.5 * quadratic - (0.5 * log_det + self.cov_diag.shape[-1] * HALF_LOG_TWO_PI)

    def entropy(self):
        _, log_det, _ = self._capacitance()
        return 0.5 * (log_det + self.cov_diag.shape[-1] * (1.0 + math.log(2.0 * math.pi)))

    def _capacitance(self):
        r"""Return :math:`A = D^{-1/2} W`, the log determinant of the covariance, and :math:`(I + A^T A)^{-1} A^T`.

        The capacitance :math:`I + A^T A = R^T R` is factored through ``A`` above the identity, not squared.
        """
        scaled = self.cov_factor / ops.expand_dims(ops.sqrt(self.cov_diag), -1)
        size, rank = scaled.shape[-2:]
        identity = ops.broadcast_to(ops.eye(rank, dtype=self.dtype), (*scaled.shape[:-2], rank, rank))
        orthogonal, upper = ops.qr(ops.concat([scaled, identity], axis=-2))
        regression = ops.solve_triangular(upper, ops.matrix_transpose(orthogonal[..., :size, :]), lower=False)
        log_det = ops.sum(ops.log(self.cov_diag), axis=-1) + 2.0 * ops.sum(ops.log(ops.abs(ops.diagonal(upper))), axis=-1)
        return scaled, log_det, regression
