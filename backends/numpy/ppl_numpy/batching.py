"""A function of one row made into one of all rows of a matrix: its calls are recorded on one row and made again on all.

Each call is made once for all rows as :mod:`ppl_numpy.rules` says. Under a recording the calls are noted, so that a compiled
function that maps over rows holds them as straight-line code.
"""

from __future__ import annotations

import functools

import numpy as np

from ppl import tree
from ppl_numpy import autodiff, program, signatures
from ppl_numpy.primitives import is_box
from ppl_numpy.recording import Recorded, RecordingError, active_tape, recording, unwrap
from ppl_numpy.rules import Operand, any_mapped, call_on_rows, fill, noted, value_of

# Rows are taken in blocks whose largest array has at most so many numbers.
BLOCK_NUMBERS = 1 << 20
# How far a row may lie from the function of that row alone: sums have another order, no more.
TOLERANCE = 1e-6


class OverRows:
    """``fn(row, *arguments)`` for each row: ``(rows, *arguments) -> stacked results``.

    It is recorded once for each signature of its arguments; a function that cannot be recorded is called row by row.
    """

    def __init__(self, fn):
        functools.update_wrapper(self, fn, updated=())
        self._fn, self._looped, self._recorded = fn, _looped(fn), {}

    def __call__(self, rows, *arguments):
        if len(rows) == 1 or any(is_box(leaf) for leaf in tree.leaves((rows, arguments))):
            return self._looped(rows, *arguments)
        recorded, _ = self._find(rows, arguments)
        if recorded is None:
            return self._looped(rows, *arguments)
        if active_tape() is not None:
            return recorded.run(rows, arguments)
        with np.errstate(all="ignore"):
            blocks = [recorded.run(block, arguments) for block in recorded.blocks(rows)]
        return blocks[0] if len(blocks) == 1 else tree.map(lambda *parts: np.concatenate(parts), *blocks)

    def reason(self, rows, *arguments):
        """Return why the rows cannot be taken at once, or ``None``."""
        return self._find(rows, arguments)[1]

    def _find(self, rows, arguments):
        rows, arguments = unwrap(rows), tree.map(unwrap, arguments)
        signature, _ = signatures.signature((rows[0], *arguments), {})
        if signature not in self._recorded:
            self._recorded[signature] = self._record(rows, arguments)
        return self._recorded[signature]

    def _record(self, rows, arguments):
        """Return the recording and ``None``, or ``None`` and what prevents it; errors of ``fn`` itself come first."""
        try:
            recorded = _Recorded(self._fn, rows[0], arguments)
            with np.errstate(all="ignore"):
                at_once = recorded.run(np.stack([rows[0], rows[-1]]), arguments)
                alone = recorded.run(rows[-1], arguments, mapped=False)
        except Exception as error:
            self._looped(rows[:1], *arguments)
            return None, str(error) if isinstance(error, RecordingError) else f"{type(error).__name__}: {error}"
        if not all(map(_agree, tree.leaves(at_once), tree.leaves(alone))):
            return None, "its results for several rows at once are not those of each row alone"
        return recorded, None


def _looped(fn):
    def over_rows(rows, *arguments):
        return autodiff.vmap(fn, in_axes=(0, *(None for _ in arguments)))(rows, *arguments)

    return over_rows


def _agree(at_once, alone):
    return at_once.dtype == alone.dtype and np.allclose(at_once[1:], alone, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


class _Recorded:
    """The calls of ``fn(row, *arguments)``, without the arrays of the row they were recorded on."""

    def __init__(self, fn, row, arguments):
        leaves = tree.leaves((row, arguments))
        with recording() as tape, np.errstate(all="ignore"):
            self.inputs = [Recorded(leaf, None) if signatures.changes(leaf) else leaf for leaf in leaves]
            new_row, new_arguments = tree.unflatten((row, arguments), self.inputs)
            output = fn(new_row, *new_arguments)
        self.skeleton = tree.map(unwrap, output)
        self.outputs, self.freed = program.simplify(tape, tree.leaves(output))
        self.calls = tape.calls
        if any(call.effect for call in self.calls):
            raise RecordingError("it draws random numbers")
        self.examples, self.constants = {}, {}
        fill(self.inputs, self._keep_outline)
        for call in self.calls:
            fill((call.args, call.kwargs), self._keep_outline)
        fill(self.outputs, self._keep_outline)
        self.largest = max([1, *(np.size(value) for value in self.examples.values() if not isinstance(value, tuple))])

    def _keep_outline(self, recorded):
        recorded.value = _outline(recorded.value)
        self.examples[program.key(recorded)] = recorded.value

    def blocks(self, rows):
        """Return the rows in pieces."""
        size = max(1, BLOCK_NUMBERS // self.largest)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def run(self, rows, arguments, mapped=True):
        """Make the calls for all rows at once, or as they were for a single vector that is not ``mapped``."""
        num, operands = len(rows) if mapped else 1, {}
        for i, (recorded, leaf) in enumerate(zip(self.inputs, tree.leaves((rows, arguments)), strict=True)):
            if type(recorded) is Recorded:
                operands[program.key(recorded)] = Operand(recorded.value, leaf, mapped and i == 0)
        for call, freed in zip(self.calls, self.freed, strict=True):
            operands[id(call)] = self._made(call, operands, num)
            for key in freed:
                operands.pop(key, None)
        return tree.unflatten(self.skeleton, [_result(leaf, operands, num) for leaf in self.outputs])

    def _made(self, call, operands, num):
        args, kwargs = fill((call.args, call.kwargs), lambda recorded: operands[program.key(recorded)])
        example = self.examples[id(call)]
        if any_mapped((args, kwargs)):
            return Operand(example, call_on_rows(call.function, args, kwargs, example, num, self.constants), True)
        args, kwargs = fill((args, kwargs), value_of)
        return Operand(example, noted(call.function, args, kwargs), False)


def _outline(value):
    """Return an array of the same shape and dtype that holds a single number."""
    if isinstance(value, (tuple, list)):
        return type(value)(*map(_outline, value)) if hasattr(value, "_fields") else type(value)(map(_outline, value))
    return np.broadcast_to(np.zeros((), value.dtype), value.shape) if isinstance(value, np.ndarray) else value


def _result(leaf, operands, num):
    operand = operands[program.key(leaf)] if type(leaf) is Recorded else Operand(leaf, np.asarray(leaf), False)
    if not operand.mapped:
        return np.repeat(np.expand_dims(operand.value, 0), num, axis=0)
    # What is no part of a recording is a copy, as a stack of rows would be.
    return np.array(operand.value) if type(operand.value) is np.ndarray else operand.value
