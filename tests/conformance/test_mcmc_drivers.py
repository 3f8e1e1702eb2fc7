"""How runs are driven: starts, thinning, deadlines, chains as tasks of executors, reruns and memory."""

import gc
import importlib
import io
import math
import os
import subprocess
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import infer, ops, registry
from ppl.errors import InferenceError, InitializationError, PplWarning
from ppl.infer import diagnostics
from ppl.infer.mcmc import driver
from ppl.infer.mcmc.progress import Progress

DATA = numpy.array([0.3, 1.2, -0.5, 2.0])


def normal_model(y):
    mu = ppl.sample("mu", dist.Normal(1.0, 2.0))
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.Normal(mu, 3.0), obs=y)


def make(kernel=None, samples=30, warmup=30, chains=3, **options):
    kernel = kernel or infer.NUTS(normal_model, max_tree_depth=3)
    return infer.MCMC(kernel, samples, warmup, chains, progress_bar=False, seed=11, **options)


def draws_of(mcmc, site="mu"):
    return numpy.asarray(mcmc.get_samples(group_by_chain=True)[site])


# --- starts ---


def positive(x):
    return ops.where(x > 0.0, 0.0, -float("inf"))


def test_another_strategy_is_tried_and_named(backend):
    def model():
        ppl.factor("positive", positive(ppl.sample("x", dist.Normal(0.0, 1.0))))

    kernel = infer.NUTS(model, init_strategy=infer.init_to_value(values={"x": -1.0}))
    with pytest.warns(PplWarning, match=r"start at init_to_uniform\(radius=0.5\), because init_to_value gave no point"):
        mcmc = make(kernel, samples=400, warmup=200, chains=4).run()
    draws = draws_of(mcmc, "x")
    assert (draws > 0).all()
    assert abs(draws.mean() - math.sqrt(2 / math.pi)) < 4.9 * diagnostics.mcse_mean(draws)


@pytest.mark.parametrize(
    ("lowest", "found"), [(0.2, r"init_to_uniform\(radius=0.5\)"), (1.9, r"init_to_median\(\)")], ids=["uniform", "median"]
)
@pytest.mark.backends("numpy")
def test_ladder_goes_on_until_a_point_is_found(backend, lowest, found):
    """The density vanishes but on [lowest, lowest + 0.2]; a prior draw of Normal(lowest, 0.1) falls there half the time."""

    def model():
        x = ppl.sample("x", dist.Normal(lowest, 0.1))
        ppl.factor("narrow", ops.where((x > lowest) & (x < lowest + 0.2), 0.0, -float("inf")))

    kernel = infer.NUTS(model, init_strategy=infer.init_to_feasible)
    with pytest.warns(PplWarning, match=f"start at {found}, because init_to_feasible gave"):
        make(kernel, samples=2, warmup=0, chains=1).run()


def test_density_that_is_nan_everywhere_is_counted(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("broken", x * float("nan"))

    with pytest.raises(InitializationError, match=r"of (\d+) points \1 have a log density of NaN.*\n.*\n.*\n.*broken"):
        make(infer.NUTS(model)).run()


def test_log_density_of_ones_own_that_is_nan(backend):
    kernel = infer.NUTS(log_density_fn=lambda x: ops.sum(x) * float("nan"), dimension=2)
    with pytest.raises(InitializationError, match="init_to_uniform or the other strategies"):
        make(kernel).run()


# --- what is kept, and when a run ends ---


def test_thinned_draws_are_every_kth(backend):
    mcmc = make()
    whole = draws_of(mcmc.run(DATA))
    for thinning in (3, 7, 30):
        mcmc.thinning = thinning
        thinned = draws_of(mcmc.run(DATA))
        numpy.testing.assert_array_equal(thinned, whole[:, thinning - 1 :: thinning])
        assert thinned.shape == (3, 30 // thinning)


def enough_for_a_minute(backend):
    # With more to come torch would be compiled at length.
    return 1_000_000 if backend == "jax" else 3000


def test_max_seconds_ends_the_run(backend):
    assert not make(max_seconds=3600.0).run(DATA).interrupted
    mcmc = make(samples=enough_for_a_minute(backend), warmup=10, max_seconds=1.0)
    began = time.monotonic()
    with pytest.warns(PplWarning, match=r"the run reached max_seconds.*draws.*run\(\.\.\.\) again"):
        mcmc.run(DATA)
    assert time.monotonic() - began < 20.0
    assert mcmc.interrupted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thinning": 0}, "thinning must be an int of at least 1"),
        ({"thinning": 31}, "thinning=31 keeps none of num_samples=30 draws"),
        ({"max_seconds": -1}, "max_seconds must be positive"),
        ({"chain_method": "simultaneous"}, "'vectorized', 'sequential', 'parallel', got 'simultaneous'"),
        ({"executor": ThreadPoolExecutor(1)}, "try chain_method='parallel'"),
        (
            {"executor": 4, "chain_method": "parallel"},
            r"a concurrent\.futures\.Executor, got builtins\.int; try .* of dask, or for ray",
        ),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InferenceError, match=message):
        make(**options)


# --- chains as tasks ---


@pytest.fixture
def sequential(backend):
    """The draws that each way to run chains by themselves must give."""
    mcmc = make(chain_method="sequential").run(DATA)
    return draws_of(mcmc), mcmc.num_gradients


def assert_same(mcmc, sequential):
    draws, num_gradients = sequential
    numpy.testing.assert_array_equal(draws_of(mcmc), draws)
    assert mcmc.num_gradients == num_gradients


def test_threads_give_the_draws_of_one_after_another(sequential):
    """Three chains on two workers: more chains than workers."""
    with ThreadPoolExecutor(2) as threads:
        assert_same(make(chain_method="parallel", executor=threads).run(DATA), sequential)
        assert_same(make(chain_method="parallel", executor=threads).run(DATA), sequential)


@pytest.mark.backends("numpy", "torch")
def test_processes_give_the_draws_of_one_after_another(sequential, monkeypatch):
    """Three chains on two cores. Of jax not: it optimizes in a new process and not in this suite, which rounds differently."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert_same(make(chain_method="parallel").run(DATA), sequential)


@pytest.mark.backends("jax")
def test_processes_of_jax_sample_the_posterior(backend):
    assert_draws_of_posterior(make(samples=400, warmup=100, chain_method="parallel").run(DATA))


def assert_draws_of_posterior(mcmc):
    precision = 1 / 4 + len(DATA) / 9
    draws = draws_of(mcmc)
    assert abs(draws.mean() - (1 / 4 + DATA.sum() / 9) / precision) < 4.9 * diagnostics.mcse_mean(draws)
    assert draws.dtype == numpy.float64


def test_unsendable_model_is_explained(backend):
    with pytest.raises(InferenceError, match=r"chain\(s\) 0, 1, 2 failed.*try to define the model at the top of a module"):
        make(infer.NUTS(lambda y: normal_model(y)), chain_method="parallel").run(DATA)


def start_where_told(site):
    """Chains whose first draw is positive end their process or raise, as the environment says."""
    value = infer.init_to_uniform(site)
    end = os.environ.get("PPL_TEST_END")
    if end and float(value) > 0.0:
        if end == "exit":
            os._exit(7)
        raise RuntimeError("this worker is tired")
    return value


def starts(chains):
    kernel = infer.NUTS(normal_model, init_strategy=start_where_told, step_size=1e-9, adapt_step_size=False)
    return kernel, draws_of(make(kernel, samples=2, warmup=0, chains=chains, chain_method="sequential").run(DATA))


@pytest.mark.parametrize("end", ["exit", "raise"])
def test_chain_that_dies_is_named_and_the_others_come_back(backend, monkeypatch, end):
    kernel, everything = starts(chains=4)
    dead = [index for index, chain in enumerate(everything) if chain[0] > 0.0]
    alive = [index for index in range(4) if index not in dead]
    assert dead
    assert alive
    monkeypatch.setenv("PPL_TEST_END", end)
    names, found = ", ".join(map(str, dead)), "BrokenProcessPool" if end == "exit" else "RuntimeError: this worker is tired"
    mcmc = make(kernel, samples=2, warmup=0, chains=4, chain_method="parallel")
    with pytest.warns(PplWarning, match=rf"chain\(s\) {names} failed, .* chain {dead[0]} gave {found}"):
        mcmc.run(DATA)
    assert draws_of(mcmc).shape == (len(alive), 2)
    numpy.testing.assert_allclose(draws_of(mcmc), everything[alive], rtol=1e-6)


@pytest.mark.backends("numpy")
def test_broken_pool_of_the_users_is_replaced(backend, sequential):
    class Dying(ProcessPoolExecutor):
        """One task ends its process, and the pool with it, once."""

        def submit(self, function, task):
            return super().submit(os._exit, 3) if task.index == 1 else super().submit(function, task)

    with Dying(1, mp_context=get_context("spawn")) as pool:
        assert_same(make(chain_method="parallel", executor=pool).run(DATA), sequential)


def test_every_chain_failing_raises_its_error(backend):
    def model(y):
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("broken", ops.log(-1.0 - x**2))

    with ThreadPoolExecutor(1) as threads, pytest.raises(InitializationError, match="broken"):
        make(infer.NUTS(model), chain_method="parallel", executor=threads).run(DATA)


def test_deadline_and_thinning_reach_the_workers(backend):
    with ThreadPoolExecutor(1) as threads:
        samples = enough_for_a_minute(backend)
        mcmc = make(samples=samples, chains=2, thinning=2, chain_method="parallel", executor=threads, max_seconds=1.0)
        with pytest.warns(PplWarning, match="the run reached max_seconds"):
            mcmc.run(DATA)
    assert mcmc.interrupted


@contextmanager
def dask_cluster(monkeypatch):
    """Two workers, as an executor; they find the models of this file."""
    distributed = pytest.importorskip("distributed")
    # A task is given up when its first worker has died, and with it what waited for that worker.
    settings = {"distributed.scheduler.allowed-failures": 0}
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    with (
        importlib.import_module("dask").config.set(settings),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


def test_dask_cluster_runs_chains(backend, monkeypatch):
    with dask_cluster(monkeypatch) as executor:
        assert_runs_chains(backend, executor)


def assert_runs_chains(backend, executor):
    """The workers give the draws of one chain after another.

    A worker of jax optimizes as this suite does not, which rounds differently: its draws are those of the posterior.
    """
    if backend == "jax":
        assert_draws_of_posterior(make(samples=400, warmup=100, chain_method="parallel", executor=executor).run(DATA))
    else:
        mcmc = make(chain_method="sequential").run(DATA)
        assert_same(make(chain_method="parallel", executor=executor).run(DATA), (draws_of(mcmc), mcmc.num_gradients))


@contextmanager
def ray_cluster(monkeypatch):
    """Two workers, as the executor that the documentation of MCMC shows."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    class RayExecutor(Executor):
        def submit(self, function, *args):
            return ray.remote(max_retries=0)(function).remote(*args).future()

    environment = {name: os.environ[name] for name in ("PYTHONPATH", "PPL_TEST_END") if name in os.environ}
    # Ray starts its processes by a fork, of which jax warns once it is loaded.
    warnings.filterwarnings("ignore", message=r"os\.fork", category=RuntimeWarning)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    try:
        yield RayExecutor()
    finally:
        ray.shutdown()


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}


@pytest.mark.nightly
def test_ray_runs_chains(backend, monkeypatch):
    with ray_cluster(monkeypatch) as executor:
        assert_runs_chains(backend, executor)


@pytest.mark.nightly
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_deadline_keeps_what_a_cluster_drew(backend, monkeypatch, cluster):
    """Three chains on two workers: one has not begun when time is up. Left alone they would take minutes."""
    kernel = infer.HMC(normal_model, step_size=1e-3, num_steps=1000, adapt_step_size=False)
    many = 2_000_000 if backend == "jax" else 3000
    with CLUSTERS[cluster](monkeypatch) as executor:
        # The workers begin before the clock does.
        make(samples=1, warmup=0, chains=4, chain_method="parallel", executor=executor).run(DATA)
        mcmc = make(kernel, many, 0, 3, chain_method="parallel", executor=executor, max_seconds=30.0)
        with pytest.warns(PplWarning, match=r"the run reached max_seconds: \d+ of \d+ draws of 2 chain\(s\) were kept"):
            mcmc.run(DATA)
    assert 0 < draws_of(mcmc).shape[1] < many


@pytest.mark.nightly
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_worker_of_a_cluster_that_dies_is_named(backend, monkeypatch, cluster):
    kernel, everything = starts(chains=4)
    dead = [index for index, chain in enumerate(everything) if chain[0] > 0.0]
    alive = [index for index in range(4) if index not in dead]
    monkeypatch.setenv("PPL_TEST_END", "exit")
    with CLUSTERS[cluster](monkeypatch) as executor:
        mcmc = make(kernel, samples=2, warmup=0, chains=4, chain_method="parallel", executor=executor)
        with pytest.warns(PplWarning, match=rf"chain\(s\) {', '.join(map(str, dead))} failed, .* chain {dead[0]} gave .*Worker"):
            mcmc.run(DATA)
    numpy.testing.assert_allclose(draws_of(mcmc), everything[alive], rtol=1e-6)


# --- costs ---


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Chunk:
    divergent = numpy.array([[True, False]])
    num_leapfrog_steps = numpy.array([[7, 7]])
    step_size = numpy.array([0.25])


def test_bar_is_drawn_ten_times_a_second_at_most(monkeypatch):
    now, screen = [0.0], Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress(10_000, True, clock=lambda: now[0])
    began = screen.getvalue().count("\r")
    for _ in range(1000):
        now[0] += 0.005
        progress.update(10, Chunk, False)
    drawn = screen.getvalue().count("\r") - began
    assert 40 <= drawn <= 51
    progress.close()
    last = screen.getvalue().rstrip().split("\r")[-1]
    for text in ("10000/10000", "step 0.25", "7 leapfrogs a draw (tree depth 3.0)", "divergences"):
        assert text in last


@pytest.mark.nightly
def test_bar_costs_below_three_percent(backend, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    real, spent = Progress.update, []

    def update(self, count, draws, warming_up):
        began = time.perf_counter()
        real(self, count, draws, warming_up)
        spent.append(time.perf_counter() - began)

    monkeypatch.setattr(Progress, "update", update)
    mcmc = infer.MCMC(infer.NUTS(normal_model), 3000, 500, 4, seed=1).run(DATA)
    began = time.perf_counter()
    spent.clear()
    mcmc.run(DATA)
    assert sum(spent) < 0.03 * (time.perf_counter() - began)


@pytest.mark.parametrize("reruns", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_reruns_compile_nothing_and_keep_no_memory(backend, rng, reruns):
    kernel = infer.NUTS(log_density_fn=lambda x, scale: -0.5 * ops.sum((x / scale) ** 2), dimension=500, max_tree_depth=2)
    mcmc = infer.MCMC(kernel, 10, 25, 2, progress_bar=False)
    compilations = []
    if backend == "jax":
        import jax

        jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compilations.append(event))

    def memory():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    for _ in range(3):
        mcmc.run(rng.uniform(1.0, 2.0, size=500))
    (sampler,), size = mcmc._samplers.values(), sum(x.nbytes for x in mcmc._kept().values())
    compilations.clear()
    tracemalloc.start()
    try:
        mcmc.run(rng.uniform(1.0, 2.0, size=500))
        before = memory()
        for _ in range(reruns):
            mcmc.run(rng.uniform(1.0, 2.0, size=500))
        grown = memory() - before
    finally:
        tracemalloc.stop()
        if backend == "jax":
            jax.monitoring.clear_event_listeners()
    assert [event for event in compilations if "compile" in event] == []
    assert list(mcmc._samplers.values()) == [sampler]
    assert grown < 2 * size


# The peak is that of the process itself: ru_maxrss of a new process begins with the memory of the one that started it.
MEMORY = """
import sys
import ppl
from ppl import infer, ops
ppl.set_backend(sys.argv[1])
ppl.set_default_dtype("float64")
kind, options = {"HMC": (infer.HMC, {"num_steps": 1}), "NUTS": (infer.NUTS, {"max_tree_depth": 2})}[sys.argv[2]]
kernel = kind(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=1000, step_size=0.05, adapt_step_size=False,
              adapt_mass_matrix=False, **options)
infer.MCMC(kernel, 600, 0, 4, progress_bar=False, seed=1).run()
def memory(name):
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith(name)).split()[1])
before = memory("VmRSS")
mcmc = infer.MCMC(kernel, 10_000, 0, 4, progress_bar=False, seed=1).run()
grown = memory("VmHWM") - before
size = sum(x.nbytes for x in mcmc._kept().values())
print(grown / size)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("kernel", ["HMC", "NUTS"])
def test_memory_of_long_runs_is_that_of_the_draws(backend, kernel):
    """The peak of the process, less what it held before the run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", MEMORY, backend, kernel]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert 0.8 < float(result.stdout) < 1.5


@pytest.mark.parametrize("size", [3, 2000])
def test_a_loop_returns_what_its_steps_returned(backend, size):
    """Large outputs, which may be moved as they come, and small ones alike; ``None`` has no leaves."""

    def step(state, shift):
        grown = 2.0 * state + shift
        return grown, {"state": grown, "both": (ops.sum(state), None), "flag": grown > 0.0}

    start = numpy.linspace(-2.0, 1.0, size)
    found, outputs = registry.active().infer.loop(step)(ops.array(start), 5, ops.array(0.25))
    rows = [start]
    for _ in range(5):
        rows.append(2.0 * rows[-1] + 0.25)
    numpy.testing.assert_allclose(ops.to_numpy(found), rows[-1], rtol=1e-12)
    numpy.testing.assert_allclose(outputs["state"], rows[1:], rtol=1e-12)
    numpy.testing.assert_allclose(outputs["both"][0], [row.sum() for row in rows[:-1]], rtol=1e-10)
    numpy.testing.assert_array_equal(outputs["flag"], numpy.array(rows[1:]) > 0.0)


def test_blocks_of_many_sizes_keep_every_draw(backend, monkeypatch):
    """The constrained draws are those of the positions, wherever blocks end."""
    mcmc, found = infer.MCMC(infer.NUTS(normal_model, max_tree_depth=3), 23, 20, 2, progress_bar=False, seed=3), []
    for rows in (4096, 20, 1):
        monkeypatch.setattr(driver, "BLOCK_ROWS", rows)
        found.append(draws_of(mcmc.run(DATA)))
    numpy.testing.assert_allclose(found[1], found[0], rtol=1e-13)
    numpy.testing.assert_allclose(found[2], found[0], rtol=1e-13)
