"""Derivatives of functions of arrays and trees against closed forms."""

import numpy as np
import pytest

from ppl import ops
from ppl.ops import autodiff
from ppl.ops import compile as compiling
from ppl.testing import assert_close, to_host
from ppl.testing.strict import declared_functions

X = np.array([0.5, -1.0, 2.0])
MATRIX = np.array([[1.0, 2.0, 0.5], [-1.0, 0.3, 2.0]])


def cubic(x):
    return ops.sum(x**3)


def test_value_and_grad(backend):
    value, gradient = autodiff.value_and_grad(cubic)(ops.array(X))
    assert_close(value, np.sum(X**3))
    assert_close(gradient, 3 * X**2, "gradient")


def test_grad_of_each_argument(backend):
    def fn(x, y):
        return ops.sum(x * x * y)

    y = X + 1.0
    assert_close(autodiff.grad(fn)(ops.array(X), ops.array(y)), 2 * X * y, "gradient")
    assert_close(autodiff.grad(fn, argnums=1)(ops.array(X), ops.array(y)), X * X, "gradient")
    first, second = autodiff.grad(fn, argnums=(0, 1))(ops.array(X), ops.array(y))
    assert_close(first, 2 * X * y, "gradient")
    assert_close(second, X * X, "gradient")


def test_auxiliary_output(backend):
    def fn(x):
        return cubic(x), {"square": x * x, "name": "aux"}

    (value, aux), gradient = autodiff.value_and_grad(fn, has_aux=True)(ops.array(X))
    assert_close(value, np.sum(X**3))
    assert_close(aux["square"], X * X)
    assert aux["name"] == "aux"
    assert_close(gradient, 3 * X**2, "gradient")


def test_trees(backend):
    def fn(params):
        return ops.sum(params["w"] * params["parts"][0]) + ops.sum(params["parts"][1] ** 2)

    params = {"w": ops.array(X), "parts": [ops.array(2 * X), (ops.array(MATRIX))]}
    value, gradient = autodiff.value_and_grad(fn)(params)
    assert_close(value, 2 * np.sum(X * X) + np.sum(MATRIX**2))
    assert set(gradient) == {"w", "parts"}
    assert isinstance(gradient["parts"], list)
    assert_close(gradient["w"], 2 * X, "gradient")
    assert_close(gradient["parts"][0], X, "gradient")
    assert_close(gradient["parts"][1], 2 * MATRIX, "gradient")


def test_an_unused_part_has_zero_gradient(backend):
    gradient = autodiff.grad(lambda p: ops.sum(p["used"]))({"used": ops.array(X), "unused": ops.array(MATRIX)})
    assert_close(gradient["unused"], np.zeros((2, 3)))


def test_a_constant_function_has_zero_gradient(backend):
    assert_close(autodiff.grad(lambda x: ops.sum(ops.ones(2)))(ops.array(X)), np.zeros(3))


def test_scalars(backend):
    assert_close(autodiff.grad(lambda x: x * x * x)(ops.array(2.0)), np.asarray(12.0), "gradient")
    third = autodiff.grad(autodiff.grad(autodiff.grad(lambda x: x**4)))
    assert_close(third(ops.array(1.5)), np.asarray(36.0), "gradient")


def test_a_value_used_twice_and_closures(backend):
    outer = ops.array(X)
    gradient = autodiff.grad(lambda x: ops.sum(autodiff.grad(lambda y: ops.sum(x * y * y))(outer)))(ops.array(X))
    assert_close(gradient, 2 * X, "gradient")


def test_results_are_detached(backend):
    """The gradient is plain data: a host array without further ado, and no second graph is kept."""
    value, gradient = autodiff.value_and_grad(cubic)(ops.array(X))
    for result in (value, gradient):
        assert isinstance(np.asarray(result), np.ndarray)
        assert not getattr(result, "requires_grad", False)


def test_the_argument_is_left_alone(backend):
    x = ops.array(X)
    autodiff.grad(cubic)(x)
    assert_close(x, X)
    assert not getattr(x, "requires_grad", False)
    assert getattr(x, "grad", None) is None


def test_jvp(backend):
    tangent = np.array([1.0, 2.0, -1.0])
    value, derivative = autodiff.jvp(lambda x: x**3, (ops.array(X),), (ops.array(tangent),))
    assert_close(value, X**3)
    assert_close(derivative, 3 * X**2 * tangent, "gradient")


def test_jvp_of_two_arguments(backend):
    value, derivative = autodiff.jvp(lambda x, y: x * y, (ops.array(X), ops.array(X + 1)), (ops.ones(3), ops.full(3, 2.0)))
    assert_close(value, X * (X + 1))
    assert_close(derivative, (X + 1) + 2 * X, "gradient")


def test_vjp(backend):
    value, pullback = autodiff.vjp(lambda x, y: x * y, ops.array(X), ops.array(X + 1))
    assert_close(value, X * (X + 1))
    first, second = pullback(ops.array([1.0, 10.0, 100.0]))
    assert_close(first, (X + 1) * [1.0, 10.0, 100.0], "gradient")
    assert_close(second, X * [1.0, 10.0, 100.0], "gradient")


def test_vjp_of_one_argument(backend):
    _, pullback = autodiff.vjp(lambda x: x**3, ops.array(X))
    (found,) = pullback(ops.array([1.0, 10.0, 100.0]))
    assert_close(found, 3 * X**2 * [1.0, 10.0, 100.0], "gradient")


def test_jacobian(backend):
    found = autodiff.jacobian(lambda x: ops.matmul(ops.array(MATRIX), x**2))(ops.array(X))
    assert_close(found, MATRIX * 2 * X, "gradient")


def test_jacobian_shape_of_a_matrix_argument(backend):
    found = autodiff.jacobian(lambda x: ops.sum(x, axis=0))(ops.array(MATRIX))
    assert_close(found, np.broadcast_to(np.eye(3)[:, None, :], (3, 2, 3)), "gradient")


def test_hessian(backend):
    found = autodiff.hessian(lambda x: ops.sum(x**3) + x[0] * x[1])(ops.array(X))
    expected = np.diag(6 * X)
    expected[0, 1] = expected[1, 0] = 1.0
    assert_close(found, expected, "gradient")


def test_stop_gradient(backend):
    gradient = autodiff.grad(lambda x: ops.sum(autodiff.stop_gradient(x) * x))(ops.array(X))
    assert_close(gradient, X, "gradient")


def test_stop_gradient_of_a_tree(backend):
    def fn(x):
        fixed = autodiff.stop_gradient({"a": x, "b": [x * 2]})
        return ops.sum(fixed["a"] * x + fixed["b"][0])

    assert_close(autodiff.grad(fn)(ops.array(X)), X, "gradient")


def test_stop_gradient_inside_a_second_derivative(backend):
    inner = autodiff.grad(lambda x: ops.sum(x**2 * autodiff.stop_gradient(x)))
    assert_close(autodiff.grad(lambda x: ops.sum(inner(x)))(ops.array(X)), 2 * X, "gradient")


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "expected"),
    [
        (0, 0, np.einsum("bi,bi->b", MATRIX, MATRIX + 1)),
        ((0, None), 0, np.einsum("bi,i->b", MATRIX, MATRIX[0] + 1)),
        ((1, 1), 0, np.einsum("bi,bi->i", MATRIX, MATRIX + 1)),
    ],
)
def test_vmap_of_two_arguments(backend, in_axes, out_axes, expected):
    second = MATRIX[0] + 1 if in_axes == (0, None) else MATRIX + 1
    found = autodiff.vmap(lambda x, y: ops.sum(x * y), in_axes, out_axes)(ops.array(MATRIX), ops.array(second))
    assert_close(found, expected)


def test_vmap_out_axes(backend):
    assert_close(autodiff.vmap(lambda x: x * 2, out_axes=1)(ops.array(MATRIX)), 2 * MATRIX.T)


def test_vmap_of_a_negative_axis(backend):
    assert_close(autodiff.vmap(ops.sum, in_axes=-1)(ops.array(MATRIX)), MATRIX.sum(0))


def test_vmap_of_trees(backend):
    found = autodiff.vmap(lambda t: {"sum": ops.sum(t["a"]), "both": (t["a"], t["b"])})(
        {"a": ops.array(MATRIX), "b": ops.array(X[:2])}
    )
    assert_close(found["sum"], MATRIX.sum(1))
    assert_close(found["both"][0], MATRIX)
    assert_close(found["both"][1], X[:2])


def test_vmap_of_grad_and_grad_of_vmap(backend):
    assert_close(autodiff.vmap(autodiff.grad(cubic))(ops.array(MATRIX)), 3 * MATRIX**2, "gradient")
    assert_close(autodiff.grad(lambda m: ops.sum(autodiff.vmap(cubic)(m)))(ops.array(MATRIX)), 3 * MATRIX**2, "gradient")


def test_vmap_of_vmap(backend):
    found = autodiff.vmap(autodiff.vmap(lambda x: x * x + 1))(ops.array(MATRIX))
    assert_close(found, MATRIX**2 + 1)


def test_vmap_of_linear_algebra(backend):
    stack = np.stack([np.eye(2) * 2, np.array([[2.0, 0.5], [0.5, 1.0]])])
    assert_close(autodiff.vmap(ops.cholesky)(ops.array(stack)), np.linalg.cholesky(stack))


def test_is_tracing(backend):
    assert autodiff.is_tracing() is False
    seen = []

    def fn(x):
        seen.append(autodiff.is_tracing())
        return x * 2.0

    for _ in range(4):
        compiling.compile(fn, ops.array(X))(ops.array(X))
    assert seen
    if backend != "numpy":
        autodiff.vmap(fn)(ops.array(X))
        assert seen[-1] is True
    assert autodiff.is_tracing() is False


def test_a_branch_on_a_value_may_be_differentiated(backend):
    """Outside compiled code a gradient sees concrete values."""

    def fn(x):
        return ops.sum(x**2) if float(to_host(x[0])) > 0 else ops.sum(x)

    assert_close(autodiff.grad(fn)(ops.array(X)), 2 * X, "gradient")
    assert_close(autodiff.grad(fn)(ops.array(-X)), np.ones(3), "gradient")


def test_an_exception_leaves_no_trace_behind(backend):
    def fails(x):
        raise KeyError("inside")

    for transform in (autodiff.grad, autodiff.vmap):
        with pytest.raises(KeyError, match="inside"):
            transform(fails)(ops.array(X))
    assert autodiff.is_tracing() is False
    assert_close(autodiff.grad(cubic)(ops.array(X)), 3 * X**2, "gradient")


def test_float32_gradient(backend):
    gradient = autodiff.grad(cubic)(ops.array(X, dtype="float32"))
    assert ops.dtype_name(gradient) == "float32"


TESTED = {"value_and_grad", "grad", "jvp", "vjp", "jacobian", "hessian", "stop_gradient", "vmap", "is_tracing"}


def test_every_declared_function_is_tested():
    assert sorted(TESTED) == sorted(declared_functions("autodiff"))
