"""Threads that run models at the same time never see each other: backend, seed, handlers, validation, parameters."""

import sys
import threading
from contextlib import ExitStack

import numpy
import pytest
from generated_models import sparing

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, primitives, runtime
from ppl.contrib.autoname import name_count, scope
from ppl.ops import random

pytestmark = pytest.mark.strict

# Longer than what most threads need to draw once, shorter than a model, so that threads alternate within one.
SWITCH = 1e-5


@pytest.fixture(autouse=True)
def _frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    yield
    sys.setswitchinterval(before)


def host(value):
    return ops.to_numpy(ops.array(value))


def together(jobs):
    """Run each function in a thread of its own, all starting at once, and return their results; the first error is raised."""
    results, errors, barrier = [None] * len(jobs), [], threading.Barrier(len(jobs))

    def run(index, job):
        try:
            barrier.wait(60)
            results[index] = job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


FAMILIES = {
    "normal": lambda: dist.Normal(0.0, 1.0),
    "gamma": lambda: dist.Gamma(2.0, 1.5),
    "beta": lambda: dist.Beta(2.0, 3.0),
    "categorical": lambda: dist.Categorical(probs=ops.array([0.2, 0.3, 0.5])),
    "poisson": lambda: dist.Poisson(4.0),
    "student": lambda: dist.StudentT(5.0, 0.0, 1.0),
}


def families():
    # A draw on jax depends on its key alone, whatever the family, and each family takes a second to compile.
    return ("normal", "categorical") if sparing() else tuple(FAMILIES)


def model():
    """Every way to draw: each kind of family, a minibatch, a function, and a draw outside any site."""
    drawn = [float(host(ppl.sample(name, FAMILIES[name]()))) for name in families()]
    with ppl.plate("rows", 20, subsample_size=5) as rows:
        drawn.extend(host(rows).tolist())
        drawn.extend(host(ppl.sample("x", dist.Exponential(1.0))).tolist())
    drawn.append(float(host(ppl.sample("function", lambda: dist.Laplace(0.0, 1.0).sample()))))
    drawn.append(float(host(dist.Uniform(0.0, 1.0).sample())))
    return drawn


def under(name, run):
    """Return ``run`` made to run under the backend of that name."""

    def job():
        with ppl.pyro_backend(name):
            return run()

    return job


def job(name, seed):
    def run():
        with ppl.pyro_backend(name), ppl.validation_enabled(bool(seed % 2)):
            found = [handlers.seed(model, rng_seed=seed)() for _ in range(4)]
            assert runtime.is_validation_enabled() is bool(seed % 2)
            assert not runtime.am_i_wrapped()
            return found

    return run


@pytest.mark.parametrize("count", [2, 8])
def test_seeds_of_threads_do_not_see_each_other(backend, count):
    jobs = [job(backend, seed) for seed in range(count)]
    alone = [run() for run in jobs]
    assert together(jobs) == alone
    assert len({tuple(map(tuple, found)) for found in alone}) == count


def test_backends_of_threads_do_not_see_each_other(backend):
    jobs = [job(name, seed) for seed, name in enumerate([backend, "numpy", backend, "numpy"])]
    alone = [run() for run in jobs]
    assert together(jobs) == alone


def test_the_outer_stream_stands_after_scopes_that_overlapped(backend):
    ppl.set_rng_seed(7)
    expected = host(random.normal(None, (4,))).tolist()
    ppl.set_rng_seed(7)
    together([job(backend, seed) for seed in range(4)])
    assert host(random.normal(None, (4,))).tolist() == expected


def test_a_scope_draws_the_same_whatever_happens_to_the_stream_outside(backend):
    def noisy():
        found = []
        for name in families():
            found.append(float(host(FAMILIES[name]().sample())))
            thread = threading.Thread(target=disturb)
            thread.start()
            thread.join()
        return found

    def disturb():
        with ppl.pyro_backend(backend):
            ppl.set_rng_seed(99)
            random.normal(None, (3,))

    with random.scope(5):
        quiet = [float(host(FAMILIES[name]().sample())) for name in families()]
    with random.scope(5):
        assert noisy() == quiet


def test_a_shared_generator_is_noticed():
    # The negative control: two threads that take turns on one generator cannot both repeat what they drew alone.
    turn = [threading.Event(), threading.Event()]

    def sharing(generator, index, alternate):
        def run():
            found = []
            for _ in range(20):
                if alternate:
                    turn[index].wait(60)
                    turn[index].clear()
                found.append(generator.normal())
                if alternate:
                    turn[1 - index].set()
            return found

        return run

    alone = [sharing(numpy.random.default_rng(0), index, False)() for index in range(2)]
    shared = numpy.random.default_rng(0)
    turn[0].set()
    assert together([sharing(shared, index, True) for index in range(2)]) != alone


def test_handlers_of_threads_do_not_see_each_other(backend):
    def conditioned(value):
        def run():
            with ppl.pyro_backend(backend):
                found = []
                for _ in range(20):
                    with handlers.trace() as recorder, handlers.condition(data={"x": value}):
                        ppl.sample("x", dist.Normal(0.0, 1.0))
                        ppl.sample(f"of {value}", dist.Normal(0.0, 1.0))
                    found.append((sorted(recorder.trace.nodes), float(host(recorder.trace.nodes["x"]["value"]))))
                return found

        return run

    results = together([conditioned(float(index)) for index in range(8)])
    for index, found in enumerate(results):
        assert found == [([f"of {float(index)}", "x"], float(index))] * 20
    assert not runtime.am_i_wrapped()


def test_a_handler_shared_by_threads_keeps_their_runs_apart(backend):
    shared = handlers.seed(model, rng_seed=3)

    def run():
        with ppl.pyro_backend(backend):
            return [shared() for _ in range(3)]

    assert together([run] * 4) == [run()] * 4


def uses_of_a_plate(plate, meet):
    """Return three runs over one plate: inside another plate, alone, and as a loop."""

    def entered(*outer):
        found = []
        for _ in range(3):
            with ExitStack() as around, handlers.trace() as recorder:
                for other in outer:
                    around.enter_context(other)
                with plate as indices:
                    meet()
                    ppl.sample("x", dist.Normal(0.0, 1.0))
                    found.append((plate.dim, ops.is_array(indices), frames_and_shape(recorder)))
                    meet()
        return found

    def looped():
        found = []
        for step in plate:
            meet()
            with handlers.trace() as recorder:
                ppl.sample("x", dist.Normal(0.0, 1.0))
            found.append((step, plate.dim, frames_and_shape(recorder)))
            meet()
        return found

    def frames_and_shape(recorder):
        node = recorder.trace.nodes["x"]
        return [tuple(frame) for frame in node["cond_indep_stack"]], tuple(ops.shape(node["value"]))

    return [lambda: entered(ppl.plate("outer", 2)), entered, looped]


def test_a_plate_shared_by_threads_keeps_their_entries_apart(backend):
    def jobs(meet):
        nested, alone, looped = uses_of_a_plate(ppl.plate("rows", 3), meet)
        return [under(backend, nested), under(backend, alone), under(backend, looped), under("numpy", alone)]

    # Each has entered before any draws, and all have drawn before one leaves.
    barrier = threading.Barrier(4)
    expected = [run() for run in jobs(lambda: None)]
    assert together(jobs(lambda: barrier.wait(60))) == expected
    outer, rows = ("outer", -1, 2, 0, 2, True), ("rows", -2, 3, 0, 3, True)
    assert expected[0] == [(-2, True, ([outer, rows], (3, 2)))] * 3
    assert expected[1] == [(-1, True, ([("rows", -1, 3, 0, 3, True)], (3,)))] * 3
    assert expected[2] == [(step, None, ([("rows", None, 3, step + 1, 3, True)], ())) for step in range(3)]


@pytest.mark.parametrize("name", ["enum", "seed"])
def test_a_context_shared_by_threads_keeps_their_entries_apart(backend, name):
    make = {"enum": lambda: handlers.enum(first_available_dim=-1), "seed": lambda: handlers.seed(rng_seed=3)}[name]

    def jobs(shared, meet):
        def sites(count):
            def run():
                found = []
                for _ in range(3):
                    with shared:
                        meet()
                        for index in range(count):
                            drawn = ppl.sample(f"x{index}", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
                            found.append(host(drawn).tolist())
                        meet()
                return found

            return run

        return [under(backend, sites(count)) for count in (1, 2, 3)]

    barrier = threading.Barrier(3)
    expected = [run() for run in jobs(make(), lambda: None)]
    assert together(jobs(make(), lambda: barrier.wait(60))) == expected
    assert expected[2][:3] == expected[2][3:6] == expected[2][6:]
    if name == "enum":
        assert expected[2][:3] == [[0, 1], [[0], [1]], [[[0]], [[1]]]]


def test_a_recorder_shared_by_threads_keeps_their_traces_apart(backend):
    def model(names, meet):
        for name in names:
            meet()
            ppl.sample(name, dist.Normal(0.0, 1.0))

    barrier = threading.Barrier(2)
    recorder = handlers.trace(model)

    def job(prefix):
        names = [f"{prefix}{index}" for index in range(5)]
        run = under(backend, lambda: list(recorder.get_trace(names, lambda: barrier.wait(60)).stochastic_nodes))
        return run, names

    jobs = [job("a"), job("b")]
    assert together([run for run, _ in jobs]) == [names for _, names in jobs]


def test_a_scope_shared_by_threads_keeps_their_prefixes_apart(backend):
    shared = scope(prefix="inner")

    def job(prefix, meet):
        def run():
            with handlers.trace() as recorder, scope(prefix=prefix), name_count(), shared:
                meet()
                ppl.sample("x", dist.Normal(0.0, 1.0))
                meet()
                with shared:
                    ppl.sample("y", dist.Normal(0.0, 1.0))
            return list(recorder.trace.stochastic_nodes)

        return under(backend, run)

    barrier = threading.Barrier(2)
    found = together([job(prefix, lambda: barrier.wait(60)) for prefix in ("a", "b")])
    assert found == [[f"{prefix}/inner/x", f"{prefix}/inner/inner/y"] for prefix in ("a", "b")]


def test_switches_of_validation_do_not_see_each_other(backend):
    def switched(on):
        def run():
            found = []
            with ppl.pyro_backend(backend), ppl.validation_enabled(on):
                for _ in range(50):
                    found.append(primitives.is_validation_enabled())
                    try:
                        dist.Normal(0.0, -1.0)
                        found.append(False)
                    except ValueError:
                        found.append(True)
            return found

        return run

    assert together([switched(index % 2 == 0) for index in range(4)]) == [[index % 2 == 0] * 100 for index in range(4)]


def test_scopes_of_parameters_do_not_see_each_other(backend):
    def scoped(index):
        def run():
            with ppl.pyro_backend(backend), ppl.get_param_store().scope():
                for step in range(20):
                    ppl.param(f"only {index}", float(index))
                    ppl.param("shared", float(index))
                    ppl.get_param_store()["shared"] = ops.array(float(index + step))
                store = ppl.get_param_store()
                return sorted(store.keys()), float(host(store["shared"]))

        return run

    results = together([scoped(index) for index in range(4)])
    assert results == [([f"only {index}", "shared"], index + 19.0) for index in range(4)]


@pytest.mark.backends("torch")
def test_torchs_own_functions_follow_the_seed_of_the_scope(backend):
    import torch

    def plain():
        return float(ppl.sample("x", lambda: torch.randn(()))), float(torch.rand(()))

    torch.manual_seed(4)
    expected = float(torch.rand(()))
    torch.manual_seed(4)
    first, second = (handlers.seed(plain, rng_seed=1)() for _ in range(2))
    assert first == second != handlers.seed(plain, rng_seed=2)()
    assert float(torch.rand(())) == expected
    torch.manual_seed(4)
    outside = float(dist.Normal(0.0, 1.0).sample())
    torch.manual_seed(4)
    assert float(dist.Normal(0.0, 1.0).sample()) == outside
