"""Array functions: value, gradient, dtype, scalars and device against numpy."""

import numpy as np
import op_rows
import pytest
import rows
from op_rows import CUBE, INTEGER_OUTPUT, INTS, ROWS, SCALAR_BINARY, SCALAR_UNARY, TIES, X

from ppl import ops
from ppl.errors import ShapeError
from ppl.ops import autodiff
from ppl.testing import assert_close, to_host
from ppl.testing.strict import declared_functions

GRADIENTS = [(row, index) for row in ROWS for index in row.gradients]
GRADIENT_IDS = [f"{name}-arg{index}" for name, row in zip(rows.ids(ROWS), ROWS, strict=True) for index in row.gradients]
CLOSED_FORM = [row for row in ROWS if row.derivative]
# discontinuous, or with a result that depends on the dtype
WITHOUT_FLOAT32 = {"remainder", "astype", "clip_probs", "floor", "ceil", "nan_to_num"}
FLOATING = [
    row
    for row in ROWS
    if row.name not in WITHOUT_FLOAT32 and any(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in row.args)
]
pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow) encountered:RuntimeWarning")


@pytest.mark.parametrize("row", ROWS, ids=rows.ids(ROWS))
def test_value(backend, row):
    rows.check_value(row)


@pytest.mark.parametrize(("row", "index"), GRADIENTS, ids=GRADIENT_IDS)
def test_gradient_equals_finite_differences(backend, row, index):
    rows.check_gradient(row, index)


@pytest.mark.parametrize("row", CLOSED_FORM, ids=rows.ids(CLOSED_FORM))
def test_derivatives_equal_closed_forms(backend, row):
    rows.check_derivatives(row)


@pytest.mark.parametrize("row", FLOATING, ids=rows.ids(FLOATING))
def test_float32_stays_float32(backend, row):
    rows.check_float32(row)


@pytest.mark.parametrize("row", INTEGER_OUTPUT, ids=rows.ids(INTEGER_OUTPUT))
def test_integers_stay_integers(backend, row):
    result = rows.call(row, row.args)
    assert ops.dtype_name(result) == "int64"
    assert_close(result, row.oracle(*row.args, **row.kwargs))


@pytest.mark.parametrize("name", SCALAR_UNARY)
def test_python_scalar_is_accepted(backend, name):
    argument, oracle = SCALAR_UNARY[name]
    assert_close(getattr(ops, name)(argument), np.asarray(oracle(argument)))


@pytest.mark.parametrize("name", SCALAR_BINARY)
def test_two_python_scalars_are_accepted(backend, name):
    assert_close(getattr(ops, name)(0.4, 1.5), np.asarray(SCALAR_BINARY[name](0.4, 1.5)))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
def test_reductions_accept_a_python_scalar(backend, name):
    assert_close(getattr(ops, name)(1.5), np.asarray(1.5))


def test_where_accepts_three_scalars(backend):
    assert_close(ops.where(True, 1.0, 2.0), np.asarray(1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_python_scalar_does_not_change_the_dtype(backend, dtype):
    x = ops.array(X, dtype=dtype)
    of_functions = (ops.maximum(x, 0.5), ops.where(x > 0, x, 0.0), ops.power(x, 2), ops.clip(x, min=0.0))
    for result in (x + 1, x * 2.5, 1 - x, *of_functions):
        assert ops.dtype_name(result) == dtype


@pytest.mark.parametrize("name", ["exp", "sum", "add", "zeros", "reshape", "take", "eye", "one_hot", "cumsum", "sort"])
def test_results_stay_on_the_device(backend, name, device):
    expected = "cpu" if backend == "numpy" else device
    row = next(row for row in ROWS if row.name == name)
    assert ops.device(rows.call(row, row.args)).split(":")[0] == expected


def test_to_device(backend):
    assert ops.device(ops.to_device(ops.array(X), "cpu")) == "cpu"


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_a_tie_shares_the_gradient(backend, name):
    x = ops.array([1.0, 2.0])
    left, right = (autodiff.grad(lambda a, b: ops.sum(getattr(ops, name)(a, b)), argnums=k)(x, x) for k in (0, 1))
    assert_close(left, np.array([0.5, 0.5]))
    assert_close(right, np.array([0.5, 0.5]))


@pytest.mark.parametrize("name", ["max", "min"])
def test_gradient_of_a_tied_reduction_sums_to_one(backend, name):
    x = ops.array(np.ones(4))
    assert_close(ops.sum(autodiff.grad(lambda v: getattr(ops, name)(v))(x)), np.asarray(1.0))


def test_clip_has_zero_gradient_outside(backend):
    gradient = autodiff.grad(lambda x: ops.sum(ops.clip(x, min=-1.0, max=1.0)))(ops.array([-3.0, 0.0, 3.0]))
    assert_close(gradient, np.array([0.0, 1.0, 0.0]))


def test_safe_log_has_no_nan_at_zero(backend):
    value, gradient = autodiff.value_and_grad(lambda x: ops.sum(ops.safe_log(x)))(ops.array([0.0, 1.0]))
    assert np.isfinite(to_host(value))
    assert np.all(np.isfinite(to_host(gradient)))


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        (1.5, None, "float64"),
        (2, None, "int64"),
        (True, None, "bool"),
        ([1.0, 2.0], None, "float64"),
        ([[1, 2], [3, 4]], None, "int64"),
        ([True, False], None, "bool"),
        ((1, 2.5), None, "float64"),
        (np.float32([1.0]), None, "float32"),
        (np.int32([1]), None, "int32"),
        (X, "float32", "float32"),
        (X > 0, "float64", "float64"),
        ([1, 2], "float32", "float32"),
        (np.asfortranarray(X), None, "float64"),
        (X[::-1], None, "float64"),
        (np.float64(0.5), None, "float64"),
    ],
)
def test_array_from_anything(backend, given, dtype, expected):
    result = ops.array(given, dtype=dtype)
    assert ops.is_array(result)
    assert ops.dtype_name(result) == expected
    assert_close(result, np.asarray(given, dtype=expected))
    assert_close(ops.array(result), result)


def test_array_from_a_list_of_arrays(backend):
    assert_close(ops.array([ops.array(1.0), ops.array(2.5)]), np.array([1.0, 2.5]))


def test_queries_of_shape(backend):
    assert ops.shape(ops.array(CUBE)) == (2, 3, 4)
    assert ops.shape(1.5) == ()
    assert isinstance(ops.shape(ops.array(CUBE)), tuple)
    assert all(type(size) is int for size in ops.shape(ops.array(CUBE)))
    assert (ops.ndim(ops.array(CUBE)), ops.ndim(2)) == (3, 0)


def test_queries_of_dtype(backend):
    x, n = ops.array(X), ops.array(INTS)
    assert (ops.dtype_name(x), ops.dtype_name(n), ops.dtype_name(x > 0)) == ("float64", "int64", "bool")
    assert (ops.is_floating(x), ops.is_floating(n), ops.is_floating(1.0), ops.is_floating(1)) == (True, False, True, False)
    assert ops.is_array(x)
    assert not ops.is_array(1.0)
    assert not ops.is_array([1.0])
    assert isinstance(ops.to_numpy(x), np.ndarray)
    assert_close(ops.to_numpy(x), X)


def test_result_dtype(backend):
    single, double = ops.array(X, dtype="float32"), ops.array(X)
    assert ops.result_dtype(single) == "float32"
    assert ops.result_dtype(single, double) == "float64"
    assert ops.result_dtype(single, 1.0) == "float32"
    assert ops.result_dtype(1.0, 2) == "float64"
    assert ops.result_dtype(ops.array(INTS)) == "float64"


def test_finfo(backend):
    for dtype in ("float32", "float64"):
        expected = np.finfo(dtype)
        for found in (ops.finfo(dtype), ops.finfo(ops.array(X, dtype=dtype))):
            assert (float(found.eps), float(found.max), float(found.min), float(found.tiny)) == (
                float(expected.eps), float(expected.max), float(expected.min), float(expected.tiny),
            )  # fmt: skip


def test_default_dtype(backend):
    assert ops.default_dtype() == "float64"
    ops.set_default_dtype("float32")
    try:
        assert ops.default_dtype() == "float32"
        made = (ops.zeros(2), ops.ones(2), ops.full(2, 0.5), ops.eye(2), ops.array(1.5), ops.array([1.0]), ops.linspace(0, 1, 3))
        for x in made:
            assert ops.dtype_name(x) == "float32"
        assert ops.dtype_name(ops.random.normal(ops.random.key(0), (2,))) == "float32"
        assert ops.result_dtype(1.0) == "float32"
    finally:
        ops.set_default_dtype("float64")
    assert ops.dtype_name(ops.zeros(2)) == "float64"


def test_broadcast_shapes(backend):
    assert ops.broadcast_shapes((3, 1), (4,), ()) == (3, 4)
    assert ops.broadcast_shapes() == ()
    with pytest.raises(ShapeError, match=r"3"):
        ops.broadcast_shapes((3,), (4,))


@pytest.mark.parametrize("name", ["concat", "stack"])
def test_joining_passes_gradients_to_every_part(backend, name):
    parts = [ops.array(X), ops.array(2.0 * X)]
    weights = ops.array(np.arange(24.0).reshape((6, 4) if name == "concat" else (2, 3, 4)))
    gradients = autodiff.grad(lambda a: ops.sum(getattr(ops, name)(a) * weights))(parts)
    for found, expected in zip(gradients, np.arange(24.0).reshape(2, 3, 4), strict=True):
        assert_close(found, expected)


def test_stack_and_concat_accept_python_scalars_and_mixed_ranks(backend):
    assert_close(ops.stack([ops.array(1.0), ops.array(2.0)]), np.array([1.0, 2.0]))
    assert_close(ops.concat([ops.zeros((0, 4)), ops.array(X)]), X)


@pytest.mark.parametrize("place", [0, 2, -1])
def test_index_update_at_an_array_of_one_number(backend, place):
    expected = X.copy()
    expected[place] = 0.5 * X[1]
    update = ops.compile.compile(lambda x, index: ops.index_update(x, index, 0.5 * x[1]))
    for _ in range(2):
        assert_close(update(ops.array(X), ops.array(place)), expected)
    assert_close(ops.index_update(ops.array(X), ops.array(place), ops.array(0.5 * X[1])), expected)


def test_index_update_with_a_mask(backend):
    mask = np.array([True, False, True])
    expected = X.copy()
    expected[mask] = 0.5
    assert_close(ops.index_update(ops.array(X), ops.array(mask), 0.5), expected)


def test_one_hot_dtype(backend):
    assert ops.dtype_name(ops.one_hot(ops.array([0, 2]), 3)) == "float64"
    assert ops.dtype_name(ops.one_hot(ops.array([0, 2]), 3, dtype="int64")) == "int64"


def test_operators_mean_the_functions(backend):
    x, y = ops.array(X), ops.array(TIES[0, 0])
    pairs = [(x + y, X + 2.0), (x * x, X * X), (x / y, X / 2.0), (-x, -X), (x**2, X**2), (x < y, X < 2.0)]
    pairs += [(x[1:, ::2], X[1:, ::2]), (x @ ops.matrix_transpose(x), X @ X.T), (x[..., None], X[..., None])]
    for found, expected in pairs:
        assert_close(found, expected)


TESTED_ABOVE = {
    "array": test_array_from_anything, "shape": test_queries_of_shape, "ndim": test_queries_of_shape,
    "dtype_name": test_queries_of_dtype, "is_floating": test_queries_of_dtype, "is_array": test_queries_of_dtype,
    "to_numpy": test_queries_of_dtype, "result_dtype": test_result_dtype, "finfo": test_finfo,
    "default_dtype": test_default_dtype, "set_default_dtype": test_default_dtype, "broadcast_shapes": test_broadcast_shapes,
    "device": test_results_stay_on_the_device, "to_device": test_to_device,
}  # fmt: skip


def untested(declared, tested):
    return sorted(set(declared) - set(tested))


def test_every_declared_function_has_a_row():
    derived = [name for name, value in ops.ARRAY_FUNCTIONS.items() if hasattr(value, "generic")]
    tested = {*(row.name for row in op_rows.ROWS), *TESTED_ABOVE}
    assert untested([*declared_functions("ops"), *derived], tested) == []


def test_negative_control_a_function_without_a_row_is_found():
    tested = {*(row.name for row in op_rows.ROWS), *TESTED_ABOVE}
    assert untested([*declared_functions("ops"), "new_function"], tested) == ["new_function"]


@pytest.mark.backends("numpy")
def test_negative_control_a_wrong_value_and_a_wrong_gradient_are_found(backend):
    wrong = rows.Row("exp", (X,), np.expm1, (0,), np.cosh)
    with pytest.raises(AssertionError):
        rows.check_value(wrong)
    with pytest.raises(AssertionError):
        rows.check_derivatives(wrong)
    with pytest.raises(AssertionError):
        rows.check_gradient(rows.Row("exp", (X,), np.sinh, (0,)), 0)
