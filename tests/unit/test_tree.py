"""Laws of the containers of arrays."""

from collections import OrderedDict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl import tree

Pair = namedtuple("Pair", "left right")
LEAVES = st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)


def containers(children):
    return (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), children, max_size=3)
        | st.tuples(children, children).map(lambda pair: Pair(*pair))
        | st.dictionaries(st.text(max_size=2), children, max_size=2).map(OrderedDict)
    )


TREES = st.recursive(LEAVES | st.none(), containers, max_leaves=12)


@given(TREES)
def test_unflatten_inverts_leaves(value):
    rebuilt = tree.unflatten(value, tree.leaves(value))
    assert rebuilt == value
    assert type(rebuilt) is type(value)


@given(TREES)
def test_map_of_identity_and_composition(value):
    assert tree.map(lambda leaf: leaf, value) == value
    once = tree.map(lambda leaf: [str(leaf)][0] + "!", value)
    assert once == tree.map(lambda leaf: leaf + "!", tree.map(str, value))


@given(TREES)
def test_map_keeps_the_structure(value):
    mapped = tree.map(lambda leaf: 0, value)
    assert tree.structure(mapped) == tree.structure(value)
    assert tree.leaves(mapped) == [0] * len(tree.leaves(value))
    hash(tree.structure(value))


@given(TREES, TREES)
def test_structures_are_equal_exactly_when_the_containers_are(one, other):
    def skeleton(value):
        if value is None:
            return None
        if isinstance(value, dict):
            return {"dict": {key: skeleton(value[key]) for key in value}}
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *map(skeleton, value)]
        return "leaf"

    assert (tree.structure(one) == tree.structure(other)) == (skeleton(one) == skeleton(other))


@given(TREES)
def test_map_over_several_trees(value):
    doubled = tree.map(lambda a, b: (str(a), str(b)) and f"{a}{b}", value, value)
    assert tree.leaves(doubled) == [f"{leaf}{leaf}" for leaf in tree.leaves(value)]


def test_dicts_of_equal_content_give_equal_leaves_in_any_order():
    assert tree.leaves({"b": 1, "a": 2}) == tree.leaves({"a": 2, "b": 1}) == [2, 1]
    assert list(tree.map(lambda x: x, {"b": 1, "a": 2})) == ["b", "a"]


def test_none_is_an_empty_tree():
    assert tree.leaves(None) == []
    assert tree.leaves([None, 1]) == [1]
    assert tree.map(lambda x: x + 1, {"a": None, "b": 1}) == {"a": None, "b": 2}


def test_named_tuples_stay_named():
    assert tree.map(lambda x: x * 2, Pair(1, [2])) == Pair(2, [4])
    assert type(tree.map(lambda x: x, Pair(1, 2))) is Pair


def test_the_argument_is_not_changed():
    value = {"a": [1, 2]}
    tree.map(lambda x: x + 1, value)
    assert value == {"a": [1, 2]}


def test_trees_of_different_size_are_refused():
    with pytest.raises(ValueError, match="zip"):
        tree.map(lambda a, b: a, [1, 2], [1])


@pytest.mark.parametrize("flat", [[1], [1, 2, 3]])
def test_a_wrong_number_of_leaves_is_refused(flat):
    with pytest.raises((ValueError, RuntimeError, StopIteration)):
        tree.unflatten([0, 0], flat)
