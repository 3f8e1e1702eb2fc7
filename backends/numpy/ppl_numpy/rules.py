"""How NumPy functions treat many rows at once: arrays with a leading axis that the recorded call of one row did not have.

Nearly always the function itself does it, with an axis shifted or an operand reshaped, so that its overhead is paid once for all
rows. A function without a rule is called row by row, and only that one.
"""

from __future__ import annotations

import inspect
import math

import numpy as np

from ppl import tree
from ppl_numpy.recording import Recorded, active_tape, getitem, mentions_recorded, record, stacked

_rules = {}
# Up to so many numbers a constant is stored once for each row.
SMALL = 4096


def batched_by(rule, *functions):
    """Let ``rule(call, *args, **kwargs)`` make calls of ``functions`` for many rows; ``NotImplemented`` means row by row."""
    for function in functions:
        _rules[function] = rule


class Operand:
    """An argument of a recorded call: its value on one row, and what stands for it on all rows.

    ``mapped`` tells whether ``value`` has the axis of rows in front; an operand that is the same for all rows has not.
    """

    __slots__ = ("example", "mapped", "value")

    def __init__(self, example, value, mapped):
        self.example, self.value, self.mapped = example, value, mapped

    shape = property(lambda self: np.shape(self.example))
    rank = property(lambda self: np.ndim(self.example))


class Rows:
    """One recorded call that is to be made on ``num`` rows.

    :param function: what was called.
    :param example: its result on one row.
    :param constants: where constants of ``num`` equal rows are kept for the next call that reads them.
    """

    __slots__ = ("constants", "example", "function", "num")

    def __init__(self, function, example, num, constants):
        self.function, self.example, self.num, self.constants = function, example, num, constants

    def apply(self, *args, **kwargs):
        """Call the function with plain or recorded values."""
        return noted(self.function, args, kwargs)

    def sized(self, value):
        """Return a mapped array in the shape of the result."""
        return np.reshape(value, (self.num, *np.shape(self.example)))

    def aligned(self, arg, rank):
        """Return the value of an argument, with its rows in front of ``rank`` axes, so that shapes broadcast from the right."""
        if type(arg) is not Operand:
            return arg
        if not arg.mapped or arg.rank == rank:
            return arg.value
        return np.reshape(arg.value, (self.num, *(1,) * (rank - arg.rank), *arg.shape))

    def repeated(self, value):
        """Return a small constant as rows, where a recording is under way: operands of one shape are the fastest."""
        repays = type(value) is np.ndarray and 1 < value.size <= SMALL // self.num and value.shape == np.shape(self.example)
        if not repays or active_tape() is None:
            return value
        key = (id(value), self.num)
        if key not in self.constants:
            rows = np.repeat(value[None], self.num, axis=0)
            rows.flags.writeable = False
            # The value is kept too, so that no other takes its identity.
            self.constants[key] = rows, value
        return self.constants[key][0]

    def spread(self, arg):
        """Return the value of an argument with the axis of rows, all of them alike if it had none."""
        if is_mapped(arg):
            return arg.value
        return np.broadcast_to(value_of(arg), (self.num, *np.shape(example_of(arg))))


def noted(function, args, kwargs):
    """Call ``function``, and note the call where a recording is under way."""
    if active_tape() is not None and (mentions_recorded(args) or mentions_recorded(kwargs)):
        return record(function, args, kwargs)
    return function(*args, **kwargs)


def is_mapped(arg):
    """Return whether an argument differs from row to row."""
    return type(arg) is Operand and arg.mapped


def example_of(arg):
    """Return the value of an argument on one row."""
    return arg.example if type(arg) is Operand else arg


def value_of(arg):
    """Return the value of an argument on all rows."""
    return arg.value if type(arg) is Operand else arg


def any_mapped(container):
    """Return whether a container of arguments holds a mapped operand."""
    found = []
    fill(container, lambda operand: found.append(operand.mapped))
    return any(found)


def fill(container, leaf):
    """Return a container of arguments with ``leaf`` applied to each recorded value or operand in it."""
    kind = type(container)
    if kind is Recorded or kind is Operand:
        return leaf(container)
    if kind is dict:
        return {key: fill(part, leaf) for key, part in container.items()}
    if kind is slice:
        return slice(*(fill(part, leaf) for part in (container.start, container.stop, container.step)))
    if isinstance(container, (tuple, list)):
        parts = [fill(part, leaf) for part in container]
        return kind(*parts) if hasattr(container, "_fields") else kind(parts)
    return container


def call_on_rows(function, args, kwargs, example, num, constants):
    """Return the result on all rows of ``function(*args, **kwargs)``, whose arguments hold operands.

    :param example: the result on one row.
    :param constants: as in :class:`Rows`.
    """
    rule = elementwise if isinstance(function, np.ufunc) and function.signature is None else _rules.get(function)
    call = Rows(function, example, num, constants)
    known = rule is not None and _takes(rule, (call, *args), kwargs)
    result = rule(call, *args, **kwargs) if known else NotImplemented
    return _row_by_row(function, args, kwargs, num) if result is NotImplemented else result


def _takes(rule, args, kwargs):
    """Return whether a rule has the parameters that a call names: it knows those that change how rows are taken."""
    try:
        inspect.signature(rule).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _row_by_row(function, args, kwargs, num):
    operands = []
    fill((args, kwargs), operands.append)

    def on_each_row(*values):
        results = []
        for i in range(num):
            parts = (_row(value, i) if operand.mapped else value for operand, value in zip(operands, values, strict=True))
            row_args, row_kwargs = fill((args, kwargs), lambda _, parts=parts: next(parts))
            results.append(function(*row_args, **row_kwargs))
        return tree.map(lambda *rows: np.stack(rows), *results)

    return noted(on_each_row, [operand.value for operand in operands], {})


def _row(value, i):
    return tree.map(lambda leaf: leaf[i], value)


# ---- calls that broadcast ----


def elementwise(call, *args, **kwargs):
    """Operate on each element, or on the last axes of operands of as many axes."""
    if any(isinstance(example_of(arg), (tuple, list)) for arg in args) or kwargs.keys() - {"dtype"}:
        return NotImplemented
    rank = max(np.ndim(example_of(arg)) for arg in args)
    values = [call.aligned(arg, rank) for arg in args]
    return call.apply(*(map(call.repeated, values) if call.function in _OPERATORS else values), **kwargs)


_OPERATORS = {np.add, np.subtract, np.multiply, np.true_divide}


def matrices(call, *args):
    """Operate on the last two axes of each operand."""
    if any(arg.rank < 2 for arg in args if type(arg) is Operand):
        return NotImplemented
    return elementwise(call, *args)


def sequences(call, *args):
    """Operate along the last axis of each operand; the leading axes of all must agree."""
    return call.apply(*(call.spread(arg) for arg in args))


batched_by(elementwise, np.where, np.clip, np.nan_to_num, np.round, np.real, np.imag, np.copy, np.isposinf, np.isneginf)


# ---- calls along an axis ----


def _behind(axis, rank):
    """Return an axis, or several, of an array of ``rank`` axes, counted with the axis of rows in front."""
    return tuple(a % rank + 1 for a in axis) if isinstance(axis, (tuple, list)) else axis % rank + 1


def reduction(call, x, axis=None, *rest, **kwargs):
    """Reduce along one axis, several, or all of them."""
    if not is_mapped(x):
        return NotImplemented
    value, rank = x.value, x.rank
    if axis is None and rank == 0 and call.function is np.sum and np.result_type(x.example).kind == "f":
        return value
    if axis is None and (kwargs.get("keepdims") or any(rest)):
        return call.apply(value, tuple(range(1, rank + 1)), *rest, **kwargs) if rank else NotImplemented
    if axis is None:
        # One contiguous axis is summed in the same order as the whole of one row.
        value = value if rank == 1 else np.reshape(value, (call.num, math.prod(x.shape)))
        return call.apply(value, 1, *rest, **kwargs)
    return call.apply(value, _behind(axis, rank), *rest, **kwargs)


def along(call, x, axis, *rest):
    """Work along an axis that is told by number."""
    if axis is None or not is_mapped(x):
        return NotImplemented
    return call.apply(x.value, _behind(axis, x.rank), *rest)


def _roll(call, x, shift, axis=None):
    return NotImplemented if axis is None or not is_mapped(x) else call.apply(x.value, shift, _behind(axis, x.rank))


def _sort(call, x, axis=-1, **kwargs):
    return NotImplemented if axis is None else call.apply(x.value, _behind(axis, x.rank), **kwargs)


batched_by(reduction, np.sum, np.prod, np.max, np.min, np.mean, np.any, np.all, np.argmax, np.argmin)
batched_by(along, np.flip, np.cumsum, np.cumprod)
batched_by(_sort, np.sort, np.argsort)
batched_by(_roll, np.roll)


# ---- shapes ----


def _reshaped(call, x, *shape):
    return call.sized(x.value)


def _ravel(call, x, order="C"):
    return call.sized(x.value) if order == "C" else NotImplemented


def _transpose(call, x, axes=None):
    axes = tuple(reversed(range(x.rank))) if axes is None else axes
    return call.apply(x.value, (0, *_behind(tuple(axes), x.rank)))


def _swapaxes(call, x, first, second):
    return call.apply(x.value, _behind(first, x.rank), _behind(second, x.rank))


def _broadcast(call, x, shape):
    return call.apply(call.aligned(x, len(shape)), (call.num, *shape))


def concatenation(call, axis, *arrays):
    """Join arrays along an axis told first."""
    return call.apply(_behind(axis, max(np.ndim(example_of(x)) for x in arrays)), *map(call.spread, arrays))


def _stack(call, *arrays):
    return np.concatenate([np.expand_dims(call.spread(x), 1) for x in arrays], 1)


def _concatenate(call, arrays, axis=0):
    if axis is None or type(arrays) is Operand:
        return NotImplemented
    return call.apply(tuple(map(call.spread, arrays)), _behind(axis, np.ndim(example_of(arrays[0]))))


batched_by(_reshaped, np.reshape, np.expand_dims, np.squeeze)
batched_by(_ravel, np.ravel)
batched_by(_stack, stacked)
batched_by(_transpose, np.transpose)
batched_by(_swapaxes, np.swapaxes, np.moveaxis)
batched_by(_broadcast, np.broadcast_to)
batched_by(_concatenate, np.concatenate)


# ---- places ----


def _places(index):
    """Return an index with the axis of rows in front, or ``None`` where that would change the order of axes."""
    parts = fill(index if isinstance(index, tuple) else (index,), value_of)
    if any_mapped(index) or any(type(part) in (bool, np.bool_) for part in parts):
        return None
    numbers = [i for i, part in enumerate(parts) if not (part is None or part is Ellipsis or isinstance(part, slice))]
    apart = numbers and numbers[-1] - numbers[0] >= len(numbers)
    # Apart from each other, indices that are arrays put their axes before all others.
    if apart and not all(isinstance(parts[i], (int, np.integer)) for i in numbers):
        return None
    return (slice(None), *parts)


def _rank_at(shape, index):
    """Return how many axes the places of ``index`` have in one row."""
    return np.broadcast_to(0, shape)[fill(index, example_of)].ndim


def _getitem(call, x, index):
    if isinstance(x.example, (tuple, list)):
        return x.value[index]
    places = _places(index) if is_mapped(x) else None
    return NotImplemented if places is None else call.apply(x.value, places)


def scattering(call, gradient, index, shape, dtype):
    """Put numbers into places of zeros."""
    places = _places(index)
    if places is None:
        return NotImplemented
    return call.apply(call.aligned(gradient, _rank_at(shape, index)), places, (call.num, *shape), dtype)


def change(call, x, index, value=None):
    """Return an array with the numbers at some places changed."""
    places = _places(index)
    if places is None:
        return NotImplemented
    values = () if value is None else (call.aligned(value, _rank_at(np.shape(example_of(x)), index)),)
    return call.apply(call.spread(x), places, *values)


def taking(call, x, indices, axis):
    """Take the same places along an axis."""
    if not is_mapped(x) or is_mapped(indices):
        return NotImplemented
    return call.apply(x.value, value_of(indices), _behind(axis, x.rank))


def taking_along(call, x, indices, axis):
    """Take places along an axis, others for each row."""
    return call.apply(call.spread(x), call.spread(indices), _behind(axis, np.ndim(example_of(x))))


def putting_along(call, gradient, indices, axis, shape, dtype):
    """Put numbers into places along an axis of zeros."""
    rank = np.ndim(example_of(indices))
    return call.apply(call.aligned(gradient, rank), call.spread(indices), _behind(axis, rank), (call.num, *shape), dtype)


batched_by(_getitem, getitem)


# ---- products of matrices ----


def _matmul(call, x1, x2):
    x1, x2 = (x if type(x) is Operand else Operand(x, x, False) for x in (x1, x2))
    rank1, rank2 = x1.rank, x2.rank
    if not x1.mapped and rank1 == 2:
        # A matrix that is the same for all rows is read once: it stands on the right of the matrix of all vectors.
        if rank2 == 1:
            return np.matmul(x2.value, np.swapaxes(x1.value, -1, -2))
        if rank2 == 2 and x2.shape[1] == 1:
            vectors = np.reshape(x2.value, (call.num, x2.shape[0]))
            return call.sized(np.matmul(vectors, np.swapaxes(x1.value, -1, -2)))
    if not x2.mapped and rank2 <= 2:
        if rank1 == 1 or rank2 == 1:
            return np.matmul(x1.value, x2.value)
        if rank1 == 2:
            stacked = np.reshape(x1.value, (call.num * x1.shape[0], x1.shape[1]))
            return call.sized(np.matmul(stacked, x2.value))
    left, right = _wide(call, x1, -2), _wide(call, x2, -1)
    rank = max(rank1, rank2, 2)
    return call.sized(np.matmul(call.aligned(left, rank), call.aligned(right, rank)))


def _wide(call, x, axis):
    """Return a vector as a matrix of one row or column."""
    if x.rank > 1:
        return x
    shape = (1, x.shape[0]) if axis == -2 else (x.shape[0], 1)
    leading = (call.num,) if x.mapped else ()
    return Operand(np.reshape(x.example, shape), np.reshape(x.value, (*leading, *shape)), x.mapped)


batched_by(_matmul, np.matmul)


def contraction(call, equation, *operands):
    """Sum products as an Einstein equation says; the rows get a letter of their own."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    letter = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if letter not in equation)
    if not arrow:
        return NotImplemented
    terms = [letter + term if is_mapped(x) else term for term, x in zip(inputs.split(","), operands, strict=True)]
    return call.apply(",".join(terms) + "->" + letter + output, *map(value_of, operands))
