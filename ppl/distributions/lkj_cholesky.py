"""The distribution of Lewandowski, Kurowicka and Joe over Cholesky factors of correlation matrices."""

import math

from ppl import constraints, ops
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.errors import ConstraintError
from ppl.ops import random


class LKJCholesky(Distribution):
    r"""Distribution of the lower Cholesky factor :math:`L` of a correlation matrix of :math:`d` variables.

    .. math::
        p(L) \propto \prod_{i=2}^d L_{ii}^{d - i + 2 (\eta - 1)},
        \quad\text{so that}\quad p(L L^T) \propto \det(L L^T)^{\eta - 1}

    The density is with respect to the :math:`d (d - 1) / 2` entries below the diagonal. At :math:`\eta = 1` correlation matrices
    are uniform; above, they gather around the identity. Scale rows by standard deviations to get the ``scale_tril`` of a
    :class:`~ppl.distributions.MultivariateNormal`.

    :param dimension: :math:`d`, a whole number, at least 2; also spelled ``dim``.
    :param concentration: :math:`\eta`, positive.
    :param sample_method: ``"onion"``, row by row, or ``"cvine"``, by partial correlations; two ways to the same law.
    :raises ConstraintError: if ``concentration`` is not positive, or the dimension or the method is none of the above.

    Lewandowski, Kurowicka and Joe (2009), "Generating random correlation matrices based on vines and extended onion method",
    Journal of Multivariate Analysis 100: sections 2.4 (vines), 3.2 (onion) and equation 16 (normalising constant).

    >>> from ppl import distributions as dist, ops
    >>> d = dist.LKJCholesky(2, 1.5)
    >>> round(float(d.log_prob(ops.array([[1.0, 0.0], [0.6, 0.8]]))), 4)
    -0.6747
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, dimension=None, concentration=1.0, sample_method="onion", *, dim=None, validate_args=None):
        dimension = dimension if self.one_of(dimension=dimension, dim=dim) == "dimension" else dim
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 2:
            raise ConstraintError(
                f"{type(self).__name__}: dimension is not that of a correlation matrix; expected an int of at least 2, received "
                f"{dimension!r}"
            )
        sample_method = str(sample_method)
        if sample_method not in METHODS:
            raise ConstraintError(
                f"{type(self).__name__}: unknown sample_method; expected one of {', '.join(METHODS)}, received {sample_method!r}"
            )
        self.dimension, self.sample_method = dimension, sample_method
        (self.concentration,) = self.promote(concentration)
        super().__init__(self.concentration.shape, (dimension, dimension), validate_args=validate_args)

    dim = property(lambda self: self.dimension)

    @property
    def mean(self):
        a, _, total = self._row_parameters()
        return self._on_diagonal(1.0, ops.sqrt(a / total) * ops.exp(_half_step(a) - _half_step(total)))

    @property
    def variance(self):
        a, _, total = self._row_parameters()
        diagonal = -(a / total) * ops.expm1(2.0 * (_half_step(a) - _half_step(total)))
        below = ops.tril(ops.ones((self.dimension, self.dimension), dtype=self.dtype), -1)
        return self._on_diagonal(0.0, diagonal) + below * ops.expand_dims(0.5 / total, -1)

    def rsample(self, sample_shape=(), rng_key=None):
        return METHODS[self.sample_method](self, tuple(sample_shape), rng_key)

    def log_prob(self, value):
        a, _, _ = self._row_parameters()
        diagonal = ops.diagonal(value)[..., 1:]
        inside = diagonal >= 0
        terms = ops.xlogy(2.0 * (a - 1.0), ops.where(inside, diagonal, ops.ones_like(diagonal)))
        return ops.where(ops.all(inside, axis=-1), ops.sum(terms, axis=-1) - self._log_volume(), -math.inf)

    def entropy(self):
        a, _, total = self._row_parameters()
        return self._log_volume() - ops.sum((a - 1.0) * (ops.digamma(a) - ops.digamma(total)), axis=-1)

    def _row_parameters(self):
        """Return :math:`a, b, a + b` of the rows below the first, whose squared diagonal is Beta(a, b) and direction uniform."""
        eta = ops.expand_dims(self.concentration, -1)
        size = ops.arange(1, self.dimension, dtype=self.dtype)
        total = eta + 0.5 * (self.dimension - 1)
        return eta + 0.5 * (self.dimension - 1 - size), 0.5 * size, total

    def _log_volume(self):
        a, b, _ = self._row_parameters()
        # The volume of the sphere of each row, times the beta function of its radius.
        return ops.sum(b * math.log(math.pi) - ops.gammaln(b) + ops.betaln(a, b + ops.zeros_like(a)), axis=-1)

    def _on_diagonal(self, first, rest):
        return ops.diag_embed(ops.concat([ops.full_like(rest[..., :1], first), rest], axis=-1))


class LKJCorrCholesky(LKJCholesky):
    r"""The law of :class:`LKJCholesky` under its older spelling.

    .. math:: p(L) \propto \prod_{i=2}^d L_{ii}^{d - i + 2 (\eta - 1)}

    :param d: dimension of the matrices, a whole number, at least 2.
    :param eta: concentration, positive.
    :param sample_method: as for :class:`LKJCholesky`.
    :raises ConstraintError: as for :class:`LKJCholesky`.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.LKJCorrCholesky(2, 1.5)
    >>> round(float(d.log_prob(ops.array([[1.0, 0.0], [0.6, 0.8]]))), 4)
    -0.6747
    """

    arg_constraints = {"eta": constraints.positive}

    def __init__(self, d, eta=1.0, sample_method="onion", *, validate_args=None):
        super().__init__(d, eta, sample_method, validate_args=False)
        self.eta = self.__dict__.pop("concentration")
        self._check_parameters(validate_args)

    concentration = derived_parameter(lambda self: self.eta)

    def lkj_constant(self, eta, K):
        """Return the logarithm of the factor that normalises the product over the diagonal, for ``K`` variables."""
        return -LKJCholesky(K, eta)._log_volume()


def _onion(d, sample_shape, rng_key):
    """Draw each row as a direction, uniform on the sphere, times a radius."""
    key_direction, key_radius = random.split(rng_key)
    a, b, _ = d._row_parameters()
    n = d.dimension
    shape = (*sample_shape, *d.batch_shape, n - 1)
    direction = ops.tril(random.normal(key_direction, (*shape, n - 1), d.dtype))
    direction = direction / ops.sqrt(ops.sum(ops.square(direction), axis=-1, keepdims=True))
    squares = _pairs(key_radius, a, b + ops.zeros_like(a), shape)
    rows = ops.expand_dims(ops.sqrt(squares[..., 1]), -1) * direction
    return _assemble(rows, ops.sqrt(squares[..., 0]))


def _cvine(d, sample_shape, rng_key):
    """Draw the partial correlations of a C-vine, and multiply them into the rows of the factor."""
    n = d.dimension
    tree = ops.array([float(column) for row in range(1, n) for column in range(row)], dtype=d.dtype)
    half = ops.expand_dims(d.concentration, -1) + 0.5 * (n - 2.0 - tree)
    squares = _pairs(rng_key, half, half, (*sample_shape, *d.batch_shape, n * (n - 1) // 2))
    partial = ops.vector_to_tril(squares[..., 0] - squares[..., 1], diagonal=0)
    remaining = ops.vector_to_tril(2.0 * ops.sqrt(squares[..., 0]) * ops.sqrt(squares[..., 1]), diagonal=0)
    below = ops.tril(ops.ones((n - 1, n - 1), dtype=d.dtype)) > 0
    products = ops.cumprod(ops.where(below, remaining, ops.ones_like(remaining)), axis=-1)
    before = ops.concat([ops.ones_like(products[..., :1]), products[..., :-1]], axis=-1)
    return _assemble(partial * before, products[..., -1])


METHODS = {"onion": _onion, "cvine": _cvine}


def _pairs(key, a, b, shape):
    """Draw Beta(a, b) and its complement, both to full relative precision and never zero, along a new last axis."""
    draws = random.dirichlet(key, ops.stack([a, b], axis=-1), (*shape, 2))
    return ops.maximum(draws, ops.full_like(draws, ops.finfo(draws).tiny))


def _assemble(rows, diagonal):
    """Return factors from the rows left of the diagonal and the diagonal, both without the first row."""
    top = ops.zeros_like(rows[..., :1, :])
    below = ops.concat([top, rows], axis=-2)
    full = ops.concat([below, ops.zeros_like(below[..., :1])], axis=-1)
    return full + ops.diag_embed(ops.concat([ops.ones_like(diagonal[..., :1]), diagonal], axis=-1))


# Below, log-gammas lose nothing by subtraction; above, the series below is exact to the last digit.
SERIES_FROM = 32.0


def _half_step(x):
    r"""Return :math:`\log \Gamma(x + 1/2) - \log \Gamma(x) - \tfrac12 \log x`, small for large ``x``."""
    large = x > SERIES_FROM
    small = ops.where(large, ops.ones_like(x), x)
    direct = ops.gammaln(small + 0.5) - ops.gammaln(small) - 0.5 * ops.log(small)
    inverse = 1.0 / ops.where(large, x, ops.full_like(x, SERIES_FROM))
    square = inverse * inverse
    series = -inverse * (1 / 8 - square * (1 / 192 - square * (1 / 640 - square * (17 / 14336 - square * (31 / 18432)))))
    return ops.where(large, series, direct)
