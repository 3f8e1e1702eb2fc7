"""Runs that are stopped, killed and continued give the draws of the run that nobody touched; other runs' files are refused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import infer, ops
from ppl.errors import CheckpointError, PplWarning
from ppl.infer.mcmc import checkpoint, driver
from ppl.infer.mcmc.chains import Sampler
from ppl.infer.mcmc.progress import Progress
from ppl.params import tensor_file

COVARIATES = numpy.array([[1.0, 0.2], [0.5, -1.0], [-0.3, 0.7], [2.0, 1.0], [-1.0, -1.5]])
OUTCOMES = numpy.array([0.9, -1.2, 0.4, 3.1, -2.0])


def regression(x, y):
    scale = ppl.sample("scale", dist.HalfNormal(2.0))
    slope = ppl.sample("slope", dist.Normal(ops.zeros(2), 1.0).to_event(1))
    ppl.deterministic("sum", ops.sum(slope))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(x @ slope, scale), obs=y)


def make(path=None, kernel=None, samples=20, warmup=30, chains=2, **options):
    kernel = kernel or infer.NUTS(regression, max_tree_depth=3)
    return infer.MCMC(kernel, samples, warmup, chains, progress_bar=False, seed=5, checkpoint=path, **options)


def assert_same_run(one, other):
    for first, second in ((one.get_samples(True), other.get_samples(True)), (one.get_extra_fields(), other.get_extra_fields())):
        assert set(first) == set(second)
        for name in first:
            numpy.testing.assert_array_equal(numpy.asarray(first[name]), numpy.asarray(second[name]), err_msg=name)
    assert one.num_gradients == other.num_gradients


def press_ctrl_c_after(monkeypatch, transitions):
    """Interrupt the run that comes next after so many transitions, and only it."""
    real, seen = Progress.update, []

    def update(self, count, draws, warming_up):
        real(self, count, draws, warming_up)
        seen.append(count)
        if sum(seen) >= transitions > sum(seen[:-1]):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "update", update)


def go_on(path, **options):
    """Begin a run, or go on with the one that is there."""
    if path.exists():
        return infer.MCMC.resume(path, infer.NUTS(regression, max_tree_depth=3), COVARIATES, OUTCOMES, progress_bar=False)
    return make(path, **options).run(COVARIATES, OUTCOMES)


def test_continued_run_is_the_whole_run(backend, tmp_path, monkeypatch):
    stop_and_go_on(tmp_path, monkeypatch, "vectorized", (11, 38))


def test_continued_chains_are_those_one_after_another(backend, tmp_path, monkeypatch):
    stop_and_go_on(tmp_path, monkeypatch, "sequential", (65,))


def stop_and_go_on(tmp_path, monkeypatch, method, stops):
    """Interrupt a run after so many transitions of all its chains, go on, and compare it with one that nobody stopped."""
    monkeypatch.setattr(driver, "LARGEST_CHUNK", 6)
    whole = make(chain_method=method, thinning=3).run(COVARIATES, OUTCOMES)
    path, done = tmp_path / "run", 0
    for stop in stops:
        with monkeypatch.context() as patched:
            press_ctrl_c_after(patched, stop - done)
            with pytest.warns(PplWarning, match=r"the run was interrupted.*MCMC\.resume"):
                mcmc = go_on(path, chain_method=method, thinning=3)
        assert mcmc.interrupted
        done = stop
    resumed = go_on(path)
    assert not resumed.interrupted
    assert_same_run(resumed, whole)
    assert resumed.get_samples(True)["slope"].shape == (2, 6, 2)
    monkeypatch.setattr(Progress, "update", None)  # a finished run draws no more
    assert_same_run(go_on(path), whole)


@pytest.mark.backends("numpy")
def test_chain_that_was_lost_is_run_again_and_no_other(backend, tmp_path, monkeypatch):
    """Chain 1 is lost as if its worker had died before its first chunk; the others are read, not run."""
    path = tmp_path / "run"
    with ThreadPoolExecutor(2) as threads:
        whole = make(path, chains=3, chain_method="parallel", executor=threads).run(COVARIATES, OUTCOMES)
        (path / "chains-1" / checkpoint.STATE).unlink()
        began, real = [], Sampler.begin
        monkeypatch.setattr(Sampler, "begin", lambda self, seed, data: began.append(seed) or real(self, seed, data))
        again = infer.MCMC.resume(path, whole.kernel, COVARIATES, OUTCOMES, executor=threads, progress_bar=False)
    assert_same_run(again, whole)
    assert len(began) == 1


def test_draws_do_not_depend_on_where_chunks_end(backend, monkeypatch):
    mcmc = make()
    drawn = []
    for largest in (256, 7):
        monkeypatch.setattr(driver, "LARGEST_CHUNK", largest)
        drawn.append({name: numpy.asarray(x) for name, x in mcmc.run(COVARIATES, OUTCOMES).get_samples().items()})
    for name, first in drawn[0].items():
        numpy.testing.assert_array_equal(first, drawn[1][name])


PROGRAM = """
import os, signal, sys, threading
backend, action, path, seconds = sys.argv[1:]
if backend == "jax":
    import jax
    jax.config.update("jax_disable_most_optimizations", True)
import numpy
import ppl
from ppl import infer
from ppl.infer.mcmc import driver
from ppl.infer.mcmc.progress import Progress
import test_checkpoint as tests

driver.FIRST_CHUNK = driver.LARGEST_CHUNK = 4
ppl.set_backend(backend)
ppl.set_default_dtype("float64")
kernel, data = infer.NUTS(tests.regression, max_tree_depth=3), (tests.COVARIATES, tests.OUTCOMES)
whole = tests.make(samples=100, warmup=100) if action == "compare" else None
if action == "kill":
    real, log = Progress.update, open(path + ".log", "a", buffering=1)
    timer = threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL))

    def update(self, count, draws, warming_up):
        real(self, count, draws, warming_up)
        if timer.ident is None:
            timer.start()
        log.write(f"{count}\\n")

    Progress.update = update
if os.path.exists(path):
    mcmc = infer.MCMC.resume(path, kernel, *data, progress_bar=False)
else:
    mcmc = tests.make(path, samples=100, warmup=100, checkpoint_seconds=0.0).run(*data)
if action == "compare":
    tests.assert_same_run(mcmc, whole.run(*data))
    print("same")
"""


def launch(backend, tmp_path, action, seconds=0.0):
    here = Path(__file__).parent
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    paths = [str(here), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, str(program), backend, action, str(tmp_path / "run"), str(seconds)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def saved_iteration(path):
    state = path / "chains-0" / checkpoint.STATE
    return checkpoint._read_state(str(state))["state"]["iteration"] if state.exists() else 0


def kill_some_times(backend, tmp_path, times, chooser):
    """Kill runs at random moments, and check after each that no more than a chunk of 4 is lost; return how many were killed."""
    log, killed = tmp_path / "run.log", 0
    for _ in range(times):
        before = saved_iteration(tmp_path / "run")
        log.write_text("")
        result = launch(backend, tmp_path, "kill", chooser.uniform(0.01, 0.15))
        if result.returncode == 0:
            break
        assert result.returncode == -signal.SIGKILL, result.stderr
        killed += 1
        assert before + sum(map(int, log.read_text().split())) - saved_iteration(tmp_path / "run") <= 4
    return killed


def test_killed_run_goes_on_in_a_new_process(backend, tmp_path, seed):
    assert kill_some_times(backend, tmp_path, 1, random.Random(seed)) == 1
    result = launch(backend, tmp_path, "compare")
    assert result.stdout.strip() == "same", result.stderr


@pytest.mark.nightly
def test_run_killed_again_and_again_comes_to_its_end(backend, tmp_path, seed):
    assert kill_some_times(backend, tmp_path, 8, random.Random(seed)) >= 2
    result = launch(backend, tmp_path, "compare")
    assert result.stdout.strip() == "same", result.stderr


def other_prior(x, y):
    scale = ppl.sample("scale", dist.HalfNormal(3.0))
    slope = ppl.sample("slope", dist.Normal(ops.zeros(2), 1.0).to_event(1))
    ppl.deterministic("sum", ops.sum(slope))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(x @ slope, scale), obs=y)


def other_site(x, y):
    scale = ppl.sample("spread", dist.HalfNormal(2.0))
    slope = ppl.sample("slope", dist.Normal(ops.zeros(2), 1.0).to_event(1))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(x @ slope, scale), obs=y)


def edit(path, change):
    about = json.loads((path / "run.json").read_text())
    change(about)
    (path / "run.json").write_text(json.dumps(about))


def cut(path, name, keep):
    content = (path / "chains-0" / name).read_bytes()
    (path / "chains-0" / name).write_bytes(content[: int(keep * len(content))])


def turn_a_bit(path, name, place):
    file = path / "chains-0" / name
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def renamed(about):
    about["fingerprint"]["backend"] = "fortran"


def of_another_version(about):
    about["fingerprint"]["version"] = "0.0.1"


def of_a_newer_schema(about):
    about["schema"] = 99


DAMAGES = {
    "truncated draws": (lambda path: cut(path, checkpoint.DRAWS, 0.7), "draws.rows' is truncated: expected .* bytes for 10 rows"),
    "truncated state": (lambda path: cut(path, checkpoint.STATE, 0.5), "state.safetensors' is truncated or damaged"),
    "truncated settings": (lambda path: (path / "run.json").write_text('{"format": "ppl'), "run.json' is truncated or damaged"),
    "other draws": (lambda path: turn_a_bit(path, checkpoint.DRAWS, 99), "draws.rows' is damaged: its check sum"),
    "other state": (lambda path: turn_a_bit(path, checkpoint.STATE, -3), "state.safetensors' is .*damaged: its check sum is not"),
    "another version": (lambda path: edit(path, of_another_version), "by ppl-generic 0.0.1, but this is .*; try the version"),
    "newer schema": (lambda path: edit(path, of_a_newer_schema), "has schema 99, but this version of ppl-generic reads 1"),
    "another backend": (
        lambda path: edit(path, renamed),
        "is of backend 'fortran', but '.*' is active; try with ppl.pyro_backend",
    ),
    "another program": (lambda path: edit(path, lambda about: about.update(format="zip")), "is not the checkpoint of a run"),
    "nothing": (shutil.rmtree, "there is no checkpoint at"),
}

OTHERS = {
    "another model": ({"kernel": infer.NUTS(other_site, max_tree_depth=3)}, r"of another model: its sites .*'scale'.*'spread'"),
    "another prior": (
        {"kernel": infer.NUTS(other_prior, max_tree_depth=3)},
        "of another model: at the saved position of chain 0",
    ),
    "another depth": ({"kernel": infer.NUTS(regression, max_tree_depth=4)}, "other settings: {'max_tree_depth': '3'}; .*: '4'}"),
    "another kernel": ({"kernel": infer.HMC(regression)}, "of a kernel with other settings: {'class': 'NUTS'"),
    "other data": ({"data": (COVARIATES, OUTCOMES + 1e-9)}, "is of other data: .*; try the arguments that it began with"),
    "another shape": ({"data": (COVARIATES[1:], OUTCOMES[1:])}, "is of other data"),
}


def resume(path, kernel=None, data=(COVARIATES, OUTCOMES)):
    return infer.MCMC.resume(path, kernel or infer.NUTS(regression, max_tree_depth=3), *data, progress_bar=False)


@pytest.fixture
def written(backend, tmp_path):
    """The folder of a run of 10 draws."""
    make(tmp_path / "run", samples=10, warmup=0, chains=1).run(COVARIATES, OUTCOMES)
    return tmp_path / "run"


def test_other_runs_and_damaged_files_are_refused(written, tmp_path):
    for name, (damage, message) in DAMAGES.items():
        copy = shutil.copytree(written, tmp_path / name.replace(" ", "-"))
        damage(copy)
        with pytest.raises(CheckpointError, match=message):
            resume(copy)
    for options, message in OTHERS.values():
        with pytest.raises(CheckpointError, match=message):
            resume(written, **options)
    assert resume(written).get_samples()["slope"].shape == (10, 2)


@pytest.mark.backends("numpy")
def test_what_stands_at_the_path_is_not_overwritten(written, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds the draws of a run already.*try MCMC\.resume"):
        make(written, samples=10).run(COVARIATES, OUTCOMES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(CheckpointError, match="holds other files"):
        make(tmp_path / "mine").run(COVARIATES, OUTCOMES)
    with pytest.raises(CheckpointError, match="is a file"):
        make(tmp_path / "mine" / "thesis.tex").run(COVARIATES, OUTCOMES)
    # the object that wrote it may run anew
    mcmc = make(tmp_path / "again", samples=5, warmup=0, chains=1)
    first, second = (numpy.asarray(mcmc.run(COVARIATES, y).get_samples()["slope"]) for y in (OUTCOMES, OUTCOMES + 1.0))
    assert not numpy.array_equal(first, second)
    found = resume(tmp_path / "again", data=(COVARIATES, OUTCOMES + 1.0)).get_samples()["slope"]
    numpy.testing.assert_array_equal(numpy.asarray(found), second)


@pytest.mark.backends("numpy")
def test_what_is_written_grows_with_the_draws_and_no_faster(backend, tmp_path, monkeypatch):
    sizes, real = [], tensor_file.write_whole

    def write_whole(path, content):
        sizes.append(len(content))
        real(path, content)

    monkeypatch.setattr(tensor_file, "write_whole", write_whole)
    monkeypatch.setattr(driver, "LARGEST_CHUNK", 10)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e6)
    make(tmp_path / "run", samples=200, warmup=0, checkpoint_seconds=0.0).run(COVARIATES, OUTCOMES)
    assert len(sizes) == 21
    assert max(sizes) < 1.1 * min(sizes)
    row = 2 * (3 * 8 + 8 + 8 + 8 + 1) + 8
    assert (tmp_path / "run" / "chains-0" / checkpoint.DRAWS).stat().st_size <= 200 * row
