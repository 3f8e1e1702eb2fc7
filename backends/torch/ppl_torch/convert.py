"""Conversion of what users pass (tensors, Python scalars, lists, numpy and jax arrays) to tensors, once."""

import torch
from torch import Tensor

from ppl.errors import BackendError

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_of(dtype):
    """Return the ``torch.dtype`` that a name, a torch dtype or a numpy dtype means; ``None`` stays ``None``.

    :raises BackendError: if torch has no such dtype.
    """
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    try:
        return DTYPES[name]
    except KeyError:
        raise BackendError(f"unknown dtype {dtype!r} on backend 'torch'; expected one of {', '.join(DTYPES)}") from None


def tensor(x):
    """Return ``x`` as a tensor: a tensor as it is, Python floats in the default dtype, ints as int64, other arrays copied.

    :raises BackendError: if ``x`` is no array, number or nested list of them.
    """
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (bool, int, float, complex)):
        # A numpy.float64 is a Python float; float() keeps it from carrying its own dtype along.
        return torch.tensor(float(x) if isinstance(x, float) else x)
    if isinstance(x, (list, tuple)):
        return _from_sequence(x)
    if hasattr(x, "__array__"):
        return _from_host(x)
    raise BackendError(
        f"cannot make a torch.Tensor of {type(x).__name__} {x!r:.60}; expected a tensor, a number, a list of numbers or an array"
    )


def _from_host(x):
    """Copy an array of another library: the copy is writable, contiguous, and independent of the original."""
    host = x.__array__()
    try:
        return torch.tensor(host.astype(host.dtype.newbyteorder("="), order="C", copy=not host.flags["C_CONTIGUOUS"]))
    except TypeError as error:
        raise BackendError(f"cannot make a torch.Tensor of an array of dtype {host.dtype}: {error}") from None


def _from_sequence(x):
    if not x:
        return torch.tensor([])
    if all(isinstance(item, (bool, int, float)) for item in x):
        return torch.tensor([float(item) if isinstance(item, float) else item for item in x])
    items = tensors(x)
    shapes = [item.shape for item in items]
    if len(set(shapes)) > 1:
        raise BackendError(f"cannot make a torch.Tensor of a ragged list: its items have shapes {[*map(tuple, shapes)]}")
    return torch.stack(promoted(items))


def like(scalar, other):
    """Return a number as a 0-d tensor of the dtype that it and the tensor ``other`` promote to, on the device of ``other``."""
    return torch.tensor(scalar, dtype=torch.result_type(other, scalar), device=other.device)


def tensors(values):
    """Return ``values`` as a list of tensors; numbers take dtype and device from the first tensor among them."""
    values = [x if isinstance(x, (Tensor, bool, int, float, complex)) else tensor(x) for x in values]
    anchor = None
    for x in values:
        if isinstance(x, Tensor):
            anchor = x
            break
    if anchor is None:
        return [tensor(x) for x in values]
    return [x if isinstance(x, Tensor) else like(x, anchor) for x in values]


def promoted(items):
    """Return tensors converted to their common dtype."""
    first = items[0].dtype
    if all(item.dtype == first for item in items):
        return items
    dtype = first
    for item in items[1:]:
        dtype = torch.promote_types(dtype, item.dtype)
    return [item.to(dtype) for item in items]


def pair(x1, x2):
    """Return two operands as tensors."""
    if isinstance(x1, Tensor) and isinstance(x2, Tensor):
        return x1, x2
    return tensors((x1, x2))


def floating(x):
    """Return ``x`` as a tensor of floating dtype: integers and booleans become the default one."""
    x = tensor(x)
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def floatings(*values):
    """Return operands as tensors of one floating dtype, not yet broadcast."""
    items = [x if x.is_floating_point() else x.to(torch.get_default_dtype()) for x in tensors(values)]
    return promoted(items)


def dimensions(x, axis):
    """Return ``axis`` as a tuple of dimensions; torch reads an empty one as all, so callers test for it."""
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)
