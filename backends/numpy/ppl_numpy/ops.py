"""Elementwise functions, reductions and cumulative functions; shapes and creation come from :mod:`ppl_numpy.shaping`.

Each function calls NumPy directly where its first argument is a plain array, and autograd's wrapper where it may be
differentiated or recorded. Floating-point warnings (``log(0)`` and the like) are silent inside these functions:
the value says it.
"""

import math

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp

from ppl_numpy import rules
from ppl_numpy.primitives import PLAIN, constant, cumulative_product, elementwise_vjp, is_box, primitive, take_along, unbroadcast
from ppl_numpy.shaping import *  # noqa: F403  handed out with the functions below
from ppl_numpy.shaping import (
    astype,
    broadcast_to,
    dtype_name,
    is_floating,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
    shape,
)

_quiet = np.errstate

# ---- elementwise ----

_abs = primitive(np.absolute)
elementwise_vjp(_abs, lambda ans, x: sign(x))


def abs(x):
    return _abs(x)


def negative(x):
    return np.negative(x) if type(x) in PLAIN else anp.negative(x)


def sign(x):
    return np.sign(x) if type(x) in PLAIN else anp.sign(x)


def exp(x):
    with _quiet(over="ignore", under="ignore"):
        return np.exp(x) if type(x) in PLAIN else anp.exp(x)


def expm1(x):
    with _quiet(over="ignore", under="ignore"):
        return np.expm1(x) if type(x) in PLAIN else anp.expm1(x)


def log(x):
    with _quiet(divide="ignore", invalid="ignore"):
        return np.log(x) if type(x) in PLAIN else anp.log(x)


def log1p(x):
    with _quiet(divide="ignore", invalid="ignore"):
        return np.log1p(x) if type(x) in PLAIN else anp.log1p(x)


def sqrt(x):
    with _quiet(invalid="ignore"):
        return np.sqrt(x) if type(x) in PLAIN else anp.sqrt(x)


def square(x):
    with _quiet(over="ignore", under="ignore"):
        return np.square(x) if type(x) in PLAIN else anp.square(x)


def reciprocal(x):
    with _quiet(all="ignore"):
        return 1.0 / x if type(x) is np.ndarray else anp.true_divide(1.0, x)


def sin(x):
    with _quiet(invalid="ignore"):
        return anp.sin(x)


def cos(x):
    with _quiet(invalid="ignore"):
        return anp.cos(x)


def tan(x):
    with _quiet(invalid="ignore"):
        return anp.tan(x)


def asin(x):
    with _quiet(invalid="ignore"):
        return anp.arcsin(x)


def acos(x):
    with _quiet(invalid="ignore"):
        return anp.arccos(x)


def atan(x):
    return anp.arctan(x)


def atan2(x1, x2):
    return anp.arctan2(x1, x2)


def sinh(x):
    with _quiet(over="ignore"):
        return anp.sinh(x)


def cosh(x):
    with _quiet(over="ignore"):
        return anp.cosh(x)


_tanh = primitive(np.tanh)
elementwise_vjp(_tanh, lambda ans, x: 1.0 - ans * ans)


def tanh(x):
    return np.tanh(x) if type(x) in PLAIN else _tanh(x)


def floor(x):
    return anp.floor(x)


def ceil(x):
    return anp.ceil(x)


def round(x):
    return anp.rint(x) if is_floating(x) else x


def add(x1, x2):
    return anp.add(x1, x2)


def subtract(x1, x2):
    with _quiet(invalid="ignore"):
        return anp.subtract(x1, x2)


def multiply(x1, x2):
    with _quiet(all="ignore"):
        return anp.multiply(x1, x2)


def divide(x1, x2):
    with _quiet(all="ignore"):
        return anp.true_divide(x1, x2)


def _power_base(ans, x, y):
    return y * power(x, where(anp.not_equal(y, 0), y - 1.0, 1.0))


def _power_exponent(ans, x, y):
    return log(where(anp.not_equal(x, 0), x, 1.0)) * ans


_power = primitive(np.power)
elementwise_vjp(_power, _power_base, _power_exponent)


def power(x1, x2):
    if type(x2) is int and type(x1) is np.ndarray and x1.dtype.kind in "iu" and x2 < 0:
        x1 = x1 * 1.0
    with _quiet(all="ignore"):
        return _power(x1, x2)


def remainder(x1, x2):
    with _quiet(all="ignore"):
        return anp.remainder(x1, x2)


def maximum(x1, x2):
    return np.maximum(x1, x2) if type(x1) in PLAIN and type(x2) in PLAIN else anp.maximum(x1, x2)


def minimum(x1, x2):
    return np.minimum(x1, x2) if type(x1) in PLAIN and type(x2) in PLAIN else anp.minimum(x1, x2)


_clip = primitive(lambda x, low, high: np.clip(x, low, high), rules.elementwise)


def _clip_vjp(argnum):
    def make(ans, x, low, high):
        bound = shape((x, low, high)[argnum])
        below = False if low is None else anp.less(x, low)
        above = False if high is None else anp.greater(x, high)
        chosen = (anp.logical_not(anp.logical_or(below, above)), below, above)[argnum]
        return lambda g: unbroadcast(where(chosen, g, 0.0), bound)

    return make


defvjp(_clip, _clip_vjp(0), _clip_vjp(1), _clip_vjp(2))


def clip(x, min=None, max=None):
    if min is None and max is None:
        return x
    return _clip(x, min, max)


_where = primitive(np.where)


def _where_vjp(argnum):
    def make(ans, condition, x1, x2):
        target = shape((x1, x2)[argnum])

        def vjp(g):
            zero = anp.zeros_like(g)
            return unbroadcast(_where(condition, g, zero) if argnum == 0 else _where(condition, zero, g), target)

        return vjp

    return make


defvjp(_where, None, _where_vjp(0), _where_vjp(1))


def where(condition, x1, x2):
    return _where(condition, x1, x2)


_logaddexp = primitive(np.logaddexp)


def _weight(x, total):
    """Return ``exp(x - total)``, and zero where both are infinite below."""
    return exp(where(anp.isneginf(x), -np.inf, x - where(anp.isinf(total), 0.0, total)))


elementwise_vjp(_logaddexp, lambda ans, x1, x2: _share(x1, ans, x2), lambda ans, x1, x2: _share(x2, ans, x1))


def _share(x, total, other):
    return where(anp.isposinf(total), anp.isposinf(x) / (1.0 + anp.equal(x, other)), _weight(x, total))


def logaddexp(x1, x2):
    with _quiet(all="ignore"):
        return np.logaddexp(x1, x2) if type(x1) in PLAIN and type(x2) in PLAIN else _logaddexp(x1, x2)


_nan_to_num = primitive(lambda x, nan, posinf, neginf: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf), rules.elementwise)
defvjp(_nan_to_num, lambda ans, x, nan, posinf, neginf: lambda g: where(anp.isfinite(x), g, 0.0))


def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    return _nan_to_num(x, nan, posinf, neginf)


def isnan(x):
    return anp.isnan(x)


def isinf(x):
    return anp.isinf(x)


def isfinite(x):
    return anp.isfinite(x)


def equal(x1, x2):
    return anp.equal(x1, x2)


def not_equal(x1, x2):
    return anp.not_equal(x1, x2)


def less(x1, x2):
    return anp.less(x1, x2)


def less_equal(x1, x2):
    return anp.less_equal(x1, x2)


def greater(x1, x2):
    return anp.greater(x1, x2)


def greater_equal(x1, x2):
    return anp.greater_equal(x1, x2)


def logical_and(x1, x2):
    return anp.logical_and(x1, x2)


def logical_or(x1, x2):
    return anp.logical_or(x1, x2)


def logical_not(x):
    return anp.logical_not(x)


# ---- reductions ----


def _kept(x, axis):
    """Return the shape of a reduction of ``x`` along ``axis`` with ``keepdims=True``."""
    size = shape(x)
    if axis is None:
        return (1,) * len(size)
    axes = {a % len(size) for a in (axis if isinstance(axis, tuple) else (axis,))} if size else set()
    return tuple(1 if i in axes else n for i, n in enumerate(size))


_sum = primitive(np.sum)


def _sum_vjp(ans, x, axis=None, keepdims=False):
    kept, full_shape = _kept(x, axis), shape(x)
    return lambda g: broadcast_to(reshape(g, kept), full_shape)


defvjp(_sum, _sum_vjp)


def sum(x, axis=None, keepdims=False):
    if type(x) is np.ndarray:
        return np.sum(x, axis=axis, keepdims=keepdims)
    return _sum(x, axis=axis, keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    if type(x) is np.ndarray:
        return np.prod(x, axis=axis, keepdims=keepdims)
    return _prod(x, axis=axis, keepdims=keepdims)


_prod = primitive(np.prod)


def _prod_vjp(ans, x, axis=None, keepdims=False):
    size, kept = shape(x), _kept(x, axis)
    inside = [
        i for i, (n, k) in enumerate(zip(size, kept, strict=True)) if axis is None or (k == 1 and _reduced(i, axis, len(size)))
    ]
    order = [i for i in range(len(size)) if i not in inside] + inside
    outer = tuple(size[i] for i in order[: len(size) - len(inside)])
    moved_shape = tuple(size[i] for i in order)

    def vjp(g):
        flat = reshape(permute_dims(x, tuple(order)), (*outer, math.prod(size[i] for i in inside)))
        one = anp.ones_like(flat[..., :1])
        left = anp.concatenate([one, cumulative_product(flat)[..., :-1]], axis=-1)
        right = anp.concatenate([anp.flip(cumulative_product(anp.flip(flat, -1)), -1)[..., 1:], one], axis=-1)
        others = permute_dims(reshape(left * right, moved_shape), tuple(int(i) for i in np.argsort(order)))
        return reshape(g, kept) * others

    return vjp


def _reduced(i, axis, ndim):
    return i in {a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))}


defvjp(_prod, _prod_vjp)


def mean(x, axis=None, keepdims=False):
    if type(x) is np.ndarray:
        return np.mean(x, axis=axis, keepdims=keepdims)
    count = math.prod(shape(x)) / _larger(1, math.prod(_kept(x, axis)))
    return sum(x, axis=axis, keepdims=keepdims) / count


def var(x, axis=None, correction=0, keepdims=False):
    with _quiet(all="ignore"):
        if type(x) is np.ndarray:
            return np.var(x, axis=axis, ddof=correction, keepdims=keepdims)
        count = math.prod(shape(x)) / _larger(1, math.prod(_kept(x, axis)))
        return sum(square(x - mean(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims) / (count - correction)


def std(x, axis=None, correction=0, keepdims=False):
    return sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def _larger(x1, x2):
    """Return the larger of two ints: the builtin's name is taken here."""
    return x1 if x1 > x2 else x2


_max, _min = primitive(np.max), primitive(np.min)


def _chooser_vjp(ans, x, axis=None, keepdims=False):
    kept = _kept(x, axis)

    def vjp(g):
        chosen = anp.equal(x, reshape(ans, kept))
        return where(chosen, reshape(g, kept) / anp.sum(chosen, axis=axis, keepdims=True), 0.0)

    return vjp


defvjp(_max, _chooser_vjp)
defvjp(_min, _chooser_vjp)


def max(x, axis=None, keepdims=False):
    return _max(x, axis=axis, keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    return _min(x, axis=axis, keepdims=keepdims)


def argmax(x, axis=None):
    return anp.argmax(x, axis)


def argmin(x, axis=None):
    return anp.argmin(x, axis)


def any(x, axis=None, keepdims=False):
    return anp.any(x, axis, keepdims=keepdims)


def all(x, axis=None, keepdims=False):
    return anp.all(x, axis, keepdims=keepdims)


_cumsum = primitive(lambda x, axis: np.cumsum(x, axis), rules.along)
defvjp(_cumsum, lambda ans, x, axis: lambda g: anp.flip(_cumsum(anp.flip(g, axis), axis), axis))


def cumsum(x, axis=-1):
    return _cumsum(x, axis)


def cumprod(x, axis=-1):
    if type(x) is np.ndarray:
        return np.cumprod(x, axis)
    return moveaxis(cumulative_product(moveaxis(x, axis, -1)), -1, axis)


def autocorrelate(x):
    module, (*batch, length) = np if type(x) is np.ndarray else anp, shape(x)
    padding = np.zeros((*batch, 2 ** (2 * length - 1).bit_length() - length), dtype_name(x))
    spectrum = module.fft.rfft(module.concatenate([x, padding], axis=-1), axis=-1)
    power = module.real(spectrum) ** 2 + module.imag(spectrum) ** 2
    return astype(module.fft.irfft(power, axis=-1)[..., :length], dtype_name(x))


_argsort = constant(lambda x, axis: np.argsort(x, axis, kind="stable"), rules.along)


def sort(x, axis=-1):
    return np.sort(x, axis) if type(x) is np.ndarray else take_along(x, _argsort(x, axis), axis)


def argsort(x, axis=-1):
    return _argsort(x, axis)


_searchsorted = constant(lambda sorted_sequence, values, side: np.searchsorted(sorted_sequence, values, side))


def searchsorted(sorted_sequence, values, side="left"):
    return _searchsorted(sorted_sequence, values, side)


# ---- derived functions that win here ----


def _by_tops(x, y):
    """Return ``exp(x) @ exp(y)`` with rows and columns divided by their largest elements, and the logarithms of these."""
    tops = np.max(x, axis=-1, keepdims=True), np.max(y, axis=-2, keepdims=True)
    rows, columns = (np.where(np.isfinite(top), top, 0.0) for top in tops)
    left, right = np.exp(x - rows), np.exp(y - columns)
    return np.matmul(left, right), rows + columns, left, right


def _lost(total, x, y):
    """Return which matrices have an element whose terms underflow, where its sum is not zero."""
    limits = np.finfo(total.dtype)
    # What underflows is less than ``tiny`` a term; above this it is less than rounding.
    lost = ~(total >= x.shape[-1] * limits.tiny / limits.eps)
    if lost.any():
        possible = (np.where(one == -math.inf, 0.0, 1.0).astype(total.dtype) for one in (x, y))
        lost &= np.matmul(*possible) > 0
    return lost.any((-1, -2))


def _terms(x, y):
    return x[..., :, :, None] + y[..., None, :, :]


def _log_matmul_plain(x, y):
    with _quiet(all="ignore"):
        total, tops, _, _ = _by_tops(x, y)
        lost = _lost(total, x, y)
        result = np.log(total) + tops
        if lost.any():
            terms = _terms(*(np.broadcast_to(one, lost.shape + one.shape[-2:])[lost] for one in (x, y)))
            top = np.max(terms, axis=-2, keepdims=True)
            top = np.where(np.isfinite(top), top, 0.0)
            result[lost] = np.log(np.sum(np.exp(terms - top), axis=-2)) + top[..., 0, :]
    return result


def _log_matmul_pull_plain(g, product, x, y):
    """Return the sum over columns of ``g`` times the share of each term: the gradient in ``x``, batches not yet summed."""
    with _quiet(all="ignore"):
        total, _, left, right = _by_tops(x, y)
        lost = _lost(total, x, y)
        share = np.where(product == -math.inf, 0.0, g / total)
        result = left * np.matmul(share, np.swapaxes(right, -1, -2))
        if lost.any():
            g, product, x, y = (np.broadcast_to(one, lost.shape + one.shape[-2:])[lost] for one in (g, product, x, y))
            result[lost] = _pull_of_terms(g, product, x, y)
    return result


def _pull_of_terms(g, product, x, y):
    total = where(anp.equal(product, -math.inf), 0.0, product)
    return anp.sum(g[..., None, :] * exp(_terms(x, y) - total[..., None, :]), axis=-1)


_log_matmul = primitive(_log_matmul_plain, rules.matrices)
_pull = primitive(_log_matmul_pull_plain, rules.matrices)


def _log_matmul_vjp(argnum):
    def make(ans, x, y):
        size = shape((x, y)[argnum])

        def vjp(g):
            parts = (g, ans, x, y) if argnum == 0 else tuple(map(matrix_transpose, (g, ans, y, x)))
            # A derivative of a derivative goes through all terms.
            pulled = _pull_of_terms(*parts) if any(map(is_box, parts)) else _pull(*parts)
            return unbroadcast(pulled if argnum == 0 else matrix_transpose(pulled), size)

        return vjp

    return make


defvjp(_log_matmul, _log_matmul_vjp(0), _log_matmul_vjp(1))


def log_matmul(x, y):
    return _log_matmul(x, y)
