"""Array functions on ``jax.numpy``: elementwise functions and reductions here, the rest in :mod:`ppl_jax.shaping`."""

import jax
import jax.numpy as jnp

from ppl_jax.shaping import (  # noqa: F401  handed out with the functions below
    arange,
    array,
    astype,
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    concat,
    default_dtype,
    device,
    diag_embed,
    diagonal,
    dtype_name,
    expand_dims,
    eye,
    finfo,
    flip,
    full,
    full_like,
    index_add,
    index_update,
    is_array,
    is_floating,
    linspace,
    matrix_transpose,
    meshgrid,
    moveaxis,
    ndim,
    one_hot,
    ones,
    ones_like,
    permute_dims,
    repeat,
    reshape,
    result_dtype,
    roll,
    set_default_dtype,
    shape,
    squeeze,
    stack,
    take,
    take_along_axis,
    tile,
    to_device,
    to_numpy,
    tril,
    triu,
    zeros,
    zeros_like,
)
from ppl_jax.special import logsumexp

# --- elementwise ---


def abs(x):
    """Return the absolute value."""
    return jnp.abs(x)


def negative(x):
    """Return ``-x``."""
    return jnp.negative(x)


def sign(x):
    """Return the sign."""
    return jnp.sign(x)


def exp(x):
    """Return ``e**x``."""
    return jnp.exp(x)


def expm1(x):
    """Return ``e**x - 1``."""
    return jnp.expm1(x)


def log(x):
    """Return the natural logarithm."""
    return jnp.log(x)


def log1p(x):
    """Return ``log(1 + x)``."""
    return jnp.log1p(x)


def sqrt(x):
    """Return the square root."""
    return jnp.sqrt(x)


def square(x):
    """Return ``x * x``."""
    return jnp.square(x)


def reciprocal(x):
    """Return ``1 / x``."""
    return 1.0 / array(x)


def sin(x):
    """Return the sine."""
    return jnp.sin(x)


def cos(x):
    """Return the cosine."""
    return jnp.cos(x)


def tan(x):
    """Return the tangent."""
    return jnp.tan(x)


def asin(x):
    """Return the arc sine."""
    return jnp.arcsin(x)


def acos(x):
    """Return the arc cosine."""
    return jnp.arccos(x)


def atan(x):
    """Return the arc tangent."""
    return jnp.arctan(x)


def atan2(x1, x2):
    """Return the angle of the point ``(x2, x1)``."""
    return jnp.arctan2(x1, x2)


def sinh(x):
    """Return the hyperbolic sine."""
    return jnp.sinh(x)


def cosh(x):
    """Return the hyperbolic cosine."""
    return jnp.cosh(x)


def tanh(x):
    """Return the hyperbolic tangent."""
    return jnp.tanh(x)


def floor(x):
    """Round down."""
    return jnp.floor(x)


def ceil(x):
    """Round up."""
    return jnp.ceil(x)


def round(x):
    """Round to the nearest integer, halves to even."""
    return jnp.round(x)


def add(x1, x2):
    """Return ``x1 + x2``."""
    return jnp.add(x1, x2)


def subtract(x1, x2):
    """Return ``x1 - x2``."""
    return jnp.subtract(x1, x2)


def multiply(x1, x2):
    """Return ``x1 * x2``."""
    return jnp.multiply(x1, x2)


def divide(x1, x2):
    """Return ``x1 / x2``."""
    return jnp.true_divide(x1, x2)


def power(x1, x2):
    """Return ``x1 ** x2``."""
    return jnp.power(x1, x2)


def remainder(x1, x2):
    """Return the remainder with the sign of ``x2``."""
    return jnp.remainder(x1, x2)


def maximum(x1, x2):
    """Return the larger of each pair."""
    return jnp.maximum(x1, x2)


def minimum(x1, x2):
    """Return the smaller of each pair."""
    return jnp.minimum(x1, x2)


def clip(x, min=None, max=None):
    """Limit ``x`` to ``[min, max]``; the gradient is one inside and at the bounds (``jnp.clip`` halves it there)."""
    return _clip(x, min, max)


@jax.jit
def _clip(x, low, high):
    if low is not None:
        x = jnp.where(x < low, low, x)
    if high is not None:
        x = jnp.where(x > high, high, x)
    return jnp.asarray(x)


def where(condition, x1, x2):
    """Choose by ``condition``."""
    return jnp.where(condition, x1, x2)


def logaddexp(x1, x2):
    """Return ``log(exp(x1) + exp(x2))``; zero gradient for two ``-inf``, where jax's own is NaN."""
    return _logaddexp(x1, x2)


@jax.jit
def _logaddexp(x1, x2):
    empty = (x1 == -jnp.inf) & (x2 == -jnp.inf)
    return jnp.where(empty, -jnp.inf, jnp.logaddexp(jnp.where(empty, 0.0, x1), jnp.where(empty, 0.0, x2)))


def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    """Replace NaN and infinities."""
    return jnp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def isnan(x):
    """Return whether each element is NaN."""
    return jnp.isnan(x)


def isinf(x):
    """Return whether each element is infinite."""
    return jnp.isinf(x)


def isfinite(x):
    """Return whether each element is finite."""
    return jnp.isfinite(x)


def equal(x1, x2):
    """Return ``x1 == x2``."""
    return jnp.equal(x1, x2)


def not_equal(x1, x2):
    """Return ``x1 != x2``."""
    return jnp.not_equal(x1, x2)


def less(x1, x2):
    """Return ``x1 < x2``."""
    return jnp.less(x1, x2)


def less_equal(x1, x2):
    """Return ``x1 <= x2``."""
    return jnp.less_equal(x1, x2)


def greater(x1, x2):
    """Return ``x1 > x2``."""
    return jnp.greater(x1, x2)


def greater_equal(x1, x2):
    """Return ``x1 >= x2``."""
    return jnp.greater_equal(x1, x2)


def logical_and(x1, x2):
    """Return whether both hold."""
    return jnp.logical_and(x1, x2)


def logical_or(x1, x2):
    """Return whether at least one holds."""
    return jnp.logical_or(x1, x2)


def logical_not(x):
    """Return the negation."""
    return jnp.logical_not(x)


# --- reductions and ordering ---


def sum(x, axis=None, keepdims=False):
    """Return the sum."""
    return jnp.sum(x, axis=axis, keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    """Return the product."""
    return jnp.prod(x, axis=axis, keepdims=keepdims)


def mean(x, axis=None, keepdims=False):
    """Return the arithmetic mean."""
    return jnp.mean(x, axis=axis, keepdims=keepdims)


def var(x, axis=None, correction=0, keepdims=False):
    """Return the variance."""
    return jnp.var(x, axis=axis, ddof=correction, keepdims=keepdims)


def std(x, axis=None, correction=0, keepdims=False):
    """Return the standard deviation."""
    return jnp.std(x, axis=axis, ddof=correction, keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """Return the largest element."""
    return jnp.max(x, axis=axis, keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """Return the smallest element."""
    return jnp.min(x, axis=axis, keepdims=keepdims)


def argmax(x, axis=None):
    """Return the index of the first largest element."""
    return jnp.argmax(x, axis=axis)


def argmin(x, axis=None):
    """Return the index of the first smallest element."""
    return jnp.argmin(x, axis=axis)


def any(x, axis=None, keepdims=False):
    """Return whether any element is true."""
    return jnp.any(x, axis=axis, keepdims=keepdims)


def all(x, axis=None, keepdims=False):
    """Return whether all elements are true."""
    return jnp.all(x, axis=axis, keepdims=keepdims)


def cumsum(x, axis=-1):
    """Return cumulative sums."""
    return jnp.cumsum(x, axis=axis)


def cumprod(x, axis=-1):
    """Return cumulative products."""
    return jnp.cumprod(x, axis=axis)


def autocorrelate(x):
    """Return the sums of products at each lag along the last axis."""
    x = array(x)
    length = x.shape[-1]
    size = 2 ** (2 * length - 1).bit_length()
    spectrum = jnp.fft.rfft(x, n=size)
    return jnp.fft.irfft(jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2, n=size)[..., :length]


def sort(x, axis=-1):
    """Return the elements in ascending order."""
    return jnp.sort(x, axis=axis)


def argsort(x, axis=-1):
    """Return the indices that sort, stable."""
    return jnp.argsort(x, axis=axis, stable=True)


def searchsorted(sorted_sequence, values, side="left"):
    """Return insertion indices."""
    return jnp.searchsorted(array(sorted_sequence), array(values), side=side)


# --- derived functions that win here ---


def log_recursion(start, log_factors):
    """Carry log weights through a chain of matrices, with the derivative in closed form: that of a loop keeps each product."""
    dtype = jnp.result_type(start, log_factors)
    return _log_recursion(jnp.asarray(start, dtype), jnp.asarray(log_factors, dtype))


@jax.jit
def _log_recursion(start, log_factors):
    batch = jnp.broadcast_shapes(start.shape[:-1], log_factors.shape[:-3])
    start = jnp.broadcast_to(start, (*batch, start.shape[-1]))
    return _last_weights(start, jnp.moveaxis(log_factors, -3, 0))


def _log_step(before, factor):
    return logsumexp(before[..., :, None] + factor, axis=-2)


@jax.custom_jvp
def _last_weights(start, factors):
    """Return the log weights after the last step."""
    return jax.lax.scan(lambda before, factor: (_log_step(before, factor), None), start, factors)[0]


@_last_weights.defjvp
def _last_weights_jvp(primals, tangents):
    weights, moved = jax.jvp(_weights, primals, tangents)
    return weights[-1], moved[-1]


@jax.custom_jvp
def _weights(start, factors):
    """Return the log weights after each step."""

    def step(before, factor):
        after = _log_step(before, factor)
        return after, after

    return jax.lax.scan(step, start, factors)[1]


@_weights.defjvp
def _weights_jvp(primals, tangents):
    start, factors = primals
    weights = _weights(start, factors)
    before = jnp.concatenate([start[None], weights[:-1]])
    top = jnp.max(before, axis=-1, keepdims=True)
    # The probability of each state before a step given the one after; what all terms share would only cost digits.
    terms = (before - jnp.where(jnp.isfinite(top), top, 0.0))[..., :, None] + factors
    total = logsumexp(terms, axis=-2, keepdims=True)
    shares = jnp.exp(terms - jnp.where(jnp.isneginf(total), 0.0, total))

    def step(moved, column):
        share, push = column
        moved = jnp.sum(moved[..., :, None] * share, axis=-2) + push
        return moved, moved

    pushes = jnp.sum(shares * tangents[1], axis=-2)
    return weights, jax.lax.scan(step, tangents[0], (shares, pushes))[1]
