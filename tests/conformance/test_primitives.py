"""Laws of sample, deterministic, factor, markov, seeds and validation; densities come from scipy."""

import random as python_random
import threading

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, runtime
from ppl.errors import PplWarning, RandomKeyError, ShapeError, SiteError
from ppl.primitives import check_site_shapes

pytestmark = pytest.mark.strict


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def test_without_handlers_sample_returns_the_observation_or_a_draw(backend):
    assert number(ppl.sample("x", dist.Normal(0.0, 1.0), obs=1.25)) == 1.25
    draws = numpy.array([number(ppl.sample("x", dist.Normal(3.0, 0.5))) for _ in range(50)])
    assert stats.kstest(draws, stats.norm(3.0, 0.5).cdf).pvalue > 2e-5
    assert stats.kstest(draws, stats.norm(0.0, 0.5).cdf).pvalue < 2e-5


def test_sample_takes_any_function(backend):
    assert ppl.sample("x", lambda a, b=0: a + b, 1, b=2) == 3
    trace = handlers.trace(lambda: ppl.sample("x", lambda a: a * 2, 4)).get_trace()
    assert trace.nodes["x"]["value"] == 8
    with pytest.raises(SiteError, match=r"'x'.*no log_prob"):
        trace.compute_log_prob()


def test_sample_shape_is_an_argument_of_the_distribution(backend):
    trace = handlers.trace(lambda: ppl.sample("x", dist.Normal(0.0, 1.0), (3,))).get_trace()
    assert tuple(trace.nodes["x"]["value"].shape) == (3,)
    expected = stats.norm.logpdf(host(trace.nodes["x"]["value"]))
    trace.compute_log_prob()
    numpy.testing.assert_allclose(host(trace.nodes["x"]["log_prob"]), expected, rtol=1e-10)


def test_a_message_has_its_documented_keys(backend):
    seen = {}

    class Spy(handlers.Handler):
        def after_sample(self, message):
            seen.update(message)

    infer = {"enumerate": "parallel"}
    with Spy():
        ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5, infer=infer)
    assert set(seen) == {"type", "name", "fn", "args", "kwargs", "value", "is_observed", "scale", "mask", "cond_indep_stack",
                         "infer", "rng_key", "done", "stop", "continuation"}  # fmt: skip
    assert seen["infer"] == infer
    assert seen["infer"] is not infer


@pytest.mark.parametrize(("data", "value"), [(2, 2.0), ([1.0, 2.0], [1.0, 2.0]), (numpy.array([1.0, 2.0]), [1.0, 2.0])])
def test_observations_become_arrays_of_the_backend(backend, data, value):
    trace = handlers.trace(lambda: ppl.sample("x", dist.Normal(0.0, 1.0), obs=data)).get_trace()
    assert ops.is_array(trace.nodes["x"]["value"])
    assert number(trace.log_prob_sum()) == pytest.approx(stats.norm.logpdf(value).sum(), rel=1e-10)


def test_deterministic_is_recorded_and_weightless(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)
        with ppl.plate("rows", 3):
            return ppl.deterministic("twice", 2.0 * x)

    assert number(model()) == 1.0
    trace = handlers.trace(model).get_trace()
    node = trace.nodes["twice"]
    assert node["infer"]["_deterministic"]
    assert number(node["value"]) == 1.0
    assert number(trace.log_prob_sum()) == pytest.approx(stats.norm.logpdf(0.5), rel=1e-10)
    assert trace.stochastic_nodes == []


def test_factor_adds_its_term(backend):
    def model(extra):
        ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)
        with ppl.plate("rows", 2):
            ppl.factor("extra", extra)

    base = stats.norm.logpdf(0.5)
    trace = handlers.trace(model).get_trace(ops.array([1.5, -0.25]))
    assert number(trace.log_prob_sum()) == pytest.approx(base + 1.25, rel=1e-10)
    assert number(handlers.trace(handlers.scale(model, scale=2.0)).get_trace(-1.0).log_prob_sum()) == pytest.approx(
        2 * (base - 2.0)
    )
    assert trace.stochastic_nodes == []


def test_factor_is_differentiable(backend):
    def density(weight):
        return handlers.trace(lambda: ppl.factor("f", weight * weight)).get_trace().log_prob_sum()

    assert number(ops.autodiff.grad(density)(ops.array(3.0))) == pytest.approx(6.0, rel=1e-8)


def test_markov_as_context_decorator_and_iterator(backend):
    def chain(t):
        return ppl.sample(f"x{t}", dist.Normal(0.0, 1.0), obs=0.0)

    def by_iterator():
        for t in ppl.markov(range(3)):
            chain(t)

    def by_context():
        context = ppl.markov(history=1)
        for t in range(3):
            with context:
                chain(t)

    @ppl.markov
    def recurse(t=0):
        chain(t)
        if t < 2:
            recurse(t + 1)

    for model in (by_iterator, by_context, recurse):
        trace = handlers.trace(model).get_trace()
        assert trace.observation_nodes == ["x0", "x1", "x2"]
        assert number(trace.log_prob_sum()) == pytest.approx(3 * stats.norm.logpdf(0.0), rel=1e-10)
    assert handlers.trace(recurse).get_trace().nodes["x2"]["infer"]["_markov_depth"] == 3
    with pytest.raises(ppl.errors.HandlerError, match="history"):
        ppl.markov(history=-1)
    with pytest.raises(ppl.errors.HandlerError, match="iterable"):
        ppl.markov(3)


def test_set_rng_seed_repeats_everything(backend):
    def draws():
        ppl.set_rng_seed(7)
        return number(ppl.sample("x", dist.Normal(0.0, 1.0))), python_random.random(), number(numpy.random.rand())

    assert draws() == draws()
    first = number(ppl.sample("x", dist.Normal(0.0, 1.0)))
    assert first != number(ppl.sample("x", dist.Normal(0.0, 1.0)))


@pytest.mark.parametrize("bad", [-1, 1.5, "7", None, True])
def test_set_rng_seed_refuses_what_is_no_seed(backend, bad):
    with pytest.raises(ValueError, match="int of zero or more"):
        ppl.set_rng_seed(bad)


def test_validation_switches(backend):
    assert runtime.is_validation_enabled()
    with ppl.validation_enabled(False):
        assert not runtime.is_validation_enabled()
        dist.Normal(0.0, -1.0)
        with ppl.validation_enabled():
            assert runtime.is_validation_enabled()
        assert not runtime.is_validation_enabled()
    assert runtime.is_validation_enabled()
    try:
        ppl.enable_validation(False)
        assert not runtime.is_validation_enabled()
    finally:
        ppl.enable_validation()
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, -1.0)


BAD_SITES = {
    "name": (lambda: ppl.sample(3, dist.Normal(0.0, 1.0)), SiteError, "name is a str"),
    "no distribution": (lambda: ppl.sample("y", 3.0), SiteError, "'y' needs a distribution"),
    "outside the support": (lambda: ppl.sample("y", dist.Exponential(1.0), obs=-1.0), SiteError, "'y'"),
    "event shape": (
        lambda: ppl.sample("y", dist.Normal(ops.zeros(3), 1.0).to_event(1), obs=ops.zeros(2)),
        ShapeError,
        r"'y' has shape \(2,\); expected it to end in the event shape \(3,\)",
    ),
    "batch shape": (
        lambda: ppl.sample("y", dist.Normal(ops.zeros(3), 1.0), obs=ops.zeros(2)),
        ShapeError,
        r"'y' has batch shape \(2,\)",
    ),
}


@pytest.mark.parametrize("case", BAD_SITES)
def test_bad_sites_get_a_sentence_and_leave_no_handler(backend, case):
    site, error, text = BAD_SITES[case]
    with pytest.raises(error, match=text):
        handlers.trace(site).get_trace().compute_log_prob()
    assert not runtime.am_i_wrapped()
    assert number(handlers.trace(lambda: ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.0)).get_trace().log_prob_sum()) < 0


def test_nan_density_warns_and_names_the_site(backend):
    with ppl.validation_enabled(False):
        trace = handlers.trace(lambda: ppl.sample("rate", dist.Normal(0.0, 1.0), obs=float("nan"))).get_trace()
    with pytest.warns(PplWarning, match="observed site 'rate'.*is NaN"):
        trace.compute_log_prob()


def test_undeclared_batch_dimension_is_refused_where_plates_matter(backend):
    def model():
        with ppl.plate("rows", 3, dim=-2):
            ppl.sample("y", dist.Normal(ops.zeros(4), 1.0))

    trace = handlers.trace(model).get_trace()
    trace.compute_log_prob()
    text = r"'y' has batch shape \(3, 4\), whose dim=-1 .*no plate declares; .*'rows' \(dim=-2, size=3\); .*try .to_event\(1\)"
    with pytest.raises(ShapeError, match=text):
        check_site_shapes(trace.nodes["y"])

    def declared():
        with ppl.plate("columns", 4), ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(ops.zeros(4), 1.0))

    check_site_shapes(handlers.trace(declared).get_trace().nodes["y"])


@pytest.mark.backends("jax")
def test_missing_key_inside_a_jax_trace_names_the_site(backend):
    import jax

    with pytest.raises(RandomKeyError, match="'z'"):
        jax.jit(lambda: ppl.sample("z", dist.Normal(0.0, 1.0)))()
    assert not runtime.am_i_wrapped()


@pytest.mark.backends("jax")
def test_models_run_inside_jit_and_vmap(backend):
    import jax

    def model(y):
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(z, 1.0), obs=y)
        return z

    def density(key, y):
        trace = handlers.trace(handlers.seed(model, rng_seed=key)).get_trace(y)
        return trace.nodes["z"]["value"], trace.log_prob_sum()

    keys = jax.random.split(jax.random.key(0), 4)
    y = numpy.array([0.1, -0.3, 0.7])
    z, total = jax.jit(jax.vmap(density, in_axes=(0, None)))(keys, y)
    z = numpy.asarray(z)
    expected = stats.norm.logpdf(z) + stats.norm.logpdf(y[:, None], z, 1.0).sum(0)
    numpy.testing.assert_allclose(numpy.asarray(total), expected, rtol=1e-10)
    assert len(set(z.tolist())) == 4


def test_threads_do_not_see_each_other(backend):
    def model():
        return [number(ppl.sample(f"x{i}", dist.Normal(0.0, 1.0))) for i in range(20)]

    def run(name, seed, results, barrier):
        barrier.wait()
        with ppl.pyro_backend(name):
            trace = handlers.trace(handlers.seed(model, rng_seed=seed)).get_trace()
            results[name, seed] = trace.nodes["_RETURN"]["value"], runtime.am_i_wrapped()

    jobs = [("numpy", 1), (backend, 2), (backend, 3)]
    alone, together = {}, {}
    for job in jobs:
        run(*job, alone, threading.Barrier(1))
    barrier = threading.Barrier(len(jobs))
    threads = [threading.Thread(target=run, args=(*job, together, barrier)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {job: values for job, (values, _) in together.items()} == {job: values for job, (values, _) in alone.items()}
