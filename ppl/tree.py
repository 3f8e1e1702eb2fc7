"""Nested containers of arrays: dicts, lists, tuples and named tuples. Everything else, ``None`` excepted, is a leaf.

Dicts are walked in sorted key order, so that two dicts of equal content give equal leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ppl.typing import Tree


def _is_namedtuple(tree: Tree) -> bool:
    return isinstance(tree, tuple) and hasattr(tree, "_fields")


def leaves(tree: Tree) -> list[Any]:
    """Return the leaves of ``tree`` in a fixed order.

    >>> from ppl import tree
    >>> tree.leaves({"b": [2, 3], "a": 1})
    [1, 2, 3]
    """
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for child in tree for leaf in leaves(child)]
    return [tree]


def unflatten(tree: Tree, flat: list[Any]) -> Tree:
    """Return a tree shaped like ``tree`` whose leaves are ``flat``, in the order of :func:`leaves`.

    :raises ValueError: if there are not as many.

    >>> from ppl import tree
    >>> tree.unflatten({"a": 0, "b": [0, 0]}, [1, 2, 3])
    {'a': 1, 'b': [2, 3]}
    """
    expected = len(leaves(tree))
    if len(flat) != expected:
        raise ValueError(f"a tree of {expected} leaves cannot be filled with {len(flat)}")
    return _refill(tree, iter(flat))


def _refill(tree: Tree, flat: Iterator[Any]) -> Tree:
    if tree is None:
        return None
    if isinstance(tree, dict):
        filled = {key: _refill(tree[key], flat) for key in sorted(tree)}
        return type(tree)((key, filled[key]) for key in tree)
    if _is_namedtuple(tree):
        return type(tree)(*(_refill(child, flat) for child in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(_refill(child, flat) for child in tree)
    return next(flat)


def map(fn: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Apply ``fn`` to each leaf of ``tree`` and the matching leaves of ``rest``.

    >>> from ppl import tree
    >>> tree.map(lambda x, y: x + y, {"a": 1, "b": (2, 3)}, {"a": 10, "b": (20, 30)})
    {'a': 11, 'b': (22, 33)}
    """
    if not rest:
        return unflatten(tree, [fn(leaf) for leaf in leaves(tree)])
    columns = [leaves(tree), *(leaves(other) for other in rest)]
    return unflatten(tree, [fn(*row) for row in zip(*columns, strict=True)])


def structure(tree: Tree) -> Any:
    """Return a hashable description of the containers of ``tree``, leaves left out.

    >>> from ppl import tree
    >>> tree.structure({"a": 1}) == tree.structure({"a": 2})
    True
    """
    if tree is None:
        return None
    if isinstance(tree, dict):
        return (dict, tuple((key, structure(tree[key])) for key in sorted(tree)))
    if isinstance(tree, (list, tuple)):
        return (type(tree), tuple(structure(child) for child in tree))
    return "*"
