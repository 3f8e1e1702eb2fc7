"""Divergences of vectors, matrices and wrapped distributions, and who is asked. Oracles: numpy.linalg, quadrature, sums."""

import numpy as np
import pytest
from kl_rows import COUNTED, MEASURED, expected_log_ratio
from scipy import stats

import ppl
from ppl import constraints, ops, transforms
from ppl import distributions as dist
from ppl.distributions.kl import RULES, has_kl, kl_divergence, register_kl
from ppl.distributions.kl.registry import most_specific
from ppl.errors import BackendError, ConstraintError, GapError, PplError, ShapeError
from ppl.testing import assert_close, monte_carlo_z, numerical_gradient, to_host

pytestmark = pytest.mark.strict

INF = np.inf
GENERATOR = np.random.default_rng(20)
LOC = GENERATOR.normal(size=(3, 4))
ROOT = GENERATOR.normal(size=(3, 4, 4)) * 0.4 + np.eye(4)
COVARIANCE = ROOT @ np.swapaxes(ROOT, -1, -2)
FACTOR = GENERATOR.normal(size=(3, 4, 2))
DIAGONAL = GENERATOR.uniform(0.3, 1.5, size=(3, 4))


def between_normals(loc_p, covariance_p, loc_q, covariance_q):
    precision, shift = np.linalg.inv(covariance_q), loc_q - loc_p
    log_det = np.linalg.slogdet(covariance_q)[1] - np.linalg.slogdet(covariance_p)[1]
    trace = np.trace(precision @ covariance_p, axis1=-2, axis2=-1)
    return 0.5 * (log_det + trace + np.einsum("...i,...ij,...j->...", shift, precision, shift) - loc_p.shape[-1])


NORMALS = {
    "MultivariateNormal": (lambda i: dist.MultivariateNormal(LOC[i], COVARIANCE[i]), COVARIANCE),
    "LowRankMultivariateNormal": (lambda i: dist.LowRankMultivariateNormal(LOC[i], FACTOR[i], DIAGONAL[i]),
                                  FACTOR @ np.swapaxes(FACTOR, -1, -2) + DIAGONAL[..., None] * np.eye(4)),
    "Independent": (lambda i: dist.Normal(LOC[i], DIAGONAL[i]).to_event(1), DIAGONAL[..., None] ** 2 * np.eye(4)),
}  # fmt: skip


@pytest.mark.parametrize("name_p", NORMALS)
@pytest.mark.parametrize("name_q", NORMALS)
def test_normal_vectors_by_linear_algebra(backend, name_p, name_q):
    (make_p, covariance_p), (make_q, covariance_q) = NORMALS[name_p], NORMALS[name_q]
    expected = between_normals(LOC[0], covariance_p[0], LOC[1:], covariance_q[1:])
    assert has_kl(make_p(0), make_q(slice(1, 3)))
    assert_close(kl_divergence(make_p(0), make_q(slice(1, 3))), expected)
    assert_close(kl_divergence(make_p(slice(None)), make_p(slice(None))), np.zeros(3), atol=1e-12)
    swapped = to_host(kl_divergence(make_q(slice(1, 3)), make_p(0)))
    assert (abs(swapped - expected) > 1e-3 * expected).all()


def test_gradient_of_normal_vectors(backend):
    low_rank = NORMALS["LowRankMultivariateNormal"][0](1)

    def divergence(factor):
        p = dist.MultivariateNormal(LOC[0], scale_tril=ops.tril(factor))
        return kl_divergence(p, low_rank) + 0.5 * kl_divergence(low_rank, p)

    point = np.tril(np.linalg.cholesky(COVARIANCE[0]))
    gradient = to_host(ops.autodiff.grad(divergence)(ops.array(point)))
    assert_close(np.tril(gradient), np.tril(numerical_gradient(divergence, point)), "finite_difference")


def test_subclasses_of_the_normal_vector_have_its_divergence(backend):
    scale_tril = np.linalg.cholesky(COVARIANCE[0])
    p, q = dist.OMTMultivariateNormal(LOC[0], scale_tril), dist.MultivariateNormal(LOC[1], COVARIANCE[1])
    assert_close(kl_divergence(p, q), between_normals(LOC[0], COVARIANCE[0], LOC[1], COVARIANCE[1]))


def test_matrix_normals_are_vectors_of_a_kronecker_covariance(backend):
    rows, columns = np.linalg.cholesky(COVARIANCE[:2, :2, :2]), np.linalg.cholesky(COVARIANCE[:2, 1:, 1:])
    loc = GENERATOR.normal(size=(2, 2, 3))
    p, q = (dist.MatrixNormal(loc[i], rows[i], columns[i]) for i in range(2))
    full = [np.kron(rows[i] @ rows[i].T, columns[i] @ columns[i].T) for i in range(2)]
    assert_close(kl_divergence(p, q), between_normals(loc[0].reshape(-1), full[0], loc[1].reshape(-1), full[1]))


def test_walks_are_vectors_of_a_cumulative_covariance(backend):
    steps = np.minimum.outer(np.arange(1, 6), np.arange(1, 6)).astype(float)
    expected = between_normals(np.zeros(5), 0.49 * steps, np.zeros(5), 1.69 * steps)
    assert_close(kl_divergence(dist.GaussianRandomWalk(0.7, 5), dist.GaussianRandomWalk(1.3, 5)), expected)


def monte_carlo(p, q, draws, at=lambda draw: draw):
    return np.array([p.logpdf(at(draw)) - q.logpdf(at(draw)) for draw in draws])


def test_dirichlets(backend, rng):
    pair = expected_log_ratio("Beta", "Beta", (1.7, 2.9), (2.2, 1.4))
    assert_close(kl_divergence(dist.Dirichlet([1.7, 2.9]), dist.Dirichlet([2.2, 1.4])), np.asarray(pair))
    a, b = np.array([1.2, 2.0, 4.5]), np.array([[0.8, 2.5, 3.0], [2.0, 2.0, 2.0]])
    actual = to_host(kl_divergence(dist.Dirichlet(a), dist.Dirichlet(b)))
    assert actual.shape == (2,)
    p, q = stats.dirichlet(a), stats.dirichlet(b[0])
    ratios = monte_carlo(p, q, p.rvs(4000, random_state=rng))
    assert abs(monte_carlo_z(ratios, actual[0])) < 4.9
    assert abs(monte_carlo_z(ratios, actual[1])) > 4.9
    assert_close(kl_divergence(dist.Dirichlet(b), dist.Dirichlet(b)), np.zeros(2), atol=1e-13)


def test_wisharts(backend, rng):
    single = expected_log_ratio("Gamma", "Gamma", (1.7, 0.5 / 0.6), (2.2, 0.5 / 1.3))
    p, q = dist.Wishart(3.4, np.array([[0.6]])), dist.Wishart(4.4, np.array([[1.3]]))
    assert_close(kl_divergence(p, q), np.asarray(single))
    first, second = COVARIANCE[0, :3, :3], COVARIANCE[1, :3, :3]
    actual = to_host(kl_divergence(dist.Wishart(5.5, first), dist.Wishart(7.0, second)))
    swapped = to_host(kl_divergence(dist.Wishart(7.0, second), dist.Wishart(5.5, first)))
    p, q = stats.wishart(5.5, first), stats.wishart(7.0, second)
    ratios = monte_carlo(p, q, p.rvs(3000, random_state=rng))
    assert abs(monte_carlo_z(ratios, actual)) < 4.9
    assert abs(monte_carlo_z(ratios, swapped)) > 4.9


@pytest.mark.parametrize("dimension", [2, 4])
def test_correlation_factors_are_independent_partial_correlations(backend, dimension):
    """A C-vine (Lewandowski et al. 2009): ``dimension - k`` partial correlations of tree k, each a symmetric beta, rescaled."""
    expected = 0.0
    for k in range(1, dimension):
        a, b = (concentration + 0.5 * (dimension - 1 - k) for concentration in (1.3, 2.6))
        expected += (dimension - k) * expected_log_ratio("Beta", "Beta", (a, a), (b, b))
    for family in (dist.LKJCholesky, dist.LKJCorrCholesky):
        assert_close(kl_divergence(family(dimension, 1.3), family(dimension, 2.6)), np.asarray(expected))


@pytest.mark.parametrize("lengths", [(2.3, 0.7), (1e-3, 0.05), (0.2, 30.0), (0.0, 1.0)])
def test_directions_by_quadrature_over_the_sphere(backend, lengths):
    first, second = np.array([0.6, 0.0, 0.8]) * lengths[0], np.array([0.0, 0.6, -0.8]) * lengths[1]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    turn = np.linspace(0, 2 * np.pi, 121)[:-1]
    height, around = np.meshgrid(nodes, turn, indexing="ij")
    radius = np.sqrt(1 - height**2)
    x = np.stack([radius * np.cos(around), radius * np.sin(around), height], -1)
    area = weights[:, None] * np.full(120, 2 * np.pi / 120)
    log_p, log_q = (x @ c - np.log(np.sum(area * np.exp(x @ c))) for c in (first, second))
    expected = np.sum(area * np.exp(log_p) * (log_p - log_q))
    p, q = (dist.VonMises3D(c, validate_args=False) for c in (first, second))
    assert_close(kl_divergence(p, q), expected, rtol=1e-9)


def test_exponential_families_of_a_user(backend):
    class Rayleigh(dist.ExponentialFamily):
        """Density ``x / s^2 exp(-x^2 / 2 s^2)``: natural parameter ``-1 / 2 s^2`` of ``x^2``."""

        arg_constraints = {"scale": constraints.positive}
        support = constraints.positive

        def __init__(self, scale):
            (self.scale,) = self.promote(scale)
            super().__init__(self.scale.shape)

        _natural_params = property(lambda self: (-0.5 / self.scale**2,))

        def _log_normalizer(self, natural):
            return -ops.log(-2.0 * natural)

    expected = [expected_log_ratio("Weibull", "Weibull", (s * 2**0.5, 2.0), (1.1 * 2**0.5, 2.0)) for s in (0.6, 2.0)]
    assert_close(kl_divergence(Rayleigh(np.array([0.6, 2.0])), Rayleigh(1.1)), np.array(expected))
    assert not has_kl(Rayleigh(1.0), dist.Gamma(1.0))
    assert not has_kl(dist.Gamma(1.0), Rayleigh(1.0))


# --- wrappers ---


def normals(loc_p, scale_p, loc_q, scale_q):
    return np.log(scale_q / scale_p) + (scale_p**2 + (loc_p - loc_q) ** 2) / (2 * scale_q**2) - 0.5


SCALES = DIAGONAL[0]
EACH = normals(LOC[0], SCALES, LOC[1], 1.3)


def normal_pair():
    return dist.Normal(LOC[0], SCALES), dist.Normal(LOC[1], 1.3)


def test_independent_coordinates_add_up(backend):
    p, q = normal_pair()
    assert_close(kl_divergence(p.to_event(1), q.to_event(1)), EACH.sum())
    wide = p.expand((3, 4))
    for nested in (wide.to_event(2), wide.to_event(1).to_event(1)):
        for other in (q.expand((3, 4)).to_event(2), q.expand((3, 4)).to_event(1).to_event(1)):
            assert_close(kl_divergence(nested, other), 3 * EACH.sum())
    assert_close(kl_divergence(wide.to_event(1), q.to_event(1)), np.full(3, EACH.sum()))
    assert_close(kl_divergence(wide.to_event(1), dist.MultivariateNormal(LOC[1], 1.69 * np.eye(4))), np.full(3, EACH.sum()))


def test_expanded_copies_repeat(backend):
    p, q = normal_pair()
    for first, second in [
        (dist.ExpandedDistribution(p, (2, 4)), q),
        (p, dist.ExpandedDistribution(q, (2, 4))),
        (dist.ExpandedDistribution(p, (2, 4)), dist.ExpandedDistribution(q, (1, 4))),
    ]:
        assert_close(kl_divergence(first, second), np.tile(EACH, (2, 1)))
    copies = dist.ExpandedDistribution(dist.StudentT(3.0), (2,))
    assert not has_kl(copies, dist.Cauchy(0.0, 1.0))


def test_a_point_is_compared_by_its_density(backend):
    expected = -stats.norm.logpdf(LOC[2], LOC[1], 1.3)
    _, q = normal_pair()
    assert_close(kl_divergence(dist.Delta(LOC[2]), q), expected)
    assert_close(kl_divergence(dist.Delta(LOC[2], event_dim=1), q.to_event(1)), expected.sum())
    assert_close(kl_divergence(dist.Delta(LOC[2]), dist.ExpandedDistribution(q, (2, 4))), np.tile(expected, (2, 1)))
    assert_close(kl_divergence(dist.Delta(LOC[2], log_density=0.3), q), expected + 0.3)
    assert_close(kl_divergence(dist.Delta([1.0, -1.0]), dist.Exponential(2.0)), np.array([2 - np.log(2), INF]))
    assert_close(kl_divergence(dist.Delta([1.0, 2.0]), dist.Delta(2.0)), np.array([INF, 0]))
    assert_close(kl_divergence(dist.Delta([1.0, -1.0]), dist.Exponential(2.0).mask(np.array([True, False]))),
                 np.array([2 - np.log(2), 0]))  # fmt: skip
    gradient = ops.autodiff.grad(lambda x: kl_divergence(dist.Delta(x), dist.Normal(0.5, 2.0)))(ops.array(1.5))
    assert_close(gradient, 0.25)


MASKS = [True, False, np.array([True, False, True, False]), np.array([True, True, False, False])]


@pytest.mark.parametrize("mask_p", MASKS, ids=["all", "none", "even", "first"])
@pytest.mark.parametrize("mask_q", MASKS, ids=["all", "none", "even", "first"])
def test_masked_terms_are_left_out_of_the_expectation(backend, mask_p, mask_q):
    """``E_p[mask_p log p - mask_q log q]``, each part in closed form."""
    p, q = normal_pair()
    surprise = -stats.norm.entropy(LOC[0], SCALES)
    expected = np.where(mask_p, surprise, 0.0) - np.where(mask_q, surprise - EACH, 0.0)
    pairs = [(p.mask(mask_p), q.mask(mask_q))]
    pairs += [(p, q.mask(mask_q))] if mask_p is True else []
    pairs += [(p.mask(mask_p), q)] if mask_q is True else []
    for first, second in pairs:
        assert has_kl(first, second)
        assert_close(kl_divergence(first, second), expected)
    if mask_p is mask_q:
        shared = ops.array(mask_p)
        copies = [dist.ExpandedDistribution(d, (2, 4)).mask(shared) for d in (p, q)]
        assert_close(kl_divergence(*copies), np.tile(np.where(mask_p, EACH, 0.0), (2, 1)))
        assert_close(kl_divergence(dist.ExpandedDistribution(p.mask(shared), (2, 4)), q.mask(shared)),
                     np.tile(np.where(mask_p, EACH, 0.0), (2, 1)))  # fmt: skip


def test_a_common_bijection_changes_nothing(backend):
    p, q = normal_pair()
    shift = np.array([0.5, 1.0, 1.5, 2.0])
    for make in (
        lambda: transforms.ExpTransform(),
        lambda: [transforms.AffineTransform(1.0, 2.0), transforms.SigmoidTransform()],
        lambda: transforms.AffineTransform(ops.array(shift), 2.0),
    ):
        first, second = (dist.TransformedDistribution(d, make()) for d in (p, q))
        assert_close(kl_divergence(first, second), EACH)
        assert_close(kl_divergence(first.to_event(1), second.to_event(1)), EACH.sum())
    mine, other = dist.TransformedDistribution(p, transforms.ExpTransform()), dist.TransformedDistribution(q, [])
    assert_close(kl_divergence(dist.LogNormal(LOC[0], SCALES), dist.LogNormal(LOC[1], 1.3)), EACH)
    assert not has_kl(mine, other)
    for absolute in (transforms.AbsTransform(), [transforms.AffineTransform(0.0, 1.0), transforms.AbsTransform()]):
        assert not has_kl(dist.TransformedDistribution(p, absolute), dist.TransformedDistribution(q, absolute))
    with pytest.raises(GapError, match=r"kl_divergence\(TransformedDistribution\(Normal\), TransformedDistribution\(Normal\)\)"):
        kl_divergence(mine, dist.TransformedDistribution(q, transforms.AffineTransform(0.0, 1.0)))
    logistic = [dist.LogisticNormal(loc, scale) for loc, scale in ((LOC[0], SCALES), (LOC[1], 1.3))]
    assert_close(kl_divergence(*logistic), EACH.sum())


def test_the_exponential_of_a_normal_is_a_log_normal(backend):
    guide = dist.TransformedDistribution(dist.Normal(0.1, 0.5), dist.biject_to(constraints.positive))
    for family, params in [("Gamma", (1.4, 0.6)), ("LogNormal", (-0.3, 0.9)), ("HalfNormal", (1.5,)), ("Uniform", (0.0, 1.0))]:
        prior = getattr(dist, family)(*params)
        assert_close(kl_divergence(guide, prior), np.asarray(expected_log_ratio("LogNormal", family, (0.1, 0.5), params)))
    backwards = expected_log_ratio("Weibull", "LogNormal", (1.2, 2.1), (0.1, 0.5))
    assert_close(kl_divergence(dist.Weibull(1.2, 2.1), guide), np.asarray(backwards))
    assert_close(kl_divergence(guide.expand((2,)).to_event(1), dist.Weibull(0.9, 0.5).expand((2,)).to_event(1)),
                 2 * np.asarray(expected_log_ratio("LogNormal", "Weibull", (0.1, 0.5), (0.9, 0.5))))  # fmt: skip
    assert_close(kl_divergence(guide.mask(False), dist.Gamma(2.0).mask(False)), 0.0)
    assert_close(kl_divergence(guide.mask(True), dist.Gamma(1.4, 0.6)), to_host(kl_divergence(guide, dist.Gamma(1.4, 0.6))))
    assert_close(kl_divergence(dist.Delta(2.0), guide), -stats.lognorm.logpdf(2.0, 0.5, scale=np.exp(0.1)))
    copies = dist.ExpandedDistribution(guide, (2,))
    assert_close(kl_divergence(copies, guide), np.zeros(2))
    assert_close(kl_divergence(guide, dist.ExpandedDistribution(guide, (2,))), np.zeros(2))
    assert not has_kl(dist.TransformedDistribution(dist.Cauchy(0.1, 0.5), transforms.ExpTransform()), dist.Gamma(2.0))


# --- who is asked ---


def test_a_missing_pair_is_one_sentence(backend):
    p, q = dist.StudentT(3.0), dist.Cauchy(0.0, 1.0)
    assert not has_kl(p, q)
    with pytest.raises(NotImplementedError) as error:
        kl_divergence(p, q)
    assert isinstance(error.value, GapError)
    assert str(error.value) == (
        "kl_divergence(StudentT, Cauchy) has no closed form registered; expected a registered pair; "
        "try Monte Carlo: mean of p.log_prob(x) - q.log_prob(x)"
    )
    assert not has_kl(p.expand((3,)).to_event(1), q.expand((3,)).to_event(1))
    with pytest.raises(GapError, match=r"Independent\(StudentT\), Independent\(Cauchy\)"):
        kl_divergence(p.expand((3,)).to_event(1), q.expand((3,)).to_event(1))


def test_shapes_broadcast_or_both_are_printed(backend):
    p, q = dist.Gamma(np.ones((3, 1)), 2.0), dist.Gamma(np.ones(2), 2.0)
    assert tuple(kl_divergence(p, q).shape) == (3, 2)
    assert tuple(kl_divergence(dist.Normal(np.zeros((3, 1)), 1.0), dist.Gamma(np.ones(2))).shape) == (3, 2)
    with pytest.raises(ShapeError, match=r"batch.*\(3,\).*\(2,\)"):
        kl_divergence(dist.Gamma(np.ones(3)), q)
    with pytest.raises(ShapeError, match=r"event.*\(2,\).*\(\)"):
        kl_divergence(q.to_event(1), dist.Gamma(1.0))


def test_the_objects_backend_serves_whichever_is_active(backend, request):
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    conditional = [dist.Kumaraswamy(2.0, b) for b in (2.0, 3.0)] + [dist.Kumaraswamy(3.0, 3.0)]
    guide, prior = dist.TransformedDistribution(p, transforms.ExpTransform()), dist.LogNormal(1.0, 2.0)
    log_normal = normals(0.0, 1.0, 1.0, 2.0)
    others = (request.config.getoption("--backends") or "numpy,torch,jax").split(",")
    for other in {"numpy", "torch", "jax"} & set(others) - {backend}:
        with ppl.pyro_backend(other):
            divergence = kl_divergence(p, q)
            assert ppl.registry.load(backend).ops.is_array(divergence)
            theirs = dist.Normal(0.0, 1.0)
            assert has_kl(*conditional[:2])
            assert not has_kl(conditional[0], conditional[2])
            ratio = kl_divergence(*conditional[:2])
            named = kl_divergence(guide, prior)
        assert_close(ratio, 1.5 - 1.0 - np.log(1.5))
        assert_close(named, log_normal)
        assert_close(divergence, normals(0.0, 1.0, 1.0, 2.0))
        with pytest.raises(BackendError, match=rf"kl_divergence\(Normal, Normal\).*{backend}.*{other}"):
            kl_divergence(p, theirs)
    with pytest.raises(ConstraintError, match="float"):
        kl_divergence(p, 1.0)


def test_the_most_specific_pair_wins_and_ties_are_named(backend):
    class Base(dist.Normal):
        pass

    class Leaf(Base):
        pass

    leaf, other = Leaf(0.0, 1.0), Leaf(1.0, 2.0)
    assert_close(kl_divergence(leaf, other), normals(0.0, 1.0, 1.0, 2.0))
    mine = [(Base, Leaf), (Leaf, Base), (Leaf, Leaf)]
    try:
        for value, pair in enumerate(mine[:2]):
            register_kl(*pair)(lambda p, q, value=value: ops.array(float(value)))
        with pytest.raises(PplError, match=r"ambiguous.*\(Leaf, Base\) and \(Base, Leaf\).*register_kl\(Leaf, Leaf\)"):
            kl_divergence(leaf, other)
        assert_close(kl_divergence(Base(0.0, 1.0), other), 0.0)
        assert_close(kl_divergence(leaf, Base(0.0, 1.0)), 1.0)
        register_kl(Leaf, Leaf)(lambda p, q: ops.array(7.0))
        assert_close(kl_divergence(leaf, other), 7.0)
        assert_close(kl_divergence(leaf.expand((3,)), other), np.full(3, 7.0))
    finally:
        for pair in mine:
            RULES.pop(pair, None)
    with pytest.raises(ConstraintError, match="register_kl"):
        register_kl(int, Leaf)


def test_compiled_and_mapped_divergences_are_the_same(backend):
    def divergence(x):
        gammas = kl_divergence(dist.Gamma(x, 2.0), dist.LogNormal(0.1, x)) + kl_divergence(
            dist.Uniform(0.0 * x, x), dist.Beta(x, x)
        )
        counts = kl_divergence(dist.Binomial(3, x), dist.Binomial(3, logits=x)) + kl_divergence(
            dist.Poisson(x), dist.Poisson(2.0)
        )
        counts = (
            counts
            + kl_divergence(dist.Binomial(3, x), dist.Binomial(4, 0.5))
            + kl_divergence(dist.Bernoulli(x), dist.Binomial(2, x))
        )
        copies = kl_divergence(dist.Normal(x, x).expand((2,)).to_event(1), dist.MultivariateNormal(ops.zeros(2), ops.eye(2)))
        return gammas + counts + copies

    points = np.array([0.3, 0.6, 0.9])
    eager = np.array([float(to_host(divergence(ops.array(x)))) for x in points])
    compiled = ops.compile.compile(divergence)
    assert_close(np.array([float(to_host(compiled(ops.array(x)))) for x in points]), eager)
    assert_close(ops.autodiff.vmap(divergence)(ops.array(points)), eager)


def test_compiled_binomials_of_counts_in_arrays_agree_or_are_not_numbers(backend):
    def divergence(x):
        return kl_divergence(dist.Binomial(ops.array([3.0, 3.0]), x), dist.Binomial(ops.array([3.0, 4.0]), 0.5))

    expected = 3 * (0.3 * np.log(0.3 / 0.5) + 0.7 * np.log(0.7 / 0.5))
    compiled = to_host(ops.compile.compile(divergence)(ops.array(0.3)))
    assert_close(compiled[:1], np.array([expected]))
    assert np.isnan(compiled[1]) or compiled[1] == to_host(divergence(ops.array(0.3)))[1]


@pytest.mark.backends("torch")
def test_torchs_own_function_gives_this_librarys_divergence(backend):
    import torch

    theirs = torch.distributions.kl_divergence
    pairs = [
        (dist.Binomial(3, 0.3), dist.Binomial(5, 0.6)),
        (dist.Bernoulli(0.0), dist.Bernoulli(0.4)),
        (dist.Chi2(3.0), dist.Gamma(2.0)),
        (dist.Weibull(1.2, 2.0), dist.Gumbel(0.0, 1.0)),
        (dist.InverseGamma(3.0, 1.0), dist.Gamma(2.0)),
        (dist.InverseGamma(3.0, 1.0), dist.LogNormal(0.0, 1.0)),
        (dist.LogUniform(0.5, 2.0), dist.Normal(0.0, 1.0)),
        (dist.Normal(0.0, 1.0).expand((4,)).to_event(1), dist.MultivariateNormal(torch.zeros(4), torch.eye(4))),
        (dist.Delta(1.0), dist.Exponential(2.0)),
        (dist.Normal(0.0, 1.0).mask(False), dist.Normal(1.0, 1.0).mask(False)),
        (dist.TransformedDistribution(dist.Normal(0.0, 1.0), transforms.ExpTransform()),
         dist.TransformedDistribution(dist.Normal(1.0, 1.0), transforms.ExpTransform())),
    ]  # fmt: skip
    for p, q in pairs:
        if has_kl(p, q):
            assert_close(theirs(p, q), to_host(kl_divergence(p, q)))
        else:
            with pytest.raises(GapError, match="Monte Carlo"):
                theirs(p, q)
    assert [has_kl(*pair) for pair in pairs].count(False) == 1
    native = torch.distributions.Normal(torch.tensor(1.0), torch.tensor(2.0))
    assert_close(theirs(dist.Normal(0.0, 1.0), native), normals(0.0, 1.0, 1.0, 2.0), rtol=1e-6)


def test_no_two_families_are_ambiguous():
    families = [family for family in vars(dist).values() if isinstance(family, type) and issubclass(family, dist.Distribution)]
    assert len(families) > 50
    found = [most_specific(p, q) is not None for p in families for q in families]
    assert 0 < sum(found) < len(found)


WRAPPERS = ("MaskedDistribution", "ExpandedDistribution", "TransformedDistribution")
# Every other rule has its row in the tables of numbers and counts.
OWN_TESTS = {
    *((p, q) for p in NORMALS for q in NORMALS),
    *((name, name) for name in ("MatrixNormal", "GaussianRandomWalk", "Dirichlet", "Wishart", "LKJCholesky", "VonMises",
                                "VonMises3D", "LogisticNormal", "TruncatedNormal", "Categorical", "OrderedLogistic",
                                "OneHotCategorical", "Multinomial", "ExponentialFamily")),
    *((wrapper, "Distribution") for wrapper in ("Delta", *WRAPPERS)),
    *(("Distribution", wrapper) for wrapper in WRAPPERS),
    *((wrapper, other) for wrapper in WRAPPERS for other in WRAPPERS),
    *(("Delta", wrapper) for wrapper in WRAPPERS),
    ("TruncatedNormal", "Normal"), ("OrderedLogistic", "Categorical"), ("Categorical", "OrderedLogistic"),
}  # fmt: skip


def test_every_rule_has_a_row():
    rules = {pair for pair in ((p.__name__, q.__name__) for p, q in RULES) if all(hasattr(dist, name) for name in pair)}
    rows = {pair for pair in rules if all(name in MEASURED for name in pair) or all(name in COUNTED for name in pair)}
    assert rules - rows == OWN_TESTS


@pytest.mark.backends("torch")
def test_torch_registers_no_pair_that_is_missing(backend):
    from torch.distributions import kl

    theirs = {(p.__name__, q.__name__) for p, q in vars(kl)["_KL_REGISTRY"] if p.__module__.startswith("torch.")}
    absent = {pair for pair in theirs if "ContinuousBernoulli" not in pair}
    assert absent - {(p.__name__, q.__name__) for p, q in RULES} == set()
