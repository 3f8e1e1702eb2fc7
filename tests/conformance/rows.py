"""Rows of the tables that describe functions of the contract, and the checks that each row gets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from ppl import ops, tree
from ppl.ops import autodiff
from ppl.testing import assert_close, numerical_gradient, to_host


@dataclass(frozen=True)
class Row:
    """One call of one function.

    :param name: the function in :mod:`ppl.ops`.
    :param args: numpy arrays become arrays of the backend; everything else is passed as it is.
    :param oracle: the same function of numpy arrays, from numpy, scipy, mpmath or a closed form.
    :param gradients: indices of the arguments to differentiate.
    :param derivative: for a function of one array that acts elementwise, its closed-form derivative.
    """

    name: str
    args: tuple
    oracle: Callable[..., Any]
    gradients: tuple[int, ...] = ()
    derivative: Callable[..., Any] | None = None
    kwargs: dict = field(default_factory=dict)
    label: str = ""
    rtol: float | None = None

    def __str__(self):
        return f"{self.name}-{self.label}" if self.label else self.name


def ids(rows):
    """Return one readable, unique id a row."""
    seen, names = {}, []
    for row in rows:
        seen[str(row)] = seen.get(str(row), 0) + 1
        names.append(str(row) if seen[str(row)] == 1 else f"{row}-{seen[str(row)]}")
    return names


def convert(value, dtype=None):
    """Return ``value`` with its numpy arrays (inside lists too) as arrays of the backend, floating ones in ``dtype``."""
    if isinstance(value, numpy.ndarray):
        floating = value.dtype.kind == "f"
        return ops.array(value, dtype=dtype) if floating and dtype else ops.array(value)
    if isinstance(value, list):
        return [convert(child, dtype) for child in value]
    return value


def call(row, args, dtype=None):
    return getattr(ops, row.name)(*(convert(arg, dtype) for arg in args), **row.kwargs)


def check_value(row):
    before = [numpy.array(arg) if isinstance(arg, numpy.ndarray) else None for arg in row.args]
    result, expected = call(row, row.args), row.oracle(*row.args, **row.kwargs)
    result, expected = tree.leaves(result), tree.leaves(expected)
    assert len(result) == len(expected)
    for got, wanted in zip(result, expected, strict=True):
        assert ops.is_array(got)
        assert to_host(got).dtype.kind == numpy.asarray(wanted).dtype.kind
        assert_close(got, wanted, rtol=row.rtol)
    for arg, copy in zip(row.args, before, strict=True):
        assert copy is None or numpy.array_equal(arg, copy, equal_nan=True), "the argument was changed"


def weigh(result, module):
    """Return a scalar in which each element of a result has another weight."""
    total = 0.0
    for k, leaf in enumerate(tree.leaves(result)):
        shape = tuple(leaf.shape) if hasattr(leaf, "shape") else ()
        weights = numpy.cos(1.0 + k + numpy.arange(numpy.prod(shape, dtype=int))).reshape(shape)
        total = total + module.sum(leaf * (weights if module is numpy else ops.array(weights)))
    return total


def check_gradient(row, index, rtol=1e-6, atol=1e-8):
    """The gradient equals central differences of the oracle, not of the backend's own function."""
    assert isinstance(row.args[index], numpy.ndarray)

    def value(x):
        return weigh(call(row, [*row.args[:index], x, *row.args[index + 1 :]]), ops)

    def expected(x):
        result = row.oracle(*row.args[:index], x, *row.args[index + 1 :], **row.kwargs)
        return weigh([numpy.asarray(leaf) for leaf in tree.leaves(result)], numpy)

    gradient = autodiff.grad(value)(convert(row.args[index]))
    assert ops.is_array(gradient)
    assert_close(gradient, numerical_gradient(expected, row.args[index]), rtol=rtol, atol=atol)


def check_derivatives(row):
    """First derivative against the closed form at 1e-8, second against differences of the closed form."""
    x = row.args[0]

    def first(x):
        return autodiff.grad(lambda v: ops.sum(getattr(ops, row.name)(v, **row.kwargs)))(x)

    assert_close(first(ops.array(x)), row.derivative(x) * numpy.ones_like(x), "gradient", rtol=row.rtol)
    second = autodiff.grad(lambda v: ops.sum(first(v)))(ops.array(x))
    elementwise = numerical_gradient(lambda v: numpy.sum(row.derivative(v) * numpy.ones_like(v)), x)
    assert_close(second, elementwise, rtol=1e-5, atol=1e-7)


def check_float32(row):
    """float32 in gives float32 out (or integers and booleans), close to the float64 oracle."""
    result = tree.leaves(call(row, row.args, "float32"))
    expected = tree.leaves(row.oracle(*row.args, **row.kwargs))
    for got, wanted in zip(result, expected, strict=True):
        if numpy.asarray(wanted).dtype.kind == "f":
            assert ops.dtype_name(got) == "float32"
            scale = 1.0 + numpy.max(numpy.abs(numpy.asarray(wanted)[numpy.isfinite(wanted)]), initial=0.0)
            assert_close(to_host(got).astype("float64"), numpy.asarray(wanted), rtol=1e-3, atol=1e-4 * scale)
