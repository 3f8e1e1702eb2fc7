"""A compiled function equals the plain one, also where the data take another way."""

import warnings

import numpy as np
import pytest
from kit import each

from ppl import ops
from ppl.errors import PplWarning
from ppl.ops import autodiff, compile
from ppl.testing import assert_close, to_host
from ppl.testing.strict import declared_functions
from ppl.testing.suites import compilation
from ppl.testing.suites.compilation import OTHERS, X, weave


@each(compilation.CHECKS)
def test_compilation(backend, check):
    check()


def counted(function):
    calls = []

    def inner(*args):
        calls.append(1)
        return function(*args)

    return inner, calls


def test_repeated_shapes_are_compiled_once(backend):
    inner, calls = counted(lambda x: ops.sum(ops.exp(x)))
    compiled = compile.compile(inner, ops.array(X), horizon=10_000)
    for x in OTHERS:
        compiled(ops.array(x))
    after_warming = len(calls)
    for x in OTHERS * 4:
        assert_close(compiled(ops.array(x)), np.sum(np.exp(x)))
    assert len(calls) == after_warming, "the Python function ran again for a shape that it had seen"


@pytest.mark.backends("torch")
def test_program_beside_a_compiled_one_repays_its_own_share_alone(backend, monkeypatch):
    monkeypatch.setattr(f"ppl_{backend}.compile._through_compiler", lambda recorded, inputs: recorded)
    x, runs = ops.array(X), {}
    runs["heavy"] = compile.compile(weave, horizon=10**9)
    runs["light"] = compile.compile(weave, horizon=1)
    for name, beside in (("alone", None), ("by the heavy", runs["heavy"]), ("by the light", runs["light"])):
        runs[name] = compile.compile(weave, horizon=10_000, beside=beside)
    values = [float(run(x)) for run in runs.values()]
    assert values == pytest.approx([float(weave(x))] * 5, rel=1e-12)
    stages = {name: [program.stage for program in run.programs.values()] for name, run in runs.items()}
    compiled, graph = ["compiled"], ["graph"]
    assert stages == {"heavy": compiled, "light": graph, "alone": graph, "by the heavy": compiled, "by the light": graph}


@pytest.mark.backends("jax")
def test_functions_of_few_calls_are_compiled_in_transformations_too(backend):
    """Where the compiler takes no options: inside of another compiled function, of a derivative and of a map."""
    few = compile.compile(weave, horizon=1)
    assert float(few(ops.array(X))) == pytest.approx(float(weave(ops.array(X))), rel=1e-12)
    expected = to_host(autodiff.grad(weave)(ops.array(X)))
    assert_close(autodiff.grad(few)(ops.array(X)), expected)
    assert_close(compile.compile(autodiff.grad(few))(ops.array(X)), expected)
    assert_close(autodiff.vmap(few)(ops.array(np.stack(OTHERS))), [float(weave(ops.array(x))) for x in OTHERS])


def test_one_warning_when_the_function_branches_on_data(backend):
    def branches(x):
        return x * 2.0 if x[0] > 0 else x - 1.0

    compiled = compile.compile(branches)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for x in OTHERS * 2:
            expected = x * 2.0 if x[0] > 0 else x - 1.0
            assert_close(compiled(ops.array(x)), expected)
    ours = [warning for warning in caught if issubclass(warning.category, PplWarning)]
    assert len(ours) == 1
    assert "branches" in str(ours[0].message)


def test_every_declared_function_is_tested():
    assert {check.function for check in compilation.CHECKS} == set(declared_functions("compile"))
