"""A compiled function equals the plain one, also where the data take another way."""

import warnings

import numpy as np
import pytest
import scipy.stats

from ppl import ops
from ppl.errors import PplWarning
from ppl.ops import autodiff, compile, control, random
from ppl.testing import assert_close, assert_samples_match_cdf, to_host
from ppl.testing.strict import declared_functions

X = np.array([0.5, -1.0, 2.0, 0.1])
OTHERS = [X, -X, X[::-1].copy(), np.zeros(4), np.array([5.0, 4.0, 3.0, -2.0])]


def weave(x):
    return ops.sum(ops.where(x > 0, ops.exp(-x), x**2)) + ops.max(x) * ops.min(x)


FUNCTIONS = {
    "where": weave,
    "clip": lambda x: ops.clip(x, min=-0.3, max=0.7),
    "maximum": lambda x: ops.maximum(x, 0.2) - ops.minimum(x, -0.2) + ops.abs(x),
    "sort": lambda x: ops.sort(x) * ops.arange(4),
    "argmax": lambda x: ops.argmax(x),
    "argsort": lambda x: ops.take(x, ops.argsort(x), 0),
    "cumulative": lambda x: ops.cumsum(x) + ops.cumprod(x),
    "index_update": lambda x: ops.index_update(x, 1, x[0] * 2),
    "linalg": lambda x: ops.solve(ops.diag_embed(1 + x**2), x[:, None]),
    "comparison": lambda x: ops.astype(x > 0, "float64") + ops.astype(ops.any(x > 1), "float64"),
    "special": lambda x: ops.gammaln(ops.exp(x)) + ops.log_ndtr(x) + ops.logsumexp(x),
    "gradient": lambda x: autodiff.grad(weave)(x),
    "gradient-of-sort": lambda x: autodiff.grad(lambda v: ops.sum(ops.sort(v) * ops.arange(4)))(x),
    "gradient-of-maximum": lambda x: autodiff.grad(lambda v: ops.sum(ops.maximum(v, 0.2) ** 2))(x),
    "vmap": lambda x: autodiff.vmap(lambda v: ops.where(v > 0, v, ops.exp(v)))(x),
    "tree": lambda x: {"a": x * 2, "b": [ops.sum(x), (x > 0,)]},
    "constant": lambda x: ops.zeros(3),
    "identity": lambda x: x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_equals_plain_at_other_inputs(backend, name):
    function = FUNCTIONS[name]
    compiled = compile.compile(function, ops.array(X))
    for x in OTHERS:
        found, expected = compiled(ops.array(x)), function(ops.array(x))
        if name == "tree":
            found, expected = ([t["a"], t["b"][0], t["b"][1][0]] for t in (found, expected))
        else:
            found, expected = [found], [expected]
        for got, wanted in zip(found, expected, strict=True):
            assert ops.is_array(got)
            assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_result_is_not_overwritten_by_the_next_call(backend):
    compiled = compile.compile(lambda x: x * 2.0, ops.array(X))
    results = [compiled(ops.array(x)) for x in OTHERS]
    for found, x in zip(results, OTHERS, strict=True):
        assert_close(found, 2 * x)


def test_an_argument_is_not_changed(backend):
    compiled = compile.compile(lambda x: ops.index_add(x, 0, 1.0), ops.array(X))
    x = ops.array(X)
    for _ in range(3):
        compiled(x)
    assert_close(x, X)


def test_value_and_grad_of_trees(backend):
    def loss(params, data):
        return ops.sum((data["y"] - params["w"] * data["x"]) ** 2)

    compiled = compile.compile(autodiff.value_and_grad(loss))
    for k in range(3):
        x, y, w = X + k, 2 * X - k, X * k
        data = {"x": ops.array(x), "y": ops.array(y)}
        value, gradient = compiled({"w": ops.array(w)}, data)
        assert_close(value, np.sum((y - w * x) ** 2))
        assert_close(gradient["w"], -2 * x * (y - w * x), "gradient")


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


def test_another_shape_compiles_anew(backend):
    compiled = compile.compile(lambda x: ops.sum(x, axis=0) / x.shape[0], ops.array(X))
    for shape in [(4,), (7,), (2, 3), (4,), (7,)]:
        x = np.arange(float(np.prod(shape))).reshape(shape)
        assert_close(compiled(ops.array(x)), x.mean(0))


def test_another_dtype_compiles_anew(backend):
    compiled = compile.compile(lambda x: x + x, ops.array(X))
    assert ops.dtype_name(compiled(ops.array(X))) == "float64"
    assert ops.dtype_name(compiled(ops.array(X, dtype="float32"))) == "float32"
    assert ops.dtype_name(compiled(ops.array([1, 2]))) == "int64"


def test_several_arguments(backend):
    compiled = compile.compile(lambda x, y: x - 2 * y, ops.array(X), ops.array(X))
    assert_close(compiled(ops.array(X), ops.array(X + 1)), X - 2 * (X + 1))
    assert_close(compiled(ops.array(X + 1), ops.array(X)), X + 1 - 2 * X)


def test_a_python_scalar_is_an_argument_not_a_constant(backend):
    compiled = compile.compile(lambda x, step: x * step)
    for step in (0.5, 2.0, 0.5, 3.0):
        assert_close(compiled(ops.array(X), step), X * step)


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


def test_an_error_of_the_function_is_its_own(backend):
    def fails(x):
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        compile.compile(fails)(ops.array(X))
    assert autodiff.is_tracing() is False
    assert_close(ops.exp(ops.array(X)), np.exp(X))


def test_draws_are_new_at_each_call(backend, seed):
    """A key is an argument: what is drawn from it is never frozen into the compiled program."""
    compiled = compile.compile(lambda key, loc: loc + random.normal(key, (2000,)))
    keys = random.split(random.key(seed), 4)
    draws = [to_host(compiled(key, ops.array(1.5))) for key in keys]
    assert not any(np.array_equal(draws[0], other) for other in draws[1:])
    for draw in draws:
        assert_samples_match_cdf(draw - 1.5, scipy.stats.norm.cdf)


def test_loops_inside(backend):
    def fn(x):
        return control.fori_loop(0, 3, lambda i, s: s * x, ops.ones(4))

    compiled = compile.compile(fn)
    for x in OTHERS:
        assert_close(compiled(ops.array(x)), x**3)


def test_compiled_inside_a_gradient_and_a_compiled_function(backend):
    inner = compile.compile(lambda x: ops.sum(x**3))
    assert_close(autodiff.grad(inner)(ops.array(X)), 3 * X**2, "gradient")
    outer = compile.compile(lambda x: inner(x) * 2.0)
    for x in OTHERS:
        assert_close(outer(ops.array(x)), 2 * np.sum(x**3), rtol=1e-12, atol=1e-12)
        assert_close(autodiff.grad(inner)(ops.array(x)), 3 * x**2, "gradient")


def test_integers_and_booleans_flow_through(backend):
    compiled = compile.compile(lambda n, flag: (n + 1, ops.where(flag, n, -n)))
    for n, flag in [(np.array([1, 2]), np.array([True, False])), (np.array([5, 6]), np.array([False, False]))]:
        found = compiled(ops.array(n), ops.array(flag))
        assert_close(found[0], n + 1)
        assert_close(found[1], np.where(flag, n, -n))
        assert ops.dtype_name(found[0]) == "int64"


def test_every_declared_function_is_tested():
    assert declared_functions("compile") == ("compile", "differentiable")


def test_derivatives_pass_through_a_differentiable_function(backend):
    product = compile.differentiable(lambda x, tree: (x**2 * tree["y"]).sum())
    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    for _ in range(3):
        assert_close(product(ops.array(x), {"y": ops.array(y)}), 23.0)
        value, (in_x, in_tree) = autodiff.value_and_grad(product, (0, 1))(ops.array(x), {"y": ops.array(y)})
        assert_close(value, 23.0)
        assert_close(in_x, 2 * x * y)
        assert_close(in_tree["y"], x**2)


def test_arguments_that_are_one_array_in_the_example_are_two_later(backend):
    x = ops.array([1.0, 2.0])
    compiled = compile.compile(lambda a, b: a - 2.0 * b, x, x)
    np.testing.assert_allclose(ops.to_numpy(compiled(ops.array([5.0, 5.0]), ops.array([1.0, 2.0]))), [3.0, 1.0])
