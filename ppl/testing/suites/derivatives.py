"""Derivatives of functions of arrays and trees against closed forms."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ppl import ops
from ppl.ops import autodiff
from ppl.ops import compile as compiling
from ppl.testing.numeric import Mismatch, assert_close, assert_equal, to_host
from ppl.testing.suites.check import Check, asked, checks_of

X = np.array([0.5, -1.0, 2.0])
GIVEN = "x = [0.5, -1, 2]"
MATRIX = np.array([[1.0, 2.0, 0.5], [-1.0, 0.3, 2.0]])


def _cubic(x: Any) -> Any:
    return ops.sum(x**3)


@asked("value_and_grad", given=GIVEN)
def _value_and_grad() -> None:
    value, gradient = autodiff.value_and_grad(_cubic)(ops.array(X))
    assert_close(value, np.sum(X**3))
    assert_close(gradient, 3 * X**2, "gradient")


@asked("grad", given=GIVEN)
def _grad_of_each_argument() -> None:
    def fn(x, y):
        return ops.sum(x * x * y)

    y = X + 1.0
    assert_close(autodiff.grad(fn)(ops.array(X), ops.array(y)), 2 * X * y, "gradient")
    assert_close(autodiff.grad(fn, argnums=1)(ops.array(X), ops.array(y)), X * X, "gradient")
    first, second = autodiff.grad(fn, argnums=(0, 1))(ops.array(X), ops.array(y))
    assert_close(first, 2 * X * y, "gradient")
    assert_close(second, X * X, "gradient")


@asked("value_and_grad", given=GIVEN)
def _auxiliary_output() -> None:
    def fn(x):
        return _cubic(x), {"square": x * x, "name": "aux"}

    (value, aux), gradient = autodiff.value_and_grad(fn, has_aux=True)(ops.array(X))
    assert_close(value, np.sum(X**3))
    assert_close(aux["square"], X * X)
    assert_equal(aux["name"], "aux")
    assert_close(gradient, 3 * X**2, "gradient")


@asked("value_and_grad", given=GIVEN)
def _trees() -> None:
    def fn(params):
        return ops.sum(params["w"] * params["parts"][0]) + ops.sum(params["parts"][1] ** 2)

    params = {"w": ops.array(X), "parts": [ops.array(2 * X), (ops.array(MATRIX))]}
    value, gradient = autodiff.value_and_grad(fn)(params)
    assert_close(value, 2 * np.sum(X * X) + np.sum(MATRIX**2))
    assert_equal(set(gradient), {"w", "parts"})
    assert_equal(type(gradient["parts"]), list)
    assert_close(gradient["w"], 2 * X, "gradient")
    assert_close(gradient["parts"][0], X, "gradient")
    assert_close(gradient["parts"][1], 2 * MATRIX, "gradient")


@asked("grad", given=GIVEN)
def _an_unused_part_has_zero_gradient() -> None:
    gradient = autodiff.grad(lambda p: ops.sum(p["used"]))({"used": ops.array(X), "unused": ops.array(MATRIX)})
    assert_close(gradient["unused"], np.zeros((2, 3)))


@asked("grad", given=GIVEN)
def _a_constant_function_has_zero_gradient() -> None:
    assert_close(autodiff.grad(lambda x: ops.sum(ops.ones(2)))(ops.array(X)), np.zeros(3))


@asked("grad", given=GIVEN)
def _scalars() -> None:
    assert_close(autodiff.grad(lambda x: x * x * x)(ops.array(2.0)), np.asarray(12.0), "gradient")
    third = autodiff.grad(autodiff.grad(autodiff.grad(lambda x: x**4)))
    assert_close(third(ops.array(1.5)), np.asarray(36.0), "gradient")


@asked("grad", given=GIVEN)
def _a_value_used_twice_and_closures() -> None:
    outer = ops.array(X)
    gradient = autodiff.grad(lambda x: ops.sum(autodiff.grad(lambda y: ops.sum(x * y * y))(outer)))(ops.array(X))
    assert_close(gradient, 2 * X, "gradient")


@asked("grad", given=GIVEN)
def _results_are_detached() -> None:
    """The gradient is plain data: a host array without further ado, and no second graph is kept."""
    value, gradient = autodiff.value_and_grad(_cubic)(ops.array(X))
    for result in (value, gradient):
        assert_equal(type(np.asarray(result)), np.ndarray)
        assert_equal(getattr(result, "requires_grad", False), False)


@asked("grad", given=GIVEN)
def _the_argument_is_left_alone() -> None:
    x = ops.array(X)
    autodiff.grad(_cubic)(x)
    assert_close(x, X)
    assert_equal(getattr(x, "requires_grad", False), False)
    assert_equal(getattr(x, "grad", None), None)


@asked("jvp", given=GIVEN)
def _jvp() -> None:
    tangent = np.array([1.0, 2.0, -1.0])
    value, derivative = autodiff.jvp(lambda x: x**3, (ops.array(X),), (ops.array(tangent),))
    assert_close(value, X**3)
    assert_close(derivative, 3 * X**2 * tangent, "gradient")


@asked("jvp", given=GIVEN)
def _jvp_of_two_arguments() -> None:
    value, derivative = autodiff.jvp(lambda x, y: x * y, (ops.array(X), ops.array(X + 1)), (ops.ones(3), ops.full(3, 2.0)))
    assert_close(value, X * (X + 1))
    assert_close(derivative, (X + 1) + 2 * X, "gradient")


@asked("vjp", given=GIVEN)
def _vjp() -> None:
    value, pullback = autodiff.vjp(lambda x, y: x * y, ops.array(X), ops.array(X + 1))
    assert_close(value, X * (X + 1))
    first, second = pullback(ops.array([1.0, 10.0, 100.0]))
    assert_close(first, (X + 1) * [1.0, 10.0, 100.0], "gradient")
    assert_close(second, X * [1.0, 10.0, 100.0], "gradient")


@asked("vjp", given=GIVEN)
def _vjp_of_one_argument() -> None:
    _, pullback = autodiff.vjp(lambda x: x**3, ops.array(X))
    (found,) = pullback(ops.array([1.0, 10.0, 100.0]))
    assert_close(found, 3 * X**2 * [1.0, 10.0, 100.0], "gradient")


@asked("jacobian", given=GIVEN)
def _jacobian() -> None:
    found = autodiff.jacobian(lambda x: ops.matmul(ops.array(MATRIX), x**2))(ops.array(X))
    assert_close(found, MATRIX * 2 * X, "gradient")


@asked("jacobian", given="a matrix of shape (2, 3)")
def _jacobian_shape_of_a_matrix_argument() -> None:
    found = autodiff.jacobian(lambda x: ops.sum(x, axis=0))(ops.array(MATRIX))
    assert_close(found, np.broadcast_to(np.eye(3)[:, None, :], (3, 2, 3)), "gradient")


@asked("hessian", given=GIVEN)
def _hessian() -> None:
    found = autodiff.hessian(lambda x: ops.sum(x**3) + x[0] * x[1])(ops.array(X))
    expected = np.diag(6 * X)
    expected[0, 1] = expected[1, 0] = 1.0
    assert_close(found, expected, "gradient")


@asked("stop_gradient", given=GIVEN)
def _stop_gradient() -> None:
    gradient = autodiff.grad(lambda x: ops.sum(autodiff.stop_gradient(x) * x))(ops.array(X))
    assert_close(gradient, X, "gradient")


@asked("stop_gradient", given=GIVEN)
def _stop_gradient_of_a_tree() -> None:
    def fn(x):
        fixed = autodiff.stop_gradient({"a": x, "b": [x * 2]})
        return ops.sum(fixed["a"] * x + fixed["b"][0])

    assert_close(autodiff.grad(fn)(ops.array(X)), X, "gradient")


@asked("stop_gradient", given=GIVEN)
def _stop_gradient_inside_a_second_derivative() -> None:
    inner = autodiff.grad(lambda x: ops.sum(x**2 * autodiff.stop_gradient(x)))
    assert_close(autodiff.grad(lambda x: ops.sum(inner(x)))(ops.array(X)), 2 * X, "gradient")


@asked("vmap", given="a matrix of shape (2, 3)")
def _vmap_out_axes() -> None:
    assert_close(autodiff.vmap(lambda x: x * 2, out_axes=1)(ops.array(MATRIX)), 2 * MATRIX.T)


@asked("vmap", given="a matrix of shape (2, 3)")
def _vmap_of_a_negative_axis() -> None:
    assert_close(autodiff.vmap(ops.sum, in_axes=-1)(ops.array(MATRIX)), MATRIX.sum(0))


@asked("vmap", given="a matrix of shape (2, 3)")
def _vmap_of_trees() -> None:
    found = autodiff.vmap(lambda t: {"sum": ops.sum(t["a"]), "both": (t["a"], t["b"])})(
        {"a": ops.array(MATRIX), "b": ops.array(X[:2])}
    )
    assert_close(found["sum"], MATRIX.sum(1))
    assert_close(found["both"][0], MATRIX)
    assert_close(found["both"][1], X[:2])


@asked("vmap", given="a matrix of shape (2, 3)")
def _vmap_of_grad_and_grad_of_vmap() -> None:
    assert_close(autodiff.vmap(autodiff.grad(_cubic))(ops.array(MATRIX)), 3 * MATRIX**2, "gradient")
    assert_close(autodiff.grad(lambda m: ops.sum(autodiff.vmap(_cubic)(m)))(ops.array(MATRIX)), 3 * MATRIX**2, "gradient")


@asked("vmap", given="a matrix of shape (2, 3)")
def _vmap_of_vmap() -> None:
    found = autodiff.vmap(autodiff.vmap(lambda x: x * x + 1))(ops.array(MATRIX))
    assert_close(found, MATRIX**2 + 1)


@asked("vmap", given="a matrix of shape (2, 3)")
def _vmap_of_linear_algebra() -> None:
    stack = np.stack([np.eye(2) * 2, np.array([[2.0, 0.5], [0.5, 1.0]])])
    assert_close(autodiff.vmap(ops.cholesky)(ops.array(stack)), np.linalg.cholesky(stack))


@asked("grad", given=GIVEN)
def _a_branch_on_a_value_may_be_differentiated() -> None:
    """Outside compiled code a gradient sees concrete values."""

    def fn(x):
        return ops.sum(x**2) if float(to_host(x[0])) > 0 else ops.sum(x)

    assert_close(autodiff.grad(fn)(ops.array(X)), 2 * X, "gradient")
    assert_close(autodiff.grad(fn)(ops.array(-X)), np.ones(3), "gradient")


@asked("grad", given=GIVEN)
def _float32_gradient() -> None:
    gradient = autodiff.grad(_cubic)(ops.array(X, dtype="float32"))
    assert_equal(ops.dtype_name(gradient), "float32")


def check_axes(in_axes: Any, expected: Any) -> None:
    """A mapped function of two arguments is the contraction that ``numpy.einsum`` gives."""
    second = MATRIX[0] + 1 if in_axes == (0, None) else MATRIX + 1
    assert_close(autodiff.vmap(lambda x, y: ops.sum(x * y), in_axes)(ops.array(MATRIX), ops.array(second)), expected)


AXES = tuple(
    Check("vmap", f"in_axes={in_axes}", "two matrices", functools.partial(check_axes, in_axes, expected))
    for in_axes, expected in (
        (0, np.einsum("bi,bi->b", MATRIX, MATRIX + 1)),
        ((0, None), np.einsum("bi,i->b", MATRIX, MATRIX[0] + 1)),
        ((1, 1), np.einsum("bi,bi->i", MATRIX, MATRIX + 1)),
    )
)


@asked("is_tracing", given=GIVEN)
def _only_inside_of_a_trace() -> None:
    assert_equal(autodiff.is_tracing(), False)
    for _ in range(4):
        compiling.compile(lambda x: x * 2.0, ops.array(X))(ops.array(X))
    assert_equal(autodiff.is_tracing(), False)


@asked("is_tracing", given="a function that raises")
def _an_exception_leaves_no_trace_behind() -> None:
    def fails(x: Any) -> Any:
        raise KeyError("inside")

    for transform in (autodiff.grad, autodiff.vmap):
        try:
            found = transform(fails)(ops.array(X))
        except KeyError:
            continue
        raise Mismatch("the KeyError of the function", found)
    assert_equal(autodiff.is_tracing(), False)
    assert_close(autodiff.grad(_cubic)(ops.array(X)), 3 * X**2, "gradient")


CHECKS = (*AXES, *checks_of(globals()))
