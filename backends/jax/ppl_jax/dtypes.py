"""Names of dtypes, and the default floating dtype, which is jax's own switch between 32 and 64 bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ppl.errors import BackendError

_NARROW = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}


def default_name():
    """Return ``"float64"`` if x64 is on, else ``"float32"``."""
    return "float64" if jax.config.jax_enable_x64 else "float32"


def set_default(dtype):
    """Switch x64 on for ``"float64"`` and off for ``"float32"``.

    :raises BackendError: for any other dtype.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise BackendError(f"the default dtype must be 'float32' or 'float64', got {name!r}; try ops.astype for single arrays")
    if default_name() != name:
        jax.config.update("jax_enable_x64", name == "float64")


def resolve(dtype):
    """Return the numpy dtype for a name or a dtype, ``None`` for ``None``; 64 bits become 32 while x64 is off.

    jax would do the same but warn at each call.
    """
    if dtype is None:
        return None
    name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
    if not jax.config.jax_enable_x64:
        name = _NARROW.get(name, name)
    return jnp.dtype(name)


def default():
    """Return the default floating dtype."""
    return resolve(default_name())


def shared(*values):
    """Return the floating dtype that the arrays among ``values`` promote to, the default if none is floating."""
    found = {jnp.dtype(value.dtype) for value in values if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)}
    if not found:
        return default()
    return resolve(found.pop() if len(found) == 1 else jnp.result_type(*found))


def promote(*values):
    """Return ``values`` as jax arrays of their :func:`shared` dtype; Python numbers adapt to the arrays beside them."""
    dtype = shared(*values)
    return [value if isinstance(value, jax.Array) and value.dtype == dtype else jnp.asarray(value, dtype) for value in values]


def floating(x):
    """Return ``x`` as a jax array of floating dtype: its own if it has one, else the default."""
    return promote(x)[0]
