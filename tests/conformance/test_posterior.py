"""What is asked of draws after they are made: marginals, traces, predictions, files."""

import json

import numpy
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, runtime
from ppl.errors import InferenceError
from ppl.infer import posterior_file
from ppl.infer.mcmc import MCMCMarginals
from ppl.params import tensor_file

EFFECTS = numpy.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
RUNS = {}


def schools(y=None):
    mean = ppl.sample("mean", dist.Normal(0.0, 5.0))
    with ppl.plate("schools", 8 if y is None else len(y)):
        effect = ppl.sample("effect", dist.Normal(mean, 3.0))
        ppl.deterministic("double", 2.0 * effect)
        return ppl.sample("y", dist.Normal(effect, 10.0), obs=y)


def run_of(backend):
    """A run of two chains, made once for each backend."""
    if backend not in RUNS:
        mcmc = infer.MCMC(infer.NUTS(schools), num_samples=40, warmup_steps=40, num_chains=2, progress_bar=False, seed=0)
        RUNS[backend] = mcmc.run(EFFECTS)
    return RUNS[backend]


def posterior_of(rng, chains=2, draws=5, **options):
    """Draws that no sampler made."""
    samples = {"mean": rng.normal(size=(chains, draws)), "effect": rng.normal(size=(chains, draws, 8))}
    return infer.Posterior(samples, model=schools, args=(EFFECTS,), **options)


# On jax most of the time goes into compiling; the tests below show the same there on one run.
@pytest.mark.backends("numpy", "torch")
def test_the_chain_of_the_reference(backend, rng):
    data = rng.normal(size=(20, 3))
    labels = (rng.uniform(size=20) < 0.5).astype("float64")

    def model(data):
        beta = ppl.sample("beta", dist.Normal(ops.zeros(3), ops.ones(3)))
        return ppl.sample("y", dist.Bernoulli(logits=ops.sum(beta * data, axis=-1)), obs=ops.array(labels))

    kernel = infer.HMC(model, step_size=0.0855, num_steps=4)
    run = infer.MCMC(kernel, num_samples=30, warmup_steps=10, progress_bar=False, seed=1).run(data)
    posterior = run.marginal("beta").empirical["beta"]
    draws = ops.to_numpy(run.get_samples()["beta"])
    assert isinstance(posterior, dist.Empirical)
    numpy.testing.assert_allclose(ops.to_numpy(posterior.mean), draws.mean(axis=0), rtol=1e-12)
    numpy.testing.assert_allclose(ops.to_numpy(posterior.variance), draws.var(axis=0), rtol=1e-10)
    assert {tuple(row) for row in ops.to_numpy(posterior.sample((9,)))} <= {tuple(row) for row in draws}


def test_marginals_keep_the_chains_apart(backend):
    run = run_of(backend)
    draws = {name: ops.to_numpy(values) for name, values in run.get_samples(group_by_chain=True).items()}
    marginals = run.marginal(["mean", "effect"])
    assert isinstance(marginals, MCMCMarginals)
    assert list(marginals.empirical) == ["mean", "effect"]
    effect = marginals.empirical["effect"]
    assert (tuple(effect.batch_shape), tuple(effect.event_shape), effect.sample_size) == ((2,), (8,), 80)
    numpy.testing.assert_allclose(ops.to_numpy(effect.mean), draws["effect"].mean(axis=1), rtol=1e-12)
    numpy.testing.assert_array_equal(ops.to_numpy(marginals.support()["effect"]), draws["effect"])
    flat = marginals.support(flatten=True)
    numpy.testing.assert_array_equal(ops.to_numpy(flat["effect"]), draws["effect"].reshape(80, 8))
    numpy.testing.assert_array_equal(ops.to_numpy(flat["mean"]), ops.to_numpy(run.get_samples()["mean"]))
    assert sorted(run.marginal().empirical) == ["double", "effect", "mean"]


@pytest.mark.backends("numpy", "torch")
def test_marginal_diagnostics_are_arvizs(backend):
    arviz = pytest.importorskip("arviz")
    run = run_of(backend)
    found = run.marginal(["mean", "effect"]).diagnostics()
    assert list(found) == ["mean", "effect"]
    for name, row in found.items():
        draws = {"x": ops.to_numpy(run.get_samples(group_by_chain=True)[name])}
        numpy.testing.assert_allclose(row["n_eff"], arviz.ess(draws, method="bulk")["x"], rtol=1e-8)
        numpy.testing.assert_allclose(row["r_hat"], arviz.rhat(draws)["x"], rtol=1e-8)
    with pytest.raises(InferenceError, match="no draws of '_RETURN' to diagnose"):
        run.marginal("_RETURN").diagnostics()


def test_other_sites_are_computed_from_the_draws(backend):
    run = run_of(backend)
    returned = run.marginal("_RETURN").support()["_RETURN"]
    numpy.testing.assert_array_equal(ops.to_numpy(returned), numpy.broadcast_to(EFFECTS, (2, 40, 8)))
    double = 2.0 * ops.to_numpy(run.get_samples(group_by_chain=True)["effect"])
    numpy.testing.assert_allclose(ops.to_numpy(run.marginal("double").support()["double"]), double, rtol=1e-12)
    with pytest.raises(InferenceError, match=r"no array at the site 'nowhere'; expected some of .*'effect'"):
        run.marginal("nowhere")
    partial = infer.Posterior({"mean": numpy.zeros((1, 3))}, model=schools, args=(EFFECTS,))
    with pytest.raises(InferenceError, match="lack the latent site 'effect'"):
        partial.marginal("_RETURN")
    with pytest.raises(InferenceError, match="cannot be run; try infer"):
        partial.run(EFFECTS)
    assert not runtime.am_i_wrapped()


@pytest.mark.backends("numpy", "torch")
def test_several_sites_of_one_shape_make_one_marginal(backend, rng):
    samples = {name: rng.normal(size=(1, 6, 2)) for name in "ab"} | {"c": rng.normal(size=(1, 6))}
    posterior = infer.Posterior(samples)
    marginal = infer.EmpiricalMarginal(posterior, ["a", "b"])
    assert tuple(marginal.event_shape) == (2, 2)
    exact = numpy.stack([samples["a"][0].mean(axis=0), samples["b"][0].mean(axis=0)])
    numpy.testing.assert_allclose(ops.to_numpy(marginal.mean), exact, rtol=1e-12)
    with pytest.raises(InferenceError, match=r"sites of one shape, received .*'c': \(\)"):
        infer.EmpiricalMarginal(posterior, ["a", "c"])
    with pytest.raises(InferenceError, match=r"no draws of the site '_RETURN'; expected some of \['a', 'b', 'c'\]"):
        infer.EmpiricalMarginal(posterior)


@pytest.mark.backends("numpy", "torch")
def test_traces_are_made_when_looked_at(backend, rng):
    runs = []

    def counted(y):
        runs.append(1)
        return schools(y)

    samples = {"mean": rng.normal(size=(2, 5)), "effect": rng.normal(size=(2, 5, 8))}
    posterior = infer.Posterior(samples, model=counted, args=(EFFECTS,))
    traces = posterior.exec_traces
    assert (len(traces), list(posterior.chain_ids), set(posterior.log_weights)) == (10, [0] * 5 + [1] * 5, {0.0})
    assert not runs
    trace = traces[7]
    assert len(runs) == 1
    mean, effect = samples["mean"][1, 2], samples["effect"][1, 2]
    exact = (
        stats.norm(0, 5).logpdf(mean) + stats.norm(mean, 3).logpdf(effect).sum() + stats.norm(effect, 10).logpdf(EFFECTS).sum()
    )
    assert float(trace.log_prob_sum()) == pytest.approx(exact, rel=1e-12)
    numpy.testing.assert_allclose(ops.to_numpy(trace.nodes["double"]["value"]), 2.0 * effect, rtol=1e-12)
    assert [float(t.nodes["mean"]["value"]) for t in traces[-2:]] == pytest.approx(samples["mean"][1, 3:])
    with pytest.raises(IndexError):
        traces[10]
    with pytest.raises(InferenceError, match="these draws know no model"):
        infer.Posterior(samples).exec_traces[0]


class Weighted(infer.TracePosterior):
    """The numbers 0, 1, 2, ... with given weights."""

    def _traces(self, log_weights, chains=None):
        for index, log_weight in enumerate(log_weights):
            value = ops.array(float(index))
            trace = handlers.trace(handlers.substitute(lambda: ppl.sample("x", dist.Normal(0.0, 1.0)), data={"x": value}))
            yield (trace.get_trace(), log_weight) if chains is None else (trace.get_trace(), log_weight, chains[index])


@pytest.mark.backends("numpy", "torch")
def test_a_bag_of_weighted_traces(backend):
    weights = numpy.array([1.0, 2.0, 5.0])
    posterior = Weighted().run(numpy.log(weights))
    marginal = posterior.marginal(["x"]).empirical["x"]
    assert float(marginal.mean) == pytest.approx((0 * 1 + 1 * 2 + 2 * 5) / 8, rel=1e-12)
    assert float(posterior.marginal().empirical["_RETURN"].mean) == pytest.approx(12 / 8, rel=1e-12)
    picked = numpy.array([float(posterior().nodes["x"]["value"]) for _ in range(400)])
    counts = [(picked == value).sum() for value in range(3)]
    assert stats.chisquare(counts, 50 * weights).pvalue > 2e-5
    assert stats.chisquare(counts, numpy.full(3, 400 / 3)).pvalue < 2e-5


def test_chains_of_traces(backend):
    posterior = Weighted(num_chains=2).run(numpy.zeros(4), [0, 1, 0, 1])
    numpy.testing.assert_array_equal(ops.to_numpy(posterior.marginal("x").support()["x"]), [[0.0, 2.0], [1.0, 3.0]])
    with pytest.raises(InferenceError, match=r"lengths of the chains \[1, 2\]"):
        Weighted().run(numpy.zeros(3), [0, 0, 1]).marginal("x")
    with pytest.raises(InferenceError, match="no value at the site 'y'; expected some of"):
        posterior.marginal("y")
    with pytest.raises(InferenceError, match="holds no traces"):
        Weighted().marginal("x")
    with pytest.raises(NotImplementedError, match="must define _traces"):
        infer.TracePosterior().run()


def test_a_bag_without_weight_and_a_run_that_fails(backend):
    weightless = Weighted().run(numpy.full(3, -numpy.inf))
    with pytest.raises(InferenceError, match="none of the 3 traces has a weight above zero"):
        weightless()
    bag = Weighted().run(numpy.zeros(2))
    with pytest.raises(IndexError):
        bag.run(numpy.zeros(3), [0])
    with pytest.raises(InferenceError, match="holds no traces"):
        bag()


def test_traces_hide_their_sites_from_outside(backend):
    outside = handlers.trace(lambda: Weighted().run(numpy.zeros(2))).get_trace()
    assert "x" not in outside.nodes


def test_predictive_traces_take_their_latents_from_the_posterior(backend, rng):
    posterior = posterior_of(rng)
    predictive = infer.TracePredictive(schools, posterior, num_samples=12).run()
    pairs = {
        (float(mean), tuple(effect))
        for mean, effect in zip(posterior._samples["mean"].ravel(), posterior._samples["effect"].reshape(-1, 8), strict=True)
    }
    traces = predictive.exec_traces
    drawn = {(float(t.nodes["mean"]["value"]), tuple(ops.to_numpy(t.nodes["effect"]["value"]).tolist())) for t in traces}
    assert drawn <= pairs
    assert len(drawn) > 1
    results = ops.to_numpy(predictive.marginal().empirical["_RETURN"].samples)
    assert results.shape == (12, 8)
    standardized = [(ops.to_numpy(t.nodes["y"]["value"] - t.nodes["effect"]["value"])) / 10.0 for t in traces]
    assert stats.kstest(numpy.ravel(standardized), stats.norm.cdf).pvalue > 2e-5


def test_predictive_traces_draw_the_rest_anew(backend, rng):
    posterior = posterior_of(rng)
    kept = infer.TracePredictive(schools, posterior, num_samples=4, keep_sites=["mean"]).run()
    effects = {tuple(row) for row in posterior._samples["effect"].reshape(-1, 8)}
    for trace in kept.exec_traces:
        assert float(trace.nodes["mean"]["value"]) in posterior._samples["mean"]
        assert tuple(ops.to_numpy(trace.nodes["effect"]["value"]).tolist()) not in effects
    larger = infer.TracePredictive(schools, posterior, num_samples=4).run(ops.array(numpy.zeros(11)))
    for trace in larger.exec_traces:
        assert float(trace.nodes["mean"]["value"]) in posterior._samples["mean"]
        assert tuple(ops.shape(trace.nodes["effect"]["value"])) == (11,)
    with pytest.raises(InferenceError, match="num_samples must be an int of at least 1, got 0"):
        infer.TracePredictive(schools, posterior, num_samples=0)


@pytest.mark.backends("numpy", "torch")
def test_predictive_runs_a_posterior_that_was_not(backend):
    mcmc = infer.MCMC(infer.NUTS(schools, step_size=0.1, adapt_step_size=False), 3, 0, progress_bar=False, seed=0)
    predictive = infer.TracePredictive(schools, mcmc, num_samples=2).run(ops.array(EFFECTS))
    assert len(predictive.exec_traces) == 2
    assert tuple(mcmc.get_samples()["mean"].shape) == (3,)


def test_thinned_draws(backend, rng):
    samples, divergent = {"x": rng.normal(size=(2, 7, 3))}, rng.normal(size=(2, 7)) > 0.5
    posterior = infer.Posterior(samples, {"divergent": divergent})
    thinned = posterior.thin(3)
    numpy.testing.assert_array_equal(ops.to_numpy(thinned.get_samples(group_by_chain=True)["x"]), samples["x"][:, [2, 5]])
    numpy.testing.assert_array_equal(thinned.get_extra_fields()["divergent"], divergent[:, [2, 5]])
    numpy.testing.assert_array_equal(posterior.get_extra_fields(group_by_chain=False)["divergent"], divergent.ravel())
    assert thinned.diagnostics()["divergences"] == {f"chain {i}": int(divergent[i, [2, 5]].sum()) for i in range(2)}
    with pytest.raises(InferenceError, match="from 1 to the number of draws 7, got 8"):
        posterior.thin(8)


def test_print_summary_leaves_deterministic_sites_out(backend, capsys):
    run = run_of(backend)
    run.print_summary()
    short = capsys.readouterr().out
    run.print_summary(prob=0.5, exclude_deterministic=False)
    long = capsys.readouterr().out
    mean = ops.to_numpy(run.get_samples()["mean"])
    assert f"{mean.mean():.2f}" in next(line for line in short.splitlines() if line.startswith("mean "))
    assert "double" not in short
    assert "double[7]" in long
    assert f"{numpy.quantile(mean, 0.25):.2f}" in next(line for line in long.splitlines() if line.startswith("mean "))
    assert "80 draws from 2 chains; divergences: " in short


def test_draws_must_agree(backend):
    with pytest.raises(InferenceError, match="disagree on the number of draws"):
        infer.Posterior({"a": numpy.zeros((2, 3)), "b": numpy.zeros((2, 4))})
    with pytest.raises(InferenceError, match="disagree on the number of draws"):
        infer.Posterior({"a": numpy.zeros(3)})
    with pytest.raises(InferenceError, match="at least one site"):
        infer.Posterior({})


def test_nothing_is_asked_before_a_run():
    mcmc = infer.MCMC(infer.NUTS(schools), 10)
    asked = (mcmc.marginal, mcmc.summary, mcmc.print_summary, mcmc.diagnostics, mcmc.information_criterion, mcmc.to_arviz)
    for ask in (*asked, mcmc.get_extra_fields, mcmc.log_likelihood, lambda: mcmc.save("nowhere")):
        with pytest.raises(InferenceError, match="there are no draws: expected"):
            ask()
    assert len(mcmc.exec_traces) == len(mcmc.chain_ids) == 0


# -- files --


def test_a_file_goes_from_backend_to_backend(backend, rng, tmp_path):
    run, path = run_of(backend), tmp_path / "run.safetensors"
    run.save(path)
    expected = {name: ops.to_numpy(values) for name, values in run.get_samples(group_by_chain=True).items()}
    for other in sorted({*RUNS, "numpy"}):
        with ppl.pyro_backend(other):
            loaded = infer.Posterior.load(path)
            found = loaded.get_samples(group_by_chain=True)
            assert list(found) == list(expected)
            assert all(ops.is_array(values) for values in found.values())
            for name, values in found.items():
                numpy.testing.assert_array_equal(ops.to_numpy(values), expected[name])
    for name, field in run.get_extra_fields().items():
        numpy.testing.assert_array_equal(loaded.get_extra_fields()[name], field)
    assert loaded.summary().table() == run.summary().table()
    assert loaded._sites() == run._sites()
    again = infer.Posterior.load(path, model=schools, args=(EFFECTS,))
    numpy.testing.assert_allclose(
        ops.to_numpy(again.log_likelihood()["y"]), stats.norm(expected["effect"], 10).logpdf(EFFECTS), rtol=1e-12
    )


def test_strange_views_and_dtypes_survive_a_file(backend, rng, tmp_path):
    samples = {"f": rng.normal(size=(3, 4, 2)).swapaxes(0, 2)[:, ::-1], "i": rng.integers(9, size=(2, 4)).astype("int32")}
    infer.Posterior(samples, {"good": samples["i"] > 3}).save(tmp_path / "file")
    loaded = infer.Posterior.load(tmp_path / "file")
    for name, values in samples.items():
        found = ops.to_numpy(loaded.get_samples(group_by_chain=True)[name])
        numpy.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype
    numpy.testing.assert_array_equal(loaded.get_extra_fields()["good"], samples["i"] > 3)


def _metadata(path):
    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def _rewritten(path, change):
    metadata, arrays = _metadata(path)
    change(metadata, arrays)
    if metadata.pop("sha256", None):
        metadata["sha256"] = tensor_file.checksum(arrays, metadata)
    save_file(arrays, path, metadata=metadata)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def _newer(metadata, arrays):
    metadata["schema"] = str(posterior_file.SCHEMA + 1)


def _other_format(metadata, arrays):
    metadata["format"] = "ppl.param_store"


def _lose_a_site(metadata, arrays):
    del arrays["samples/mean"]


def _unknown_array(metadata, arrays):
    arrays["elsewhere/x"] = numpy.zeros(3)


def _header(text):
    return lambda metadata, arrays: metadata.update(header=text)


SPOILED = {
    "truncated": (_truncate, "not a readable posterior file"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable posterior file"),
    "foreign": (lambda path: path.write_bytes(b"PK\x03\x04 some other program's"), "not a readable posterior file"),
    "missing": (lambda path: path.unlink(), "there is no posterior file"),
    "directory": (lambda path: (path.unlink(), path.mkdir()), "not a readable posterior file"),
    "newer": (lambda path: _rewritten(path, _newer), "newer than 2, the newest this version reads; try to update"),
    "another format": (lambda path: _rewritten(path, _other_format), "its format is 'ppl.param_store'; expected"),
    "without header": (lambda path: _rewritten(path, lambda metadata, arrays: metadata.pop("header")), "header of .* is damaged"),
    "broken header": (lambda path: _rewritten(path, _header("{")), "header of .* is damaged"),
    "strange header": (lambda path: _rewritten(path, _header(json.dumps([1]))), "header of .* is damaged"),
    "strange layout": (
        lambda path: _rewritten(path, _header(json.dumps({"order": ["mean", "effect"], "layout": {"colour": 1}}))),
        "header of .* is damaged",
    ),
    "without checksum": (lambda path: _rewritten(path, lambda metadata, arrays: metadata.pop("sha256")), "its checksum is not"),
    "lost site": (lambda path: _rewritten(path, _lose_a_site), "header of .* is damaged: 'mean'"),
    "unknown array": (lambda path: _rewritten(path, _unknown_array), "unknown array 'elsewhere/x'"),
    "lost order": (lambda path: _rewritten(path, _header(json.dumps({"order": ["mean"], "layout": {}}))), "name different sites"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_file_is_refused_whole(rng, tmp_path, how):
    path = tmp_path / "file"
    spoil, message = SPOILED[how]
    posterior_of(rng).save(path)
    infer.Posterior.load(path)
    spoil(path)
    with pytest.raises(InferenceError, match=message):
        infer.Posterior.load(path)


def test_no_byte_of_a_file_can_change_unseen(tmp_path):
    """Each byte in turn, one bit of it: only the spaces that fill up the header may differ."""
    path, samples = tmp_path / "file", {"x": numpy.array([[1.0, 2.5]])}
    infer.Posterior(samples, {"good": numpy.array([[True, False]])}).save(path)
    content, unseen = path.read_bytes(), []
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        try:
            loaded = infer.Posterior.load(path)
        except InferenceError:
            continue
        unseen.append(content[place : place + 1])
        numpy.testing.assert_array_equal(loaded._samples["x"], samples["x"])
    assert set(unseen) <= {b" "}


def test_a_file_of_the_first_schema_is_read(rng, tmp_path):
    """It has no checksum."""
    path, posterior = tmp_path / "file", posterior_of(rng)
    posterior.save(path)
    metadata, arrays = _metadata(path)
    del metadata["sha256"]
    save_file(arrays, path, metadata={**metadata, "schema": "1"})
    loaded = infer.Posterior.load(path)
    for name, draws in posterior._samples.items():
        numpy.testing.assert_array_equal(loaded._samples[name], draws)


def test_a_failed_save_leaves_the_old_file(rng, tmp_path, monkeypatch):
    path = tmp_path / "file"
    posterior_of(rng).save(path)
    before = path.read_bytes()
    monkeypatch.setattr(posterior_file.os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        posterior_of(rng).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.backends("numpy", "torch")
def test_draws_of_a_density_of_ones_own(backend, tmp_path):
    kernel = infer.HMC(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=2, step_size=0.5, num_steps=3)
    run = infer.MCMC(kernel, 12, 5, 2, progress_bar=False, seed=0).run()
    draws = ops.to_numpy(run.get_samples(group_by_chain=True)["position"])
    numpy.testing.assert_allclose(ops.to_numpy(run.marginal().empirical["position"].mean), draws.mean(axis=1), rtol=1e-10)
    run.save(tmp_path / "file")
    numpy.testing.assert_array_equal(ops.to_numpy(infer.Posterior.load(tmp_path / "file").get_samples(True)["position"]), draws)
    for ask in (run.log_likelihood, run.information_criterion, lambda: run.exec_traces[0]):
        with pytest.raises(InferenceError, match="these draws know no model"):
            ask()
