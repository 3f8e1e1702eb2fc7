"""Array functions over torch: elementwise functions and reductions, with those of :mod:`ppl_torch.shaping`."""

import math

import torch
from torch import Tensor

from ppl_torch.convert import dimensions, floating, pair, promoted, tensor, tensors
from ppl_torch.shaping import (  # noqa: F401  handed out with the functions below
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
)  # fmt: skip
from ppl_torch.special import logsumexp
from ppl_torch.tracing import is_tracing


def abs(x):
    return torch.abs(tensor(x))


def negative(x):
    return -tensor(x)


def sign(x):
    return torch.sign(tensor(x))


def exp(x):
    return torch.exp(tensor(x))


def expm1(x):
    return torch.expm1(tensor(x))


def log(x):
    return torch.log(tensor(x))


def log1p(x):
    return torch.log1p(tensor(x))


def sqrt(x):
    return torch.sqrt(tensor(x))


def square(x):
    return torch.square(tensor(x))


def reciprocal(x):
    return torch.reciprocal(tensor(x))


def sin(x):
    return torch.sin(tensor(x))


def cos(x):
    return torch.cos(tensor(x))


def tan(x):
    return torch.tan(tensor(x))


def asin(x):
    return torch.asin(tensor(x))


def acos(x):
    return torch.acos(tensor(x))


def atan(x):
    return torch.atan(tensor(x))


def atan2(x1, x2):
    return torch.atan2(*pair(x1, x2))


def sinh(x):
    return torch.sinh(tensor(x))


def cosh(x):
    return torch.cosh(tensor(x))


def tanh(x):
    return torch.tanh(tensor(x))


def floor(x):
    return torch.floor(tensor(x))


def ceil(x):
    return torch.ceil(tensor(x))


def round(x):
    return torch.round(tensor(x))


def _operands(x1, x2):
    """Return operands of a Python operator: one number may stay a number, which spares a tensor in recorded graphs."""
    first, second = isinstance(x1, Tensor), isinstance(x2, Tensor)
    if first and second:
        return x1, x2
    if first and isinstance(x2, (int, float)):
        return x1, x2
    if second and isinstance(x1, (int, float)):
        return x1, x2
    return tensors((x1, x2))


def add(x1, x2):
    x1, x2 = _operands(x1, x2)
    return x1 + x2


def subtract(x1, x2):
    x1, x2 = pair(x1, x2)
    return x1 - x2


def multiply(x1, x2):
    x1, x2 = _operands(x1, x2)
    return x1 * x2


def divide(x1, x2):
    x1, x2 = _operands(x1, x2)
    return x1 / x2


def power(x1, x2):
    x1, x2 = _operands(x1, x2)
    return x1**x2


def remainder(x1, x2):
    return torch.remainder(*pair(x1, x2))


def maximum(x1, x2):
    return torch.maximum(*pair(x1, x2))


def minimum(x1, x2):
    return torch.minimum(*pair(x1, x2))


def clip(x, min=None, max=None):
    x = tensor(x)
    if min is None and max is None:
        return x
    numbers = (int, float, type(None))
    if isinstance(min, numbers) and isinstance(max, numbers):
        return torch.clamp(x, min=min, max=max)
    lower = None if min is None else pair(x, min)[1]
    upper = None if max is None else pair(x, max)[1]
    return torch.clamp(x, min=lower, max=upper)


def where(condition, x1, x2):
    condition = tensor(condition)
    x1, x2 = (x if isinstance(x, (Tensor, bool, int, float)) else tensor(x) for x in (x1, x2))
    return torch.where(condition if condition.dtype == torch.bool else condition.to(torch.bool), x1, x2)


def logaddexp(x1, x2):
    x1, x2 = pair(x1, x2)
    # torch's gradient is NaN where both are -inf; there the operands are replaced before and the result after.
    empty = torch.maximum(x1, x2) == -math.inf
    result = torch.logaddexp(torch.where(empty, 0.0, x1), torch.where(empty, 0.0, x2))
    return torch.where(empty, -math.inf, result)


def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    return torch.nan_to_num(tensor(x), nan=nan, posinf=posinf, neginf=neginf)


def isnan(x):
    return torch.isnan(tensor(x))


def isinf(x):
    return torch.isinf(tensor(x))


def isfinite(x):
    return torch.isfinite(tensor(x))


def equal(x1, x2):
    return torch.eq(*pair(x1, x2))


def not_equal(x1, x2):
    return torch.ne(*pair(x1, x2))


def less(x1, x2):
    return torch.lt(*pair(x1, x2))


def less_equal(x1, x2):
    return torch.le(*pair(x1, x2))


def greater(x1, x2):
    return torch.gt(*pair(x1, x2))


def greater_equal(x1, x2):
    return torch.ge(*pair(x1, x2))


def logical_and(x1, x2):
    return torch.logical_and(*pair(x1, x2))


def logical_or(x1, x2):
    return torch.logical_or(*pair(x1, x2))


def logical_not(x):
    return torch.logical_not(tensor(x))


def sum(x, axis=None, keepdims=False):
    x = tensor(x)
    if axis is None and not keepdims:
        return torch.sum(x)
    dims = dimensions(x, axis)
    if not dims:
        return x.to(torch.int64) if x.dtype == torch.bool else x
    return torch.sum(x, dim=dims, keepdim=keepdims)


def prod(x, axis=None, keepdims=False):
    x = tensor(x)
    for dim in sorted((dim % x.ndim for dim in dimensions(x, axis)), reverse=True):
        x = torch.prod(x, dim=dim, keepdim=keepdims)
    return x


def mean(x, axis=None, keepdims=False):
    x = floating(x)
    dims = dimensions(x, axis)
    return torch.mean(x, dim=dims, keepdim=keepdims) if dims else x


def var(x, axis=None, correction=0, keepdims=False):
    x = floating(x)
    dims = dimensions(x, axis)
    return torch.var(x, dim=dims, correction=correction, keepdim=keepdims) if dims else torch.zeros_like(x)


def std(x, axis=None, correction=0, keepdims=False):
    return torch.sqrt(var(x, axis, correction, keepdims))


def max(x, axis=None, keepdims=False):
    x = tensor(x)
    dims = dimensions(x, axis)
    return torch.amax(x, dim=dims, keepdim=keepdims) if dims else x


def min(x, axis=None, keepdims=False):
    x = tensor(x)
    dims = dimensions(x, axis)
    return torch.amin(x, dim=dims, keepdim=keepdims) if dims else x


def _comparable(x):
    x = tensor(x)
    return x.to(torch.uint8) if x.dtype == torch.bool else x


def argmax(x, axis=None):
    return torch.argmax(_comparable(x), dim=axis)


def argmin(x, axis=None):
    return torch.argmin(_comparable(x), dim=axis)


def any(x, axis=None, keepdims=False):
    x = tensor(x)
    dims = dimensions(x, axis)
    return torch.any(x, dim=dims, keepdim=keepdims) if dims else x.to(torch.bool)


def all(x, axis=None, keepdims=False):
    x = tensor(x)
    dims = dimensions(x, axis)
    return torch.all(x, dim=dims, keepdim=keepdims) if dims else x.to(torch.bool)


def cumsum(x, axis=-1):
    return torch.cumsum(tensor(x), dim=axis)


def cumprod(x, axis=-1):
    x = tensor(x)
    if x.ndim == 0 or not x.is_floating_point():
        return torch.cumprod(x, dim=axis)
    # Hillis-Steele scan: products only, so the gradient is right at zeros; torch's own looks for zeros, which no trace may do.
    size, step = x.shape[axis], 1
    while step < size:
        later = x.narrow(axis, step, size - step) * x.narrow(axis, 0, size - step)
        x = torch.cat([x.narrow(axis, 0, step), later], dim=axis)
        step *= 2
    return x


def autocorrelate(x):
    x = tensor(x)
    length = x.shape[-1]
    size = 2 ** (2 * length - 1).bit_length()
    spectrum = torch.fft.rfft(x, n=size)
    return torch.fft.irfft(spectrum.real**2 + spectrum.imag**2, n=size)[..., :length]


def sort(x, axis=-1):
    return torch.sort(tensor(x), dim=axis).values


def argsort(x, axis=-1):
    return torch.argsort(tensor(x), dim=axis, stable=True)


def searchsorted(sorted_sequence, values, side="left"):
    sequence, values = promoted(list(pair(sorted_sequence, values)))
    return torch.searchsorted(sequence.contiguous(), values.contiguous(), side=side)


# ---- derived functions that win here ----


def log_matmul(x, y):
    """Multiply the exponentials, with rows and columns divided by their largest elements, unless a sum would underflow."""
    x, y = floating(tensor(x)), floating(tensor(y))
    if not is_tracing() and x.device.type == "cpu":
        product = _by_tops(x, y)
        if product is not None:
            return product
    return logsumexp(x[..., :, :, None] + y[..., None, :, :], axis=-2)


def _by_tops(x, y):
    tops = (torch.amax(x.detach(), dim=-1, keepdim=True), torch.amax(y.detach(), dim=-2, keepdim=True))
    rows, columns = (torch.where(torch.isfinite(top), top, 0.0) for top in tops)
    total = torch.matmul(torch.exp(x - rows), torch.exp(y - columns))
    limits = torch.finfo(total.dtype)
    # What underflows is less than ``tiny`` a term; above this it is less than rounding.
    small = ~(total.detach() >= x.shape[-1] * limits.tiny / limits.eps)
    if not bool(small.any()):
        return torch.log(total) + rows + columns
    possible = torch.matmul(*((one.detach() != -math.inf).to(total.dtype) for one in (x, y)))
    if bool((small & (possible > 0)).any()):
        return None
    return torch.where(small, -math.inf, torch.log(torch.where(small, 1.0, total)) + rows + columns)
