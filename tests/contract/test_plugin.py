"""A third party's backend is found through its entry point alone and runs a model."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import scipy.stats as st
import source_checks as checks

PLUGIN = checks.ROOT / "tests" / "plugins" / "ppl_toy"
PATHS = [str(checks.ROOT), str(checks.ROOT / "backends" / "numpy")]
MODEL = """
import ppl
from ppl import distributions as dist, handlers, ops, registry

def model(data):
    mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 3):
        return ppl.sample("y", dist.Normal(mean, 2.0), obs=data)

with ppl.pyro_backend("toy") as backend:
    assert backend.name == "toy", backend
    import ppl_toy
    data = ops.array([1.0, -1.0, 0.5])
    fixed = handlers.substitute(handlers.seed(model, 0), data={"mean": ops.array(0.25)})
    trace = handlers.trace(fixed).get_trace(data)
    print("log_prob", float(trace.log_prob_sum()))
    print("calls", sum(ppl_toy.calls.values()))
print("after", registry.active().name, "toy" in registry.names())
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The plugin as pip installs it, in a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    try:
        import hatchling  # noqa: F401
    except ModuleNotFoundError:
        return _by_hand(target)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    options += ["--target", str(target)]
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(PLUGIN)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return target


def _by_hand(target):
    """Write what an installer leaves: the package and a ``.dist-info`` with the entry point."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    shutil.copytree(PLUGIN / "ppl_toy", target / "ppl_toy")
    info = target / "ppl_toy-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["ppl.backends"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[ppl.backends]", *lines]) + "\n")
    return target


def run(code, *folders):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*PATHS, *map(str, folders)])}
    environment.pop("PPL_BACKEND", None)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120, cwd=checks.ROOT / "docs"
    )


def test_an_installed_backend_runs_a_model(installed):
    """The density is that of four normals, from scipy."""
    result = run(MODEL, installed)
    assert result.returncode == 0, result.stderr
    values = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    expected = st.norm(0, 1).logpdf(0.25) + st.norm(0.25, 2).logpdf([1.0, -1.0, 0.5]).sum()
    assert float(values["log_prob"]) == pytest.approx(expected, rel=1e-12)
    assert int(values["calls"]) > 5
    assert values["after"] == "numpy True"


def test_a_hand_made_dist_info_works_too(tmp_path):
    result = run("from ppl import registry; print(registry.load('toy'))", _by_hand(tmp_path))
    assert result.stdout.strip() == "Backend('toy')", result.stderr


def test_negative_control_without_its_entry_point_it_is_unknown():
    result = run("from ppl import registry; registry.load('toy')", PLUGIN)
    assert result.returncode != 0
    assert "unknown backend 'toy'" in result.stderr


def run_pytest(folder, *options, paths=()):
    """Run pytest in a folder, whose own settings count."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*PATHS, *map(str, paths)])}
    for name in ("PPL_BACKEND", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder)


def test_the_plugins_own_tests_pass(installed):
    """They ask the toy every question of the kit, which calls every function that it counts."""
    result = run_pytest(PLUGIN, "-s", paths=[installed])
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"backend 'toy' has no fault in 1\d\d\d checks\n", result.stdout)
    assert "2 passed" in result.stdout


CONFTEST = """
import dataclasses
from types import ModuleType

import ppl_numpy
from ppl import registry
from ppl.backend import Gap

pytest_plugins = ["ppl.testing.plugin"]
linalg = ModuleType("linalg")
vars(linalg).update({**vars(ppl_numpy.linalg), "trace": lambda x: 1.0 + ppl_numpy.linalg.trace(x)})
del linalg.det
registry.register("mine", dataclasses.replace(ppl_numpy.backend, name="mine", linalg=linalg, gaps={"det": Gap("no LU")}))
"""


@pytest.mark.nightly
def test_pytest_collects_the_suites_of_an_author(tmp_path):
    """A planted fault fails with both sides, a gap is an expected failure, and the others pass."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text("from ppl.testing.suites.collected import test_backend  # noqa: F401\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    chosen = "linalg and (trace or det or inv) and value"
    result = run_pytest(tmp_path, "-rxf", "--ppl-backends", "mine", "-k", chosen)
    assert result.returncode == 1, result.stdout
    assert re.search(r"trace of \[.*\] of shape \(2, 3, 3\): value: expected .+, received .+", result.stdout)
    assert re.search(r"XFAIL .*det: value.* - det is not available on backend 'mine' .*: no LU", result.stdout)
    assert re.search(r"\b1 failed, 4 passed, .*1 xfailed", result.stdout), result.stdout
