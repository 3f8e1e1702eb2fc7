"""Creation, conversion, shape and indexing: the part of :mod:`ppl_numpy.ops` that moves elements without computing."""

import operator
import threading

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, defvjp_argnums
from autograd.tracer import getval

from ppl.errors import PplError, ShapeError
from ppl_numpy import recording, rules
from ppl_numpy.primitives import ARRAY_TYPES, PLAIN, constant, is_box, primitive, scatter, take_along, unbroadcast
from ppl_numpy.recording import Recorded, RecordingError

__all__ = [
    "arange",
    "array",
    "astype",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "concat",
    "default_dtype",
    "device",
    "diag_embed",
    "diagonal",
    "dtype_name",
    "expand_dims",
    "eye",
    "finfo",
    "flip",
    "full",
    "full_like",
    "index_add",
    "index_update",
    "is_array",
    "is_floating",
    "linspace",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "ndim",
    "one_hot",
    "ones",
    "ones_like",
    "permute_dims",
    "repeat",
    "reshape",
    "result_dtype",
    "roll",
    "set_default_dtype",
    "shape",
    "squeeze",
    "stack",
    "take",
    "take_along_axis",
    "tile",
    "to_device",
    "to_numpy",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

_dtype_lock = threading.Lock()
# A dtype works its name out anew at each question.
_default_name = "float64"
_default = np.dtype(_default_name)


def _dtype(dtype):
    return _default if dtype is None else np.dtype(dtype)


def _shape(shape):
    return (operator.index(shape),) if not isinstance(shape, (tuple, list)) else tuple(shape)


def default_dtype():
    return _default_name


def set_default_dtype(dtype):
    global _default, _default_name
    name = np.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise PplError(f"the default dtype is 'float32' or 'float64', got {name!r}")
    with _dtype_lock:
        _default, _default_name = np.dtype(name), name


# ---- creation ----


def array(x, dtype=None):
    kind = type(x)
    if kind is np.ndarray or isinstance(x, np.generic):
        return np.asarray(x) if dtype is None else np.asarray(x, dtype)
    if isinstance(x, ARRAY_TYPES):
        return x if dtype is None else astype(x, dtype)
    if isinstance(x, (list, tuple)) and any(_is_special(part) for part in _flat(x)):
        return stack([array(part, dtype) for part in x])
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    made = np.asarray(x)
    if dtype is None and not hasattr(x, "dtype") and made.dtype.kind == "f":
        made = made.astype(_default) if not _holds_arrays(x) else made
    return made if dtype is None else made.astype(dtype, copy=False)


def _is_special(value):
    return isinstance(value, (Recorded,)) or is_box(value)


def _flat(nested):
    for part in nested:
        if isinstance(part, (list, tuple)):
            yield from _flat(part)
        else:
            yield part


def _holds_arrays(nested):
    return isinstance(nested, (list, tuple)) and any(hasattr(part, "dtype") for part in _flat(nested))


def zeros(shape, dtype=None):
    return np.zeros(shape, _dtype(dtype))


def ones(shape, dtype=None):
    return np.ones(shape, _dtype(dtype))


def full(shape, fill_value, dtype=None):
    if _is_special(fill_value):
        return broadcast_to(fill_value if dtype is None else astype(fill_value, dtype), _shape(shape))
    if dtype is None and type(fill_value) is float:
        dtype = _default
    return np.full(shape, fill_value, dtype)


def eye(n, m=None, dtype=None):
    return np.eye(n, m, dtype=_dtype(dtype))


def arange(start, stop=None, step=1, dtype=None):
    made = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    if dtype is None and made.dtype.kind == "f":
        dtype = _default
    return made if dtype is None else made.astype(dtype, copy=False)


def linspace(start, stop, num):
    if _is_special(start) or _is_special(stop):
        weight = np.linspace(0.0, 1.0, num)
        tail = (1,) * max(ndim(start), ndim(stop))
        return start + (stop - start) * reshape(weight, (num, *tail))
    return np.linspace(start, stop, num, dtype=None if hasattr(start, "dtype") else _default)


def zeros_like(x, dtype=None):
    return np.zeros(shape(x), _dtype_of(x) if dtype is None else dtype)


def ones_like(x, dtype=None):
    return np.ones(shape(x), _dtype_of(x) if dtype is None else dtype)


def full_like(x, fill_value, dtype=None):
    return full(shape(x), fill_value, _dtype_of(x) if dtype is None else dtype)


def _dtype_of(x):
    if hasattr(x, "dtype"):
        return x.dtype
    return _default if isinstance(x, float) else np.result_type(np.asarray(x))


# ---- shape ----


def shape(x):
    return x.shape if isinstance(x, ARRAY_TYPES) else np.shape(x)


def ndim(x):
    return x.ndim if isinstance(x, ARRAY_TYPES) else np.ndim(x)


_reshape = primitive(np.reshape)
defvjp(_reshape, lambda ans, x, size: lambda g: reshape(g, anp.shape(x)))


def reshape(x, shape):
    return x.reshape(shape) if type(x) is np.ndarray else _reshape(x, _shape(shape))


def permute_dims(x, axes):
    return np.transpose(x, axes) if type(x) is np.ndarray else _transpose(x, tuple(axes))


_transpose = primitive(np.transpose)
defvjp(
    _transpose, lambda ans, x, axes: lambda g: permute_dims(g, tuple(int(i) for i in np.argsort([a % len(axes) for a in axes])))
)


def matrix_transpose(x):
    return anp.swapaxes(x, -1, -2)


def moveaxis(x, source, destination):
    return np.moveaxis(x, source, destination) if type(x) is np.ndarray else anp.moveaxis(x, source, destination)


def expand_dims(x, axis):
    return np.expand_dims(x, axis) if type(x) in PLAIN else anp.expand_dims(x, axis)


def squeeze(x, axis):
    return anp.squeeze(x, axis)


_broadcast_to = primitive(np.broadcast_to)
defvjp(_broadcast_to, lambda ans, x, size: lambda g: unbroadcast(g, anp.shape(x)))


def broadcast_to(x, shape):
    size = _shape(shape)
    if type(x) is np.ndarray and x.shape == size:
        return x
    return _broadcast_to(x if isinstance(x, ARRAY_TYPES) else array(x), size)


def broadcast_arrays(*arrays):
    size = broadcast_shapes(*map(shape, arrays))
    floats = [x.dtype for x in arrays if hasattr(x, "dtype") and x.dtype.kind == "f"]
    dtype = np.result_type(*floats) if floats else None
    return [broadcast_to(x if hasattr(x, "dtype") else array(x, dtype), size) for x in arrays]


def broadcast_shapes(*shapes):
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast; each dimension must agree or be 1") from None


_concat = primitive(recording.joined, rules.concatenation)


def _concat_vjp(argnums, ans, args, kwargs):
    axis, arrays = args[0], args[1:]
    ends = np.cumsum([shape(x)[axis] for x in arrays])

    def part(g, i):
        index = [slice(None)] * ndim(ans)
        index[axis] = slice(int(ends[i] - shape(arrays[i])[axis]), int(ends[i]))
        return g[tuple(index)]

    return lambda g: [part(g, i - 1) for i in argnums]


defvjp_argnums(_concat, _concat_vjp)


def concat(arrays, axis=0):
    return _concat(axis, *(x if isinstance(x, ARRAY_TYPES) else array(x) for x in arrays))


def stack(arrays, axis=0):
    arrays = [x if isinstance(x, ARRAY_TYPES) else array(x) for x in arrays]
    if all(type(x) in PLAIN for x in arrays):
        return np.stack(arrays, axis)
    return concat([expand_dims(x, axis) for x in arrays], axis)


def flip(x, axis):
    return anp.flip(x, axis)


_roll = primitive(np.roll)


def _roll_vjp(ans, x, shift, axis):
    back = tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift
    return lambda g: roll(g, back, axis)


defvjp(_roll, _roll_vjp)


def roll(x, shift, axis):
    return _roll(x, shift, axis)


def tile(x, repetitions):
    repetitions = _shape(repetitions)
    size = shape(x)
    extra = len(repetitions) - len(size)
    size, repetitions = (1,) * max(extra, 0) + tuple(size), (1,) * max(-extra, 0) + repetitions
    alternating = tuple(n for count, n in zip(repetitions, size, strict=True) for n in (1, n))
    wide = tuple(n for count, n in zip(repetitions, size, strict=True) for n in (count, n))
    return reshape(broadcast_to(reshape(x, alternating), wide), tuple(c * n for c, n in zip(repetitions, size, strict=True)))


def repeat(x, repeats, axis):
    return take(x, np.repeat(np.arange(shape(x)[axis]), repeats), axis)


_take = primitive(lambda x, indices, axis: np.take(x, indices, axis), rules.taking)


def _take_vjp(ans, x, indices, axis):
    size, dtype = shape(x), _dtype_of(x)
    index = (slice(None),) * (axis % len(size)) + (indices,)
    return lambda g: scatter(g, index, size, dtype)


defvjp(_take, _take_vjp)


def take(x, indices, axis):
    return _take(x, indices, axis)


def take_along_axis(x, indices, axis):
    return take_along(x, indices, axis)


def _updated(x, index, value):
    out = np.array(x, dtype=np.result_type(x, value) if type(value) is not bool else None)
    out[index] = value
    return out


def _added(x, index, value):
    out = np.array(x, dtype=np.result_type(x, value))
    np.add.at(out, index, value)
    return out


_update, _add = primitive(_updated, rules.change), primitive(_added, rules.change)
_cleared = primitive(lambda g, index: _updated(g, index, 0), rules.change)
defvjp(_cleared, lambda ans, g, index: lambda h: _cleared(h, index))
defvjp(
    _update,
    lambda ans, x, index, value: lambda g: _cleared(g, index),
    lambda ans, x, index, value: lambda g: unbroadcast(_last_writer(g, index), shape(value)),
    argnums=(0, 2),
)
defvjp(
    _add,
    lambda ans, x, index, value: lambda g: g,
    lambda ans, x, index, value: lambda g: unbroadcast(g[index], shape(value)),
    argnums=(0, 2),
)


def _last_writer(g, index):
    """Return ``g[index]`` with zeros at writes that a later write to the same place replaced."""
    size = shape(g)
    order = np.arange(np.prod(size, dtype=int)).reshape(size)[index]
    ticket = np.arange(order.size).reshape(order.shape)
    last = np.full(int(np.prod(size)), -1)
    last[order] = ticket
    return g[index] * (last[order] == ticket)


def index_update(x, index, value):
    return _update(x, index, value)


def index_add(x, index, value):
    return _add(x, index, value)


_tril = primitive(lambda x, k: np.tril(x, k), rules.elementwise)
_triu = primitive(lambda x, k: np.triu(x, k), rules.elementwise)
defvjp(_tril, lambda ans, x, k: lambda g: _tril(g, k))
defvjp(_triu, lambda ans, x, k: lambda g: _triu(g, k))


def tril(x, k=0):
    return _tril(x, k)


def triu(x, k=0):
    return _triu(x, k)


_diagonal = primitive(lambda x: np.diagonal(x, axis1=-2, axis2=-1), rules.elementwise)


def _embedded(x, rows, columns):
    out = np.zeros((*np.shape(x)[:-1], rows, columns), np.result_type(x))
    i = np.arange(np.shape(x)[-1])
    out[..., i, i] = x
    return out


_embed = primitive(_embedded, rules.elementwise)
defvjp(_diagonal, lambda ans, x: lambda g: _embed(g, *shape(x)[-2:]))
defvjp(_embed, lambda ans, x, rows, columns: lambda g: _diagonal(g))


def diagonal(x):
    return _diagonal(x)


def diag_embed(x):
    return _embed(x, shape(x)[-1], shape(x)[-1])


_one_hot = constant(lambda indices, n, dtype: (np.expand_dims(indices, -1) == np.arange(n)).astype(dtype), rules.elementwise)


def one_hot(indices, num_classes, dtype=None):
    return _one_hot(indices, num_classes, _dtype(dtype))


def meshgrid(*arrays):
    sizes = [shape(x)[0] for x in arrays]
    return [broadcast_to(reshape(x, (1,) * i + (-1,) + (1,) * (len(arrays) - 1 - i)), tuple(sizes)) for i, x in enumerate(arrays)]


# ---- conversion ----

_astype = primitive(recording.astype, rules.elementwise)


def _astype_vjp(ans, x, dtype):
    if dtype.kind != "f":
        return lambda g: np.zeros(shape(x), _dtype_of(x))
    return lambda g: _astype(g, _dtype_of(x))


defvjp(_astype, _astype_vjp)


def astype(x, dtype):
    dtype = np.dtype(dtype)
    if is_box(x) and dtype.kind != "f":
        return _astype(getval(x), dtype)
    return x.astype(dtype, copy=False) if type(x) is np.ndarray else _astype(x, dtype)


def dtype_name(x):
    return np.dtype(_dtype_of(x)).name


def result_dtype(*values):
    dtypes = [np.dtype(value.dtype) for value in values if hasattr(value, "dtype")]
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    if len(floats) < len(values) and not floats:
        floats.append(_default)
    return np.result_type(*floats).name


def is_floating(x):
    return isinstance(x, float) or (hasattr(x, "dtype") and np.dtype(x.dtype).kind == "f")


def is_array(x):
    return isinstance(x, ARRAY_TYPES)


def to_numpy(x):
    x = getval(x)
    if type(x) is Recorded:
        raise RecordingError("an array that changes from call to call was converted with to_numpy")
    return array(x)


def device(x):
    return "cpu"


def to_device(x, device):
    if device != "cpu":
        raise PplError(f"numpy arrays live in host memory; expected device 'cpu', got {device!r}")
    return x


def finfo(x):
    return np.finfo(x if isinstance(x, str) else _dtype_of(x) if is_floating(x) or not isinstance(x, (np.dtype, type)) else x)
