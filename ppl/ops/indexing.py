"""Indexing by arrays that are batched, so that a table can be indexed by enumerated or plated discrete values."""

from __future__ import annotations

from typing import Any

from ppl.errors import IndexingError, ShapeError
from ppl.ops import shaping


def vindex(tensor: Any, args: Any) -> Any:
    """Return ``tensor[args]`` as it would be for integers, at each element of the broadcast index arrays.

    :param tensor: shape ``batch + event`` if ``args`` starts with an ``Ellipsis``, which stands for the batch; else ``event``.
    :param args: for each event axis an int, an integer array or ``:``; event axes beyond them are taken whole.
    :raises IndexingError: if there are more indices than axes, shapes do not broadcast, an ``Ellipsis`` is not the first index,
        or an index is a mask, a floating array, ``None`` or a slice with bounds.

    The result has shape ``broadcast(batch, shapes of index arrays) + event axes taken by ":"``. Without an index array that has
    axes the result is that of ordinary indexing. An index outside of its axis is an error where the library looks at values; jax
    takes the nearest.

    >>> from ppl import ops
    >>> from ppl.ops.indexing import vindex
    >>> table = ops.reshape(ops.arange(0, 6), (2, 3))
    >>> i, j = ops.array([[0], [1]]), ops.array([0, 2])
    >>> ops.to_numpy(vindex(table, (i, j))).tolist()
    [[0, 2], [3, 5]]
    >>> ops.to_numpy(vindex(table, (..., ops.array([0, 2])))).tolist()
    [0, 5]
    """
    indices = args if isinstance(args, tuple) else (args,)
    if not any(_is_batched(index) for index in indices):
        return tensor[args]
    tensor = shaping.array(tensor)
    batched = indices[0] is ...
    event = [_checked(index, place) for place, index in enumerate(indices[1:] if batched else indices)]
    rank = shaping.ndim(tensor)
    if len(event) > rank:
        raise IndexingError(
            f"vindex got {len(event)} indices for a tensor of shape {shaping.shape(tensor)}; expected at most {rank}; try fewer"
        )
    batch = rank - len(event) if batched else 0
    event += [slice(None)] * (rank - batch - len(event))
    # Axes that are taken whole go to the right, where advanced indexing leaves them in place.
    whole = [batch + place for place, index in enumerate(event) if isinstance(index, slice)]
    order = tuple([axis for axis in range(rank) if axis not in whole] + whole)
    if order != tuple(range(rank)):
        tensor = shaping.permute_dims(tensor, order)
    chosen = [index for index in event if not isinstance(index, slice)]
    shape = shaping.shape(tensor)
    _check_broadcast(shape[:batch], chosen)
    counters = [shaping.reshape(shaping.arange(0, shape[axis]), (-1, *(1,) * (batch - 1 - axis))) for axis in range(batch)]
    return tensor[(*counters, *chosen)]


def _is_batched(index: Any) -> bool:
    return (shaping.is_array(index) or isinstance(index, list) or hasattr(index, "shape")) and shaping.ndim(index) > 0


def _checked(index: Any, place: int) -> Any:
    if isinstance(index, bool) or index is None:
        found = repr(index)
    elif index is ...:
        raise IndexingError(
            "vindex takes an Ellipsis as its first index only, where it stands for batch axes; try ':' for an event axis"
        )
    elif isinstance(index, slice):
        if index == slice(None):
            return index
        found = f"the slice {index}"
    elif isinstance(index, int):
        return shaping.array(index, dtype="int64")
    else:
        index = shaping.array(index)
        name = shaping.dtype_name(index)
        if "int" in name:
            return index
        found = f"an array of dtype {name}"
    raise IndexingError(
        f"vindex cannot use {found} as index {place}; expected an int, an integer array or ':'; try ops.astype(index, 'int64') "
        "for values of a Bernoulli, and ordinary indexing for masks and bounds"
    )


def _check_broadcast(batch: tuple[int, ...], indices: list[Any]) -> None:
    shapes = [batch, *(shaping.shape(index) for index in indices)]
    try:
        shaping.broadcast_shapes(*shapes)
    except ShapeError as error:
        raise IndexingError(
            f"vindex broadcasts the tensor's batch shape {batch} and its index arrays, got shapes {shapes[1:]}: {error}"
        ) from error


class Vindex:
    """``Vindex(x)[..., i, :, j]`` is ``vindex(x, (..., i, slice(None), j))``, see :func:`vindex`.

    :param tensor: the array to index.

    >>> from ppl import ops
    >>> from ppl.ops.indexing import Vindex
    >>> table = ops.array([[0.9, 0.1], [0.4, 0.6]])
    >>> [float(p) for p in Vindex(table)[ops.array([1, 0]), 1]]
    [0.6, 0.1]
    """

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __getitem__(self, args: Any) -> Any:
        return vindex(self._tensor, args)
