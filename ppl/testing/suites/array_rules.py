"""What array functions share: dtypes, Python scalars, ties, queries and updates in place of assignment."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ppl import ops
from ppl.errors import ShapeError
from ppl.ops import autodiff
from ppl.testing.numeric import Mismatch, assert_close, assert_equal, to_host
from ppl.testing.suites.arrays import (
    CUBE,
    INTEGER_OUTPUT,
    INTS,
    ROWS,
    SCALAR_BINARY,
    SCALAR_UNARY,
    TIES,
    WITHOUT_FLOAT32,
    X,
)
from ppl.testing.suites.check import Check, asked, checks_of, short
from ppl.testing.suites.rows import check_integers, checks_of_rows, ids


def check_scalars(name: str, arguments: tuple[float, ...], oracle: Any) -> None:
    """Python numbers are taken for arrays of the default dtype."""
    assert_close(getattr(ops, name)(*arguments), np.asarray(oracle(*arguments)))


SCALARS = (
    *(
        Check(name, "a Python scalar", short(at), functools.partial(check_scalars, name, (at,), oracle))
        for name, (at, oracle) in SCALAR_UNARY.items()
    ),
    *(
        Check(name, "two Python scalars", "0.4, 1.5", functools.partial(check_scalars, name, (0.4, 1.5), oracle))
        for name, oracle in SCALAR_BINARY.items()
    ),
    *(
        Check(name, "a Python scalar", "1.5", functools.partial(check_scalars, name, (1.5,), float))
        for name in ("sum", "mean", "max", "min", "prod")
    ),
)
INTEGERS = tuple(
    Check(row.name, f"whole numbers ({name})", row.given, functools.partial(check_integers, row))
    for row, name in zip(INTEGER_OUTPUT, ids(INTEGER_OUTPUT), strict=True)
)


@asked("where", "three Python scalars", "True, 1.0, 2.0")
def _where_of_scalars() -> None:
    assert_close(ops.where(True, 1.0, 2.0), np.asarray(1.0))


def check_dtype_beside_a_scalar(dtype: str) -> None:
    """A Python scalar does not change the dtype of an array."""
    x = ops.array(X, dtype=dtype)
    of_functions = (ops.maximum(x, 0.5), ops.where(x > 0, x, 0.0), ops.power(x, 2), ops.clip(x, min=0.0))
    for result in (x + 1, x * 2.5, 1 - x, *of_functions):
        assert_equal(ops.dtype_name(result), dtype)


BESIDE_SCALARS = tuple(
    Check("array", f"{dtype} beside Python scalars", f"x + 1, where(x > 0, x, 0.0) of {dtype}",
          functools.partial(check_dtype_beside_a_scalar, dtype))
    for dtype in ("float32", "float64")
)  # fmt: skip


def check_tie(name: str) -> None:
    """Two equal arguments share the gradient."""
    x = ops.array([1.0, 2.0])
    for k in (0, 1):
        gradient = autodiff.grad(lambda a, b: ops.sum(getattr(ops, name)(a, b)), argnums=k)(x, x)
        assert_close(gradient, np.array([0.5, 0.5]))


def check_tied_reduction(name: str) -> None:
    """The gradient of a reduction of equal elements sums to one."""
    gradient = autodiff.grad(lambda v: getattr(ops, name)(v))(ops.array(np.ones(4)))
    assert_close(ops.sum(gradient), np.asarray(1.0))


EQUAL = (
    *(Check(name, "gradient of a tie", "x, x", functools.partial(check_tie, name)) for name in ("maximum", "minimum")),
    *(Check(name, "gradient of a tie", "[1, 1, 1, 1]", functools.partial(check_tied_reduction, name)) for name in ("max", "min")),
)


@asked("clip", given="[-3, 0, 3] to [-1, 1]")
def _zero_gradient_outside() -> None:
    gradient = autodiff.grad(lambda x: ops.sum(ops.clip(x, min=-1.0, max=1.0)))(ops.array([-3.0, 0.0, 3.0]))
    assert_close(gradient, np.array([0.0, 1.0, 0.0]))


@asked("safe_log", given="[0, 1]")
def _finite_value_and_gradient_at_zero() -> None:
    for result in autodiff.value_and_grad(lambda x: ops.sum(ops.safe_log(x)))(ops.array([0.0, 1.0])):
        if not np.all(np.isfinite(to_host(result))):
            raise Mismatch("finite numbers", to_host(result))


# given, dtype asked for, dtype expected
SOURCES = [
    (1.5, None, "float64"),
    (2, None, "int64"),
    (True, None, "bool"),
    ([1.0, 2.0], None, "float64"),
    ([[1, 2], [3, 4]], None, "int64"),
    ([True, False], None, "bool"),
    ((1, 2.5), None, "float64"),
    (np.array([1.0], "float32"), None, "float32"),
    (np.array([1], "int32"), None, "int32"),
    (X, "float32", "float32"),
    (X > 0, "float64", "float64"),
    ([1, 2], "float32", "float32"),
    (np.asfortranarray(X), None, "float64"),
    (X[::-1], None, "float64"),
    (np.float64(0.5), None, "float64"),
]


def check_source(given: Any, dtype: str | None, expected: str) -> None:
    """An array made of anything has its values, and the dtype asked for or its own."""
    result = ops.array(given, dtype=dtype)
    assert_equal(ops.is_array(result), True)
    assert_equal(ops.dtype_name(result), expected)
    assert_close(result, np.asarray(given, dtype=expected))
    assert_close(ops.array(result), result)


MADE = tuple(
    Check("array", f"from row {k}", f"{short(row[0])}, dtype={row[1]}", functools.partial(check_source, *row))
    for k, row in enumerate(SOURCES)
)


@asked("array", given="[array(1.0), array(2.5)]")
def _from_a_list_of_arrays() -> None:
    assert_close(ops.array([ops.array(1.0), ops.array(2.5)]), np.array([1.0, 2.5]))


@asked("shape", given="an array of shape (2, 3, 4) and 1.5")
def _shapes_are_tuples_of_ints() -> None:
    assert_equal(ops.shape(ops.array(CUBE)), (2, 3, 4))
    assert_equal(ops.shape(1.5), ())
    assert_equal([type(size) for size in ops.shape(ops.array(CUBE))], [int, int, int])


@asked("ndim", given="an array of shape (2, 3, 4) and 2")
def _number_of_axes() -> None:
    assert_equal((ops.ndim(ops.array(CUBE)), ops.ndim(2)), (3, 0))


@asked("dtype_name", given="floats, ints, booleans")
def _names_of_dtypes() -> None:
    x = ops.array(X.copy())
    names = (ops.dtype_name(x), ops.dtype_name(ops.array(INTS)), ops.dtype_name(x > 0))
    assert_equal(names, ("float64", "int64", "bool"))


@asked("is_floating", given="floats, ints, 1.0, 1")
def _floating() -> None:
    found = [ops.is_floating(value) for value in (ops.array(X.copy()), ops.array(INTS), 1.0, 1)]
    assert_equal(found, [True, False, True, False])


@asked("is_array", given="an array, 1.0, [1.0]")
def _arrays_are_told_from_numbers() -> None:
    assert_equal([ops.is_array(value) for value in (ops.array(X.copy()), 1.0, [1.0])], [True, False, False])


@asked("to_numpy", given="an array of shape (3, 4)")
def _to_the_host() -> None:
    found = ops.to_numpy(ops.array(X.copy()))
    assert_equal(type(found), np.ndarray)
    assert_close(found, X)


@asked("result_dtype", given="float32, float64, numbers, ints")
def _dtype_of_a_result() -> None:
    single, double = ops.array(X, dtype="float32"), ops.array(X.copy())
    cases = [(single,), (single, double), (single, 1.0), (1.0, 2), (ops.array(INTS),)]
    assert_equal([ops.result_dtype(*case) for case in cases], ["float32", "float64", "float32", "float64", "float64"])


@asked("finfo", given="float32 and float64, by name and by array")
def _limits_of_dtypes() -> None:
    for dtype in ("float32", "float64"):
        expected = np.finfo(dtype)
        for found in (ops.finfo(dtype), ops.finfo(ops.array(X, dtype=dtype))):
            for name in ("eps", "max", "min", "tiny"):
                assert_equal(float(getattr(found, name)), float(getattr(expected, name)))


@asked("set_default_dtype", given="float32")
def _default_dtype() -> None:
    assert_equal(ops.default_dtype(), "float64")
    ops.set_default_dtype("float32")
    try:
        assert_equal(ops.default_dtype(), "float32")
        made = (ops.zeros(2), ops.ones(2), ops.full(2, 0.5), ops.eye(2), ops.array(1.5), ops.array([1.0]), ops.linspace(0, 1, 3))
        for x in (*made, ops.random.normal(ops.random.key(0), (2,))):
            assert_equal(ops.dtype_name(x), "float32")
        assert_equal(ops.result_dtype(1.0), "float32")
    finally:
        ops.set_default_dtype("float64")
    assert_equal(ops.dtype_name(ops.zeros(2)), "float64")


@asked("broadcast_shapes", given="(3, 1), (4,), () and (3,), (4,)")
def _shapes_together() -> None:
    assert_equal(ops.broadcast_shapes((3, 1), (4,), ()), (3, 4))
    assert_equal(ops.broadcast_shapes(), ())
    try:
        found = ops.broadcast_shapes((3,), (4,))
    except ShapeError:
        return
    raise Mismatch("a ShapeError", found)


@asked("to_device", given="x, 'cpu'")
def _to_the_cpu() -> None:
    assert_equal(ops.device(ops.to_device(ops.array(X.copy()), "cpu")), "cpu")


def check_joined_gradients(name: str) -> None:
    """Joining passes gradients to every part."""
    parts = [ops.array(X.copy()), ops.array(2.0 * X)]
    weights = ops.array(np.arange(24.0).reshape((6, 4) if name == "concat" else (2, 3, 4)))
    gradients = autodiff.grad(lambda a: ops.sum(getattr(ops, name)(a) * weights))(parts)
    for found, expected in zip(gradients, np.arange(24.0).reshape(2, 3, 4), strict=True):
        assert_close(found, expected)


JOINED = tuple(
    Check(name, "gradient of each part", "[x, 2 * x]", functools.partial(check_joined_gradients, name))
    for name in ("concat", "stack")
)


@asked("stack", given="[array(1.0), array(2.0)]")
def _stack_of_scalars() -> None:
    assert_close(ops.stack([ops.array(1.0), ops.array(2.0)]), np.array([1.0, 2.0]))


@asked("concat", given="shapes (0, 4) and (3, 4)")
def _concat_with_an_empty_array() -> None:
    assert_close(ops.concat([ops.zeros((0, 4)), ops.array(X.copy())]), X)


def check_update_at(place: int) -> None:
    """An index that is an array of one number is taken for that number, compiled or not."""
    expected = X.copy()
    expected[place] = 0.5 * X[1]
    update = ops.compile.compile(lambda x, index: ops.index_update(x, index, 0.5 * x[1]))
    for _ in range(2):
        assert_close(update(ops.array(X.copy()), ops.array(place)), expected)
    assert_close(ops.index_update(ops.array(X.copy()), ops.array(place), ops.array(0.5 * X[1])), expected)


PLACES = tuple(
    Check("index_update", f"at array({place})", f"x, array({place})", functools.partial(check_update_at, place))
    for place in (0, 2, -1)
)


@asked("index_update", given="[True, False, True]")
def _update_where_a_mask_is_true() -> None:
    mask, expected = np.array([True, False, True]), X.copy()
    expected[mask] = 0.5
    assert_close(ops.index_update(ops.array(X.copy()), ops.array(mask), 0.5), expected)


@asked("one_hot", given="[0, 2] of 3")
def _dtype_of_one_hot() -> None:
    assert_equal(ops.dtype_name(ops.one_hot(ops.array([0, 2]), 3)), "float64")
    assert_equal(ops.dtype_name(ops.one_hot(ops.array([0, 2]), 3, dtype="int64")), "int64")


@asked("array", given="x + y, x[1:, ::2], x @ x.T")
def _operators_mean_the_functions() -> None:
    x, y = ops.array(X.copy()), ops.array(TIES[0, 0])
    pairs = [(x + y, X + 2.0), (x * x, X * X), (x / y, X / 2.0), (-x, -X), (x**2, X**2), (x < y, X < 2.0)]
    pairs += [(x[1:, ::2], X[1:, ::2]), (x @ ops.matrix_transpose(x), X @ X.T), (x[..., None], X[..., None])]
    for found, expected in pairs:
        assert_close(found, expected)


RULES = (*SCALARS, *INTEGERS, *BESIDE_SCALARS, *EQUAL, *MADE, *JOINED, *PLACES, *checks_of(globals()))
CHECKS = (*checks_of_rows(ROWS, WITHOUT_FLOAT32), *RULES)
