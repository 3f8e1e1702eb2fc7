"""Mixtures, masks and the wrappers of distributions. Oracles: scipy, quadrature, closed forms."""

import pickle

import numpy as np
import pytest
from scipy import integrate, stats

from ppl import constraints, ops
from ppl import distributions as dist
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, goodness_of_fit, monte_carlo_z, numerical_gradient, to_host

pytestmark = pytest.mark.strict

INF = np.inf
DRAWS = 10_000


def gradient(fn, point):
    return to_host(ops.autodiff.grad(fn)(ops.array(point)))


# --- masks ---


@pytest.mark.parametrize("mask", [
    np.array([True, False, True]), np.array([1, 0, 1]), np.array([1.0, 0.0, 1.0]), [True, False, True], [1, 0, 1],
])  # fmt: skip
def test_masks_are_truth_values_or_zeros_and_ones(backend, mask):
    value = np.array([0.3, np.nan, -1.0])
    expected = np.where([True, False, True], stats.norm.logpdf(np.array([0.3, 0.0, -1.0])), 0.0)
    for d in (dist.Normal(0.0, 1.0).mask(mask), dist.MaskedDistribution(dist.Normal(np.zeros(3), 1.0), mask)):
        assert_close(d.log_prob(value), expected)
    assert_close(dist.Normal(0.0, 1.0).mask(mask).entropy(), np.where(expected != 0.0, stats.norm.entropy(), 0.0))


def test_masks_as_single_numbers_and_wrong_masks(backend):
    normal = dist.Normal(np.zeros(2), 1.0)
    assert_close(normal.mask(1).log_prob(0.0), stats.norm.logpdf(np.zeros(2)))
    assert_close(normal.mask(0).log_prob(0.0), np.zeros(2))
    for wrong in (np.array([0, 2]), np.array([0.0, 0.5]), 2, 0.5, np.array([1.0, np.nan])):
        with pytest.raises(ConstraintError, match="MaskedDistribution: a mask holds truth values, or zeros and ones"):
            normal.mask(wrong)
    with pytest.raises(ConstraintError, match="MaskedMixture: a mask holds truth values"):
        dist.MaskedMixture(np.array([0, 2]), normal, normal)


# --- masked mixture ---


def test_masked_mixture_takes_each_element_from_its_component(backend):
    mask = np.array([[True], [False]])
    d = dist.MaskedMixture(mask, dist.Normal(np.array([0.0, 5.0, -5.0]), 1.0), dist.Exponential(2.0))
    assert tuple(d.batch_shape) == (2, 3)
    value = np.array([[0.5, 1.0, 3.0], [-0.5, 4.0, -6.0]])
    normal, exponential = stats.norm([0.0, 5.0, -5.0], 1.0), stats.expon(scale=0.5)
    assert_close(d.log_prob(value), np.where(mask, exponential.logpdf(value), normal.logpdf(value)))
    assert_close(d.cdf(value), np.where(mask, exponential.cdf(value), normal.cdf(value)))
    assert_close(d.icdf(0.3), np.where(mask, exponential.ppf(0.3), normal.ppf(0.3)))
    assert_close(d.mean, np.where(mask, 0.5, [0.0, 5.0, -5.0]))
    assert_close(d.variance, np.where(mask, 0.25, np.ones(3)))
    assert_close(d.entropy(), np.where(mask, exponential.entropy(), normal.entropy()))
    draws = to_host(d.sample((DRAWS,)))
    assert goodness_of_fit(draws[:, 0, 1], exponential.cdf) > 2e-5
    assert goodness_of_fit(draws[:, 1, 1], stats.norm(5.0, 1.0).cdf) > 2e-5
    assert goodness_of_fit(draws[:, 1, 1], stats.norm(5.2, 1.0).cdf) < 2e-5
    assert isinstance(d.expand((4, 2, 3)), dist.MaskedMixture)
    assert_close(d.expand((4, 2, 3)).log_prob(value), np.broadcast_to(to_host(d.log_prob(value)), (4, 2, 3)))
    assert_close(pickle.loads(pickle.dumps(d)).log_prob(value), to_host(d.log_prob(value)))
    assert_close(d.to_event(1).log_prob(value), to_host(d.log_prob(value)).sum(-1))
    parts = d.score_parts(value)
    assert_close(parts.entropy_term, to_host(d.log_prob(value)))
    assert_close(parts.score_function, 0.0)
    with pytest.raises(GapError, match="MaskedMixture has no enumerate_support"):
        d.enumerate_support()


def test_masked_mixture_gradients_come_from_the_chosen_component_alone(backend):
    """The logarithm of the component not chosen is taken at a negative number, where it and its gradient are NaN."""
    mask = np.array([False, True])
    value = np.array([-1.0, 0.5])

    def density(parameters):
        return ops.sum(dist.MaskedMixture(mask, dist.Normal(parameters[0], 1.0), dist.Gamma(parameters[1], 1.0)).log_prob(value))

    exact = numerical_gradient(lambda p: stats.norm.logpdf(-1.0, p[0], 1.0) + stats.gamma.logpdf(0.5, p[1]), np.array([0.2, 2.0]))
    assert_close(gradient(density, np.array([0.2, 2.0])), exact, "finite_difference")


def test_draws_of_a_masked_mixture_follow_the_chosen_component(backend):
    """A normal draw moves with its mean by one, an exponential draw with its rate by -x / rate."""
    mask = np.array([False, True])

    def draw(parameter):
        d = dist.MaskedMixture(mask, dist.Normal(parameter, 1.0), dist.Exponential(parameter))
        return d.rsample((), ops.random.key(3))

    assert_close(gradient(lambda p: ops.sum(draw(p)), 2.0), 1.0 - to_host(draw(2.0))[1] / 2.0)


def test_masked_mixture_judges_shapes_and_values(backend):
    mask = np.array([False, True])
    d = dist.MaskedMixture(mask, dist.Normal(0.0, 1.0), dist.Exponential(1.0))
    assert to_host(d.support(np.array([-1.0, -1.0]))).tolist() == [True, False]
    with pytest.raises(ConstraintError, match="Exponential: value"):
        d.log_prob(np.array([-1.0, -1.0]))
    assert dist.MaskedMixture(mask, dist.Normal(0.0, 1.0), dist.StudentT(3.0)).support == constraints.real
    with pytest.raises(ShapeError, match=r"events of one shape; received \(\) and \(2,\)"):
        dist.MaskedMixture(mask, dist.Normal(0.0, 1.0), dist.Dirichlet([1.0, 1.0]))
    with pytest.raises(ShapeError, match="broadcast"):
        dist.MaskedMixture(mask, dist.Normal(np.zeros(3), 1.0), dist.Normal(0.0, 1.0))
    counts = dist.MaskedMixture(mask, dist.Poisson(1.0), dist.Poisson(9.0))
    assert not counts.has_rsample
    assert counts.is_discrete
    assert_close(counts.score_parts([0.0, 3.0]).score_function, stats.poisson([1.0, 9.0]).logpmf([0, 3]))


# --- mixtures of one family ---


PROBS, LOCS, SCALES = np.array([0.2, 0.5, 0.3]), np.array([-2.0, 0.5, 3.0]), np.array([0.5, 1.0, 0.3])


class NormalMixtureOracle:
    def __init__(self, probs=PROBS, locs=LOCS, scales=SCALES):
        self.probs, self.rows = probs, stats.norm(locs, scales)

    def cdf(self, x):
        return (self.probs * self.rows.cdf(np.asarray(x)[..., None])).sum(-1)

    def pdf(self, x):
        return (self.probs * self.rows.pdf(np.asarray(x)[..., None])).sum(-1)

    def expectation(self, fn):
        return integrate.quad(lambda x: fn(x) * self.pdf(x), -8.0, 8.0, points=[-2.0, 0.5, 3.0], limit=200)[0]


def normal_mixture(probs=PROBS, locs=LOCS, scales=SCALES):
    return dist.MixtureSameFamily(dist.Categorical(probs), dist.Normal(locs, scales))


def test_mixture_of_normals_is_the_sum(backend, rng):
    d, oracle = normal_mixture(), NormalMixtureOracle()
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((), ())
    x = rng.normal(size=(4, 2)) * 3.0
    assert_close(d.log_prob(x), np.log(oracle.pdf(x)))
    assert_close(d.cdf(x), oracle.cdf(x))
    mean = oracle.expectation(lambda x: x)
    assert_close(d.mean, mean, rtol=1e-8)
    assert_close(d.variance, oracle.expectation(lambda x: (x - mean) ** 2), rtol=1e-8)
    draws = to_host(d.sample((DRAWS,)))
    assert goodness_of_fit(draws, oracle.cdf) > 2e-5
    assert goodness_of_fit(draws, lambda x: oracle.cdf(x) ** 1.3) < 2e-5
    wide = d.expand((4,))
    assert isinstance(wide, dist.MixtureSameFamily)
    assert tuple(wide.sample((3,)).shape) == (3, 4)
    assert_close(wide.log_prob(0.3), np.full(4, np.log(oracle.pdf(0.3))))
    assert_close(pickle.loads(pickle.dumps(d)).log_prob(x), np.log(oracle.pdf(x)))
    theirs = dist.MixtureSameFamily(mixing_distribution=dist.Categorical(PROBS), component_distribution=dist.Normal(LOCS, SCALES))
    assert_close(theirs.log_prob(x), np.log(oracle.pdf(x)))
    assert theirs.mixing_distribution is theirs.mixture_distribution
    assert_close(d.log_prob(1e4), np.log(0.5) + stats.norm(0.5, 1.0).logpdf(1e4))


def test_pathwise_gradients_of_a_mixture(backend):
    """Derivatives of E[tanh x] to weights, means and scales, by quadrature and central differences."""
    found = {
        "locs": gradient(lambda p: ops.sum(ops.tanh(normal_mixture(locs=p).rsample())), np.tile(LOCS, (4000, 1))),
        "scales": gradient(lambda p: ops.sum(ops.tanh(normal_mixture(scales=p).rsample())), np.tile(SCALES, (4000, 1))),
        "probs": gradient(lambda p: ops.sum(ops.tanh(normal_mixture(probs=p).rsample())), np.tile(PROBS, (4000, 1))),
    }
    start = {"locs": LOCS, "scales": SCALES, "probs": PROBS}
    for name, gradients in found.items():

        def expectation(parameter, name=name):
            parameter = parameter / parameter.sum() if name == "probs" else parameter
            return NormalMixtureOracle(**{name: parameter}).expectation(np.tanh)

        exact = numerical_gradient(expectation, start[name], 1e-4)
        assert np.abs(monte_carlo_z(gradients, exact)).max() < 4.9, name
        assert np.abs(monte_carlo_z(gradients, -exact)).max() > 4.9, name


def test_pathwise_gradient_of_a_mixture_of_gammas(backend):
    concentrations = np.array([0.8, 4.0])

    def expectation(a):
        means = [integrate.quad(lambda u, c=c: np.tanh(stats.gamma(c).ppf(u)), 0.0, 1.0)[0] for c in a]
        return 0.3 * means[0] + 0.7 * means[1]

    found = gradient(lambda a: ops.sum(ops.tanh(dist.MixtureSameFamily(
        dist.Categorical(np.array([0.3, 0.7])), dist.Gamma(a, 1.0)).rsample())), np.tile(concentrations, (4000, 1)))  # fmt: skip
    exact = numerical_gradient(expectation, concentrations, 1e-4)
    assert np.abs(monte_carlo_z(found, exact)).max() < 4.9
    assert np.abs(monte_carlo_z(found, exact[::-1])).max() > 4.9


def test_mixtures_of_vectors_and_of_batches(backend, rng):
    locs, probs = rng.normal(size=(2, 3, 4)), np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    d = dist.MixtureSameFamily(dist.Categorical(probs), dist.Normal(locs, 0.7).to_event(1))
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2,), (4,))
    x = rng.normal(size=(5, 2, 4))
    each = stats.norm(locs, 0.7).logpdf(x[:, :, None]).sum(-1)
    assert_close(d.log_prob(x), np.log((probs * np.exp(each)).sum(-1)))
    assert_close(d.mean, (probs[..., None] * locs).sum(1))
    draws = to_host(d.sample((DRAWS,)))
    assert np.abs(monte_carlo_z(draws, (probs[..., None] * locs).sum(1))).max() < 4.9
    second = (probs[..., None] * (0.49 + locs**2)).sum(1)
    assert np.abs(monte_carlo_z(draws**2, second)).max() < 4.9
    cross = (probs * locs[..., 0] * locs[..., 1]).sum(1)
    assert np.abs(monte_carlo_z(draws[..., 0] * draws[..., 1], cross)).max() < 4.9
    shared = dist.MixtureSameFamily(dist.Categorical(PROBS), dist.Normal(locs, 0.7).to_event(1))
    assert_close(shared.log_prob(x), np.log((PROBS * np.exp(each)).sum(-1)))
    assert not d.has_rsample
    for operation in (d.rsample, d.entropy, lambda: d.cdf(x), lambda: d.icdf(x), d.enumerate_support):
        with pytest.raises(GapError, match="MixtureSameFamily"):
            operation()
    counts = dist.MixtureSameFamily(dist.Categorical(PROBS), dist.Poisson(np.array([1.0, 4.0, 9.0])))
    assert counts.is_discrete
    assert_close(counts.log_prob(3.0), np.log((PROBS * stats.poisson([1.0, 4.0, 9.0]).pmf(3)).sum()))
    assert_close(counts.score_parts(3.0).score_function, to_host(counts.log_prob(3.0)))


def test_a_mixture_covers_what_any_component_covers(backend):
    d = dist.MixtureSameFamily(dist.Categorical([0.25, 0.75]), dist.Uniform(np.array([0.0, 2.0]), np.array([1.0, 4.0])))
    assert_close(d.log_prob([0.5, 3.0]), np.log([0.25, 0.375]))
    with pytest.raises(ConstraintError, match=r"MixtureSameFamily: value is outside the support.*1\.5"):
        d.log_prob(1.5)
    silent = dist.MixtureSameFamily(
        dist.Categorical([0.25, 0.75]), dist.Uniform(np.array([0.0, 2.0]), np.array([1.0, 4.0])), validate_args=False
    )
    assert_close(silent.log_prob(1.5), -INF)
    assert_close(silent.cdf([1.5, 4.5]), [0.25, 1.0])
    assert_close(d.mask(np.array([True, False])).log_prob([0.5, np.nan]), [np.log(0.25), 0.0])


def test_mixtures_judge_their_arguments(backend):
    weights = dist.Categorical(PROBS)
    with pytest.raises(ShapeError, match=r"3 weights need as many components.*\(2,\)"):
        dist.MixtureSameFamily(weights, dist.Normal(np.zeros(2), 1.0))
    with pytest.raises(ShapeError, match=r"3 weights need as many components.*\(\)"):
        dist.MixtureSameFamily(weights, dist.Normal(0.0, 1.0))
    with pytest.raises(ConstraintError, match="takes a Categorical and a component distribution; received Normal and Normal"):
        dist.MixtureSameFamily(dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0))
    with pytest.raises(ConstraintError, match="exactly one of mixture_distribution, mixing_distribution"):
        dist.MixtureSameFamily(weights, dist.Normal(LOCS, 1.0), mixing_distribution=weights)


# --- wrappers ---


def test_wrappers_hand_on_what_the_base_has(backend):
    wide = dist.ExpandedDistribution(dist.Normal(np.array([[0.0], [1.0]]), 1.0), (2, 3))
    x = np.array([0.5, -0.5, 1.5])
    assert_close(wide.cdf(x), stats.norm(np.array([[0.0], [1.0]]), 1.0).cdf(x))
    assert_close(wide.icdf(0.3), np.broadcast_to(stats.norm(np.array([[0.0], [1.0]]), 1.0).ppf(0.3), (2, 3)))
    assert_close(wide.entropy(), np.full((2, 3), stats.norm.entropy()))
    silent = dist.Normal(np.zeros(2), 1.0).mask(np.array([True, False]))
    assert_close(silent.cdf(0.5), np.full(2, stats.norm.cdf(0.5)))
    assert_close(silent.icdf(0.3), np.full(2, stats.norm.ppf(0.3)))
    assert_close(dist.Independent(dist.Normal(np.zeros(2), 1.0), 0).cdf(0.5), np.full(2, stats.norm.cdf(0.5)))


def test_scores_of_draws_without_a_path_reach_through_the_wrappers(backend):
    value = np.array([[1.0, 4.0, 2.0], [0.0, 3.0, 5.0]])
    each = stats.poisson(3.0).logpmf(value)
    mask = np.array([True, False, True])
    base = dist.Poisson(np.full(3, 3.0))
    for d, log_prob, score in [
        (base.to_event(1), each.sum(-1), each.sum(-1)),
        (dist.ExpandedDistribution(dist.Poisson(3.0), (3,)), each, each),
        (base.mask(mask), each * mask, each),
        (base.mask(mask).to_event(1), (each * mask).sum(-1), each.sum(-1)),
    ]:
        parts = d.score_parts(value)
        assert_close(parts.log_prob, log_prob)
        assert_close(parts.score_function, score)
        assert_close(parts.entropy_term, 0.0)


def test_operations_that_wrappers_lack_say_why(backend):
    vector = dist.Normal(np.zeros(3), 1.0).to_event(1)
    curved = dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.ExpTransform())
    for operation, sentence in [
        (lambda: vector.cdf(np.zeros(3)), "Independent over 1 batch dimension.* has no cdf"),
        (lambda: vector.icdf(0.5), "Independent over 1 batch dimension.* has no icdf"),
        (dist.Bernoulli(np.full(3, 0.5)).to_event(1).enumerate_support, "has no enumerate_support"),
        (lambda: curved.mean, "has no mean under ExpTransform"),
        (lambda: curved.variance, "has no variance under ExpTransform"),
        (lambda: curved.stddev, "has no variance under ExpTransform"),
        (curved.entropy, "has no entropy under ExpTransform"),
        (dist.Poisson(3.0).mask(True).rsample, "Poisson has no rsample"),
        (dist.ExpandedDistribution(dist.Dirichlet([1.0, 2.0]), (3,)).enumerate_support, "Dirichlet has no enumerate_support"),
    ]:
        with pytest.raises(GapError, match=sentence):
            operation()
    stick = dist.TransformedDistribution(dist.Normal(np.zeros(2), 1.0), dist.transforms.StickBreakingTransform())
    with pytest.raises(GapError, match="TransformedDistribution has no cdf or icdf here"):
        stick.icdf(0.5)


def test_density_of_a_transformed_variable_outside_its_range(backend):
    base = dist.Normal(np.zeros(2), 1.0)
    for transform, value in [(dist.transforms.ExpTransform(), [-1.0, 2.0]), (dist.transforms.SigmoidTransform(), [1.5, 0.3])]:
        d = dist.TransformedDistribution(base, transform, validate_args=False)
        inside = dist.TransformedDistribution(base, transform).log_prob(np.full(2, value[1]))
        assert_close(d.log_prob(value), [-INF, to_host(inside)[1]])
        assert_close(d.to_event(1).log_prob(value), -INF)
        assert np.isfinite(gradient(lambda x, d=d: ops.sum(d.log_prob(x)), value)).all()
        wide = dist.TransformedDistribution(base.to_event(1), transform, validate_args=False)
        assert_close(wide.log_prob(value), -INF)
        assert_close(wide.log_prob(np.full(2, value[1])), to_host(inside).sum())


def test_moments_of_an_affine_image(backend):
    shift, stretch = dist.transforms.AffineTransform(1.0, -2.0), dist.transforms.AffineTransform(np.array([0.0, 3.0]), 0.5)
    d = dist.TransformedDistribution(dist.Gamma(np.array([2.0, 3.0]), 1.5), [shift, stretch])
    oracle = stats.gamma([2.0, 3.0], scale=1.0 / 1.5)
    assert_close(d.mean, np.array([0.0, 3.0]) + 0.5 * (1.0 - 2.0 * oracle.mean()))
    assert_close(d.variance, oracle.var())
    assert_close(d.entropy(), oracle.entropy())
    rows = dist.Normal(np.zeros((2, 3)), 0.5).to_event(1)
    doubled = dist.TransformedDistribution(rows, dist.transforms.AffineTransform(0.0, 4.0))
    assert_close(doubled.variance, np.full((2, 3), 4.0))
    assert_close(doubled.entropy(), np.full(2, 3 * stats.norm(0.0, 2.0).entropy()))
    parts = d.score_parts(to_host(d.mean))
    assert_close(parts.entropy_term, to_host(d.log_prob(to_host(d.mean))))
