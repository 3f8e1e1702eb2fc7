"""Comparing numbers: tolerances, and derivatives by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from ppl import ops

# kind: (relative tolerance, absolute tolerance near zero), for float64
TOLERANCES = {
    "value": (1e-10, 1e-13),
    "gradient": (1e-8, 1e-11),
    "finite_difference": (1e-4, 1e-6),
}


class Mismatch(AssertionError):
    """Something is not what it should be.

    :param expected: what the oracle gives: an array, a number or words.
    :param received: what was found.
    :param message: the sentence; by default it shows both.
    """

    def __init__(self, expected: Any, received: Any, message: str = "") -> None:
        super().__init__(message or f"expected {expected}, received {received}")
        self.expected, self.received = expected, received


def to_host(x: Any) -> Any:
    """Return ``x`` (an array of any backend, a Python scalar or a nested list) as a numpy array."""
    if isinstance(x, (bool, int, float, list, tuple, numpy.generic, numpy.ndarray)):
        return numpy.asarray(x)
    return numpy.asarray(ops.to_numpy(x))


def assert_close(
    actual: Any, expected: Any, kind: str = "value", *, rtol: float | None = None, atol: float | None = None
) -> None:
    """Check that two arrays have equal shapes and elements equal within a tolerance; NaN equals NaN.

    :param kind: ``"value"`` (1e-10 relative), ``"gradient"`` (1e-8) or ``"finite_difference"`` (1e-4).
    :param rtol: a relative tolerance in place of the kind's.
    :param atol: an absolute tolerance in place of the kind's.
    :raises Mismatch: an ``AssertionError``, if a shape or an element differs; the message shows the largest difference.
    """
    default_rtol, default_atol = TOLERANCES[kind]
    actual, expected = to_host(actual), to_host(expected)
    if actual.shape != expected.shape:
        message = f"shapes differ: got {actual.shape}, expected {expected.shape}"
        raise Mismatch(f"shape {expected.shape}", f"shape {actual.shape}", message)
    rtol = default_rtol if rtol is None else rtol
    atol = default_atol if atol is None else atol
    try:
        numpy.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
        raise Mismatch(expected, actual, str(error)) from None


def assert_equal(actual: Any, expected: Any) -> None:
    """Check that two Python values, such as shapes or names of dtypes, are equal.

    :raises Mismatch: an ``AssertionError``, if they are not.
    """
    if type(actual) is not type(expected) or actual != expected:
        raise Mismatch(expected, actual)


def numerical_jacobian(fn: Callable[[Any], Any], x: Any, step: float = 1e-4) -> Any:
    """Return the Jacobian of ``fn`` at ``x`` by central differences with one Richardson extrapolation.

    :param fn: takes one numpy array of the shape of ``x`` and returns an array (of any backend).
    :param step: the step, relative to ``max(1, |x|)`` of each element.
    :returns: a numpy array of shape ``fn(x).shape + x.shape``; the error is of order ``step**4``.
    """
    x = numpy.array(to_host(x), dtype="float64")
    columns = []
    for index in numpy.ndindex(x.shape):
        width = step * max(1.0, abs(x[index]))

        def central(h: float, index: tuple[int, ...] = index) -> Any:
            above, below = x.copy(), x.copy()
            above[index] += h
            below[index] -= h
            return (to_host(fn(above)).astype("float64") - to_host(fn(below))) / (2 * h)

        columns.append((4 * central(width / 2) - central(width)) / 3)
    if not columns:
        return numpy.zeros((*to_host(fn(x)).shape, *x.shape))
    return numpy.stack(columns, axis=-1).reshape(columns[0].shape + x.shape)


def numerical_gradient(fn: Callable[[Any], Any], x: Any, step: float = 1e-4) -> Any:
    """Return the gradient of a scalar ``fn`` at ``x`` by central differences, shaped like ``x``.

    :param fn: takes one numpy array of the shape of ``x`` and returns a scalar (of any backend).
    """
    return numerical_jacobian(lambda value: to_host(fn(value)).reshape(()), x, step)
