"""Importance sampling: weights against scipy's densities, normalizers against closed forms, tails against arviz."""

import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.distributions import constraints
from ppl.errors import InferenceError, PplError, PplWarning
from ppl.infer import importance
from ppl.infer.importance import Importance, psis_diagnostic, systematic, vectorized_importance_weights
from ppl.ops import autodiff

DATA = numpy.array([1.0, 2.0, 0.5])
PRIOR_SD = 2.0


def host(value):
    return ops.to_numpy(ops.array(value))


def normal_model(data):
    mean = ppl.sample("mean", dist.Normal(0.0, PRIOR_SD))
    with ppl.plate("rows", data.shape[0]):
        ppl.sample("x", dist.Normal(mean, 1.0), obs=data)
    return mean


def wide_guide(data):
    ppl.sample("mean", dist.Normal(0.5, 1.5))


# ---- closed forms: log normalizer, posterior, and what the weights are ----


def normal_evidence(data=DATA):
    """The log density of the data under their joint normal distribution."""
    return stats.multivariate_normal(numpy.zeros(len(data)), numpy.eye(len(data)) + PRIOR_SD**2).logpdf(data)


def normal_posterior(data=DATA):
    precision = PRIOR_SD**-2 + len(data)
    return data.sum() / precision, precision**-0.5


def normalizer(log_weights):
    """The mean weight and its standard error, both relative to the largest weight, and that weight's logarithm."""
    weights = numpy.exp(log_weights - log_weights.max())
    return weights.mean(), weights.std(ddof=1) / len(weights) ** 0.5, log_weights.max()


def agrees(log_weights, log_evidence):
    mean, error, largest = normalizer(numpy.asarray(log_weights))
    return abs(mean - numpy.exp(log_evidence - largest)) < 5.0 * error


@pytest.mark.parametrize("guide", [None, wide_guide])
def test_normalizer_and_posterior_of_a_normal_model(backend, guide):
    posterior = Importance(normal_model, guide, num_samples=200).run(ops.array(DATA))
    log_weights = host(ops.stack(posterior.log_weights))
    assert agrees(log_weights, normal_evidence())
    assert not agrees(log_weights, normal_evidence(DATA + 3.0))
    assert float(posterior.get_log_normalizer()) == pytest.approx(special.logsumexp(log_weights) - numpy.log(200), abs=1e-10)
    mean, sd = normal_posterior()
    marginal = posterior.marginal().empirical["_RETURN"]
    error = sd * float(posterior.get_ESS()) ** -0.5
    assert abs(float(marginal.mean) - mean) < 5.0 * error
    assert abs(0.0 - mean) > 5.0 * error
    # Without the weights these are draws of the guide.
    plain = numpy.mean([float(trace.nodes["mean"]["value"]) for trace in posterior.exec_traces])
    assert abs(plain - mean) > abs(float(marginal.mean) - mean)


def test_normalizer_of_a_beta_binomial_model(backend):
    def model():
        with ppl.plate("coins", 2):
            probs = ppl.sample("probs", dist.Beta(ops.array([2.0, 1.0]), 3.0))
            ppl.sample("heads", dist.Binomial(ops.array([10.0, 20.0]), probs), obs=ops.array([7.0, 2.0]))

    def guide():
        with ppl.plate("coins", 2):
            ppl.sample("probs", dist.Beta(ops.array([4.0, 2.0]), ops.array([3.0, 8.0])))

    log_weights = host(vectorized_importance_weights(model, guide, num_samples=4000)[0])
    exact = stats.betabinom.logpmf([7, 2], [10, 20], [2.0, 1.0], 3.0).sum()
    assert agrees(log_weights, exact)
    assert not agrees(log_weights, stats.betabinom.logpmf([7, 3], [10, 20], [2.0, 1.0], 3.0).sum())


def test_weights_are_ratios_of_the_densities(backend):
    """Each weight is recomputed by scipy from the values in the traces: two plates, an event, a mask and a scale."""
    table = numpy.arange(6.0).reshape(2, 3) / 3.0
    mask = numpy.array([True, False, True])

    def model():
        spread = ppl.sample("spread", dist.Gamma(3.0, 2.0))
        with ppl.plate("columns", 3):
            level = ppl.sample("level", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
            with ppl.plate("rows", 2), handlers.scale(scale=0.5), handlers.mask(mask=ops.array(mask)):
                ppl.sample("x", dist.Normal(level[..., 0], spread), obs=ops.array(table))

    def guide():
        ppl.sample("spread", dist.Exponential(1.5))
        with ppl.plate("columns", 3):
            ppl.sample("level", dist.Normal(ops.array([0.3, -0.1]), 0.8).to_event(1))

    found, model_trace, guide_trace = vectorized_importance_weights(model, guide, num_samples=5)
    spread, level = (host(model_trace.nodes[name]["value"]) for name in ("spread", "level"))
    assert spread.shape == (5, 1, 1)
    assert level.shape == (5, 1, 3, 2)
    numpy.testing.assert_array_equal(host(guide_trace.nodes["level"]["value"]), level)
    likelihood = numpy.where(mask, stats.norm(level[..., 0], spread).logpdf(table), 0.0)
    expected = 0.5 * likelihood.sum((1, 2))
    expected += (stats.gamma(3.0, scale=0.5).logpdf(spread) - stats.expon(scale=1 / 1.5).logpdf(spread)).sum((1, 2))
    expected += (stats.norm.logpdf(level) - stats.norm([0.3, -0.1], 0.8).logpdf(level)).sum((1, 2, 3))
    numpy.testing.assert_allclose(host(found), expected, rtol=1e-10)
    assert host(found).shape == (5,)


def test_sequential_weights_are_ratios_of_the_densities(backend):
    posterior = Importance(normal_model, wide_guide, num_samples=5).run(ops.array(DATA))
    mean = numpy.array([float(trace.nodes["mean"]["value"]) for trace in posterior.exec_traces])
    expected = stats.norm(0.0, PRIOR_SD).logpdf(mean) - stats.norm(0.5, 1.5).logpdf(mean)
    expected += stats.norm.logpdf(DATA[:, None], mean).sum(0)
    numpy.testing.assert_allclose(host(ops.stack(posterior.log_weights)), expected, rtol=1e-10)


def exact_weight_cdf(log_weights):
    """The distribution of the log weights under the prior: a constant minus a scaled non-central chi-squared variable."""
    n, average = len(DATA), DATA.mean()
    top = stats.norm.logpdf(DATA, average).sum()
    return stats.ncx2(1, (average / PRIOR_SD) ** 2).sf((top - log_weights) * 2.0 / n / PRIOR_SD**2)


def test_vectorized_and_sequential_weights_have_the_exact_distribution(backend):
    def prior(data):
        ppl.sample("mean", dist.Normal(0.0, PRIOR_SD))

    data = ops.array(DATA)
    at_once = host(vectorized_importance_weights(normal_model, prior, data, num_samples=2000)[0])
    in_turn = host(ops.stack(Importance(normal_model, num_samples=150).run(data).log_weights))
    assert stats.kstest(at_once, exact_weight_cdf).pvalue > 1e-3
    assert stats.kstest(in_turn, exact_weight_cdf).pvalue > 1e-3
    wrong = host(vectorized_importance_weights(normal_model, wide_guide, data, num_samples=2000)[0])
    assert stats.kstest(wrong, exact_weight_cdf).pvalue < 1e-3


def test_a_batch_dimension_without_a_plate(backend):
    def model():
        ppl.sample("x", dist.Normal(ops.zeros((3,)), 1.0))

    def guide():
        ppl.sample("x", dist.Normal(ops.ones((3,)), 1.0))

    found, trace, _ = vectorized_importance_weights(model, guide, num_samples=4)
    x = host(trace.nodes["x"]["value"])
    assert x.shape == (4, 3)
    numpy.testing.assert_allclose(host(found), (0.5 - x).sum(1), rtol=1e-10)


def test_normalized_weights_and_names_of_the_documentation(backend):
    weigh, data = vectorized_importance_weights, ops.array(DATA)
    options = {"max_plate_nesting": 4, "num_particles": 10}
    ops.random.set_rng_seed(1)
    plain, trace, _ = weigh(normal_model, wide_guide, data, normalized=False, **options)
    ops.random.set_rng_seed(1)
    normalized = host(weigh(normal_model, wide_guide, data, normalized=True, **options)[0])
    numpy.testing.assert_allclose(normalized, host(plain) - special.logsumexp(host(plain)), rtol=1e-9)
    assert tuple(trace.nodes["mean"]["value"].shape) == (10, 1, 1, 1, 1)


def test_gradient_of_the_normalizer(backend):
    """The derivative of log p(x) in the prior's mean is the posterior mean's distance from it, over the prior's variance."""
    guide_mean, guide_sd = normal_posterior()

    def model(loc):
        mean = ppl.sample("mean", dist.Normal(loc, PRIOR_SD))
        ppl.sample("x", dist.Normal(mean[..., None], ops.ones((3,))).to_event(1), obs=ops.array(DATA))

    def guide(loc):
        ppl.sample("mean", dist.Normal(guide_mean, guide_sd))

    def log_normalizer(loc):
        return ops.logsumexp(vectorized_importance_weights(model, guide, loc, num_samples=2000, max_plate_nesting=0)[0])

    found = float(autodiff.grad(log_normalizer)(ops.array(0.0)))
    error = guide_sd / PRIOR_SD**2 / 2000**0.5
    assert abs(found - guide_mean / PRIOR_SD**2) < 5.0 * error
    assert abs(found - guide_mean) > 5.0 * error


@pytest.mark.nightly
def test_normalizers_of_many_samples(backend):
    data = ops.array(DATA)
    at_once = host(vectorized_importance_weights(normal_model, wide_guide, data, num_samples=200_000)[0])
    in_turn = host(ops.stack(Importance(normal_model, num_samples=3000).run(data).log_weights))
    for log_weights, error in ((at_once, 0.01), (in_turn, 0.15)):
        mean, deviation, _ = normalizer(log_weights)
        assert deviation / mean < error
        assert agrees(log_weights, normal_evidence())
        assert not agrees(log_weights, normal_evidence(DATA + 1.0))


# ---- effective sample size ----


def test_effective_sample_size_is_its_formula(backend):
    posterior = Importance(normal_model, wide_guide, num_samples=40).run(ops.array(DATA))
    weights = numpy.exp(host(ops.stack(posterior.log_weights)))
    assert float(posterior.get_ESS()) == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-10)
    numpy.testing.assert_allclose(host(posterior.get_normalized_weights()), weights / weights.sum(), rtol=1e-10)
    numpy.testing.assert_allclose(
        host(posterior.get_normalized_weights(log_scale=True)), numpy.log(weights / weights.sum()), rtol=1e-8
    )


def test_a_perfect_guide_wastes_no_sample(backend):
    mean, sd = normal_posterior()
    posterior = Importance(normal_model, lambda data: ppl.sample("mean", dist.Normal(mean, sd)), 20).run(ops.array(DATA))
    assert float(posterior.get_ESS()) == pytest.approx(20.0, rel=1e-9)
    assert float(posterior.get_log_normalizer()) == pytest.approx(normal_evidence(), rel=1e-9)
    assert float(Importance(normal_model, wide_guide, 20).run(ops.array(DATA)).get_ESS()) < 19.0


def test_huge_weights_do_not_overflow(backend):
    def model():
        x = ppl.sample("x", dist.Bernoulli(0.5))
        ppl.factor("offset", 2000.0 + 1.0 * x)

    posterior = Importance(model, num_samples=30).run()
    x = numpy.array([float(trace.nodes["x"]["value"]) for trace in posterior.exec_traces])
    weights = numpy.exp(x)
    assert 0.0 < x.sum() < 30.0
    assert float(posterior.get_log_normalizer()) == pytest.approx(2000.0 + numpy.log(weights.mean()), rel=1e-12)
    assert float(posterior.get_ESS()) == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-9)


# ---- models that branch, prior proposals and resampling ----


def branching_model():
    if float(ppl.sample("coin", dist.Bernoulli(0.3))):
        level = ppl.sample("level", dist.Normal(2.0, 1.0))
    else:
        level = -1.0
    ppl.sample("x", dist.Normal(level, 1.0), obs=ops.array(1.0))


def test_a_model_that_branches(backend):
    def guide():
        if float(ppl.sample("coin", dist.Bernoulli(0.5))):
            ppl.sample("level", dist.Normal(1.5, 1.0))

    log_density = numpy.log([0.7, 0.3]) + stats.norm([-1.0, 2.0], [1.0, 2.0**0.5]).logpdf(1.0)
    posterior = Importance(branching_model, guide, num_samples=200).run()
    assert agrees(host(ops.stack(posterior.log_weights)), special.logsumexp(log_density))
    assert not agrees(host(ops.stack(posterior.log_weights)), log_density[0])
    coins = numpy.array([float(trace.nodes["coin"]["value"]) for trace in posterior.exec_traces])
    exact = numpy.exp(log_density[1] - special.logsumexp(log_density))
    found = float((host(posterior.get_normalized_weights()) * coins).sum())
    error = (exact * (1.0 - exact) / float(posterior.get_ESS())) ** 0.5
    assert abs(found - exact) < 5.0 * error
    assert abs(0.3 - exact) > 5.0 * error


def test_resampled_traces_follow_the_weights(backend):
    posterior = Importance(normal_model, wide_guide, num_samples=60).run(ops.array(DATA))
    weights = host(posterior.get_normalized_weights())
    drawn = posterior.resample(500)
    assert len(drawn.exec_traces) == 500
    counts = numpy.array([sum(trace is own for trace in drawn.exec_traces) for own in posterior.exec_traces])
    assert counts.sum() == 500
    assert numpy.abs(counts - 500 * weights).max() < 1.0
    assert numpy.abs(counts - 500 / 60).max() > 1.0
    assert set(map(float, drawn.log_weights)) == {0.0}
    values = numpy.array([float(trace.nodes["mean"]["value"]) for trace in drawn.exec_traces])
    assert float(drawn.marginal("mean").empirical["mean"].mean) == pytest.approx(values.mean(), rel=1e-9)
    assert len(posterior.resample().exec_traces) == 60
    same = [posterior.resample(7, rng_key=3).exec_traces for _ in range(2)]
    assert all(one is other for one, other in zip(*same, strict=True))


def test_systematic_choice_is_unbiased():
    """The mean count over offsets that are equally far apart is the weight times the number, exactly in the limit."""
    weights = numpy.array([0.0, 0.35, 0.05, 0.0, 0.6, 0.0])
    counts = [numpy.bincount(systematic(weights, 3, (step + 0.5) / 1000), minlength=6) for step in range(1000)]
    numpy.testing.assert_allclose(numpy.mean(counts, axis=0), 3 * weights, atol=2e-3)
    # The total of these rounds to just below one; an index past the last weight would be the mistake.
    assert systematic(numpy.full(10, 0.1) - 1e-17, 10, numpy.nextafter(1.0, 0.0))[-1] == 9
    assert systematic(numpy.array([1.0 - 1e-16, 0.0]), 1, numpy.nextafter(1.0, 0.0)) == [0]


@pytest.mark.filterwarnings("ignore:the log likelihood of:ppl.errors.PplWarning")
def test_a_posterior_of_weighted_traces_predicts(backend):
    posterior = Importance(normal_model, wide_guide, num_samples=50).run(ops.array(DATA))
    drawn = float(posterior().nodes["mean"]["value"])
    assert drawn in [float(trace.nodes["mean"]["value"]) for trace in posterior.exec_traces]
    criterion = posterior.information_criterion()
    weights = host(posterior.get_normalized_weights())
    means = numpy.array([float(trace.nodes["mean"]["value"]) for trace in posterior.exec_traces])
    density = stats.norm.logpdf(DATA, means[:, None])
    lppd = numpy.log((weights[:, None] * numpy.exp(density)).sum(0)).sum()
    assert float(criterion["waic"]) == pytest.approx(-2.0 * (lppd - float(criterion["p_waic"])), rel=1e-8)


# ---- the tail of the weights ----


def exponential_model():
    ppl.sample("x", dist.Exponential(1.0))


def exponential_guide(rate):
    """Weights of this guide are exactly Pareto distributed, of shape 1 - 1 / rate."""

    def guide():
        ppl.sample("x", dist.Exponential(ppl.param("rate", rate, constraint=constraints.positive)))

    return guide


@pytest.fixture
def seen(monkeypatch):
    """The log weights that were smoothed."""
    kept, smooth = [], importance.pareto.smooth
    monkeypatch.setattr(importance.pareto, "smooth", lambda weights: kept.append(host(weights)) or smooth(weights))
    return kept


@pytest.mark.parametrize(
    "options", [{}, {"max_simultaneous_particles": 500}, {"vectorized": False, "num_particles": 100}], ids=str
)
def test_tail_shape_is_arvizs(backend, seen, options):
    arviz = pytest.importorskip("arviz")
    found = psis_diagnostic(exponential_model, exponential_guide(3.0), **{"num_particles": 1000, **options})
    assert seen[0].shape == (options.get("num_particles", 1000),)
    # Independent draws: no two weights are the same.
    assert len(set(seen[0])) == len(seen[0])
    assert found == pytest.approx(float(arviz.psislw(seen[0])[1]), abs=1e-8)
    assert isinstance(found, float)


def test_tail_shape_of_exactly_pareto_weights(backend):
    """Zhang and Stephens: the standard error of k is about (1 + k) / sqrt(excesses), of which there are 3 sqrt(draws)."""
    for rate in (1.25, 5.0):
        ppl.clear_param_store()
        exact = 1.0 - 1.0 / rate
        found = psis_diagnostic(exponential_model, exponential_guide(rate), num_particles=10_000)
        assert abs(found - exact) < 4.0 * (1.0 + exact) / 300**0.5
        assert abs(found - (1.0 - exact)) > 4.0 * (1.0 + exact) / 300**0.5


def test_a_guide_of_a_plate_and_params(backend):
    """The diagnostic makes params that are not there yet, and ranks a fitted guide before one that is too narrow."""

    def guide(sd):
        def run(data):
            ppl.sample("mean", dist.Normal(ppl.param("loc", normal_posterior()[0]), sd))

        return run

    data = ops.array(DATA)
    good = psis_diagnostic(normal_model, guide(1.05 * normal_posterior()[1]), data)
    bad = psis_diagnostic(normal_model, guide(0.1 * normal_posterior()[1]), data, max_plate_nesting=7)
    assert good < 0.5 < bad
    assert list(ppl.get_param_store()) == ["loc"]


def test_few_weights_make_no_tail(backend):
    with pytest.warns(PplWarning, match=r"num_particles=100"):
        assert psis_diagnostic(exponential_model, exponential_guide(3.0), num_particles=10) == numpy.inf


# ---- bad input ----


def test_default_number_of_samples_is_told(backend):
    with pytest.warns(PplWarning, match=r"num_samples and takes 10.*try num_samples=1000"):
        posterior = Importance(normal_model)
    assert len(posterior.run(ops.array(DATA)).exec_traces) == 10


@pytest.mark.parametrize("wrong", [0, -3, 2.5, True, "many"])
def test_wrong_numbers(backend, wrong):
    for call in (
        lambda: Importance(normal_model, num_samples=wrong),
        lambda: vectorized_importance_weights(normal_model, wide_guide, ops.array(DATA), num_samples=wrong),
        lambda: psis_diagnostic(normal_model, wide_guide, ops.array(DATA), num_particles=wrong),
        lambda: psis_diagnostic(normal_model, wide_guide, ops.array(DATA), max_simultaneous_particles=wrong),
        lambda: Importance(exponential_model, num_samples=3).run().resample(wrong),
    ):
        with pytest.raises(InferenceError, match=f"must be an int of at least 1, received {wrong!r}"):
            call()


def test_blocks_of_unequal_size(backend):
    with pytest.raises(InferenceError, match=r"num_particles=10 is not a multiple of max_simultaneous_particles=4.*=12"):
        psis_diagnostic(normal_model, wide_guide, ops.array(DATA), num_particles=10, max_simultaneous_particles=4)


def test_draws_and_data_in_one_dimension(backend):
    """Three draws and three rows would broadcast against each other without an error."""

    def undeclared(data):
        ppl.sample("mean", dist.Normal(ops.zeros((3,)), 1.0))

    for call in (
        lambda: vectorized_importance_weights(normal_model, wide_guide, ops.array(DATA), num_samples=3, max_plate_nesting=0),
        lambda: vectorized_importance_weights(undeclared, undeclared, ops.array(DATA), num_samples=3, max_plate_nesting=0),
        lambda: psis_diagnostic(normal_model, wide_guide, ops.array(DATA), num_particles=3, max_plate_nesting=0),
    ):
        with pytest.raises(InferenceError, match=r"max_plate_nesting=0 is too small.*take 1 batch.*try max_plate_nesting=1"):
            call()


@pytest.mark.parametrize(
    ("guide", "sentence"),
    [
        (lambda data: None, r"the guide lacks 'mean'.*model: \['mean'\]; sites of the guide: \[\]"),
        (
            lambda data: [wide_guide(data), ppl.sample("b", dist.Normal(0.0, 1.0))],
            "the guide samples 'b', which the model does not",
        ),
        (
            lambda data: [wide_guide(data), ppl.sample("x", dist.Normal(0.0, 1.0))],
            "the guide samples 'x', which the model observes",
        ),
    ],
)
def test_guide_of_other_sites(backend, guide, sentence):
    data = ops.array(DATA)
    for call in (
        lambda: Importance(normal_model, guide, num_samples=2).run(data),
        lambda: vectorized_importance_weights(normal_model, guide, data, num_samples=2, max_plate_nesting=1),
        lambda: psis_diagnostic(normal_model, guide, data, max_plate_nesting=1),
        lambda: psis_diagnostic(normal_model, guide, data),
    ):
        with pytest.raises(InferenceError, match=sentence):
            call()


def test_guide_outside_of_the_support(backend):
    def guide():
        ppl.sample("x", dist.Normal(-5.0, 0.1))

    with pytest.raises(PplError, match=r"site 'x'.*Exponential"):
        Importance(exponential_model, guide, num_samples=2).run()


def impossible():
    x = ppl.sample("x", dist.Normal(0.0, 1.0))
    ppl.factor("never", -numpy.inf + 0.0 * x)


def gaussian():
    ppl.sample("x", dist.Normal(0.0, 1.0))


def test_all_weights_zero(backend):
    posterior = Importance(impossible, num_samples=5).run()
    assert float(posterior.get_log_normalizer()) == -numpy.inf
    for call in (
        posterior.get_ESS,
        posterior.get_normalized_weights,
        posterior.resample,
        lambda: posterior.marginal("x"),
        posterior,
        lambda: vectorized_importance_weights(impossible, gaussian, num_samples=5, normalized=True),
        lambda: psis_diagnostic(impossible, gaussian, num_particles=5),
    ):
        with pytest.raises(InferenceError, match=r"all 5 importance weights are zero.*try a guide nearer"):
            call()
    plain = host(vectorized_importance_weights(impossible, gaussian, num_samples=5)[0])
    assert (plain == -numpy.inf).all()


def test_some_weights_zero(backend):
    def model():
        x = ppl.sample("x", dist.Bernoulli(0.5))
        ppl.factor("only ones", ops.log(x))

    with numpy.errstate(divide="ignore"):
        posterior = Importance(model, num_samples=40).run()
    ones = sum(float(trace.nodes["x"]["value"]) for trace in posterior.exec_traces)
    assert 0 < ones < 40
    assert float(posterior.get_ESS()) == pytest.approx(ones)
    assert float(posterior.get_log_normalizer()) == pytest.approx(numpy.log(ones / 40))
    assert all(float(trace.nodes["x"]["value"]) == 1.0 for trace in posterior.resample(30).exec_traces)


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf])
@pytest.mark.filterwarnings("ignore:the log density of the observed site:ppl.errors.PplWarning")
def test_weights_that_are_no_numbers(backend, bad):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("broken", bad + 0.0 * x)

    for call in (
        lambda: Importance(model, num_samples=2).run(),
        lambda: Importance(model, gaussian, num_samples=2).run(),
        lambda: vectorized_importance_weights(model, gaussian, num_samples=2),
        lambda: psis_diagnostic(model, gaussian, num_particles=2),
    ):
        with pytest.raises(InferenceError, match=r"importance weight is not a number: its logarithm is (nan|inf)"):
            call()
    with pytest.raises(InferenceError, match="the log density of model site 'broken' is NaN or infinite"):
        Importance(model, gaussian, num_samples=2).run()


def test_a_posterior_that_was_not_run(backend):
    posterior = Importance(normal_model, num_samples=3)
    for call in (posterior.get_ESS, posterior.get_log_normalizer, posterior.get_normalized_weights, posterior.resample):
        with pytest.raises(InferenceError, match=r"this Importance holds no traces.*run"):
            call()


def test_exports():
    assert infer.Importance is Importance
    assert infer.importance.psis_diagnostic is infer.psis_diagnostic is psis_diagnostic
    assert infer.vectorized_importance_weights is vectorized_importance_weights
