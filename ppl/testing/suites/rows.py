"""Rows of the tables that describe functions of the contract, and the checks that each row gets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy

from ppl import ops, tree
from ppl.ops import autodiff
from ppl.testing.numeric import Mismatch, assert_close, assert_equal, numerical_gradient, to_host
from ppl.testing.suites.check import Check, short


@dataclass(frozen=True)
class Row:
    """One call of one function.

    :param name: the function in :mod:`ppl.ops`.
    :param args: numpy arrays become arrays of the backend; everything else is passed as it is.
    :param oracle: the same function of numpy arrays, from numpy, scipy, mpmath or a closed form.
    :param gradients: indices of the arguments to differentiate.
    :param derivative: for a function of one array that acts elementwise, its closed-form derivative.
    :param kwargs: keyword arguments of the call and of the oracle.
    :param label: what tells it apart from other rows of the function.
    :param rtol: a relative tolerance of its own.
    """

    name: str
    args: tuple[Any, ...]
    oracle: Callable[..., Any]
    gradients: tuple[int, ...] = ()
    derivative: Callable[..., Any] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    rtol: float | None = None

    def __str__(self) -> str:
        return f"{self.name}-{self.label}" if self.label else self.name

    @property
    def given(self) -> str:
        """The arguments in words."""
        words = [short(arg) for arg in self.args] + [f"{name}={short(value)}" for name, value in self.kwargs.items()]
        return ", ".join(words)


def ids(rows: Iterable[Row]) -> list[str]:
    """Return one readable, unique id a row."""
    seen: dict[str, int] = {}
    names = []
    for row in rows:
        seen[str(row)] = seen.get(str(row), 0) + 1
        names.append(str(row) if seen[str(row)] == 1 else f"{row}-{seen[str(row)]}")
    return names


def convert(value: Any, dtype: str | None = None) -> Any:
    """Return ``value`` with its numpy arrays (inside lists too) as arrays of the backend, floating ones in ``dtype``."""
    if isinstance(value, numpy.ndarray):
        floating = value.dtype.kind == "f"
        return ops.array(value, dtype=dtype) if floating and dtype else ops.array(value)
    if isinstance(value, list):
        return [convert(child, dtype) for child in value]
    return value


def call(row: Row, args: Iterable[Any], dtype: str | None = None) -> Any:
    """Return what the active backend gives for a row, with other arguments, of which it gets copies."""
    return _apply(row, [_copied(arg) for arg in args], dtype)


def _apply(row: Row, args: Iterable[Any], dtype: str | None = None) -> Any:
    return getattr(ops, row.name)(*(convert(arg, dtype) for arg in args), **row.kwargs)


def _copied(value: Any) -> Any:
    # A backend that changes its arguments must not change the tables.
    if isinstance(value, list):
        return [_copied(child) for child in value]
    return value.copy() if isinstance(value, numpy.ndarray) else value


def check_value(row: Row) -> None:
    """The result has the oracle's structure, shapes, dtypes and values, and the arguments stay as they are."""
    given = [_copied(arg) for arg in row.args]
    result, expected = _apply(row, given), row.oracle(*row.args, **row.kwargs)
    result, expected = tree.leaves(result), tree.leaves(expected)
    assert_equal(len(result), len(expected))
    for got, wanted in zip(result, expected, strict=True):
        if not ops.is_array(got):
            raise Mismatch("an array of the backend", f"a {type(got).__name__}")
        found, wanted = to_host(got), numpy.asarray(wanted)
        # Whole numbers have the width of the library's own.
        same = found.dtype == wanted.dtype if wanted.dtype.kind != "i" else found.dtype.kind == "i"
        if not same:
            raise Mismatch(f"dtype {wanted.dtype}", f"dtype {found.dtype}")
        assert_close(got, wanted, rtol=row.rtol)
    for arg, copy in zip(row.args, given, strict=True):
        if isinstance(arg, numpy.ndarray) and not numpy.array_equal(arg, copy, equal_nan=arg.dtype.kind == "f"):
            raise Mismatch(f"the argument as it was, {short(arg)}", f"a changed argument, {short(copy)}")


def weigh(result: Any, module: Any) -> Any:
    """Return a scalar in which each element of a result has another weight."""
    total: Any = 0.0
    for k, leaf in enumerate(tree.leaves(result)):
        shape = tuple(leaf.shape) if hasattr(leaf, "shape") else ()
        weights = numpy.cos(1.0 + k + numpy.arange(numpy.prod(shape, dtype=int))).reshape(shape)
        total = total + module.sum(leaf * (weights if module is numpy else ops.array(weights)))
    return total


def check_gradient(row: Row, index: int, rtol: float = 1e-6, atol: float = 1e-8) -> None:
    """The gradient equals central differences of the oracle, not of the backend's own function."""

    def value(x: Any) -> Any:
        return weigh(call(row, [*row.args[:index], x, *row.args[index + 1 :]]), ops)

    def expected(x: Any) -> Any:
        result = row.oracle(*row.args[:index], x, *row.args[index + 1 :], **row.kwargs)
        return weigh([numpy.asarray(leaf) for leaf in tree.leaves(result)], numpy)

    gradient = autodiff.grad(value)(convert(_copied(row.args[index])))
    if not ops.is_array(gradient):
        raise Mismatch("a gradient that is an array of the backend", f"a {type(gradient).__name__}")
    assert_close(gradient, numerical_gradient(expected, row.args[index]), rtol=rtol, atol=atol)


def check_derivatives(row: Row) -> None:
    """First derivative against the closed form at 1e-8, second against differences of the closed form."""
    x, derivative = row.args[0], row.derivative
    if derivative is None:
        raise ValueError(f"row {row} has no closed-form derivative")

    def first(x: Any) -> Any:
        return autodiff.grad(lambda v: ops.sum(getattr(ops, row.name)(v, **row.kwargs)))(x)

    assert_close(first(ops.array(x.copy())), derivative(x) * numpy.ones_like(x), "gradient", rtol=row.rtol)
    second = autodiff.grad(lambda v: ops.sum(first(v)))(ops.array(x.copy()))
    elementwise = numerical_gradient(lambda v: numpy.sum(derivative(v) * numpy.ones_like(v)), x)
    assert_close(second, elementwise, rtol=1e-5, atol=1e-7)


def check_float32(row: Row) -> None:
    """float32 in gives float32 out (or integers and booleans), close to the float64 oracle."""
    result = tree.leaves(call(row, row.args, "float32"))
    expected = tree.leaves(row.oracle(*row.args, **row.kwargs))
    for got, wanted in zip(result, expected, strict=True):
        if numpy.asarray(wanted).dtype.kind == "f":
            assert_equal(ops.dtype_name(got), "float32")
            scale = 1.0 + numpy.max(numpy.abs(numpy.asarray(wanted)[numpy.isfinite(wanted)]), initial=0.0)
            assert_close(to_host(got).astype("float64"), numpy.asarray(wanted), rtol=1e-3, atol=1e-4 * scale)


def check_integers(row: Row) -> None:
    """Whole numbers in give int64 out."""
    result = call(row, row.args)
    assert_equal(ops.dtype_name(result), "int64")
    assert_close(result, row.oracle(*row.args, **row.kwargs))


def checks_of_rows(rows: Iterable[Row], without_float32: Iterable[str] = ()) -> tuple[Check, ...]:
    """Return the checks of a table: value, each gradient, closed-form derivatives and float32."""
    rows, skipped = list(rows), set(without_float32)
    checks = []
    for row, name in zip(rows, ids(rows), strict=True):
        # The id of the row begins with the function, which the check names already.
        label = name.removeprefix(row.name).lstrip("-")

        def add(question: str, run: Callable[..., None], *args: Any, row: Row = row, label: str = label) -> None:
            question = f"{question} ({label})" if label else question
            checks.append(Check(row.name, question, row.given, functools.partial(run, row, *args)))

        add("value", check_value)
        for index in row.gradients:
            add(f"gradient in argument {index}", check_gradient, index)
        if row.derivative is not None:
            add("derivatives", check_derivatives)
        floating = any(isinstance(arg, numpy.ndarray) and arg.dtype.kind == "f" for arg in row.args)
        if floating and row.name not in skipped:
            add("float32", check_float32)
    return tuple(checks)
