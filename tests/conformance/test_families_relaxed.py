"""Relaxed families and the empirical one, where no row of the table says it. Oracles: scipy, quadrature, limits."""

import gc

import numpy as np
import pytest
from cases.relaxed import RelaxedBernoulliOracle, RelaxedCategoricalOracle
from scipy import integrate, stats

from ppl import constraints, handlers, ops
from ppl import distributions as dist
from ppl.distributions import straight_through
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, monte_carlo_z, to_host

pytestmark = pytest.mark.strict

INF = np.inf
DRAWS = 10_000
WEIGHTS = np.array([0.2, 0.3, 0.5])


def gradient(fn, point):
    return to_host(ops.autodiff.grad(fn)(ops.array(point)))


# --- relaxed families at their edges ---


def test_relaxed_bernoulli_at_the_ends_has_the_limits(backend):
    ends = np.array([0.0, 1.0])
    assert_close(dist.RelaxedBernoulli(0.5, 0.3).log_prob(ends), [INF, INF])
    assert_close(dist.RelaxedBernoulli(2.0, 0.3).log_prob(ends), [-INF, -INF])
    assert_close(dist.RelaxedBernoulli(1.0, 0.3).log_prob(ends), np.log([0.7 / 0.3, 0.3 / 0.7]))
    assert_close(dist.RelaxedBernoulli(1.0, 0.5).log_prob([0.0, 0.2, 1.0]), np.zeros(3))
    assert_close(dist.RelaxedBernoulli(0.5, 0.3, validate_args=False).cdf([-1.0, 0.0, 1.0, 2.0]), [0.0, 0.0, 1.0, 1.0])
    assert_close(dist.RelaxedBernoulli(0.5, 0.3).icdf([0.0, 1.0]), ends)
    slope = gradient(lambda x: ops.sum(dist.RelaxedBernoulli(2.0, 0.3, validate_args=False).log_prob(x)), [0.0, 0.5, 1.0])
    assert np.isfinite(slope).all()


def test_relaxed_categorical_on_the_boundary_has_the_limits(backend):
    boundary, near = np.array([0.0, 0.3, 0.7]), np.array([1e-40, 0.3, 0.7])
    finite = RelaxedCategoricalOracle(0.5, WEIGHTS).logpdf(near)
    assert_close(dist.RelaxedOneHotCategorical(0.5, WEIGHTS).log_prob(boundary), finite)
    assert_close(dist.RelaxedOneHotCategorical(0.4, WEIGHTS).log_prob(boundary), INF)
    assert_close(dist.RelaxedOneHotCategorical(0.6, WEIGHTS).log_prob(boundary), -INF)
    assert RelaxedCategoricalOracle(0.4, WEIGHTS).logpdf(near) > 5.0
    assert RelaxedCategoricalOracle(0.6, WEIGHTS).logpdf(near) < -5.0
    silent = dist.RelaxedOneHotCategorical(0.5, WEIGHTS, validate_args=False)
    slope = gradient(silent.log_prob, boundary)
    assert np.isfinite(slope).all()


def test_cold_draws_stay_inside(backend):
    draws = dist.RelaxedBernoulli(1e-3, np.array([0.3, 0.5])).sample((500,))
    assert to_host(draws).min() > 0.0
    assert to_host(draws).max() < 1.0
    assert np.isfinite(to_host(dist.RelaxedBernoulli(1e-3, np.array([0.3, 0.5])).log_prob(draws))).all()
    corners = dist.RelaxedOneHotCategorical(1e-3, WEIGHTS).sample((500,))
    assert to_host(corners).min() > 0.0
    assert bool(ops.all(constraints.simplex(corners)))


def test_pathwise_gradient_of_relaxed_categorical(backend):
    """E[x0^2] of two coordinates, by quadrature of the first one's quantile and central differences."""

    def expectation(temperature, logit):
        oracle = RelaxedBernoulliOracle(temperature, logits=logit)
        return integrate.quad(lambda u: oracle.ppf(u) ** 2, 0.0, 1.0, epsabs=1e-10, limit=400)[0]

    logits, temperature = np.array([0.3, -0.4]), 0.8
    tiled = ops.array(np.tile(logits, (4000, 1)))
    step = 1e-3
    slope = (expectation(temperature, 0.7 + step) - expectation(temperature, 0.7 - step)) / (2 * step)

    def total(temperature, logits):
        return ops.sum(dist.RelaxedOneHotCategorical(temperature, logits=logits).rsample()[..., 0] ** 2)

    found = gradient(lambda p: total(temperature, p), tiled)
    assert np.abs(monte_carlo_z(found, np.array([slope, -slope]))).max() < 4.9
    assert np.abs(monte_carlo_z(found, np.array([-slope, slope]))).min() > 4.9
    slope = (expectation(temperature + step, 0.7) - expectation(temperature - step, 0.7)) / (2 * step)
    hot = gradient(lambda t: total(t, tiled), np.full(4000, temperature))
    assert abs(monte_carlo_z(hot, slope)) < 4.9
    assert abs(monte_carlo_z(hot, -slope)) > 4.9


# --- straight-through draws ---


def test_a_quantized_draw_is_discrete_and_has_the_relaxed_gradient(backend):
    """With the noise fixed, the relaxed draw moves by x (1 - x) / temperature for each unit of log odds."""
    logits = np.array([-1.0, 0.2, 2.0])

    def draw(family, parameter):
        return getattr(dist, family)(0.7, logits=parameter).rsample((50,), ops.random.key(5))

    soft, hard = (to_host(draw(name, logits)) for name in ("RelaxedBernoulli", "RelaxedBernoulliStraightThrough"))
    assert set(np.unique(hard)) == {0.0, 1.0}
    assert_close(hard, np.round(soft))
    found = gradient(lambda p: ops.sum(draw("RelaxedBernoulliStraightThrough", p)), logits)
    assert_close(found, (soft * (1.0 - soft) / 0.7).sum(0))

    def corner(family, parameter):
        return getattr(dist, family)(0.7, logits=parameter).rsample((50,), ops.random.key(5))

    soft = to_host(corner("RelaxedOneHotCategorical", logits))
    hard = to_host(corner("RelaxedOneHotCategoricalStraightThrough", logits))
    assert_close(hard, np.eye(3)[soft.argmax(-1)])
    found = gradient(lambda p: ops.sum(corner("RelaxedOneHotCategoricalStraightThrough", p)[:, 0]), logits)
    exact = soft[:, :1] * (np.array([1.0, 0.0, 0.0]) - soft) / 0.7
    assert_close(found, exact.sum(0))


def test_quantized_draws_have_the_frequencies_of_categories(backend):
    draws = to_host(dist.RelaxedBernoulliStraightThrough(0.5, probs=0.3).sample((DRAWS,)))
    assert abs(monte_carlo_z(draws, 0.3)) < 4.9
    assert abs(monte_carlo_z(draws, 0.33)) > 4.9
    draws = to_host(dist.RelaxedOneHotCategoricalStraightThrough(0.5, WEIGHTS).sample((DRAWS,)))
    assert np.abs(monte_carlo_z(draws, WEIGHTS)).max() < 4.9
    assert np.abs(monte_carlo_z(draws, WEIGHTS[::-1])).max() > 4.9


@pytest.mark.parametrize("method", ["sample", "rsample", "__call__"])
def test_a_quantized_draw_has_the_density_of_its_relaxed_source(backend, method):
    key = ops.random.key
    d = dist.RelaxedBernoulliStraightThrough(0.7, np.array([0.2, 0.6]))
    soft = to_host(dist.RelaxedBernoulli(0.7, np.array([0.2, 0.6])).sample((4,), key(2)))
    value = getattr(d, method)((4,), key(2))
    assert_close(d.log_prob(value), RelaxedBernoulliOracle(0.7, np.array([0.2, 0.6])).logpdf(soft))
    other = dist.RelaxedBernoulliStraightThrough(1.5, 0.4)
    assert_close(other.log_prob(value), RelaxedBernoulliOracle(1.5, 0.4).logpdf(soft))
    assert_close(d.to_event(1).log_prob(value), RelaxedBernoulliOracle(0.7, np.array([0.2, 0.6])).logpdf(soft).sum(-1))
    mask = np.array([True, False])
    expected = np.where(mask, RelaxedBernoulliOracle(0.7, np.array([0.2, 0.6])).logpdf(soft), 0.0)
    assert_close(d.mask(mask).log_prob(value), expected)

    c = dist.RelaxedOneHotCategoricalStraightThrough(0.7, WEIGHTS)
    soft = to_host(dist.RelaxedOneHotCategorical(0.7, WEIGHTS).sample((4,), key(2)))
    value = getattr(c, method)((4,), key(2))
    assert_close(c.log_prob(value), RelaxedCategoricalOracle(0.7, WEIGHTS).logpdf(soft))
    assert_close(c.log_prob(soft), RelaxedCategoricalOracle(0.7, WEIGHTS).logpdf(soft))


def test_the_density_of_a_quantized_scalar_and_its_gradient(backend):
    """With the noise e fixed, log p(x(l); l) = c - log x - log(1 - x), since x moves with l so that the logistic term stays."""

    def density(logit):
        d = dist.RelaxedBernoulliStraightThrough(0.7, logits=logit)
        return d.log_prob(d.rsample((), ops.random.key(7)))

    soft = float(to_host(dist.RelaxedBernoulli(0.7, logits=0.4).sample((), ops.random.key(7))))
    assert_close(density(0.4), RelaxedBernoulliOracle(0.7, logits=0.4).logpdf(soft))
    assert_close(gradient(density, 0.4), (2.0 * soft - 1.0) / 0.7)


@pytest.mark.parametrize(("make", "corner"), [
    (lambda **options: dist.RelaxedBernoulliStraightThrough(0.7, 0.4, **options), np.array([1.0, 0.3])),
    (lambda **options: dist.RelaxedOneHotCategoricalStraightThrough(0.7, WEIGHTS, **options), np.array([0.0, 1.0, 0.0])),
])  # fmt: skip
def test_a_quantized_value_of_unknown_source_has_no_number(backend, make, corner):
    with pytest.raises(ConstraintError, match="relaxed draw behind it, which is not known"):
        make().log_prob(corner)
    with pytest.raises(ConstraintError, match="relaxed draw behind it, which is not known"):
        make().log_prob(make().sample((20,)) * 1.0)
    silent = to_host(make(validate_args=False).log_prob(corner))
    assert np.isnan(silent.reshape(-1)[0])


def test_the_memory_of_relaxed_draws_is_bounded(backend):
    d = dist.RelaxedBernoulliStraightThrough(0.7, np.array([0.4, 0.2]))
    gc.collect()
    before = len(straight_through._weak)
    kept = [d.rsample() for _ in range(10)]
    assert all(straight_through.relaxed(value) is not None for value in kept)
    for _ in range(100):
        d.rsample()
        dist.RelaxedBernoulliStraightThrough(0.7, 0.4).rsample()
    del kept
    gc.collect()
    # The loop's last draw may still be held by the interpreter.
    assert len(straight_through._weak) <= before + 1
    assert len(straight_through._kept) <= straight_through.KEPT


def test_a_model_scores_the_draw_of_a_guide(backend):
    from ppl import sample

    def guide():
        return sample("z", dist.RelaxedBernoulliStraightThrough(0.7, np.array([0.2, 0.6])).to_event(1))

    def model():
        return sample("z", dist.RelaxedBernoulliStraightThrough(1.2, np.array([0.5, 0.5])).to_event(1))

    drawn = handlers.trace(handlers.seed(guide, 3)).get_trace()
    replayed = handlers.trace(handlers.replay(model, drawn)).get_trace()
    value = drawn.nodes["z"]["value"]
    soft = to_host(straight_through.relaxed(value))
    assert set(np.unique(to_host(value))) <= {0.0, 1.0}
    assert_close(replayed.log_prob_sum(), RelaxedBernoulliOracle(1.2, np.array([0.5, 0.5])).logpdf(soft).sum())


@pytest.mark.backends("jax")
def test_quantized_draws_in_compiled_code(backend):
    import jax

    d = dist.RelaxedBernoulliStraightThrough(0.7, np.array([0.2, 0.6]))

    @jax.jit
    def draw_and_score(key):
        value = d.rsample((3,), key)
        return value, straight_through.relaxed(value), d.log_prob(value)

    value, soft, density = draw_and_score(jax.random.key(0))
    assert_close(density, RelaxedBernoulliOracle(0.7, np.array([0.2, 0.6])).logpdf(to_host(soft)))
    assert np.isnan(to_host(jax.jit(d.log_prob)(value))).all()
    with pytest.raises(ConstraintError, match="not known"):
        d.log_prob(value)
    per_key = jax.vmap(lambda key: d.log_prob(d.rsample((), key)))(jax.random.split(jax.random.key(1), 5))
    assert np.isfinite(to_host(per_key)).all()


# --- empirical ---


SAMPLES, LOG_WEIGHTS = np.array([1.0, 2.5, 2.5, -4.0]), np.log([0.1, 0.2, 0.3, 0.4]) + 3.0
EMPIRICAL = stats.rv_discrete(values=([-4.0, 1.0, 2.5], [0.4, 0.1, 0.5]))


def test_empirical_is_scipys(backend, rng):
    d = dist.Empirical(SAMPLES, LOG_WEIGHTS)
    assert (tuple(d.batch_shape), tuple(d.event_shape), d.sample_size) == ((), (), 4)
    assert_close(d.log_prob([1.0, 2.5, -4.0, 0.0]), [*np.log([0.1, 0.5, 0.4]), -INF])
    assert_close(d.weights, [0.1, 0.2, 0.3, 0.4])
    assert_close(d.samples, SAMPLES)
    assert_close(d.mean, EMPIRICAL.mean())
    assert_close(d.variance, EMPIRICAL.var())
    assert_close(d.entropy(), EMPIRICAL.entropy())
    points = np.array([-5.0, -4.0, 0.0, 1.0, 2.4, 2.5, 9.0])
    assert_close(d.cdf(points), EMPIRICAL.cdf(points))
    probabilities = np.array([0.05, 0.39, 0.41, 0.49, 0.51, 0.99, 1.0])
    assert_close(d.icdf(probabilities), EMPIRICAL.ppf(probabilities))
    draws = to_host(d.sample((DRAWS,)))
    assert set(np.unique(draws)) == {-4.0, 1.0, 2.5}
    shares = (draws[:, None] == np.array([-4.0, 1.0, 2.5])).astype(float)
    assert np.abs(monte_carlo_z(shares, np.array([0.4, 0.1, 0.5]))).max() < 4.9
    assert np.abs(monte_carlo_z(shares, np.array([0.5, 0.1, 0.4]))).max() > 4.9
    slope = gradient(lambda w: ops.sum(dist.Empirical(SAMPLES, w).log_prob([2.5, 0.0, 1.0])[::2]), LOG_WEIGHTS)
    exact = np.array([0.0, 0.4, 0.6, 0.0]) + np.array([1.0, 0.0, 0.0, 0.0]) - 2 * np.array([0.1, 0.2, 0.3, 0.4])
    assert_close(slope, exact)
    assert np.isfinite(gradient(lambda w: dist.Empirical(SAMPLES, w).log_prob(0.0), LOG_WEIGHTS)).all()


def test_empirical_over_a_batch_of_arrays(backend, rng):
    samples, log_weights = rng.normal(size=(2, 3, 5)), np.array([[0.0, 1.0, -INF], [2.0, 0.5, 0.5]])
    weights = np.exp(log_weights) / np.exp(log_weights).sum(-1, keepdims=True)
    d = dist.Empirical(samples, log_weights)
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2,), (5,))
    assert_close(d.mean, (weights[..., None] * samples).sum(1))
    assert_close(d.variance, (weights[..., None] * (samples - (weights[..., None] * samples).sum(1)[:, None]) ** 2).sum(1))
    draws = to_host(d.sample((DRAWS,)))
    assert draws.shape == (DRAWS, 2, 5)
    chosen = (draws[:, :, None] == samples).all(-1)
    assert chosen.any(-1).all()
    some = [0, 0, 1, 1], [0, 1, 0, 2]
    assert np.abs(monte_carlo_z(chosen[:, *some].astype(float), weights[some])).max() < 4.9
    assert not chosen[:, 0, 2].any()
    assert_close(d.log_prob(draws[:3]), np.log((chosen[:3] * weights).sum(-1)))
    wide = d.expand((4, 2))
    assert isinstance(wide, dist.Empirical)
    assert_close(wide.log_prob(draws[0]), np.broadcast_to(to_host(d.log_prob(draws[0])), (4, 2)))
    assert tuple(wide.sample((3,)).shape) == (3, 4, 2, 5)
    values = d.enumerate_support()
    assert_close(values, np.moveaxis(samples, 1, 0))
    assert_close(ops.sum(ops.exp(d.log_prob(values)), axis=0), np.ones(2))
    for operation in (lambda: d.cdf(draws[0]), lambda: d.icdf(0.5), d.rsample, lambda: d.enumerate_support(expand=False)):
        with pytest.raises(GapError, match="Empirical has no"):
            operation()
    with pytest.raises(GapError, match="some samples are equal"):
        dist.Empirical(SAMPLES, LOG_WEIGHTS).enumerate_support()


def test_empirical_keeps_its_dtype_and_judges_its_arguments(backend):
    counts = dist.Empirical(np.array([3, 1, 1]))
    assert ops.dtype_name(counts.sample((2,))) == "int64"
    assert counts.is_discrete
    assert_close(counts.mean, 5.0 / 3.0)
    assert_close(counts.log_prob(1), np.log(2.0 / 3.0))
    with pytest.raises(ShapeError, match=r"samples of shape \(2, 3\) and log_weights of shape \(3,\)"):
        dist.Empirical(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ConstraintError, match=r"Empirical: parameter 'log_weights'.*nan"):
        dist.Empirical(np.zeros(2), np.array([0.0, np.nan]))
    with pytest.raises(ConstraintError, match=r"Empirical: value is outside the support.*nan"):
        counts.log_prob(np.nan)
    with pytest.raises(NotImplementedError, match="discrete"):
        dist.biject_to(counts.support)


# --- torch and jax ---


@pytest.mark.backends("torch")
def test_these_are_torchs_classes_too(backend):
    import torch

    two = torch.tensor([0.0, 1.0])
    made = {
        "RelaxedBernoulli": [dist.RelaxedBernoulli(0.5, 0.3), dist.RelaxedBernoulliStraightThrough(0.5, logits=0.3)],
        "RelaxedOneHotCategorical": [
            dist.RelaxedOneHotCategorical(0.5, WEIGHTS), dist.RelaxedOneHotCategoricalStraightThrough(0.5, logits=WEIGHTS),
        ],
        "LogisticNormal": [dist.LogisticNormal(two, 1.0)],
        "MixtureSameFamily": [dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(two, 1.0))],
    }  # fmt: skip
    for name, objects in made.items():
        theirs = getattr(torch.distributions, name)
        for d in objects:
            assert isinstance(d, theirs)
            assert isinstance(d.expand((3,)), theirs)
    soft = made["RelaxedBernoulli"][0]
    outside = torch.distributions.TransformedDistribution(soft.base_dist, list(soft.transforms))
    assert_close(outside.log_prob(torch.tensor(0.3)), RelaxedBernoulliOracle(0.5, 0.3).logpdf(0.3))


@pytest.mark.backends("jax")
def test_these_run_compiled(backend):
    import jax
    import jax.numpy as jnp

    key = jax.random.key(0)
    made = [
        dist.RelaxedBernoulli(0.5, 0.3), dist.RelaxedOneHotCategorical(0.5, WEIGHTS),
        dist.LogisticNormal(np.zeros(2), np.ones(2)), dist.Empirical(SAMPLES, LOG_WEIGHTS),
        dist.MixtureSameFamily(dist.Categorical(WEIGHTS), dist.Normal(np.arange(3.0), 1.0)),
        dist.MaskedMixture(np.array([True, False]), dist.Normal(0.0, 1.0), dist.Exponential(1.0)),
    ]  # fmt: skip
    for d in made:
        draws = jax.jit(lambda d, key: d.sample((3,), key))(d, key)
        assert draws.shape == (3, *d.batch_shape, *d.event_shape)
        assert_close(jax.jit(lambda d, x: d.log_prob(x))(d, draws), to_host(d.log_prob(draws)))
        many = jax.vmap(lambda key, d=d: d.sample((), key))(jax.random.split(key, 4))
        assert many.shape == (4, *d.batch_shape, *d.event_shape)
        assert jax.tree.unflatten(*reversed(jax.tree.flatten(d))).batch_shape == d.batch_shape
    made = jax.vmap(lambda m: dist.MixtureSameFamily(dist.Categorical(WEIGHTS), dist.Normal(m + jnp.arange(3.0), 1.0)))(
        jnp.zeros(5)
    )
    assert made.component_distribution.batch_shape == (5, 3)
    masked = jax.jit(lambda m: dist.Normal(jnp.zeros(2), 1.0).mask(m).log_prob(0.0))(jnp.array([1, 0]))
    assert_close(masked, [stats.norm.logpdf(0.0), 0.0])
