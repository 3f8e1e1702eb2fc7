"""What no row says of the multivariate families. Oracles: scipy.stats, closed-form moments, quadrature, 60-digit arithmetic."""

import importlib

import mpmath
import numpy as np
import pytest
from scipy import stats

from ppl import distributions as dist
from ppl import ops
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, goodness_of_fit, monte_carlo_z, to_host

pytestmark = pytest.mark.strict

DRAWS = 4000
MATRIX = np.array([[2.0, 0.3], [0.3, 0.5]])
FACTOR = np.array([[1.2, 0.0], [-0.4, 0.7]])


def gradients_per_draw(backend, function, point):
    """Return the gradient of ``function(parameters, key)`` for a draw from each of many copies of ``point``."""
    point = np.asarray(point, dtype="float64")
    copies = np.tile(point, (DRAWS,) + (1,) * point.ndim)
    gradient = ops.autodiff.grad(lambda p, key: ops.sum(function(p, key)))
    if backend == "jax":
        # One program compiles faster than every operation of its own.
        gradient = importlib.import_module("jax").jit(gradient)
    return to_host(gradient(ops.array(copies), ops.random.key(0)))


def assert_expected(gradients, exact):
    """Check means against ``exact`` within 4.9 standard errors, and that 20 standard errors off are noticed."""
    exact = np.asarray(exact)
    assert np.abs(monte_carlo_z(gradients, exact)).max() < 4.9
    off = 20.0 * gradients.std(axis=0) / np.sqrt(DRAWS)
    assert np.abs(monte_carlo_z(gradients, exact + off)).min() > 4.9


# --- pathwise gradients ---


@pytest.mark.parametrize("method", ["onion", "cvine"])
def test_lkj_gradient_is_that_of_the_marginal_variances(backend, method):
    """Each correlation is 2 Beta(c, c) - 1 with c = eta + (d - 2) / 2, so its square has the mean 1 / (2 c + 1)."""

    def squares(eta, key):
        factor = dist.LKJCholesky(3, eta, sample_method=method).rsample((), key)
        last = factor[..., 2, 0] * factor[..., 1, 0] + factor[..., 2, 1] * factor[..., 1, 1]
        return ops.square(factor[..., 1, 0]) + ops.square(last)

    eta = 0.8
    assert_expected(gradients_per_draw(backend, squares, eta), 2 * -2.0 / (2 * (eta + 0.5) + 1) ** 2)


def test_wishart_gradients_are_those_of_its_moments(backend):
    """E|X| = |V| df (df - 1) for two rows, and E[X00 X11] = df^2 V00 V11 + 2 df V01^2."""
    df, (l00, _), (l10, l11) = 6.5, *FACTOR

    def determinant(df, key):
        x = dist.Wishart(df, scale_tril=np.array(FACTOR)).rsample((), key)
        return x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0]

    assert_expected(gradients_per_draw(backend, determinant, df), (l00 * l11) ** 2 * (2 * df - 1))

    def product(factor, key):
        x = dist.Wishart(df, scale_tril=factor).rsample((), key)
        return x[..., 0, 0] * x[..., 1, 1]

    v00, v01, v11 = l00**2, l00 * l10, l10**2 + l11**2
    exact = [2 * l00 * v11 * df**2 + 4 * df * v01 * l10, 2 * l10 * v00 * df**2 + 4 * df * v01 * l00, 2 * l11 * v00 * df**2]
    assert_expected(gradients_per_draw(backend, product, FACTOR)[:, [0, 1, 1], [0, 0, 1]], exact)


def test_low_rank_gradients_are_those_of_its_moments(backend):
    """E[x0 x1] = mu0 mu1 + W0 . W1, and E[x0^2] = mu0^2 + W0 . W0 + D0."""
    loc, diagonal, factor = np.array([0.5, -1.0]), np.array([0.5, 1.5]), np.array([[1.0, 0.4], [-0.3, 2.0]])

    def product(factor, key):
        x = dist.LowRankMultivariateNormal(loc, factor, diagonal).rsample((), key)
        return x[..., 0] * x[..., 1]

    assert_expected(gradients_per_draw(backend, product, factor), factor[::-1])

    def square(diagonal, key):
        return ops.square(dist.LowRankMultivariateNormal(loc, factor, diagonal).rsample((), key)[..., 0])

    gradients = gradients_per_draw(backend, square, diagonal)
    assert_expected(gradients[:, 0], 1.0)
    assert not gradients[:, 1].any()


def test_matrix_normal_gradients_are_those_of_its_moments(backend):
    """E[x00 x11] = m00 m11 + (A A^T)01 (B B^T)01."""
    loc, column = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([[0.8, 0.0], [0.5, 1.1]])

    def product(row, key):
        x = dist.MatrixNormal(loc, row, column).rsample((), key)
        return x[..., 0, 0] * x[..., 1, 1]

    shared = (column @ column.T)[0, 1]
    gradients = gradients_per_draw(backend, product, FACTOR)
    assert_expected(gradients[:, [0, 1], [0, 0]], [FACTOR[1, 0] * shared, FACTOR[0, 0] * shared])
    assert np.abs(monte_carlo_z(gradients[:, 1, 1], 0.0)) < 4.9


def test_random_walk_gradient_is_that_of_its_variance(backend):
    def square(scale, key):
        return ops.square(dist.GaussianRandomWalk(scale, 5).rsample((), key)[..., -1])

    assert_expected(gradients_per_draw(backend, square, 0.7), 2 * 0.7 * 5)


# --- LKJ ---


@pytest.mark.parametrize("eta", [0.3, 1.0, 7.5])
def test_lkj_of_two_variables_is_a_beta(backend, eta):
    r = np.array([-0.99, -0.3, 0.0, 0.8])
    factors = np.zeros((4, 2, 2))
    factors[:, 0, 0], factors[:, 1, 0], factors[:, 1, 1] = 1.0, r, np.sqrt(1 - r**2)
    expected = stats.beta(eta, eta, loc=-1.0, scale=2.0).logpdf(r)
    assert_close(dist.LKJCholesky(2, eta).log_prob(factors), expected)
    assert_close(dist.LKJCorrCholesky(2, eta).log_prob(factors), expected)


def test_lkj_of_three_variables_integrates_to_one(backend):
    """Gauss-Legendre in the angles of the first correlation and of the third row."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    angle, first = 0.5 * np.pi * nodes, 0.5 * np.pi * weights
    tilt, second = 0.25 * np.pi * (nodes + 1), 0.25 * np.pi * weights
    a, b = (grid.reshape(-1) for grid in np.meshgrid(angle, tilt, indexing="ij"))
    factors = np.zeros((a.size, 3, 3))
    factors[:, 0, 0], factors[:, 1, 0], factors[:, 1, 1] = 1.0, np.sin(a), np.cos(a)
    factors[:, 2, 0], factors[:, 2, 2] = np.sin(b), np.cos(b)
    # Turning the third row about its diagonal changes nothing: 2 pi sin(b) db is the measure of a circle's radius sin(b).
    measure = np.outer(first, second).reshape(-1) * np.cos(a) * 2 * np.pi * np.sin(b) * np.cos(b)
    for eta in (1.0, 2.5):
        density = np.exp(to_host(dist.LKJCholesky(3, eta).log_prob(factors)))
        assert_close(np.sum(density * measure), 1.0, rtol=1e-9)
        assert np.abs(np.sum(density**1.01 * measure) - 1.0) > 1e-3


@pytest.mark.parametrize("method", ["onion", "cvine"])
def test_lkj_correlations_have_beta_marginals(backend, method):
    eta, size = 0.7, 4
    factor = to_host(dist.LKJCholesky(size, eta, method).sample((DRAWS,)))
    correlation = factor @ np.swapaxes(factor, -1, -2)
    half = eta + (size - 2) / 2
    marginal, other = (stats.beta(c, c, loc=-1.0, scale=2.0).cdf for c in (half, 1.5 * half))
    for i, j in [(1, 0), (2, 1), (3, 0), (3, 2)]:
        assert goodness_of_fit(correlation[:, i, j], marginal) > 2e-5
        assert goodness_of_fit(correlation[:, i, j], other) < 2e-5
    determinant = np.prod(np.square(np.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    by_product = np.prod([stats.beta(eta + (size - 1 - i) / 2, i / 2).mean() for i in range(1, size)])
    assert abs(monte_carlo_z(determinant, by_product)) < 4.9


def test_lkj_constant_is_the_log_density_of_the_identity(backend):
    """Equation 16 of the paper, for four variables."""
    eta, d = 1.5, 4
    beta = [mpmath.beta(eta + (d - k - 1) / 2, eta + (d - k - 1) / 2) for k in range(1, d)]
    powers = sum((2 * eta - 2 + d - k) * (d - k) for k in range(1, d))
    volume = mpmath.mpf(2) ** powers * mpmath.fprod(b ** (d - k) for k, b in enumerate(beta, 1))
    prior = dist.LKJCorrCholesky(d, eta)
    assert_close(prior.lkj_constant(eta, d), -float(mpmath.log(volume)))
    assert_close(prior.log_prob(np.eye(d)), -float(mpmath.log(volume)))


def test_lkj_of_extreme_concentrations(backend):
    """The diagonal stays positive for tiny ones, and its variance keeps its digits for huge ones."""
    tiny = to_host(dist.LKJCholesky(3, 1e-6).sample((50,)))
    assert (np.diagonal(tiny, axis1=-2, axis2=-1) > 0).all()
    for eta in (5.0, 1e6):
        a, total = mpmath.mpf(eta), mpmath.mpf(eta) + 1
        with mpmath.workdps(40):
            mean = mpmath.beta(a + 0.5, 1) / mpmath.beta(a, 1)
            variance = a / total - mean**2
        d = dist.LKJCholesky(3, eta)
        assert_close(d.mean[2, 2], float(mean))
        assert_close(d.variance[2, 2], float(variance), rtol=1e-9, atol=0.0)


# --- spellings ---


def test_wishart_takes_both_spellings(backend):
    x = np.array([[3.0, 1.0], [1.0, 2.0]])
    expected = stats.wishart(4.5, MATRIX).logpdf(x)
    for d in (
        dist.Wishart(4.5, MATRIX),
        dist.Wishart(concentration=4.5, scale_matrix=MATRIX),
        dist.Wishart(concentration=4.5, rate_matrix=np.linalg.inv(MATRIX)),
        dist.Wishart(df=4.5, scale_tril=np.linalg.cholesky(MATRIX)),
    ):
        assert_close(d.log_prob(x), expected)
        assert_close(d.concentration, 4.5)
        assert_close(d.scale_matrix, MATRIX)
        assert_close(d.rate_matrix, np.linalg.inv(MATRIX))


def test_lkj_takes_all_spellings(backend):
    factor = np.array([[1.0, 0.0], [0.6, 0.8]])
    expected = stats.beta(2.0, 2.0, loc=-1.0, scale=2.0).logpdf(0.6)
    for d in (dist.LKJCholesky(2, 2.0), dist.LKJCholesky(dim=2, concentration=2.0), dist.LKJCorrCholesky(d=2, eta=2.0)):
        assert_close(d.log_prob(factor), expected)
        assert_close(d.concentration, 2.0)
        assert d.dimension == d.dim == 2
        assert isinstance(d, dist.LKJCholesky)


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.Wishart(1.0, MATRIX), r"Wishart: parameter 'df'.*greater_than\(lower_bound=1.0\).*1.0"),
    (lambda: dist.Wishart(4.0), "Wishart takes exactly one of covariance_matrix, precision_matrix, scale_tril; received none"),
    (lambda: dist.Wishart(4.0, MATRIX, scale_matrix=MATRIX), "at most one of covariance_matrix, scale_matrix; received both"),
    (lambda: dist.Wishart(4.0, concentration=4.0, scale_tril=MATRIX), "exactly one of df, concentration; received df, concentr"),
    (lambda: dist.Wishart(4.0, [[1.0, 2.0], [2.0, 1.0]]), "Wishart: parameter 'covariance_matrix'.*positive_definite"),
    (lambda: dist.LKJCholesky(1), "LKJCholesky: dimension.*at least 2, received 1"),
    (lambda: dist.LKJCorrCholesky(2.5, 1.0), "LKJCorrCholesky: dimension.*int.*2.5"),
    (lambda: dist.LKJCholesky(3, -1.0), "LKJCholesky: parameter 'concentration'.*positive.*-1.0"),
    (lambda: dist.LKJCorrCholesky(3, 0.0), "LKJCorrCholesky: parameter 'eta'.*positive.*0.0"),
    (lambda: dist.LKJCholesky(3, 1.0, "vine"), "unknown sample_method; expected one of onion, cvine, received 'vine'"),
    (lambda: dist.LKJCholesky(3, dim=3), "exactly one of dimension, dim; received dimension, dim"),
    (lambda: dist.GaussianRandomWalk(1.0, 0), "GaussianRandomWalk: num_steps.*at least 1, received 0"),
    (lambda: dist.LowRankMultivariateNormal([0.0], [[1.0]], [0.0]), r"'cov_diag'.*independent\(positive, 1\)"),
    (lambda: dist.MatrixNormal(np.zeros((1, 2)), [[-1.0]], np.eye(2)), "MatrixNormal: parameter 'scale_tril_row'.*lower_chol"),
    (lambda: dist.LKJCholesky(2).log_prob(np.ones((2, 2))), "LKJCholesky: value.*corr_cholesky"),
    (lambda: dist.Wishart(4.0, MATRIX).log_prob(-MATRIX), "Wishart: value.*positive_definite"),
])  # fmt: skip
def test_bad_parameters_and_values_get_a_sentence(backend, make, sentence):
    with pytest.raises(ConstraintError, match=sentence):
        make()


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.LowRankMultivariateNormal(np.zeros(3), np.ones((2, 1)), np.ones(3)), r"length 3.*received \(2, 1\) and \(3,\)"),
    (lambda: dist.MatrixNormal(np.zeros((1, 2)), np.eye(2), np.eye(2)), r"loc of event shape \(1, 2\).*received \(2, 2\)"),
    (lambda: dist.Wishart(4.0, np.ones((2, 3))), r"Wishart: covariance_matrix is not square; received shape \(2, 3\)"),
    (lambda: dist.MultivariateNormal(np.zeros(2), np.eye(3)), r"loc and covariance_matrix do not fit.*\(2,\) and \(3, 3\)"),
    (lambda: dist.GaussianRandomWalk(1.0, 3).log_prob(np.zeros(4)), r"event_shape \(3,\).*received \(4,\)"),
])  # fmt: skip
def test_shapes_that_do_not_fit_get_a_sentence(backend, make, sentence):
    with pytest.raises(ShapeError, match=sentence):
        make()


@pytest.mark.parametrize("operation", ["cdf", "icdf"])
def test_gaps_say_why(backend, operation):
    for d in (dist.LKJCholesky(2), dist.Wishart(4.0, MATRIX), dist.Dirichlet([1.0, 2.0]), dist.MultivariateNormal(0.0, MATRIX)):
        with pytest.raises(GapError, match=f"{type(d).__name__} has no {operation}: a vector has no"):
            getattr(d, operation)(d.sample())


# --- edges ---


def test_outside_the_support_is_minus_infinity_without_nan_gradients(backend):
    indefinite, asymmetric = np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([[np.nan, 0.0], [0.0, 1.0]])
    d = dist.Wishart(4.5, MATRIX, validate_args=False)
    values = np.stack([indefinite, asymmetric, MATRIX])
    assert_close(d.log_prob(values), [-np.inf, -np.inf, stats.wishart(4.5, MATRIX).logpdf(MATRIX)])
    flipped = np.array([[1.0, 0.0], [0.6, -0.8]])
    d = dist.LKJCholesky(2, 2.0, validate_args=False)
    assert_close(d.log_prob(np.stack([flipped, np.abs(flipped)])), [-np.inf, stats.beta(2.0, 2.0, -1.0, 2.0).logpdf(0.6)])

    def total(eta):
        return ops.sum(dist.LKJCholesky(2, eta, validate_args=False).log_prob(np.stack([flipped, np.abs(flipped)])))

    # log p(r) = (eta - 1) log(1 - r^2) - log B(1/2, eta), and its derivative with digammas.
    slope = np.log(1 - 0.36) - float(mpmath.digamma(2.0) - mpmath.digamma(2.5))
    assert_close(ops.autodiff.grad(total)(ops.array(2.0)), slope, "gradient")


@pytest.mark.parametrize("extra", [0.01, 40.0, 1e6])
def test_wishart_far_from_the_usual_degrees_of_freedom(backend, extra):
    df = 1.0 + extra
    assert_close(dist.Wishart(df, MATRIX).log_prob(MATRIX), stats.wishart(df, MATRIX).logpdf(MATRIX))
    draws = to_host(dist.Wishart(df, MATRIX).sample((50,)))
    assert np.isfinite(draws).all()
    assert (np.linalg.det(draws) > -1e-12).all()


# --- accuracy and layouts of the normal densities ---


def _exact_log_prob(factor, centred):
    """Return the log density of the normal whose covariance has the given factor, in 60-digit arithmetic."""
    with mpmath.workdps(60):
        triangle = mpmath.matrix(factor.tolist())
        normalizer = sum(mpmath.log(triangle[i, i]) for i in range(len(factor))) + len(factor) * mpmath.log(2 * mpmath.pi) / 2
        out = []
        for row in centred:
            white = mpmath.lu_solve(triangle, mpmath.matrix(row.tolist()))
            out.append(float(-mpmath.fdot(white, white) / 2 - normalizer))
    return np.array(out)


def _hard_factors(rng):
    times = np.linspace(0.0, 1.0, 6)
    smooth = np.exp(-0.5 * (times[:, None] - times) ** 2 / 0.5**2) + 1e-6 * np.eye(6)
    scales = 10.0 ** rng.uniform(-4.0, 4.0, 6)
    return {"diagonal": np.diag(10.0 ** np.linspace(-4.0, 4.0, 6)), "smooth": np.linalg.cholesky(smooth),
            "scaled": scales[:, None] * np.linalg.cholesky(smooth + 0.1 * np.eye(6))}  # fmt: skip


@pytest.mark.parametrize("kind", ["diagonal", "smooth", "scaled"])
def test_normal_density_of_ill_conditioned_covariances(backend, kind, rng):
    """Covariances from 1e-8 to 1e8, and a smooth process; few values are solved for, many multiplied by an inverse."""
    factor = _hard_factors(rng)[kind]
    draws = rng.normal(size=(8, 6)) @ factor.T
    expected = _exact_log_prob(factor, draws)
    d = dist.MultivariateNormal(0.0, scale_tril=factor)
    assert_close(d.log_prob(draws), expected)
    assert_close(d.log_prob(draws[:2]), expected[:2])
    assert_close(d.log_prob(draws[0]), expected[0])


def test_low_rank_density_of_a_small_diagonal(backend, rng):
    """The difference of two large terms would leave no digit of the quadratic form."""
    factor, diagonal = rng.normal(size=(5, 2)), np.array([1e-10, 1e-8, 1e-9, 1e-10, 1e-6])
    x = factor @ rng.normal(size=2) + np.sqrt(diagonal) * rng.normal(size=5)
    with mpmath.workdps(60):
        wide = mpmath.matrix(factor.tolist())
        covariance = wide * wide.T + mpmath.diag(diagonal.tolist())
        point = mpmath.matrix(x.tolist())
        quadratic = mpmath.fdot(point, mpmath.lu_solve(covariance, point))
        expected = float(-(quadratic + mpmath.log(mpmath.det(covariance)) + 5 * mpmath.log(2 * mpmath.pi)) / 2)
    # x is rounded to 1e-16 of its size, a relative 1e-11 of the smallest deviation.
    assert_close(dist.LowRankMultivariateNormal(np.zeros(5), factor, diagonal).log_prob(x), expected, rtol=1e-9)


def test_low_rank_matrices(backend, rng):
    factor, diagonal = rng.normal(size=(2, 4, 2)), rng.uniform(0.5, 2.0, (2, 4))
    covariance = factor @ np.swapaxes(factor, -1, -2) + np.eye(4) * diagonal[:, None, :]
    d = dist.LowRankMultivariateNormal(np.zeros(4), factor, diagonal)
    assert_close(d.covariance_matrix, covariance)
    assert_close(d.precision_matrix, np.linalg.inv(covariance))
    assert_close(d.scale_tril, np.linalg.cholesky(covariance))


def test_normal_density_of_every_layout(backend, rng):
    """Values along sample axes, batches of factors, factors shared by a batch: one value at a time by scipy."""
    covariance = np.array([MATRIX, MATRIX @ MATRIX, np.eye(2)])
    loc = rng.normal(size=(3, 2))
    for matrix in (MATRIX, covariance):
        d = dist.MultivariateNormal(loc, matrix)
        wide = np.broadcast_to(matrix, (3, 2, 2))
        for sample_shape in ((), (4, 2)):
            x = rng.normal(size=(*sample_shape, 3, 2))
            expected = np.stack([stats.multivariate_normal(loc[i], wide[i]).logpdf(x[..., i, :]) for i in range(3)], axis=-1)
            assert_close(d.log_prob(x), expected)
            assert_close(d.expand((2, 3)).log_prob(x), np.broadcast_to(expected, np.broadcast_shapes(expected.shape, (2, 3))))


def test_many_factors_at_once(backend, rng):
    """More systems than rows: numpy goes through them row by row."""
    factors = np.tril(rng.normal(size=(20, 3, 3))) + 3.0 * np.eye(3)
    x = rng.normal(size=(20, 3))
    expected = [stats.multivariate_normal(np.zeros(3), f @ f.T).logpdf(row) for f, row in zip(factors, x, strict=True)]
    assert_close(dist.MultivariateNormal(0.0, scale_tril=factors).log_prob(x), expected)


# --- libraries ---


@pytest.mark.backends("torch")
def test_torch_knows_the_families(backend):
    import torch
    from torch import distributions as native

    low_rank = dist.LowRankMultivariateNormal(np.zeros(2), np.array([[1.0], [2.0]]), np.array([1.0, 0.5]))
    made = {"LKJCholesky": dist.LKJCholesky(3, 2.0), "Wishart": dist.Wishart(4.5, MATRIX), "LowRankMultivariateNormal": low_rank}
    for name, d in made.items():
        assert isinstance(d, getattr(native, name))
        assert isinstance(d.expand((3,)), getattr(native, name))
        assert isinstance(d.batch_shape, torch.Size)
    p, q = np.array([[2.0, 2.0], [2.0, 4.5]]), MATRIX
    divergence = 0.5 * (np.trace(np.linalg.solve(q, p)) - 2 + np.log(np.linalg.det(q) / np.linalg.det(p)))
    assert_close(native.kl_divergence(low_rank, dist.MultivariateNormal(0.0, q)), divergence)
    assert_close(native.kl_divergence(made["Wishart"], made["Wishart"]), 0.0, atol=1e-12)


@pytest.mark.backends("jax")
def test_draws_compile_and_map(backend):
    import jax
    import jax.numpy as jnp

    for make, shape in (
        (lambda p: dist.LKJCholesky(3, p), (3, 3)),
        (lambda p: dist.LKJCholesky(3, p, "cvine"), (3, 3)),
        (lambda p: dist.Wishart(p + 3.0, MATRIX), (2, 2)),
    ):
        draws = jax.jit(lambda key, p, make=make: make(p).sample((4,), key))(jax.random.key(0), 1.5)
        assert draws.shape == (4, *shape)
        batch = jax.vmap(make)(jnp.array([1.5, 4.0]))
        assert (batch.batch_shape, batch.event_shape) == ((2,), shape)
        values = jax.vmap(lambda d, x: d.log_prob(x))(batch, draws[:2])
        assert_close(values, [to_host(make(p).log_prob(x)) for p, x in zip((1.5, 4.0), draws, strict=False)])


def test_a_coordinate_that_never_varies_has_a_score(backend):
    draws = to_host(dist.LKJCholesky(2).sample((10,)))
    assert_close(monte_carlo_z(draws, np.diag([1.0, 0.0]))[0], [0.0, 0.0])
    with np.errstate(divide="ignore"):
        assert np.isinf(monte_carlo_z(draws, 2 * np.eye(2))[0, 0])
