"""Creation, conversion, shape and indexing on ``jax.numpy``; :mod:`ppl_jax.ops` hands these out with the rest."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ppl.errors import BackendError, ShapeError
from ppl_jax import dtypes, tracing

# --- creation and conversion ---


def array(x, dtype=None):
    """Convert ``x`` to a jax array; see :func:`ppl.ops.array`."""
    if isinstance(x, jax.Array):
        return x if dtype is None else x.astype(dtypes.resolve(dtype))
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    if isinstance(x, (list, tuple)) and not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(x)):
        x = np.asarray(x)
    if (isinstance(x, np.ndarray) and x.ndim) or isinstance(x, bool):
        x = np.asarray(x)
        return _on_device(x if dtype is None else x.astype(dtypes.resolve(dtype), copy=False))
    if dtype is not None and dtypes.resolve(dtype) != getattr(x, "dtype", None):
        return jnp.asarray(x, dtype=dtypes.resolve(dtype))
    if isinstance(x, float):
        # A numpy scalar of that dtype converts in half the time that the argument ``dtype`` takes.
        return jnp.asarray(dtypes.default().type(x))
    return jnp.asarray(x)


def _on_device(x):
    """Return a host array as one of jax; what ``asarray`` does to it is a program of its own, compiled for each shape."""
    return jax.device_put(x, may_alias=False)


def zeros(shape, dtype=None):
    """Return zeros."""
    if tracing.is_abstract():
        return jnp.zeros(shape, dtypes.resolve(dtype))
    return _on_device(np.zeros(shape, dtypes.resolve(dtype) or dtypes.default()))


def ones(shape, dtype=None):
    """Return ones."""
    if tracing.is_abstract():
        return jnp.ones(shape, dtypes.resolve(dtype))
    return _on_device(np.ones(shape, dtypes.resolve(dtype) or dtypes.default()))


def full(shape, fill_value, dtype=None):
    """Return an array filled with ``fill_value``."""
    return jnp.full(shape, array(fill_value), dtypes.resolve(dtype))


def eye(n, m=None, dtype=None):
    """Return ones on the diagonal."""
    return jnp.eye(n, m, dtype=dtypes.resolve(dtype))


def arange(start, stop=None, step=1, dtype=None):
    """Return evenly spaced values."""
    if stop is None:
        start, stop = 0, start
    if tracing.is_abstract() or not all(isinstance(bound, int) for bound in (start, stop, step)):
        return jnp.arange(start, stop, step, dtype=dtypes.resolve(dtype))
    return _on_device(np.arange(start, stop, step, dtype=dtypes.resolve("int64" if dtype is None else dtype)))


def linspace(start, stop, num):
    """Return ``num`` evenly spaced values."""
    return jnp.linspace(start, stop, num)


def zeros_like(x, dtype=None):
    """Return zeros like ``x``."""
    return jnp.zeros_like(x, dtype=dtypes.resolve(dtype))


def ones_like(x, dtype=None):
    """Return ones like ``x``."""
    return jnp.ones_like(x, dtype=dtypes.resolve(dtype))


def full_like(x, fill_value, dtype=None):
    """Return an array like ``x`` filled with ``fill_value``."""
    return jnp.full_like(x, fill_value, dtype=dtypes.resolve(dtype))


def astype(x, dtype):
    """Return ``x`` converted to ``dtype``."""
    return array(x).astype(dtypes.resolve(dtype))


def dtype_name(x):
    """Return the dtype of ``x`` as a name."""
    return x.dtype.name if isinstance(x, jax.Array) else array(x).dtype.name


def result_dtype(*values):
    """Return the floating dtype that ``values`` promote to."""
    return dtypes.shared(*values).name


def is_floating(x):
    """Return whether ``x`` is a floating array or a Python float."""
    return isinstance(x, float) or (hasattr(x, "dtype") and bool(jnp.issubdtype(x.dtype, jnp.floating)))


def is_array(x):
    """Return whether ``x`` is a ``jax.Array``; tracers are."""
    return isinstance(x, jax.Array)


def to_numpy(x):
    """Return ``x`` as a numpy array on the host."""
    return np.asarray(jax.lax.stop_gradient(x))


def device(x):
    """Return ``"cpu"`` or ``"cuda:0"``; for a tracer the device where the trace will run by default."""
    if isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array):
        found = jax.devices()[0]
    else:
        found = min(x.devices(), key=lambda one: one.id)
    if found.platform in ("gpu", "cuda"):
        return f"cuda:{found.id}"
    return "cpu" if found.platform == "cpu" else f"{found.platform}:{found.id}"


def to_device(x, device):
    """Return ``x`` on another device.

    :raises BackendError: if jax has no such device.
    """
    platform, _, index = device.partition(":")
    try:
        return jax.device_put(x, jax.devices(platform)[int(index or 0)])
    except (RuntimeError, IndexError, ValueError) as error:
        known = ", ".join(f"{one.platform}:{one.id}" for one in jax.devices())
        raise BackendError(f"jax has no device {device!r}; it sees {known}; try one of these") from error


def finfo(x):
    """Return ``eps``, ``max``, ``min`` and ``tiny`` of a dtype."""
    if isinstance(x, float):
        return jnp.finfo(dtypes.default())
    return jnp.finfo(dtypes.resolve(getattr(x, "dtype", x)))


def default_dtype():
    """Return the name of the default floating dtype."""
    return dtypes.default_name()


def set_default_dtype(dtype):
    """Set the default floating dtype, which switches x64."""
    dtypes.set_default(dtype)


# --- shape and indexing ---


def shape(x):
    """Return the shape of ``x``."""
    return x.shape if isinstance(x, jax.Array) else np.shape(x)


def ndim(x):
    """Return the number of dimensions."""
    return x.ndim if isinstance(x, jax.Array) else np.ndim(x)


def reshape(x, shape):
    """Return ``x`` with another shape."""
    return jnp.reshape(x, shape)


def permute_dims(x, axes):
    """Return ``x`` with its axes reordered."""
    return jnp.transpose(x, axes)


def matrix_transpose(x):
    """Swap the last two axes."""
    return jnp.swapaxes(x, -1, -2)


def moveaxis(x, source, destination):
    """Move one axis."""
    return jnp.moveaxis(x, source, destination)


def expand_dims(x, axis):
    """Insert an axis of size one."""
    return jnp.expand_dims(x, axis)


def squeeze(x, axis):
    """Remove an axis of size one."""
    return jnp.squeeze(x, axis)


def broadcast_to(x, shape):
    """Broadcast ``x`` to ``shape``."""
    return jnp.broadcast_to(x if isinstance(x, jax.Array) else array(x), shape)


def broadcast_arrays(*arrays):
    """Broadcast the arrays against each other."""
    dtype = dtypes.shared(*arrays)
    return list(jnp.broadcast_arrays(*(array(x, dtype if isinstance(x, float) else None) for x in arrays)))


def broadcast_shapes(*shapes):
    """Return the shape that ``shapes`` broadcast to; :raises ShapeError: if they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        listed = " and ".join(str(tuple(one)) if isinstance(one, (tuple, list)) else str(one) for one in shapes)
        raise ShapeError(
            f"shapes {listed} do not broadcast; each pair of sizes, from the right, must be equal or hold a 1"
        ) from error


def concat(arrays, axis=0):
    """Join arrays along an existing axis."""
    return jnp.concatenate([array(x) for x in arrays], axis)


def stack(arrays, axis=0):
    """Join arrays along a new axis."""
    return jnp.stack([array(x) for x in arrays], axis)


def flip(x, axis):
    """Reverse the order along ``axis``."""
    return jnp.flip(x, axis)


def roll(x, shift, axis):
    """Shift cyclically along ``axis``."""
    return jnp.roll(x, shift, axis)


def tile(x, repetitions):
    """Repeat the whole array."""
    return jnp.tile(x, repetitions)


def repeat(x, repeats, axis):
    """Repeat each element."""
    return jnp.repeat(x, repeats, axis)


def take(x, indices, axis):
    """Choose slices along ``axis``."""
    return jnp.take(x, array(indices), axis)


def take_along_axis(x, indices, axis):
    """Choose elements along ``axis``."""
    return jnp.take_along_axis(x, array(indices), axis)


def _index(index):
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return np.asarray(index) if isinstance(index, list) else index


def index_update(x, index, value):
    """Return a copy with ``x[index] = value``."""
    x, value = array(x), array(value).astype(x.dtype)
    row = isinstance(index, jax.Array) and index.ndim == 0 and jnp.issubdtype(index.dtype, jnp.integer)
    if row and value.shape == x.shape[1:]:
        # One row is the update of a slice, which compiles and runs faster than a scatter.
        return lax.dynamic_update_index_in_dim(x, value, index, 0)
    return x.at[_index(index)].set(value)


def index_add(x, index, value):
    """Return a copy with ``value`` added at ``index``."""
    x = array(x)
    return x.at[_index(index)].add(array(value).astype(x.dtype))


def tril(x, k=0):
    """Return the lower triangle."""
    return jnp.tril(x, k)


def triu(x, k=0):
    """Return the upper triangle."""
    return jnp.triu(x, k)


def diagonal(x):
    """Return the diagonal of the last two axes."""
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def diag_embed(x):
    """Return matrices with ``x`` on their diagonal."""
    x = array(x)
    return jnp.where(jnp.eye(x.shape[-1], dtype=bool), x[..., None, :], jnp.zeros((), x.dtype))


def one_hot(indices, num_classes, dtype=None):
    """Return ones at ``indices`` along a new last axis."""
    indices = array(indices)
    hot = indices[..., None] == jnp.arange(num_classes, dtype=indices.dtype)
    return hot.astype(dtypes.default() if dtype is None else dtypes.resolve(dtype))


def meshgrid(*arrays):
    """Return coordinate arrays, matrix indexing."""
    return list(jnp.meshgrid(*map(array, arrays), indexing="ij"))
