"""Predictive draws against closed forms and against plain runs of the model."""

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import ops, registry
from ppl.errors import InferenceError, PplWarning
from ppl.infer import predictive as predictive_module
from ppl.infer.predictive import Predictive
from ppl.ops import random


def model(x=None, y=None):
    weight = ppl.sample("weight", dist.Normal(0.0, 1.0))
    noise = ppl.param("noise", 0.5, constraint=dist.constraints.positive)
    x = ops.array([1.0, 2.0, 3.0]) if x is None else x
    with ppl.plate("rows", 3):
        mean = ppl.deterministic("mean", weight * x)
        return ppl.sample("y", dist.Normal(mean, noise), obs=y)


def check_moments(draws, mean, sd):
    error = sd / len(draws) ** 0.5
    assert numpy.abs(draws.mean(axis=0) - mean).max() < 5 * numpy.max(error)
    assert numpy.abs(draws.std(axis=0) / sd - 1).max() < 5 / (2 * len(draws)) ** 0.5


@pytest.mark.parametrize("parallel", [False, True])
def test_prior_predictive(backend, parallel):
    drawn = Predictive(model, num_samples=800, parallel=parallel)()
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {"weight": (800,), "mean": (800, 3), "y": (800, 3)}
    x = numpy.array([1.0, 2.0, 3.0])
    check_moments(ops.to_numpy(drawn["y"]), 0.0, numpy.sqrt(x**2 + 0.25))
    with pytest.raises(AssertionError):
        check_moments(ops.to_numpy(drawn["y"]), 0.0, numpy.sqrt(x**2 + 1.0))
    weights = ops.to_numpy(drawn["weight"])
    assert stats.kstest(weights, stats.norm.cdf).pvalue > 2e-5
    numpy.testing.assert_allclose(ops.to_numpy(drawn["mean"]), weights[:, None] * x, rtol=1e-12)


@pytest.mark.parametrize("parallel", [False, True])
def test_posterior_predictive_uses_each_draw_once(backend, rng, parallel):
    weights = rng.normal(size=40)
    x = ops.array([1.0, -1.0, 0.5])
    predictive = Predictive(model, {"weight": ops.array(weights)}, params={"noise": 1e-3}, parallel=parallel)
    drawn = predictive(x)
    assert sorted(drawn) == ["mean", "y"]
    exact = weights[:, None] * numpy.array([1.0, -1.0, 0.5])
    numpy.testing.assert_allclose(ops.to_numpy(drawn["mean"]), exact, rtol=1e-12)
    numpy.testing.assert_allclose(ops.to_numpy(drawn["y"]), exact, atol=6e-3)
    assert numpy.abs(ops.to_numpy(drawn["y"])[::-1] - exact).max() > 6e-3


@pytest.mark.parametrize("parallel", [False, True])
def test_chains_and_draws(backend, rng, parallel):
    weights = rng.normal(size=(2, 5))
    drawn = Predictive(model, {"weight": weights}, batch_ndims=2, return_sites=["mean", "_RETURN"], parallel=parallel)()
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {"mean": (2, 5, 3), "_RETURN": (2, 5, 3)}
    numpy.testing.assert_allclose(ops.to_numpy(drawn["mean"])[..., 0], weights, rtol=1e-12)


@pytest.mark.parametrize("parallel", [False, True])
def test_guide_draws_the_latent_sites(backend, parallel):
    def guide(x=None, y=None):
        ppl.sample("weight", dist.Normal(ppl.param("loc", 5.0), 0.1))

    drawn = Predictive(model, guide=guide, num_samples=300, params={"loc": 3.0}, parallel=parallel)()
    check_moments(ops.to_numpy(drawn["weight"]), 3.0, 0.1)
    check_moments(ops.to_numpy(drawn["mean"])[:, 1], 6.0, 0.2)


def test_a_key_makes_draws_reproducible(backend):
    predictive = Predictive(model, num_samples=4)
    first, second, other = (ops.to_numpy(predictive(rng_key=seed)["y"]) for seed in (1, 1, 2))
    numpy.testing.assert_array_equal(first, second)
    assert numpy.abs(first - other).max() > 1e-6
    assert tuple(predictive(random.key(1))["y"].shape) == (4, 3)


def test_predictive_keeps_its_backend(backend):
    predictive = Predictive(model, num_samples=2)
    with registry.using("numpy"):
        drawn = predictive()
    assert ops.is_array(drawn["y"])


@pytest.mark.parametrize("parallel", [False, True])
def test_params_are_read_at_each_call(backend, parallel):
    predictive = Predictive(model, {"weight": numpy.zeros(200)}, parallel=parallel, return_sites=["y"])
    for noise in (0.5, 20.0):
        ppl.get_param_store().setdefault("noise", noise, dist.constraints.positive)
        ppl.get_param_store()["noise"] = ops.array(noise)
        check_moments(ops.to_numpy(predictive()["y"]), 0.0, noise)


def test_bad_input(backend, rng):
    draws = {"weight": rng.normal(size=4)}
    for build, message in [
        (lambda: Predictive(model), "needs posterior_samples, or num_samples"),
        (lambda: Predictive(model, {**draws, "b": rng.normal(size=3)}), "disagree on the number of draws"),
        (lambda: Predictive(model, draws, num_samples=3), "num_samples=3 but the posterior samples hold 4"),
        (lambda: Predictive(model, draws, guide=model), "posterior_samples or a guide"),
        (lambda: Predictive(model, draws, return_sites=["z"])(), r"no site 'z' to return; expected some of \['weight'"),
        (lambda: Predictive(model, draws, return_sites="size")(), r"no site 'size' to return"),
        (lambda: Predictive(model, num_samples=2.5), r"received num_samples=2\.5"),
        (lambda: Predictive(model, num_samples=True), "received num_samples=True"),
        (lambda: Predictive(model, {"weight": numpy.zeros(0)}), r"hold no draws: their shape begins with \(0,\)"),
    ]:
        with pytest.raises(InferenceError, match=message):
            build()


def two_latents(y=None):
    weight = ppl.sample("weight", dist.Normal(0.0, 1.0))
    offset = ppl.sample("offset", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(ppl.deterministic("mean", weight + offset), 1.0), obs=y)


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_names_that_the_model_lacks_are_said_once(backend, recwarn, parallel):
    samples = {"wieght": numpy.zeros(6), "offset": numpy.zeros(6), "mean": numpy.zeros(6), "y": numpy.zeros(6)}
    predictive = Predictive(two_latents, samples, parallel=parallel)
    with pytest.warns(PplWarning, match=r"hold 'wieght', which .* \['weight', 'offset', 'mean', 'y'\]; .* \['wieght', 'offset'"):
        drawn = predictive()
    assert sorted(drawn) == ["mean", "weight"]
    predictive()
    Predictive(two_latents, {"weight": numpy.zeros(6), "mean": numpy.zeros(6)})()
    assert not recwarn.list


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_sites_that_a_guide_lacks_are_said(backend, recwarn, parallel):
    """With data a site that the guide lacks is latent; without, what the guide lacks may be what is predicted."""

    def part(y=None):
        ppl.sample("noise", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        ppl.sample("weight", dist.Normal(5.0, 0.1))

    def misspelt(y=None):
        ppl.sample("wieght", dist.Normal(5.0, 0.1))

    def predict(guide, *args):
        return Predictive(two_latents, guide=guide, num_samples=5, parallel=parallel)(*args)

    with pytest.warns(PplWarning, match=r"guide lacks 'offset', so .* the prior .* \['weight', 'offset'\]; .* \['weight'\]"):
        predict(part, ops.array(1.0))
    predict(part)
    assert not recwarn.list
    with (
        pytest.warns(PplWarning, match="the guide lacks 'weight', 'offset', 'y', so"),
        pytest.warns(match="samples 'wieght', whi"),
    ):
        predict(misspelt)


@pytest.mark.parametrize("parallel", [False, True])
def test_deterministic_sites_among_the_samples_are_computed_anew(backend, rng, parallel):
    weights = rng.normal(size=9)
    samples = {"weight": weights, "mean": numpy.zeros((9, 3))}
    x = numpy.array([3.0, 1.0, -2.0])
    drawn = Predictive(model, samples, parallel=parallel)(ops.array(x))
    assert sorted(drawn) == ["mean", "y"]
    numpy.testing.assert_allclose(ops.to_numpy(drawn["mean"]), weights[:, None] * x, rtol=1e-12)


@pytest.mark.parametrize("parallel", [False, True])
def test_deterministic_sites_among_the_samples_are_kept_if_asked(backend, rng, parallel):
    """What comes after them goes on from their values: here ten times what the model would compute."""

    def regression(x):
        weight = ppl.sample("weight", dist.Normal(0.0, 1.0))
        slopes = ppl.sample("slopes", dist.Normal(ops.zeros(2), 1.0).to_event(1))
        double = ppl.deterministic("double", 2.0 * slopes)
        with ppl.plate("rows", 3):
            mean = ppl.deterministic("mean", weight * x)
            ppl.sample("y", dist.Normal(mean + ops.sum(double, axis=-1), 1e-4))

    x = numpy.array([3.0, 1.0, -2.0])
    samples = {"weight": rng.normal(size=9), "slopes": rng.normal(size=(9, 2))}
    kept = {"double": 20.0 * samples["slopes"], "mean": 10.0 * samples["weight"][:, None] * x}
    predictive = Predictive(regression, {**samples, **kept}, exclude_deterministic=False, parallel=parallel)
    drawn = {name: ops.to_numpy(values) for name, values in predictive(ops.array(x)).items()}
    assert sorted(drawn) == ["double", "mean", "y"]
    for name, values in kept.items():
        numpy.testing.assert_allclose(drawn[name], values, rtol=1e-12)
    numpy.testing.assert_allclose(drawn["y"], kept["mean"] + kept["double"].sum(axis=1)[:, None], atol=6e-4)


FAMILIES = {
    "Normal": (lambda x: dist.Normal(x, 2.0), stats.norm(1.5, 2.0)),
    "Gamma": (lambda x: dist.Gamma(x, 2.0), stats.gamma(1.5, scale=0.5)),
    "Poisson": (lambda x: dist.Poisson(x), stats.poisson(1.5)),
    "Exponential": (lambda x: dist.Exponential(x), stats.expon(scale=1 / 1.5)),
    "Bernoulli": (lambda x: dist.Bernoulli(x / 2.0), stats.bernoulli(0.75)),
    "Binomial": (lambda x: dist.Binomial(4, x / 2.0), stats.binom(4, 0.75)),
    "NegativeBinomial": (lambda x: dist.NegativeBinomial(3.0, probs=x / 2.0), stats.nbinom(3, 0.25)),
}


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("family", FAMILIES)
def test_draws_are_independent_whether_the_backend_maps_the_model_or_not(backend, monkeypatch, family):
    """Whichever way it goes, the first draws come from plain runs of the model, the others in blocks."""
    monkeypatch.setattr(predictive_module, "DRAWS_A_BLOCK", 700)
    build, exact = FAMILIES[family]

    def drawing():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 2):
            ppl.sample("y", build(x))

    drawn = ops.to_numpy(Predictive(drawing, {"x": ops.full((2000,), 1.5)})()["y"])
    check_moments(drawn, exact.mean(), exact.std())
    with pytest.raises(AssertionError):
        check_moments(drawn, exact.mean() + 0.3 * exact.std(), exact.std())
    pairs = [(drawn[1:, 0], drawn[:-1, 0]), (drawn[:, 0], drawn[:, 1]), (drawn[700:1400, 0], drawn[:700, 0])]
    for first, second in pairs:
        assert abs(stats.pearsonr(first, second).statistic) < 4.9 / len(first) ** 0.5


@pytest.mark.backends("torch")
@pytest.mark.parametrize("family", [*FAMILIES, "MultivariateNormal"])
def test_torch_maps_the_model_over_the_draws(backend, family):
    """All draws but the first come from one run, and from a seed come again, in a scope and outside."""
    build = FAMILIES[family][0] if family in FAMILIES else _vector
    runs = []

    def counted():
        runs.append(1)
        ppl.sample("y", build(ppl.sample("x", dist.Normal(0.0, 1.0))))

    predictive, drawn = Predictive(counted, {"x": ops.full((500,), 1.5)}), []
    for seed in (1, 1, 2):
        ppl.set_rng_seed(seed)
        drawn.append((predictive()["y"], predictive(rng_key=seed)["y"]))
    assert len(runs) == 12
    for first, again, other in zip(*drawn, strict=True):
        numpy.testing.assert_array_equal(ops.to_numpy(first), ops.to_numpy(again))
        assert (ops.to_numpy(first) != ops.to_numpy(other)).any()


def _vector(x):
    return dist.MultivariateNormal(x * ops.ones(2), covariance_matrix=ops.eye(2))


# jax compiles the model, which then cannot branch on values.
@pytest.mark.backends("numpy", "torch")
def test_a_model_that_branches_on_its_draws_goes_one_by_one(backend):
    def branching():
        x = ppl.sample("x", dist.Bernoulli(0.5))
        return ppl.sample("y", dist.Normal(100.0 if bool(x > 0.5) else -100.0, 1.0))

    drawn = {name: ops.to_numpy(values) for name, values in Predictive(branching, num_samples=50)().items()}
    assert set(drawn["x"]) == {0.0, 1.0}
    numpy.testing.assert_allclose(drawn["y"], numpy.where(drawn["x"] > 0.5, 100.0, -100.0), atol=6.0)
