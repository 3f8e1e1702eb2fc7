"""The funsor backend against joint assignments, closed forms and our own engine, and its one array library a process.

funsor's choice of an array library is the whole process's, so each of ours is tried in a process of its own, once, by
``funsor_runs.py``; what that prints is judged here.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("funsor")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATHS = [ROOT, HERE, *(ROOT / "backends" / name for name in ("numpy", "torch", "jax", "funsor"))]
# Random graphs and length of the chain; every new shape is a program on jax.
EVERYDAY = {"numpy": (50, 100), "torch": (30, 50), "jax": (2, 12)}
NIGHTLY = {"numpy": (1500, 1000), "torch": (1000, 1000), "jax": (60, 300)}


def python(*arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, env=environment, timeout=1500
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@functools.cache
def findings(library, examples, length):
    return json.loads(python(str(HERE / "funsor_runs.py"), library, str(examples), str(length)).splitlines()[-1])


def check(facts, precision=1e-10):
    graphs = facts["graphs"]
    # About one random graph in two hundred has no polynomial order; one is always among them.
    assert graphs["graphs"] > graphs["refused"] > 0
    assert not graphs["disputed"]
    assert graphs["own"] < precision
    assert graphs["funsor"] < precision
    assert {name: distance for name, distance in facts["differences"].items() if not distance < precision} == {}


def test_sums_are_those_over_joint_assignments(backend):
    facts = findings(backend, *EVERYDAY[backend])
    check(facts)
    assert 0.0 < facts["single precision"] < 1e-6


@pytest.mark.nightly
def test_many_graphs_and_long_chains(backend):
    check(findings(backend, *NIGHTLY[backend]))


def test_negative_control_funsor_computed_and_a_difference_is_seen(backend):
    facts = findings(backend, *EVERYDAY[backend])
    assert facts["sums by funsor"] > EVERYDAY[backend][0]
    assert facts["control"] > 1e-3


def test_exponential_sums_are_refused_by_name(backend):
    sentence = findings(backend, *EVERYDAY[backend])["crossed plates"]
    assert sentence.startswith("ExponentialContraction: funsor finds no polynomial order")
    assert "'a' in ['p'], 'b' in ['q']" in sentence
    # Two copies of a and four of b with three values each.
    assert "up to 10^3 joint assignments" in sentence
    sentence = findings(backend, *EVERYDAY[backend])["dense graph"]
    assert sentence.startswith("ExponentialContraction: funsor's order of the sums needs a table of")
    assert "expected at most 1.34e+08" in sentence


def test_the_backend_is_that_beneath_with_another_engine(backend):
    facts = findings(backend, *EVERYDAY[backend])
    assert (facts["name"], facts["library"], facts["address"]) == ("funsor", backend, f"funsor:{backend}")
    assert facts["again"]
    assert facts["unpickled"]
    assert facts["parents"] == []


def test_a_second_array_library_is_refused(backend):
    other = "torch" if backend == "numpy" else "numpy"
    sentence = findings(backend, *EVERYDAY[backend])["second library"]
    assert sentence == (
        f"BackendError: backend 'funsor' was asked for {other} arrays, but funsor serves one array library a process and works "
        f"on {backend} arrays in this one; try a new process"
    )


ELSEWHERE = """
import funsor
{before}
import ppl
from ppl import ops, registry
from ppl.errors import BackendError
try:
    {choose}
    print(registry.active())
    {after}
    ppl.ops.elimination.eliminate([(ops.zeros(2), "a")], "a")
except BackendError as error:
    print(error)
"""
# What funsor.set_backend('torch') does, without loading torch.
TAKE = "funsor.util._FUNSOR_BACKEND = 'torch'"
TAKEN = "was asked for numpy arrays, but funsor serves one array library a process and works on torch arrays in this one"
PLACES = {
    "in the environment": ("", "pass", "", {"PPL_BACKEND": "funsor"}, "Backend('funsor:numpy')"),
    "after another use of funsor": (TAKE, "ppl.set_backend('funsor')", "", {}, TAKEN),
    "before another use of funsor": ("", "ppl.set_backend('funsor')", TAKE, {}, TAKEN),
    "without funsor": ("import sys; sys.modules['funsor'] = None", "ppl.set_backend('funsor')", "", {},
                       "needs the library 'funsor', which is not installed; try: pip install 'ppl-generic[funsor]'"),
}  # fmt: skip


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("place", PLACES)
def test_where_it_is_chosen(backend, place):
    before, choose, after, environment, expected = PLACES[place]
    code = ELSEWHERE.format(before=before, choose=choose, after=after)
    assert expected in python("-c", code, **environment)
