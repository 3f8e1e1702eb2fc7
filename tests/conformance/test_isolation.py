"""Backends beside each other: threads never see each other's, and objects keep the one they were built with."""

import contextvars
import importlib.util
import threading

import numpy
import pytest
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim, registry
from ppl.poutine.runtime import am_i_wrapped

ROUNDS = 15


@pytest.fixture
def other(backend):
    """A backend of another library than the one under test."""
    for name in ("numpy", "torch", "jax"):
        if name != backend and importlib.util.find_spec(name):
            registry.load(name)
            return name
    pytest.skip("only one array library is installed")


def is_array_of(name, value):
    """Return whether ``value`` is an array of the library of backend ``name``."""
    return bool(registry.load(name).ops.is_array(value))


def number(value):
    """One array of any library as a float."""
    return float(value.detach() if hasattr(value, "detach") else value)


class Runner:
    """A thread that traces a model under one backend and seed, and meets the other thread in the middle of each run."""

    def __init__(self, name, rng_seed, loc, meet):
        self.name, self.rng_seed, self.loc, self.meet = name, rng_seed, loc, meet
        self.runs, self.error = [], None

    def model(self):
        loc = ppl.param("loc", lambda: ops.array(self.loc))
        self.meet()
        x = ppl.sample("x", dist.Normal(loc, 1.0))
        with ppl.plate("rows", 2):
            self.meet()
            noise = ppl.sample("noise", dist.Gamma(2.0, 1.0))
            self.meet()
            ppl.sample("y", dist.Normal(x, 0.5), obs=ops.array([0.1, 0.2]))
        return noise

    def __call__(self):
        try:
            with ppl.pyro_backend(self.name):
                for round_number in range(ROUNDS):
                    model = handlers.seed(self.model, rng_seed=self.rng_seed + round_number)
                    trace = handlers.trace(model).get_trace()
                    assert not am_i_wrapped()
                    assert registry.active().name == self.name
                    assert [name for name in trace.nodes if trace.nodes[name]["type"] == "sample"] == ["x", "noise", "y"]
                    values = [trace.nodes[name]["value"] for name in ("loc", "x", "noise", "y")]
                    assert all(is_array_of(self.name, value) for value in values)
                    self.runs.append([ops.to_numpy(value) for value in values] + [number(trace.log_prob_sum())])
        except Exception as error:
            self.error = error


def start_together(runners):
    threads = [threading.Thread(target=runner) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    errors = [runner.error for runner in runners if runner.error is not None]
    # The other thread's wait ends because of the first error; that one tells the story.
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error


def test_threads_under_two_backends_never_see_each_other(backend, other):
    """Each run in company equals the same run alone, and its log density is what scipy says."""
    barrier = threading.Barrier(2)
    plans = [(backend, 10, -1.0), (other, 500, 3.0)]
    together = [Runner(*plan, lambda: barrier.wait(timeout=10)) for plan in plans]
    alone = [Runner(*plan, lambda: None) for plan in plans]
    with ppl.pyro_backend(other):
        before = ops.default_dtype()
        ops.set_default_dtype("float64")
    try:
        start_together(together)
        for name, _, _ in plans:
            with ppl.pyro_backend(name):
                assert set(ppl.get_param_store().keys()) == {"loc"}
                ppl.clear_param_store()
        for runner in alone:
            start_together([runner])
    finally:
        with ppl.pyro_backend(other):
            ops.set_default_dtype(before)
            ppl.clear_param_store()
    for runner, reference, (_, _, loc) in zip(together, alone, plans, strict=True):
        assert len(runner.runs) == ROUNDS
        for run, expected in zip(runner.runs, reference.runs, strict=True):
            for value, wanted in zip(run, expected, strict=True):
                numpy.testing.assert_array_equal(value, wanted)
            own_loc, x, noise, y, log_prob = run
            assert float(own_loc) == loc
            oracle = scipy.stats.norm(loc, 1.0).logpdf(x) + scipy.stats.gamma(2.0).logpdf(noise).sum()
            assert log_prob == pytest.approx(oracle + scipy.stats.norm(x, 0.5).logpdf(y).sum(), rel=1e-10)
        assert len({float(run[1]) for run in runner.runs}) == ROUNDS
    assert float(together[0].runs[0][1]) != float(together[1].runs[0][1])


def model(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 3):
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y)


Y = numpy.array([0.5, 1.0, 1.5])


def use_normal():
    d = dist.Normal(ops.array([0.0, 1.0]), 2.0)

    def use():
        numpy.testing.assert_allclose(numpy.asarray(d.log_prob(0.3)), scipy.stats.norm([0.0, 1.0], 2.0).logpdf(0.3), rtol=1e-12)
        wider = d.expand((4, 2)).to_event(1)
        assert tuple(wider.sample().shape) == (4, 2)
        return [d.sample(), d.rsample((3,)), d.log_prob(0.3), d.mean, d.variance, d.cdf(0.1), d.entropy(), wider.log_prob(d.mean),
                d.mask(False).log_prob(0.3), wider.sample()]  # fmt: skip

    return use


def use_svi():
    guide = infer.autoguide.AutoDiagonalNormal(model)
    svi = infer.SVI(model, guide, optim.Adam(lr=0.05), infer.Trace_ELBO())
    svi.step(Y)

    def use():
        first = svi.step(Y)
        losses = numpy.asarray(svi.run(30, Y, progress_bar=False).losses)
        assert numpy.isfinite([first, svi.evaluate_loss(Y), *losses]).all()
        return []

    return use


def use_guide():
    guide = infer.autoguide.AutoDiagonalNormal(model)
    infer.SVI(model, guide, optim.Adam(lr=0.05), infer.Trace_ELBO()).step(Y)

    def use():
        values = [guide(Y)["mu"], guide.median(Y)["mu"], *guide.quantiles([0.25, 0.75], Y)["mu"]]
        assert number(values[2]) < number(values[1]) < number(values[3])
        return values

    return use


def use_mcmc():
    mcmc = infer.MCMC(infer.NUTS(model), 20, 10, progress_bar=False, seed=1)
    mcmc.run(Y)

    def use():
        before = mcmc.get_samples()["mu"]
        mcmc.run(Y + 1.0)
        return [before, mcmc.get_samples()["mu"]]

    return use


def use_predictive():
    predictive = infer.Predictive(model, posterior_samples={"mu": ops.array([0.0, 1.0, 2.0])})
    prior = infer.Predictive(model, num_samples=4)

    def use():
        return [*predictive(None).values(), *prior(None).values()]

    return use


@pytest.mark.parametrize("make", [use_normal, use_svi, use_guide, use_mcmc, use_predictive])
def test_objects_keep_their_backend(backend, other, make):
    """Inside another backend's block, then in a thread that is in no block at all."""
    with ppl.pyro_backend(other), ppl.pyro_backend(backend):
        use = make()
    found = []

    def check(active):
        assert registry.active().name == active
        values = use()
        assert registry.active().name == active
        assert not am_i_wrapped()
        found.append([is_array_of(backend, value) and not is_array_of(other, value) for value in values])

    with ppl.pyro_backend(other):
        check(other)
    contextvars.Context().run(check, registry_default())
    assert len(found) == 2
    assert all(all(row) for row in found)


def registry_default():
    """The name of the backend outside any block."""
    return contextvars.Context().run(registry.active).name


def test_a_store_belongs_to_one_backend(backend, other):
    ppl.param("loc", ops.array(2.0))
    store = ppl.get_param_store()
    with ppl.pyro_backend(other):
        assert "loc" not in ppl.get_param_store()
        assert is_array_of(backend, store["loc"])
        assert number(store["loc"]) == 2.0
