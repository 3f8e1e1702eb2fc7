"""Gauss-Legendre quadrature, for families whose normaliser is a smooth integral: exact to rounding, with gradients as it is."""

import functools
import math

from ppl import ops


@functools.cache
def gauss_legendre(count):
    """Return nodes and weights on the unit interval: the integral of ``f`` is ``sum(w * f(x))``, exact to degree ``2 count - 1``.

    The nodes are roots of the Legendre polynomial, found by Newton's method from their asymptotic places.

    >>> nodes, weights = gauss_legendre(5)
    >>> round(sum(weight * node**9 for node, weight in zip(nodes, weights)), 12)
    0.1
    """
    nodes, weights = [], []
    for index in range(count):
        root = math.cos(math.pi * (index + 0.75) / (count + 0.5))
        for _ in range(8):
            value, slope = _legendre(count, root)
            root -= value / slope
        slope = _legendre(count, root)[1]
        nodes.append(0.5 * (1.0 - root))
        weights.append(1.0 / ((1.0 - root * root) * slope * slope))
    return tuple(nodes), tuple(weights)


def _legendre(degree, x):
    """Return the Legendre polynomial and its derivative at ``x``, by the three-term recurrence."""
    before, value = 1.0, x
    for k in range(2, degree + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, degree * (x * value - before) / (x * x - 1.0)


def integrate(integrands, length, count):
    """Return the integrals from 0 to ``length``, an array, of functions of points along a new last axis.

    :param integrands: a function from points, of shape ``length.shape + (count,)``, to a tuple of values at them.
    """
    nodes, weights = (ops.array(column, dtype=length.dtype) for column in gauss_legendre(count))
    points = ops.expand_dims(length, -1) * nodes
    return [length * ops.sum(values * weights, axis=-1) for values in integrands(points)]
