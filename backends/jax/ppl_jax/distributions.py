"""Distributions and transforms as pytrees: arrays and nested distributions are children, everything else is static."""

from __future__ import annotations

import functools
import math

import jax
import numpy

from ppl.distributions import normal
from ppl.distributions.dispatch import blank
from ppl.distributions.distribution import Distribution
from ppl.transforms import Transform
from ppl_jax import jit

FEW = 400
"""Up to so many draws outside of compiled code are not worth an optimized program, one for each shape."""

_registered: set[type] = set()


class Static:
    """The static attributes of an object: equal if all are, hashed by their names so that any value may be held."""

    def __init__(self, names, values):
        self.names, self.values = names, values

    def __eq__(self, other):
        return isinstance(other, Static) and self.names == other.names and self.values == other.values

    def __hash__(self):
        return hash(self.names)


def register(cls):
    """Make ``cls`` a pytree whose unflattening runs no ``__init__``."""
    _registered.add(cls)
    jax.tree_util.register_pytree_with_keys(
        cls, _flatten_with_keys, lambda static, leaves: _unflatten(cls, static, leaves), _flatten
    )


def _is_child(value):
    if isinstance(value, (jax.Array, numpy.ndarray, Distribution)):
        return True
    if isinstance(value, Transform):
        if type(value) not in _registered:
            register(type(value))
        return True
    if isinstance(value, (list, tuple)):
        return any(_is_child(item) for item in value)
    return isinstance(value, dict) and any(_is_child(item) for item in value.values())


def _flatten(instance):
    attributes = vars(instance)
    children = tuple(name for name, value in attributes.items() if _is_child(value))
    rest = tuple(name for name in attributes if name not in children)
    static = (children, Static(rest, tuple(attributes[name] for name in rest)))
    return tuple(attributes[name] for name in children), static


def _flatten_with_keys(instance):
    children, static = _flatten(instance)
    return tuple((jax.tree_util.GetAttrKey(name), child) for name, child in zip(static[0], children, strict=True)), static


def _unflatten(cls, static, leaves):
    names, rest = static
    state = dict(zip(rest.names, rest.values, strict=True))
    state.update(zip(names, leaves, strict=True))
    instance = blank(cls, state)
    # ``vmap`` and ``scan`` add and remove leading axes; a tree filled with other things than arrays has no shape to speak of.
    if "_batch_shape" in state and all(_has_shape(leaf) for leaf in leaves):
        instance._batch_shape = instance._current_batch_shape()
    return instance


def _has_shape(child):
    return isinstance(child, (jax.Array, numpy.ndarray, Distribution, Transform, list, tuple, dict))


class Normal(normal.Normal):
    """The shared definition, of which a few draws are one program: each product and sum would be one of its own."""

    def rsample(self, sample_shape=(), rng_key=None):
        shape = self.shape(sample_shape)
        if math.prod(shape) > FEW:
            return super().rsample(sample_shape, rng_key)
        return _few_normals(shape)(rng_key, self.loc, self.scale)


@functools.cache
def _few_normals(shape):
    return jit.jit_on_cpu(lambda key, loc, scale: loc + scale * jax.random.normal(key, shape, loc.dtype), jit.UNOPTIMIZED)


NATIVE = {"Normal": Normal}
