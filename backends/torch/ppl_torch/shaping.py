"""Creation, conversion, shape and indexing over torch: the part of ``ops`` that computes nothing."""

import torch
from torch import Tensor

from ppl.errors import BackendError, ShapeError
from ppl_torch.convert import DTYPES, NAMES, dimensions, dtype_of, floating, pair, promoted, tensor, tensors
from ppl_torch.tracing import is_recording


def array(x, dtype=None):
    if dtype is not None and (isinstance(x, float) or (type(x) in (list, tuple) and all(type(entry) is float for entry in x))):
        # At once: through the default dtype, of 32 bits unless changed, a double would lose its digits.
        return torch.tensor(x, dtype=dtype_of(dtype))
    x = tensor(x)
    return x if dtype is None else x.to(dtype_of(dtype))


def _size(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


def zeros(shape, dtype=None):
    return torch.zeros(_size(shape), dtype=dtype_of(dtype))


def ones(shape, dtype=None):
    return torch.ones(_size(shape), dtype=dtype_of(dtype))


def full(shape, fill_value, dtype=None):
    dtype = dtype_of(dtype)
    if isinstance(fill_value, (bool, int, float)):
        return torch.full(_size(shape), fill_value, dtype=dtype or torch.get_default_dtype())
    fill_value = tensor(fill_value)
    return fill_value.to(dtype or fill_value.dtype).expand(_size(shape)).clone()


def eye(n, m=None, dtype=None):
    return torch.eye(n, n if m is None else m, dtype=dtype_of(dtype))


def arange(start, stop=None, step=1, dtype=None):
    if stop is None:
        start, stop = 0, start
    return torch.arange(start, stop, step, dtype=dtype_of(dtype))


def linspace(start, stop, num):
    return torch.linspace(start, stop, num)


def zeros_like(x, dtype=None):
    return torch.zeros_like(tensor(x), dtype=dtype_of(dtype))


def ones_like(x, dtype=None):
    return torch.ones_like(tensor(x), dtype=dtype_of(dtype))


def full_like(x, fill_value, dtype=None):
    x, dtype = tensor(x), dtype_of(dtype)
    if isinstance(fill_value, (bool, int, float)):
        return torch.full_like(x, fill_value, dtype=dtype)
    return tensor(fill_value).to(dtype=dtype or x.dtype, device=x.device).expand(x.shape).clone()


def shape(x):
    if isinstance(x, (bool, int, float)):
        return ()
    return tuple(x.shape) if hasattr(x, "shape") else tuple(tensor(x).shape)


def ndim(x):
    return len(shape(x))


def reshape(x, shape):
    return torch.reshape(tensor(x), _size(shape))


def permute_dims(x, axes):
    return torch.permute(tensor(x), tuple(axes))


def matrix_transpose(x):
    return tensor(x).mT


def moveaxis(x, source, destination):
    return torch.movedim(tensor(x), source, destination)


def expand_dims(x, axis):
    return torch.unsqueeze(tensor(x), axis)


def squeeze(x, axis):
    x = tensor(x)
    for dim in dimensions(x, axis):
        if x.shape[dim] != 1:
            raise ShapeError(f"squeeze: axis {dim} of shape {tuple(x.shape)} has size {x.shape[dim]}, expected 1")
    return torch.squeeze(x, axis)


def broadcast_to(x, shape):
    return torch.broadcast_to(tensor(x), _size(shape))


def broadcast_arrays(*arrays):
    return list(torch.broadcast_tensors(*tensors(arrays)))


def broadcast_shapes(*shapes):
    width = 0
    for one in shapes:
        width = width if len(one) <= width else len(one)
    result = [1] * width
    for one in shapes:
        offset = width - len(one)
        for position, size in enumerate(one, offset):
            if size == 1 or size == result[position]:
                continue
            if result[position] != 1:
                raise ShapeError(f"shapes {', '.join(str(tuple(each)) for each in shapes)} do not broadcast together")
            result[position] = size
    return tuple(result)


def concat(arrays, axis=0):
    return torch.cat(promoted(tensors(arrays)), dim=axis)


def stack(arrays, axis=0):
    return torch.stack(promoted(tensors(arrays)), dim=axis)


def flip(x, axis):
    x = tensor(x)
    return torch.flip(x, dimensions(x, axis))


def roll(x, shift, axis):
    return torch.roll(tensor(x), shift, axis)


def tile(x, repetitions):
    return torch.tile(tensor(x), _size(repetitions))


def repeat(x, repeats, axis):
    return torch.repeat_interleave(tensor(x), repeats, dim=axis)


def take(x, indices, axis):
    x = tensor(x)
    if isinstance(indices, int):
        return x.select(axis, indices)
    indices = tensor(indices)
    axis %= x.ndim
    # A 0-d index would be read out as a number, which no trace can do.
    rows = x[(slice(None),) * axis + (indices.reshape(1) if indices.ndim == 0 else indices,)]
    return rows.squeeze(axis) if indices.ndim == 0 else rows


def take_along_axis(x, indices, axis):
    return torch.take_along_dim(tensor(x), tensor(indices), dim=axis)


def _positions(x, index):
    """Return the positions in the flattened ``x`` that ``x[index]`` has, in its shape."""
    places = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    entries = index if isinstance(index, tuple) else (index,)
    entries = [entry if isinstance(entry, (Tensor, int, slice, type(None), type(...))) else tensor(entry) for entry in entries]
    scalar = [isinstance(entry, Tensor) and entry.ndim == 0 and entry.dtype != torch.bool for entry in entries]
    if not any(scalar):
        return places[tuple(entries)]
    # A 0-d index would be read out as a number, which no trace can do: index with one row and drop that axis again.
    rows = places[tuple(entry.reshape(1) if flag else entry for entry, flag in zip(entries, scalar, strict=True))]
    if any(isinstance(entry, Tensor) and entry.ndim > 0 for entry in entries):
        return rows
    kept = places[tuple(0 if flag else entry for entry, flag in zip(entries, scalar, strict=True))]
    return rows.reshape(kept.shape)


def _put(x, index, value, accumulate):
    x = tensor(x)
    value = pair(x, value)[1].to(x.dtype)
    if isinstance(index, Tensor) and index.dtype == torch.bool and value.ndim == 0:
        chosen = index.reshape(index.shape + (1,) * (x.ndim - index.ndim))
        return torch.where(chosen, x + value if accumulate else value, x)
    places = _positions(x, index)
    values = torch.broadcast_to(value, places.shape).reshape(-1)
    return x.reshape(-1).index_put((places.reshape(-1),), values, accumulate=accumulate).reshape(x.shape)


def index_update(x, index, value):
    if type(index) is int:
        x = tensor(x)
        value = pair(x, value)[1].to(x.dtype)
        return torch.select_scatter(x, value.expand(x.shape[1:]), 0, index)
    return _put(x, index, value, accumulate=False)


def index_add(x, index, value):
    return _put(x, index, value, accumulate=True)


def tril(x, k=0):
    return torch.tril(tensor(x), k)


def triu(x, k=0):
    return torch.triu(tensor(x), k)


def diagonal(x):
    return torch.diagonal(tensor(x), dim1=-2, dim2=-1)


def diag_embed(x):
    return torch.diag_embed(tensor(x))


def one_hot(indices, num_classes, dtype=None):
    indices = tensor(indices)
    classes = torch.arange(num_classes, device=indices.device)
    return (indices.unsqueeze(-1) == classes).to(dtype_of(dtype) or torch.get_default_dtype())


def meshgrid(*arrays):
    return list(torch.meshgrid(*tensors(arrays), indexing="ij"))


def astype(x, dtype):
    return tensor(x).to(dtype_of(dtype))


def dtype_name(x):
    return NAMES[tensor(x).dtype]


def result_dtype(*values):
    result = None
    for value in values:
        if not isinstance(value, (bool, int, float)):
            dtype = DTYPES.get(str(value.dtype)) if hasattr(value, "__array__") and not isinstance(value, Tensor) else None
            dtype = dtype or tensor(value).dtype
            if dtype.is_floating_point:
                result = dtype if result is None else torch.promote_types(result, dtype)
    return NAMES[result or torch.get_default_dtype()]


def is_floating(x):
    if isinstance(x, Tensor):
        return x.is_floating_point()
    return isinstance(x, float) or getattr(getattr(x, "dtype", None), "kind", None) == "f"


def is_array(x):
    return isinstance(x, Tensor)


def to_numpy(x):
    if is_recording() and isinstance(x, Tensor):
        raise BackendError("to_numpy inside a recorded function would freeze a value; try it outside of compile")
    x = tensor(x)
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)


def device(x):
    return str(tensor(x).device)


def to_device(x, device):
    return tensor(x).to(device)


def finfo(x):
    if isinstance(x, (str, torch.dtype)):
        return torch.finfo(dtype_of(x))
    return torch.finfo(floating(x).dtype)


def default_dtype():
    return NAMES[torch.get_default_dtype()]


def set_default_dtype(dtype):
    torch.set_default_dtype(dtype_of(dtype))
