"""A third party's backend is found through its entry point alone and runs a model."""

import os
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


def test_the_plugin_has_every_part_and_every_function():
    result = run(
        "import ppl_toy\n"
        "from ppl.testing.strict import ARRAY_PARTS, declared_functions\n"
        "print([n for p in ARRAY_PARTS for n in declared_functions(p) if not hasattr(getattr(ppl_toy.backend, p), n)])",
        PLUGIN,
    )
    assert result.stdout.strip() == "[]", result.stderr
