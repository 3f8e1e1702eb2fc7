"""Batched indexing against ordinary indexing by integers, one element at a time."""

import itertools

import numpy
import pytest

from ppl import ops
from ppl.errors import IndexingError
from ppl.ops.indexing import Vindex, vindex

pytestmark = pytest.mark.strict

WHOLE = slice(None)


def elementwise(tensor, args):
    """Return what integers would give at each element of the broadcast indices and batch."""
    batched, event = args[0] is ..., [index for index in args if index is not ...]
    rank = tensor.ndim - len(event) if batched else 0
    shape = numpy.broadcast_shapes(tensor.shape[:rank], *(numpy.shape(index) for index in event if not isinstance(index, slice)))
    spread = numpy.broadcast_to(tensor, (*shape, *tensor.shape[rank:])) if batched else None
    rows = []
    for place in itertools.product(*map(range, shape)):
        here = tuple(index if isinstance(index, slice) else int(numpy.broadcast_to(index, shape)[place]) for index in event)
        rows.append((spread[place] if batched else tensor)[here])
    return numpy.array(rows).reshape((*shape, *numpy.shape(rows[0])))


SHAPES_OF_INDICES = [(), (3,), (2, 1), (4, 1, 1)]
BATCHES = [(), (3,), (2, 3), (4, 1, 3)]
PATTERNS = ["i", "ij", "i:", ":i", "i:j", ":ij", "ij:", "::i"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_of_indices_and_batches(backend, rng, pattern):
    sizes = {"i": 4, "j": 2, ":": 3}
    event = [sizes[letter] for letter in pattern]
    shapes = SHAPES_OF_INDICES[:: 3 if backend == "jax" else 1]
    for batch, *given in itertools.product([None, *BATCHES], shapes, shapes if "j" in pattern else [()]):
        tensor = rng.normal(size=(*(batch or ()), *event))
        index = {letter: rng.integers(-sizes[letter], sizes[letter], shape) for letter, shape in zip("ij", given, strict=True)}
        args = tuple(index.get(letter, WHOLE) for letter in pattern)
        own = tuple(entry if isinstance(entry, slice) else ops.array(entry) for entry in args)
        if batch is not None:
            args, own = (..., *args), (..., *own)
        found = ops.to_numpy(ops.array(Vindex(ops.array(tensor))[own]))
        numpy.testing.assert_array_equal(found, elementwise(tensor, args), err_msg=str((batch, given)))


def test_documented_shapes(backend):
    x, i, j = ops.ones((6, 3, 5)), ops.array([[[0]], [[1]], [[2]], [[3]]]), ops.array([[1], [4]])
    assert ops.shape(Vindex(x)[i, :, j]) == (4, 2, 1, 3)
    assert ops.shape(Vindex(ops.ones((2, 1, 6, 3, 5)))[..., i, :, j]) == (4, 2, 1, 3)


def test_without_index_arrays_it_is_ordinary_indexing(backend, rng):
    x = rng.normal(size=(4, 3, 2))
    for args in (1, ..., (1, 2), (..., 1), (slice(1, 3), 0), (WHOLE, 1), (0, ..., 1), (None, 2)):
        numpy.testing.assert_array_equal(ops.to_numpy(ops.array(Vindex(ops.array(x))[args])), x[args])
    numpy.testing.assert_array_equal(ops.to_numpy(vindex(ops.array(x), ops.array([3, 0]))), x[[3, 0]])


def test_axes_without_an_index_are_taken_whole(backend, rng):
    x = rng.normal(size=(4, 3, 2))
    index = numpy.array([[3], [1]])
    numpy.testing.assert_array_equal(ops.to_numpy(Vindex(ops.array(x))[ops.array(index)]), x[index])


def test_gradients_add_up_over_equal_indices(backend):
    index = ops.array([0, 2, 0])

    def total(table):
        return ops.sum(Vindex(table)[index, ops.array([[1], [0]])] * ops.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]))

    gradient = ops.to_numpy(ops.autodiff.grad(total)(ops.zeros((3, 2))))
    numpy.testing.assert_array_equal(gradient, [[40.0, 5.0], [0.0, 0.0], [16.0, 2.0]])


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (lambda i: (i, ...), r"Ellipsis as its first index only"),
        (lambda i: (i, slice(0, 1)), r"cannot use the slice slice\(0, 1, None\) as index 1"),
        (lambda i: (i, None), r"cannot use None as index 1"),
        (lambda i: (i, True), r"cannot use True as index 1"),
        (lambda i: (ops.array([1.0, 0.0]), 1), r"an array of dtype float64 as index 0.*ops\.astype"),
        (lambda i: (ops.array([True, False]), 1), r"an array of dtype bool as index 0"),
        (lambda i: (i, i, i), r"3 indices for a tensor of shape \(2, 2\).*at most 2"),
        (lambda i: (i, ops.array([0, 1, 0])), r"broadcasts the tensor's batch shape \(\).*shapes \[\(2,\), \(3,\)\]"),
        (lambda i: (..., ops.array([0, 1, 0])), r"batch shape \(2,\)"),
    ],
)
def test_what_has_no_batched_meaning_is_refused(backend, args, sentence):
    with pytest.raises(IndexingError, match=sentence):
        Vindex(ops.zeros((2, 2)))[args(ops.array([0, 1]))]
