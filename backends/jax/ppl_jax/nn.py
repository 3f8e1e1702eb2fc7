"""Modules of the jax backend: any callable pytree of arrays, such as an equinox module or a registered dataclass."""

import jax
import jax.numpy as jnp


def is_module(module):
    return callable(module) and bool(parameters(module))


def parameters(module):
    """Return dotted path to array of the floating point leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(module)
    return {_name(path): leaf for path, leaf in leaves if _learned(leaf)}


def with_parameters(module, values):
    """Return a copy of ``module`` whose leaves are ``values``."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values.get(_name(path), leaf), module)


def use_parameters(module, values, overwrite):
    # Pytrees are immutable, so that there is nothing to overwrite.
    return with_parameters(module, values)


def _learned(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")
