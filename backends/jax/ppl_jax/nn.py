"""Modules of the jax backend: ``flax.nnx`` modules, and callable pytrees of arrays such as equinox modules.

Both libraries are optional. A module of theirs can only exist once the program has imported its library, so that
``sys.modules`` tells without an import.
"""

import sys

import jax
import jax.numpy as jnp

from ppl.errors import ParamError, RandomKeyError
from ppl_jax import random


def is_module(module):
    if _is_nnx(module) or isinstance(module, getattr(sys.modules.get("equinox"), "Module", ())):
        return True
    return callable(module) and not isinstance(module, type) and bool(parameters(module))


def parameters(module):
    """Return dotted path to array of the floating point leaves; of a ``flax.nnx`` module, of those in an ``nnx.Param``."""
    if _is_nnx(module):
        found = [(_joined(path), param.get_value()) for path, param in _learned_state(module)]
    else:
        found = [(_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(module)[0]]
    learned = [(name, leaf) for name, leaf in found if _is_learned(leaf)]
    named = dict(learned)
    if len(named) < len(learned):
        names = [name for name, _ in learned]
        twice = next(name for name in names if names.count(name) > 1)
        raise ParamError(
            f"two parameters of {type(module).__name__} have the path {twice!r}; expected distinct paths; try keys without dots"
        )
    return named


def with_parameters(module, values):
    """Return a copy of ``module`` whose leaves are ``values``; it shares everything else."""
    if _is_nnx(module):
        return _rebuilt(module, values)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values.get(_name(path), leaf), module)


def use_parameters(module, values, taken):
    """Return a copy of ``module`` that uses ``values``; a ``flax.nnx`` module itself takes over those named in ``taken``."""
    if taken and _is_nnx(module):
        nnx = sys.modules["flax.nnx"]
        news = [(path, param.replace(values[_joined(path)])) for path, param in _learned_state(module) if _joined(path) in taken]
        try:
            nnx.update(module, nnx.from_flat_state(news))
        except sys.modules["flax.errors"].TraceContextError:
            # Inside a transformation a module from outside cannot change; the returned one has the values.
            pass
    return with_parameters(module, values)


def _is_nnx(module):
    return isinstance(module, getattr(sys.modules.get("flax.nnx"), "Module", ()))


def _learned_state(module):
    nnx = sys.modules["flax.nnx"]
    return nnx.to_flat_state(nnx.state(module, nnx.Param))


def _rebuilt(module, values):
    nnx = sys.modules["flax.nnx"]
    graph, learned, streams, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
    news = [
        (path, param.replace(values[_joined(path)]) if _joined(path) in values else param)
        for path, param in nnx.to_flat_state(learned)
    ]
    return nnx.merge(graph, nnx.from_flat_state(news), _reseeded(nnx, streams), rest)


def _reseeded(nnx, streams):
    # A stream from outside cannot advance inside compiled code, and a copy of it would give the same numbers at each call.
    flat = nnx.to_flat_state(streams)
    try:
        return nnx.from_flat_state([(path, _fresh(nnx, stream)) for path, stream in flat])
    except RandomKeyError:
        return streams


def _fresh(nnx, stream):
    value = stream.get_value()
    if isinstance(stream, nnx.RngKey):
        return stream.replace(jax.random.split(random.next_key(), value.shape))
    return stream.replace(jnp.zeros_like(value))


def _is_learned(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _joined(path):
    return ".".join(map(str, path))


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")
