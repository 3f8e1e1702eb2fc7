"""The Wishart distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.multivariate_normal import identity_like, log_det, precision_to_scale_tril
from ppl.errors import ConstraintError, ShapeError
from ppl.ops import random


class Wishart(Distribution):
    r"""Wishart distribution of :math:`\nu` degrees of freedom over positive definite matrices of size :math:`p`.

    .. math::
        p(X) = \frac{|X|^{(\nu - p - 1) / 2} e^{-\operatorname{tr}(V^{-1} X) / 2}}{2^{\nu p / 2} |V|^{\nu / 2} \Gamma_p(\nu / 2)},
        \quad V = L L^T

    It is the law of :math:`\sum_i x_i x_i^T` for :math:`\nu` independent normal vectors of covariance :math:`V`. The density is
    with respect to the entries on and below the diagonal.

    :param df: :math:`\nu`, above :math:`p - 1`, not necessarily whole; also spelled ``concentration``.
    :param covariance_matrix: :math:`V`, positive definite; also spelled ``scale_matrix``.
    :param precision_matrix: :math:`V^{-1}`, positive definite; also spelled ``rate_matrix``.
    :param scale_tril: :math:`L`, lower triangular with positive diagonal; exactly one of the three is given.
    :raises ConstraintError: if not exactly one is given, or a parameter leaves its constraint.

    Draws follow Bartlett (1933), "On the theory of statistical regression", Proceedings of the Royal Society of Edinburgh 53.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.Wishart(4.0, ops.array([[2.0, 0.5], [0.5, 1.0]]))
    >>> round(float(d.log_prob(ops.array([[3.0, 1.0], [1.0, 2.0]]))), 4)
    -5.253
    """

    arg_constraints = {
        "df": constraints.dependent,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.positive_definite
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(
        self,
        df=None,
        covariance_matrix=None,
        precision_matrix=None,
        scale_tril=None,
        *,
        concentration=None,
        scale_matrix=None,
        rate_matrix=None,
        validate_args=None,
    ):
        df = df if self.one_of(df=df, concentration=concentration) == "df" else concentration
        covariance_matrix = self._either("covariance_matrix", covariance_matrix, "scale_matrix", scale_matrix)
        precision_matrix = self._either("precision_matrix", precision_matrix, "rate_matrix", rate_matrix)
        matrices = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        name = self._given = self.one_of(**matrices)
        (self.df, matrix), batch_shape = self.promote_events((df, 0), (matrices[name], 2))
        if matrix.shape[-1] != matrix.shape[-2]:
            raise ShapeError(f"{type(self).__name__}: {name} is not square; received shape {tuple(matrix.shape)}")
        if validation.wanted(validate_args):
            # Before the factorisation, which some libraries refuse with an error of their own.
            validation.check_parameter(type(self).__name__, name, self.arg_constraints[name], matrix)
        setattr(self, name, matrix)
        if name == "covariance_matrix":
            self.scale_tril = ops.cholesky(matrix)
        elif name == "precision_matrix":
            self.scale_tril = precision_to_scale_tril(matrix)
        super().__init__(batch_shape, tuple(matrix.shape[-2:]), validate_args=validate_args)

    def _either(self, name, value, other_name, other_value):
        if value is not None and other_value is not None:
            raise ConstraintError(f"{type(self).__name__} takes at most one of {name}, {other_name}; received both")
        return other_value if value is None else value

    def _check_parameters(self, validate_args):
        super()._check_parameters(validate_args)
        if self._validates:
            least = constraints.greater_than(self.scale_tril.shape[-1] - 1.0)
            validation.check_parameter(type(self).__name__, "df", least, self.df)

    @derived_parameter
    def covariance_matrix(self):
        """The scale matrix: the mean is ``df`` times it."""
        return self.scale_tril @ ops.matrix_transpose(self.scale_tril)

    @derived_parameter
    def precision_matrix(self):
        """The inverse of the scale matrix."""
        return ops.cholesky_solve(self.scale_tril, identity_like(self.scale_tril))

    concentration = property(lambda self: self.df)
    scale_matrix = property(lambda self: self.covariance_matrix)
    rate_matrix = property(lambda self: self.precision_matrix)

    mean = property(lambda self: _widen(self.df) * self.covariance_matrix)

    @property
    def variance(self):
        matrix = self.covariance_matrix
        diagonal = ops.diagonal(matrix)
        return _widen(self.df) * (ops.square(matrix) + ops.outer(diagonal, diagonal))

    def rsample(self, sample_shape=(), rng_key=None):
        key_normal, key_gamma = random.split(rng_key)
        shape = self.shape(sample_shape)
        below = ops.tril(random.normal(key_normal, shape, self.dtype), -1)
        # The squared diagonal is chi-square of df, df - 1, ...; that may underflow for the last few degrees of freedom.
        gammas = random.gamma(key_gamma, self._half_df(), shape[:-1])
        diagonal = ops.sqrt(2.0 * ops.maximum(gammas, ops.full_like(gammas, ops.finfo(gammas).tiny)))
        factor = self.scale_tril @ (below + ops.diag_embed(diagonal))
        return factor @ ops.matrix_transpose(factor)

    def log_prob(self, value):
        size = self.scale_tril.shape[-1]
        value = 0.5 * (value + ops.matrix_transpose(value))
        inside, safe = _positive_definite_part(value)
        factor = ops.cholesky(safe)
        whitened = ops.solve_triangular(self.scale_tril, factor)
        trace = ops.sum(ops.square(whitened), axis=(-2, -1))
        log_prob = (self.df - size - 1.0) * log_det(factor) - 0.5 * trace - self._log_volume()
        return ops.where(inside, log_prob, -math.inf)

    def entropy(self):
        size = self.scale_tril.shape[-1]
        digammas = ops.sum(ops.digamma(self._half_df()), axis=-1)
        # The expectation of the logarithm of the determinant.
        log_determinant = digammas + size * math.log(2.0) + 2.0 * log_det(self.scale_tril)
        return self._log_volume() + 0.5 * size * self.df - 0.5 * (self.df - size - 1.0) * log_determinant

    def _half_df(self):
        """Return half the degrees of freedom of each row of Bartlett's factor."""
        return 0.5 * (ops.expand_dims(self.df, -1) - ops.arange(self.scale_tril.shape[-1], dtype=self.dtype))

    def _log_volume(self):
        size = self.scale_tril.shape[-1]
        log_gamma = ops.sum(ops.gammaln(self._half_df()), axis=-1) + 0.25 * size * (size - 1.0) * math.log(math.pi)
        return self.df * (0.5 * size * math.log(2.0) + log_det(self.scale_tril)) + log_gamma


def _widen(x):
    return ops.expand_dims(ops.expand_dims(x, -1), -1)


def _positive_definite_part(value):
    """Return which symmetric matrices are positive definite, and ``value`` with identities in place of the others."""
    constant = ops.autodiff.stop_gradient(value)
    finite = ops.all(ops.isfinite(constant), axis=(-2, -1))
    eigenvalues, _ = ops.eigh(ops.where(_widen(finite), constant, ops.zeros_like(constant)))
    inside = ops.all(eigenvalues > 0, axis=-1)
    return inside, ops.where(_widen(inside), value, identity_like(value))
