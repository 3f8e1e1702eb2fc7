"""Distributions and transforms as pytrees: arrays and nested distributions are children, everything else is static."""

from __future__ import annotations

import jax
import numpy

from ppl.distributions.dispatch import blank
from ppl.distributions.distribution import Distribution
from ppl.transforms import Transform

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
