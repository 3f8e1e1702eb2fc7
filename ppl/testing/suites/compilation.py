"""A compiled function equals the plain one, also where the data take another way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats

from ppl import ops, tree
from ppl.ops import autodiff, compile, control, random
from ppl.testing.goodness_of_fit import assert_samples_match_cdf
from ppl.testing.numeric import Mismatch, assert_close, assert_equal, to_host
from ppl.testing.suites.check import Check, asked, checks_of

X = np.array([0.5, -1.0, 2.0, 0.1])
OTHERS = [X, -X, X[::-1].copy(), np.zeros(4), np.array([5.0, 4.0, 3.0, -2.0])]
GIVEN = "five vectors of shape (4,)"


def weave(x: Any) -> Any:
    """Return a number in which each element takes one of two ways."""
    return ops.sum(ops.where(x > 0, ops.exp(-x), x**2)) + ops.max(x) * ops.min(x)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
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


def check_compiled(name: str) -> None:
    """What was compiled for one input gives what the plain function gives at others."""
    function = FUNCTIONS[name]
    compiled = compile.compile(function, ops.array(X))
    for x in OTHERS:
        found, expected = tree.leaves(compiled(ops.array(x))), tree.leaves(function(ops.array(x)))
        assert_equal(len(found), len(expected))
        for got, wanted in zip(found, expected, strict=True):
            assert_equal(ops.is_array(got), True)
            assert_close(got, wanted, rtol=1e-12, atol=1e-12)


COMPILED = tuple(
    Check("compile", f"compiled is plain: {name}", GIVEN, functools.partial(check_compiled, name)) for name in FUNCTIONS
)


@asked("compile", given=GIVEN)
def _a_result_is_not_overwritten_by_the_next_call() -> None:
    compiled = compile.compile(lambda x: x * 2.0, ops.array(X))
    results = [compiled(ops.array(x)) for x in OTHERS]
    for found, x in zip(results, OTHERS, strict=True):
        assert_close(found, 2 * x)


@asked("compile", given="index_add(x, 0, 1.0)")
def _an_argument_is_not_changed() -> None:
    compiled = compile.compile(lambda x: ops.index_add(x, 0, 1.0), ops.array(X))
    x = ops.array(X)
    for _ in range(3):
        compiled(x)
    assert_close(x, X)


@asked("compile", given="a loss of trees")
def _value_and_gradient_of_trees() -> None:
    def loss(params: Any, data: Any) -> Any:
        return ops.sum((data["y"] - params["w"] * data["x"]) ** 2)

    compiled = compile.compile(autodiff.value_and_grad(loss))
    for k in range(3):
        x, y, w = X + k, 2 * X - k, X * k
        value, gradient = compiled({"w": ops.array(w)}, {"x": ops.array(x), "y": ops.array(y)})
        assert_close(value, np.asarray(np.sum((y - w * x) ** 2)))
        assert_close(gradient["w"], -2 * x * (y - w * x), "gradient")


@asked("compile", given="shapes (4,), (7,), (2, 3)")
def _another_shape_compiles_anew() -> None:
    compiled = compile.compile(lambda x: ops.sum(x, axis=0) / x.shape[0], ops.array(X))
    for shape in [(4,), (7,), (2, 3), (4,), (7,)]:
        x = np.arange(float(np.prod(shape))).reshape(shape)
        assert_close(compiled(ops.array(x)), np.asarray(x.mean(0)))


@asked("compile", given="float64, float32, int64")
def _another_dtype_compiles_anew() -> None:
    compiled = compile.compile(lambda x: x + x, ops.array(X))
    given = (ops.array(X), ops.array(X, dtype="float32"), ops.array([1, 2]))
    assert_equal([ops.dtype_name(compiled(x)) for x in given], ["float64", "float32", "int64"])


@asked("compile", given="x - 2 * y")
def _several_arguments() -> None:
    compiled = compile.compile(lambda x, y: x - 2 * y, ops.array(X), ops.array(X))
    assert_close(compiled(ops.array(X), ops.array(X + 1)), X - 2 * (X + 1))
    assert_close(compiled(ops.array(X + 1), ops.array(X)), X + 1 - 2 * X)


@asked("compile", given="a - 2 * b for x, x, then for two arrays")
def _arguments_that_are_one_array_in_the_example_are_two_later() -> None:
    x = ops.array([1.0, 2.0])
    compiled = compile.compile(lambda a, b: a - 2.0 * b, x, x)
    assert_close(compiled(ops.array([5.0, 5.0]), ops.array([1.0, 2.0])), np.array([3.0, 1.0]))


@asked("compile", given="x * step for steps 0.5, 2, 0.5, 3")
def _a_python_scalar_is_an_argument_not_a_constant() -> None:
    compiled = compile.compile(lambda x, step: x * step)
    for step in (0.5, 2.0, 0.5, 3.0):
        assert_close(compiled(ops.array(X), step), X * step)


@asked("compile", given="a function that raises")
def _an_error_of_the_function_is_its_own() -> None:
    def fails(x: Any) -> Any:
        raise KeyError("inside")

    try:
        found = compile.compile(fails)(ops.array(X))
    except KeyError:
        assert_equal(autodiff.is_tracing(), False)
        assert_close(ops.exp(ops.array(X)), np.exp(X))
        return
    raise Mismatch("the KeyError of the function", found)


@asked("compile", given="loc + normal(key) for four keys")
def _draws_are_new_at_each_call() -> None:
    """A key is an argument: what is drawn from it is never frozen into the compiled program."""
    compiled = compile.compile(lambda key, loc: loc + random.normal(key, (2000,)))
    draws = [to_host(compiled(key, ops.array(1.5))) for key in random.split(random.key(17), 4)]
    if any(np.array_equal(draws[0], other) for other in draws[1:]):
        raise Mismatch("other draws for another key", "the same draws")
    for draw in draws:
        assert_samples_match_cdf(draw - 1.5, scipy.stats.norm.cdf)


@asked("compile", given="x**3 as three products")
def _loops_inside() -> None:
    compiled = compile.compile(lambda x: control.fori_loop(0, 3, lambda i, s: s * x, ops.ones(4)))
    for x in OTHERS:
        assert_close(compiled(ops.array(x)), x**3)


@asked("compile", given="sum(x**3)")
def _inside_of_a_gradient_and_of_a_compiled_function() -> None:
    inner = compile.compile(lambda x: ops.sum(x**3))
    assert_close(autodiff.grad(inner)(ops.array(X)), 3 * X**2, "gradient")
    outer = compile.compile(lambda x: inner(x) * 2.0)
    for x in OTHERS:
        assert_close(outer(ops.array(x)), np.asarray(2 * np.sum(x**3)), rtol=1e-12, atol=1e-12)
        assert_close(autodiff.grad(inner)(ops.array(x)), 3 * x**2, "gradient")


@asked("compile", given="n + 1, where(flag, n, -n)")
def _integers_and_booleans_flow_through() -> None:
    compiled = compile.compile(lambda n, flag: (n + 1, ops.where(flag, n, -n)))
    for n, flag in [(np.array([1, 2]), np.array([True, False])), (np.array([5, 6]), np.array([False, False]))]:
        found = compiled(ops.array(n), ops.array(flag))
        assert_close(found[0], n + 1)
        assert_close(found[1], np.where(flag, n, -n))
        assert_equal(ops.dtype_name(found[0]), "int64")


@asked("differentiable", given="sum(x**2 * y) at [1, 2], [3, 5]")
def _derivatives_pass_through() -> None:
    product = compile.differentiable(lambda x, tree: (x**2 * tree["y"]).sum())
    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    for _ in range(3):
        assert_close(product(ops.array(x), {"y": ops.array(y)}), np.asarray(23.0))
        value, (in_x, in_tree) = autodiff.value_and_grad(product, (0, 1))(ops.array(x), {"y": ops.array(y)})
        assert_close(value, np.asarray(23.0))
        assert_close(in_x, 2 * x * y)
        assert_close(in_tree["y"], x**2)


CHECKS = (*COMPILED, *checks_of(globals()))
