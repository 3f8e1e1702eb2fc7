"""Factors that are rows of one array, which need not be taken apart to be put together again."""

from __future__ import annotations

from typing import Any

from ppl.ops import shaping


class Row:
    """A row of a stack, along its first axis.

    :param stack: an array.
    :param index: which row.

    >>> from ppl import ops
    >>> from ppl.ops.elimination.rows import Row
    >>> row = Row(ops.array([[1.0, 2.0], [3.0, 4.0]]), 1)
    >>> row.shape, [float(x) for x in row.array()]
    ((2,), [3.0, 4.0])
    """

    __slots__ = ("index", "stack")

    def __init__(self, stack: Any, index: int) -> None:
        self.stack, self.index = stack, index

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the row."""
        return tuple(self.stack.shape)[1:]

    def array(self) -> Any:
        """Return the row by itself."""
        return self.stack[self.index]


def as_factor(array: Any) -> Any:
    """Return a row as it is and anything else as an array."""
    return array if isinstance(array, Row) else shaping.array(array)


def stacks_of(factors: list[Any]) -> tuple[list[Any], list[int]]:
    """Return arrays to be joined along their first axis, and where in the result each factor is.

    :param factors: arrays and rows, all of one shape.
    """
    parts: list[Any] = []
    starts: dict[int, int] = {}
    single: list[Any] = []
    places: list[int] = []
    length = 0
    for factor in factors:
        if isinstance(factor, Row) and id(factor.stack) not in starts:
            starts[id(factor.stack)] = length
            parts.append(factor.stack)
            length += int(factor.stack.shape[0])
    for factor in factors:
        if isinstance(factor, Row):
            places.append(starts[id(factor.stack)] + factor.index)
        else:
            places.append(length + len(single))
            single.append(factor)
    return ([*parts, joined(single)] if single else parts), places


def joined(arrays: list[Any]) -> Any:
    """Return arrays of one shape along a new first axis."""
    shape = shaping.shape(arrays[0])
    if not shape:
        return shaping.stack(arrays, axis=0)
    # One operation for all, where a stack would first give each array another axis.
    return shaping.reshape(shaping.concat(arrays, axis=0), (len(arrays), *shape))
