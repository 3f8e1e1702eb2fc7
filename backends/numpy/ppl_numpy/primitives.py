"""How a NumPy function becomes differentiable and recordable, and the pieces that derivatives share."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from autograd.extend import Box, defvjp
from autograd.extend import primitive as _autograd_primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval

from ppl_numpy import rules
from ppl_numpy.recording import Recorded, is_whole, recordable
from ppl_numpy.rules import batched_by

PLAIN = frozenset({np.ndarray, float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_})
ARRAY_TYPES = (np.ndarray, np.generic, ArrayBox, Recorded)


def primitive(function, rows=None):
    """Return ``function`` (of plain arrays) as one step of differentiation and of recordings; ufuncs note themselves.

    :param rows: the rule of :mod:`ppl_numpy.rules` by which it takes many rows at once.
    """
    if rows is not None:
        batched_by(rows, function)
    return _autograd_primitive(function if isinstance(function, np.ufunc) else recordable(function))


def constant(function, rows=None):
    """Return a function without derivative, recordable, that sees through the boxes of differentiation."""
    if rows is not None:
        batched_by(rows, function)
    noted = recordable(function)

    def call(*args, **kwargs):
        return noted(*map(getval, args), **kwargs)

    return call


def is_box(value):
    """Return whether ``value`` is being differentiated."""
    return isinstance(value, Box)


def unbroadcast(gradient, shape):
    """Sum ``gradient`` down to ``shape``, the shape of an operand that was broadcast."""
    extra = anp.ndim(gradient) - len(shape)
    if extra > 0:
        gradient = anp.sum(gradient, axis=tuple(range(extra)))
    stretched = tuple(i for i, (size, have) in enumerate(zip(shape, anp.shape(gradient), strict=True)) if size == 1 and have != 1)
    return anp.sum(gradient, axis=stretched, keepdims=True) if stretched else gradient


def elementwise_vjp(function, *derivatives, argnums=None):
    """Register the derivatives of an elementwise function, which takes many rows at once as it is.

    :param derivatives: for each argument a function ``(ans, *args) -> d ans / d argument``, or ``None`` for zero.
    """
    batched_by(rules.elementwise, getattr(function.fun, "__wrapped__", function.fun))
    defvjp(
        function,
        *(None if derivative is None else _maker(derivative, i) for i, derivative in enumerate(derivatives)),
        argnums=argnums or range(len(derivatives)),
    )


def _maker(derivative, argnum):
    def make(ans, *args):
        shape = anp.shape(args[argnum])

        def vjp(g):
            return unbroadcast(g * derivative(ans, *args), shape)

        return vjp

    return make


def _placed(gradient, index, shape, dtype):
    out = np.zeros(shape, dtype)
    out[index] = gradient
    return out


def _summed(gradient, index, shape, dtype):
    out = np.zeros(shape, dtype)
    if isinstance(index, tuple) and len(index) == out.ndim == 2 and is_whole(index[0]) and np.ndim(index[1]) == 1:
        # numpy is fast where one array of places is all of the index.
        for row, part in zip(out, np.broadcast_to(gradient, (len(out), len(index[1]))), strict=True):
            np.add.at(row, index[1], part)
    else:
        np.add.at(out, index, gradient)
    return out


_place, _sum_into = primitive(_placed, rules.scattering), primitive(_summed, rules.scattering)


def scatter(gradient, index, shape, dtype):
    """Return zeros of a shape with ``gradient`` added at the places of ``index``, which arrays may name several times."""
    parts = index if isinstance(index, tuple) else (index,)
    once = all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)
    return (_place if once else _sum_into)(gradient, index, shape, dtype)


def _getitem_vjp(ans, x, index):
    shape, dtype = anp.shape(x), anp.result_type(x)
    return lambda g: scatter(g, index, shape, dtype)


# autograd adds into one shared buffer, a change in place that no recording can hold; the dense sum has the same value.
defvjp(ArrayBox.__getitem__, _getitem_vjp)
for _scatter in (_place, _sum_into):
    defvjp(_scatter, lambda ans, gradient, index, shape, dtype: lambda g: g[index])


def _put_along(gradient, indices, axis, shape, dtype):
    out = np.zeros(shape, dtype)
    np.add.at(out, _along(shape, indices, axis), gradient)
    return out


def _along(shape, indices, axis):
    """Return the index tuple that ``take_along_axis`` means."""
    axis = axis % len(shape)
    return tuple(
        indices if i == axis else np.arange(size).reshape((-1,) + (1,) * (len(shape) - 1 - i)) for i, size in enumerate(shape)
    )


take_along = primitive(np.take_along_axis, rules.taking_along)
put_along = primitive(_put_along, rules.putting_along)
defvjp(
    take_along,
    lambda ans, x, indices, axis: lambda g: put_along(g, indices, axis, anp.shape(x), anp.result_type(x)),
    argnums=(0,),
)
defvjp(put_along, lambda ans, gradient, indices, axis, shape, dtype: lambda g: take_along(g, indices, axis), argnums=(0,))


def _affine_recursion(b, c):
    out = np.array(np.broadcast_to(b, np.shape(b)), dtype=np.result_type(b, c))
    for i in range(1, out.shape[-1]):
        out[..., i] += c[..., i - 1] * out[..., i - 1]
    return out


affine_recursion = primitive(_affine_recursion, rules.sequences)
affine_recursion.__doc__ = "Return ``h`` with ``h[0] = b[0]`` and ``h[i] = b[i] + c[i - 1] * h[i - 1]`` along the last axis."


def _reverse_recursion(g, c):
    return anp.flip(affine_recursion(anp.flip(g, -1), anp.flip(c, -1)), -1)


defvjp(
    affine_recursion,
    lambda ans, b, c: lambda g: _reverse_recursion(g, c),
    lambda ans, b, c: lambda g: _reverse_recursion(g, c)[..., 1:] * ans[..., :-1],
)
defvjp(anp.flip, lambda ans, x, axis=None: lambda g: anp.flip(g, axis))

cumulative_product = primitive(lambda x: np.cumprod(x, axis=-1), rules.elementwise)


def _cumprod_vjp(ans, x):
    def vjp(g):
        before = anp.concatenate([anp.ones_like(x[..., :1]), ans[..., :-1]], axis=-1)
        return before * _reverse_recursion(g, x[..., 1:])

    return vjp


defvjp(cumulative_product, _cumprod_vjp)
