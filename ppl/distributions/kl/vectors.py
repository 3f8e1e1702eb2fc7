"""Divergences between families of vectors and matrices."""

from ppl import ops
from ppl.distributions.dirichlet import Dirichlet
from ppl.distributions.gaussian_random_walk import GaussianRandomWalk
from ppl.distributions.independent import Independent
from ppl.distributions.kl.registry import register_kl
from ppl.distributions.kl.univariate import normal
from ppl.distributions.lkj_cholesky import LKJCholesky
from ppl.distributions.logistic_normal import LogisticNormal
from ppl.distributions.low_rank_multivariate_normal import LowRankMultivariateNormal
from ppl.distributions.matrix_normal import MatrixNormal
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.normal import Normal
from ppl.distributions.von_mises_3d import VonMises3D
from ppl.distributions.wishart import Wishart


class DenseCovariance:
    """The covariance of ``d``, through its Cholesky factor.

    :param d: a :class:`MultivariateNormal`.
    """

    def __init__(self, d):
        self.loc, self.root = d.loc, d.scale_tril
        self.half_log_det = _half_log_det(d.scale_tril)

    def trace(self, root):
        r"""Return :math:`\operatorname{tr} R^T \Sigma^{-1} R`."""
        return _sum_of_squares(ops.solve_triangular(self.root, root))


class LowRankCovariance:
    """The covariance ``W W' + D`` of ``d``, inverted through ``I + W' D^{-1} W``, the smaller matrix (Woodbury).

    :param d: a :class:`LowRankMultivariateNormal`.
    """

    def __init__(self, d):
        self.loc, factor, self.diagonal = d.loc, d.cov_factor, ops.expand_dims(d.cov_diag, -1)
        self.root = ops.concat([factor, ops.diag_embed(ops.sqrt(d.cov_diag))], axis=-1)
        self.scaled = ops.matrix_transpose(factor / self.diagonal)
        self.capacitance = ops.cholesky(ops.eye(factor.shape[-1], dtype=factor.dtype) + self.scaled @ factor)
        self.half_log_det = _half_log_det(self.capacitance) + 0.5 * ops.sum(ops.log(d.cov_diag), axis=-1)

    def trace(self, root):
        explained = ops.solve_triangular(self.capacitance, self.scaled @ root)
        return ops.sum(ops.square(root) / self.diagonal, axis=(-2, -1)) - _sum_of_squares(explained)


class DiagonalCovariance:
    """The covariance of independent normal coordinates.

    :param d: an :class:`Independent` over a vector of :class:`Normal`.
    """

    def __init__(self, d):
        self.loc, self.scale = d.base_dist.loc, d.base_dist.scale
        self.root = ops.diag_embed(self.scale)
        self.half_log_det = ops.sum(ops.log(self.scale), axis=-1)

    def trace(self, root):
        return _sum_of_squares(root / ops.expand_dims(self.scale, -1))


def _covariance(d):
    if isinstance(d, MultivariateNormal):
        return DenseCovariance(d)
    return LowRankCovariance(d) if isinstance(d, LowRankMultivariateNormal) else DiagonalCovariance(d)


def _normal_coordinates(p, q):
    """Return whether the independent one of the two is a vector of normals."""
    return all(isinstance(d.base_dist, Normal) and d.reinterpreted_batch_ndims == 1 for d in (p, q) if isinstance(d, Independent))


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(Independent, MultivariateNormal, when=_normal_coordinates)
@register_kl(Independent, LowRankMultivariateNormal, when=_normal_coordinates)
@register_kl(MultivariateNormal, Independent, when=_normal_coordinates)
@register_kl(LowRankMultivariateNormal, Independent, when=_normal_coordinates)
def multivariate_normal(p, q):
    r"""Return half of what follows, for means :math:`\Delta` apart.

    .. math:: \operatorname{tr} \Sigma_q^{-1} \Sigma_p + \Delta^T \Sigma_q^{-1} \Delta + \log |\Sigma_q| / |\Sigma_p| - n
    """
    first, second = _covariance(p), _covariance(q)
    distance = second.trace(ops.expand_dims(first.loc - second.loc, -1))
    return second.half_log_det - first.half_log_det + 0.5 * (second.trace(first.root) + distance - p.event_shape[0])


@register_kl(MatrixNormal, MatrixNormal)
def matrix_normal(p, q):
    """A normal over the entries, whose covariance is the Kronecker product of those of columns and rows."""
    num_rows, num_columns = p.event_shape
    rows = ops.solve_triangular(q.scale_tril_row, p.scale_tril_row)
    columns = ops.solve_triangular(q.scale_tril_column, p.scale_tril_column)
    shift = ops.matrix_transpose(ops.solve_triangular(q.scale_tril_row, p.loc - q.loc))
    distance = _sum_of_squares(ops.solve_triangular(q.scale_tril_column, shift))
    log_det = num_columns * _half_log_det(rows) + num_rows * _half_log_det(columns)
    return 0.5 * (_sum_of_squares(rows) * _sum_of_squares(columns) + distance - num_rows * num_columns) - log_det


@register_kl(GaussianRandomWalk, GaussianRandomWalk)
def gaussian_random_walk(p, q):
    """The steps are independent."""
    return p.num_steps * normal(_Step(p.scale), _Step(q.scale))


class _Step:
    """A normal step of mean zero."""

    loc = 0.0

    def __init__(self, scale):
        self.scale = scale


@register_kl(LogisticNormal, LogisticNormal)
def logistic_normal(p, q):
    """That of the normal coordinates, which one bijection maps to the simplex."""
    return ops.sum(normal(p, q), axis=-1)


@register_kl(Dirichlet, Dirichlet)
def dirichlet(p, q):
    """Return that of an exponential family in the logarithms of the coordinates."""
    a, b = p.concentration, q.concentration
    total = ops.sum(a, axis=-1)
    normalizers = ops.gammaln(total) - ops.gammaln(ops.sum(b, axis=-1)) + ops.sum(ops.gammaln(b) - ops.gammaln(a), axis=-1)
    return normalizers + ops.sum((a - b) * (ops.digamma(a) - ops.expand_dims(ops.digamma(total), -1)), axis=-1)


@register_kl(Wishart, Wishart)
def wishart(p, q):
    """Return that of an exponential family in the matrix and its log-determinant (Bishop 2006, appendix B)."""
    size, a, b = p.event_shape[-1], p.df, q.df
    ratio = ops.solve_triangular(q.scale_tril, p.scale_tril)
    steps = 0.5 * ops.arange(0, size, dtype=p.dtype)
    halves, others = (ops.expand_dims(0.5 * df, -1) - steps for df in (a, b))
    shape = 0.5 * (a - b) * ops.sum(ops.digamma(halves), axis=-1) + ops.sum(ops.gammaln(others) - ops.gammaln(halves), axis=-1)
    return shape + 0.5 * a * (_sum_of_squares(ratio) - size) - b * _half_log_det(ratio)


@register_kl(LKJCholesky, LKJCholesky)
def lkj_cholesky(p, q):
    """An exponential family in the log-determinant: its normalizer (Lewandowski et al. 2009, sec. 3) gives the expectation."""
    order = ops.arange(0, p.event_shape[-1] - 1, dtype=p.dtype)
    a, b = (ops.expand_dims(d.concentration, -1) for d in (p, q))
    half = 0.5 * (p.event_shape[-1] - 1)

    def log_normalizer(concentration):
        return ops.sum(ops.gammaln(concentration + 0.5 * order) - ops.gammaln(concentration + half), axis=-1)

    log_det = ops.sum(ops.digamma(a + 0.5 * order) - ops.digamma(a + half), axis=-1)
    return log_normalizer(b) - log_normalizer(a) + (p.concentration - q.concentration) * log_det


@register_kl(VonMises3D, VonMises3D)
def von_mises_3d(p, q):
    """Return that of an exponential family in the direction."""
    a, b = p.concentration, q.concentration
    squared = ops.sum(a * a, axis=-1)
    along = _mean_length_ratio(squared) * ops.sum(a * (a - b), axis=-1)
    return along + _log_sinh_ratio(ops.sum(b * b, axis=-1)) - _log_sinh_ratio(squared)


# Below this squared concentration a series is more accurate than the difference of two large terms.
SMALL = 1e-2


def _mean_length_ratio(squared):
    r"""Return :math:`(\coth k - 1/k) / k` for :math:`k^2` = ``squared``."""
    k = ops.sqrt(ops.where(squared > SMALL, squared, 1.0))
    series = 1.0 / 3.0 - squared / 45.0 + 2.0 * squared**2 / 945.0 - squared**3 / 4725.0
    return ops.where(squared > SMALL, (1.0 / ops.tanh(k) - 1.0 / k) / k, series)


def _log_sinh_ratio(squared):
    r"""Return :math:`\log(\sinh k / k)` for :math:`k^2` = ``squared``."""
    k = ops.sqrt(ops.where(squared > SMALL, squared, 1.0))
    series = squared / 6.0 - squared**2 / 180.0 + squared**3 / 2835.0 - squared**4 / 37800.0
    return ops.where(squared > SMALL, k + ops.log(-ops.expm1(-2.0 * k) / (2.0 * k)), series)


def _half_log_det(factor):
    return ops.sum(ops.log(ops.diagonal(factor)), axis=-1)


def _sum_of_squares(matrix):
    return ops.sum(ops.square(matrix), axis=(-2, -1))
