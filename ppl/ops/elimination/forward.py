"""Carrying a plan out: from the given factors to what is left of them, with the tables of the way kept for the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl.ops import shaping
from ppl.ops.elimination.plan import Eliminate, Load, Multiply, Place, Plan, Role
from ppl.ops.elimination.rows import stacks_of
from ppl.ops.semiring import Semiring


@dataclass
class Tape:
    """The blocks of a run, and for each elimination its table before the sum.

    :param scales: the power to which the product over a plate is raised.
    """

    plan: Plan
    semiring: Semiring
    scales: Mapping[str, Any] = field(default_factory=dict)
    blocks: dict[int, Any] = field(default_factory=dict)
    tables: dict[int, Any] = field(default_factory=dict)


def run(
    plan: Plan,
    arrays: Sequence[Any],
    semiring: Semiring,
    scales: Mapping[str, Any],
    keep_tables: bool = False,
    cache: dict[Any, Any] | None = None,
) -> Tape:
    """Carry out the instructions.

    :param scales: the power to which the product over a plate is raised.
    :param cache: results of instructions by what went into them, looked up and added to.
    """
    tape = Tape(plan, semiring, scales)
    for instruction in plan.instructions:
        compute = functools.partial(_carry_out, tape, instruction, arrays, keep_tables)
        if cache is None:
            tape.blocks[instruction.block] = compute()
            continue
        what, operands = _ingredients(tape, instruction, arrays)
        key = (semiring.name, what, tuple(map(id, operands)))
        if key not in cache:
            # The operands are kept too: while they live, no other array has their identity.
            cache[key] = compute(), operands
        tape.blocks[instruction.block] = cache[key][0]
    return tape


def _ingredients(tape: Tape, instruction: Any, arrays: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return what an instruction does, apart from the numbers of its blocks, and the arrays that it does it to."""
    if isinstance(instruction, Load):
        return tuple((len(indices), order) for indices, order in instruction.groups), [
            arrays[index] for indices, _ in instruction.groups for index in indices
        ]
    if isinstance(instruction, Multiply):
        roles: tuple[Role, ...] = (instruction.role,)
        what: tuple[Any, ...] = (instruction.plates, instruction.context)
    else:
        roles, what = instruction.roles, (instruction.axis, instruction.sizes, instruction.context)
    parts = tuple((tuple(place.row for place in role.places), role.count, role.context, role.axes) for role in roles)
    return (what, parts), [tape.blocks[place.block] for role in roles for place in role.places]


def _carry_out(tape: Tape, instruction: Any, arrays: Sequence[Any], keep_tables: bool) -> Any:
    semiring = tape.semiring
    if isinstance(instruction, Load):
        return _load(instruction, arrays)
    if isinstance(instruction, Multiply):
        return _product(tape, instruction)
    table = multiply([expand(tape, role, instruction) for role in instruction.roles], semiring)
    if keep_tables:
        tape.tables[instruction.block] = table
    return semiring.plus(table, 1 + len(instruction.context) + instruction.axis)


def results(tape: Tape) -> list[tuple[Any, str]]:
    """Return what is left, one factor for each context."""
    blocks = [
        (tape.semiring.product(gather(tape.blocks.__getitem__, places), 0), "".join(context))
        for context, places in tape.plan.results
    ]
    return blocks or [(shaping.array(tape.semiring.one), "")]


def _load(instruction: Load, arrays: Sequence[Any]) -> Any:
    stacks = []
    for indices, order in instruction.groups:
        stack = _stack([arrays[index] for index in indices])
        axes = (0, *(1 + axis for axis in order))
        stacks.append(stack if axes == tuple(range(len(axes))) else shaping.permute_dims(stack, axes))
    return stacks[0] if len(stacks) == 1 else shaping.concat(stacks, axis=0)


def _stack(factors: list[Any]) -> Any:
    stacks, places = stacks_of(factors)
    return select(stacks[0] if len(stacks) == 1 else shaping.concat(stacks, axis=0), places)


def multiply(arrays: Iterable[Any], semiring: Semiring) -> Any:
    """Return the broadcast product."""
    first, *others = arrays
    for other in others:
        first = semiring.times(first, other)
    return first


def collect(tape: Tape, role: Role) -> Any:
    """Return the factors of a role with axes ``(row, *context, *scope)``, those of a row multiplied."""
    factors = gather(tape.blocks.__getitem__, role.places)
    if role.count == 1:
        return factors
    shape = shaping.shape(factors)
    return tape.semiring.product(shaping.reshape(factors, (shape[0] // role.count, role.count, *shape[1:])), 1)


def expand(tape: Tape, role: Role, instruction: Eliminate) -> Any:
    """Return the factors of a role with an axis for each of the table's, of length one where they do not have it."""
    factors = collect(tape, role)
    sizes = tape.plan.sizes
    return shaping.reshape(
        factors,
        (
            shaping.shape(factors)[0],
            *(sizes[name] if name in role.context else 1 for name in instruction.context),
            *(size if axis in role.axes else 1 for axis, size in enumerate(instruction.sizes)),
        ),
    )


def _product(tape: Tape, instruction: Multiply) -> Any:
    context = instruction.role.context
    factors = gather(tape.blocks.__getitem__, instruction.role.places)
    result = tape.semiring.product(factors, tuple(1 + context.index(plate) for plate in instruction.plates))
    for exponent in exponents(tape, instruction):
        result = tape.semiring.power(result, exponent)
    return result


def exponents(tape: Tape, instruction: Multiply) -> list[Any]:
    """Return the powers to which a product over plates is raised."""
    return [tape.scales[plate] for plate in instruction.plates if plate in tape.scales]


def gather(block_of: Callable[[int], Any], places: Sequence[Place]) -> Any:
    """Return the rows at ``places``, in order, as one array."""
    by_block: dict[int, list[int]] = {}
    for place in places:
        by_block.setdefault(place.block, []).append(place.row)
    parts = [select(block_of(block), rows) for block, rows in by_block.items()]
    if len(parts) == 1:
        return parts[0]
    joined = shaping.concat(parts, axis=0)
    offsets, total = {}, 0
    for block, rows in by_block.items():
        offsets[block] = iter(range(total, total + len(rows)))
        total += len(rows)
    return select(joined, [next(offsets[place.block]) for place in places])


def select(array: Any, rows: Sequence[int]) -> Any:
    """Return rows of an array by a slice where they are evenly spaced, else by their indices."""
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    if step > 0 and list(rows) == list(range(rows[0], rows[-1] + 1, step)):
        if step == 1 and len(rows) == shaping.shape(array)[0]:
            return array
        return array[rows[0] : rows[-1] + 1 : step]
    return shaping.take(array, shaping.array(list(rows), dtype="int64"), axis=0)
