"""Draws handed to arviz: groups, dimensions and labels."""

import sys
import types

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.errors import InferenceError

Y = numpy.array([[28.0, 8.0, -3.0], [7.0, -1.0, 1.0]])


def model(y=None):
    mean = ppl.sample("mean", dist.Normal(0.0, 5.0))
    pair = ppl.sample("pair", dist.Normal(ops.zeros(2), 1.0).to_event(1))
    with ppl.plate("schools", 3, dim=-1):
        effect = ppl.sample("effect", dist.Normal(mean, 3.0))
        ppl.deterministic("double", 2.0 * effect)
        points = ppl.sample("points", dist.Normal(ops.zeros((3, 4)), 1.0).to_event(1))
        with ppl.plate("years", 2, dim=-2):
            ppl.sample("y", dist.Normal(effect, 10.0), obs=y)
    ppl.factor("extra", -ops.sum(points**2) - ops.sum(pair))


def posterior_of(rng, chains=2, draws=5):
    shape = (chains, draws)
    samples = {"mean": rng.normal(size=shape), "pair": rng.normal(size=(*shape, 2)), "effect": rng.normal(size=(*shape, 3))}
    samples |= {"double": 2.0 * samples["effect"], "points": rng.normal(size=(*shape, 3, 4))}
    fields = {
        "divergent": rng.uniform(size=shape) < 0.5,
        "potential_energy": rng.normal(size=shape),
        "accept_prob": rng.uniform(size=shape),
        "num_leapfrog_steps": rng.integers(9, size=shape),
        "step_size": rng.uniform(size=shape),
    }
    return infer.Posterior(samples, fields, model=model, args=(Y,))


@pytest.fixture
def arviz():
    return pytest.importorskip("arviz")


def test_groups_hold_the_draws_and_what_belongs_to_them(backend, rng, arviz):
    posterior = posterior_of(rng)
    data = posterior.to_arviz()
    assert isinstance(data, arviz.InferenceData)
    assert set(data.groups()) == {"posterior", "sample_stats", "log_likelihood", "observed_data"}
    assert set(data.posterior.data_vars) == set(posterior._samples)
    for name, values in posterior._samples.items():
        numpy.testing.assert_array_equal(data.posterior[name], values)
    numpy.testing.assert_array_equal(data.observed_data["y"], Y)
    assert list(data.observed_data.data_vars) == ["y"]
    exact = stats.norm(posterior._samples["effect"][:, :, None], 10.0).logpdf(Y)
    numpy.testing.assert_allclose(data.log_likelihood["y"], exact, rtol=1e-10)
    fields = posterior.get_extra_fields()
    found = data.sample_stats
    assert set(found.data_vars) == {"diverging", "lp", "acceptance_rate", "n_steps", "step_size"}
    numpy.testing.assert_array_equal(found["diverging"], fields["divergent"])
    numpy.testing.assert_array_equal(found["lp"], -fields["potential_energy"])
    numpy.testing.assert_array_equal(found["n_steps"], fields["num_leapfrog_steps"])


def test_plates_are_dimensions(backend, rng, arviz):
    data = posterior_of(rng).to_arviz(coords={"schools": ["Choate", "Deerfield", "Exeter"]})
    expected = {
        "mean": (),
        "pair": ("pair_dim_0",),
        "effect": ("schools",),
        "double": ("schools",),
        "points": ("schools", "points_dim_1"),
    }
    assert {name: data.posterior[name].dims[2:] for name in expected} == expected
    assert data.observed_data["y"].dims == ("years", "schools")
    assert data.log_likelihood["y"].dims == ("chain", "draw", "years", "schools")
    assert list(data.posterior["schools"].values) == ["Choate", "Deerfield", "Exeter"]
    assert list(data.observed_data["years"].values) == [0, 1]
    summary = arviz.summary(data, var_names=["effect"], kind="stats")
    assert list(summary.index) == ["effect[Choate]", "effect[Deerfield]", "effect[Exeter]"]


@pytest.mark.backends("numpy", "torch")
def test_arviz_reads_a_run(backend, rng, arviz):
    mcmc = infer.MCMC(infer.NUTS(model), num_samples=20, warmup_steps=20, num_chains=2, progress_bar=False, seed=0).run(Y)
    predictive = infer.Predictive(model, mcmc.get_samples())(rng_key=1)
    data = infer.to_arviz(mcmc, posterior_predictive={"y": predictive["y"]})
    assert data.posterior_predictive["y"].dims == ("chain", "draw", "years", "schools")
    numpy.testing.assert_array_equal(data.posterior_predictive["y"], ops.to_numpy(predictive["y"]).reshape(2, 20, 2, 3))
    samples = ops.to_numpy(mcmc.get_samples(group_by_chain=True)["mean"])
    summary = arviz.summary(data, var_names=["mean"], round_to="none")
    assert summary["mean"].item() == pytest.approx(samples.mean(), rel=1e-12)
    assert summary["ess_bulk"].item() == pytest.approx(float(mcmc.diagnostics()["mean"]["n_eff"]), rel=1e-8)
    numpy.testing.assert_array_equal(data.sample_stats["diverging"], mcmc.get_extra_fields()["divergent"])


def test_groups_that_are_given(backend, rng, arviz):
    posterior = posterior_of(rng)
    given = {"y": ops.array(rng.normal(size=(2, 5, 2, 3)))}
    prior = {"mean": ops.array(rng.normal(size=7)), "effect": rng.normal(size=(7, 3))}
    data = posterior.to_arviz(
        posterior_predictive=given, prior=prior, prior_predictive={"y": rng.normal(size=(7, 2, 3))}, log_likelihood=False
    )
    expected = {"posterior", "sample_stats", "observed_data", "posterior_predictive", "prior", "prior_predictive"}
    assert set(data.groups()) == expected
    numpy.testing.assert_array_equal(data.posterior_predictive["y"], ops.to_numpy(given["y"]))
    assert data.prior["effect"].dims == ("chain", "draw", "schools")
    assert data.prior_predictive["y"].shape == (1, 7, 2, 3)
    own = posterior.to_arviz(log_likelihood=given, dims={"pair": ["side"]}, coords={"side": ["left", "right"]})
    numpy.testing.assert_array_equal(own.log_likelihood["y"], ops.to_numpy(given["y"]))
    assert own.posterior["pair"].dims[2:] == ("side",)
    with pytest.raises(InferenceError, match=r"draws of 'y' have shape \(9, 2, 3\); expected \(10,\) or \(2, 5\)"):
        posterior.to_arviz(posterior_predictive={"y": rng.normal(size=(9, 2, 3))})


def test_names_that_arviz_uses_otherwise(backend, arviz):
    def clashing(y):
        with ppl.plate("draw", 3):
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=y)
        with ppl.plate("rows", 2):
            ppl.sample("rows", dist.Normal(0.0, 1.0))
        with ppl.plate("again", 2):
            ppl.sample("a", dist.Normal(0.0, 1.0))
        with ppl.plate("again", 4):
            ppl.sample("b", dist.Normal(0.0, 1.0))

    samples = {"rows": numpy.zeros((1, 4, 2)), "a": numpy.zeros((1, 4, 2)), "b": numpy.zeros((1, 4, 4))}
    data = infer.Posterior(samples, model=clashing, args=(numpy.zeros(3),)).to_arviz()
    assert data.posterior["rows"].dims[2:] == ("rows_plate",)
    assert data.posterior["a"].dims[2:] == ("again",)
    assert data.posterior["b"].dims[2:] == ("b_dim_0",)
    assert data.observed_data["x"].dims == ("draw_plate",)


def test_a_file_keeps_the_dimensions(rng, arviz, tmp_path):
    posterior_of(rng).save(tmp_path / "file")
    data = infer.Posterior.load(tmp_path / "file").to_arviz()
    assert set(data.groups()) == {"posterior", "sample_stats"}
    assert data.posterior["points"].dims[2:] == ("schools", "points_dim_1")
    complete = infer.Posterior.load(tmp_path / "file", model=model, args=(Y,)).to_arviz()
    assert complete.log_likelihood["y"].dims == ("chain", "draw", "years", "schools")


def test_masked_observations_are_exported_as_they_are(backend, arviz):
    def masked(y):
        with handlers.mask(mask=ops.array([True, False])), ppl.plate("rows", 2):
            ppl.sample("y", dist.Normal(ppl.sample("x", dist.Normal(0.0, 1.0).mask(True)), 1.0), obs=y)

    posterior = infer.Posterior({"x": numpy.zeros((1, 3, 2))}, model=masked, args=(numpy.array([1.0, 2.0]),))
    data = posterior.to_arviz()
    numpy.testing.assert_array_equal(data.observed_data["y"], [1.0, 2.0])
    numpy.testing.assert_allclose(data.log_likelihood["y"][0, 0], [stats.norm.logpdf(1.0), 0.0], rtol=1e-12)


@pytest.mark.parametrize("library", ["arviz", "arviz_base"])
def test_from_version_1_on_arviz_takes_one_dict(rng, monkeypatch, library):
    """There ``from_dict(data, *, dims, coords, ...)`` makes a DataTree and no class InferenceData is left."""
    calls = []

    def from_dict(data, *, name=None, sample_dims=None, save_warmup=None, index_origin=None, coords=None, dims=None):
        calls.append((data, dims, coords))
        return "tree"

    stub = types.ModuleType(library)
    stub.from_dict = from_dict
    monkeypatch.setitem(sys.modules, "arviz", None)
    monkeypatch.setitem(sys.modules, library, stub)
    assert posterior_of(rng).to_arviz() == "tree"
    ((groups, dims, coords),) = calls
    assert set(groups) == {"posterior", "sample_stats", "log_likelihood", "observed_data"}
    assert dims["y"] == ["years", "schools"]
    assert coords == {"schools": [0, 1, 2], "years": [0, 1]}


def test_without_arviz_a_sentence_says_so(rng, monkeypatch):
    for library in ("arviz", "arviz_base"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InferenceError, match=r"needs arviz, which is not installed; try: pip install 'ppl-generic\[arviz\]'"):
        posterior_of(rng).to_arviz()
