"""The way back over a tape: joint draws, most probable assignments, and the product of everything around a factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ppl.ops import elementwise, random, reduce, shaping, special
from ppl.ops.elimination.forward import Tape, collect, expand, exponents, gather, multiply
from ppl.ops.elimination.plan import Eliminate, Load, Place, Role


class Indexed(NamedTuple):
    """Values with axes ``(row, *context, ...)``."""

    array: Any
    context: tuple[str, ...]


def draw(tape: Tape, temperature: int, key: Any) -> dict[str, tuple[Any, str]]:
    """Return an index for each variable, given those of the variables that were summed out later.

    :param temperature: 1 for a draw, 0 for the largest.
    """
    values: dict[int, Indexed] = {}
    places: dict[str, Place] = {}
    steps = [step for step in tape.plan.instructions if isinstance(step, Eliminate)]
    keys = random.split(key, len(steps)) if key is not None and temperature and steps else [None] * len(steps)
    for step, step_key in zip(reversed(steps), keys, strict=True):
        values[step.block] = _choose(tape, step, values, places, temperature, step_key)
        places.update((name, Place(step.block, row)) for row, name in enumerate(step.variables))
    return {name: (values[place.block].array[place.row], "".join(values[place.block].context)) for name, place in places.items()}


def _choose(tape: Tape, step: Eliminate, values: dict, places: dict[str, Place], temperature: int, key: Any) -> Indexed:
    known = [axis for axis in range(len(step.sizes)) if axis != step.axis]
    given = [_values_at(tape, [places[scope[axis]] for scope in step.scopes], values) for axis in known]
    context = _union(tape, step.context, *(index.context for index in given))
    lengths = tuple(tape.plan.sizes[name] for name in context)
    logits = _spread(Indexed(tape.tables[step.block], step.context), context)
    logits = shaping.moveaxis(logits, 1 + len(context) + step.axis, -1)
    rows = len(step.variables)
    logits = shaping.broadcast_to(logits, (rows, *lengths, *shaping.shape(logits)[1 + len(context) :]))
    for index in given:
        spread = _spread(index, context)
        spread = shaping.reshape(spread, (*shaping.shape(spread), *(1,) * (shaping.ndim(logits) - shaping.ndim(spread))))
        axis = 1 + len(context)
        logits = shaping.squeeze(shaping.take_along_axis(logits, spread, axis), axis)
    if temperature == 0:
        return Indexed(reduce.argmax(logits, axis=-1), context)
    return Indexed(random.categorical(key, logits, (rows, *lengths)), context)


def _values_at(tape: Tape, places: Sequence[Place], values: dict[int, Indexed]) -> Indexed:
    blocks = {place.block for place in places}
    context = _union(tape, *(values[block].context for block in blocks))
    lengths = tuple(tape.plan.sizes[name] for name in context)

    def block_of(block: int) -> Any:
        if len(blocks) == 1:
            return values[block].array
        array = _spread(values[block], context)
        return shaping.broadcast_to(array, (shaping.shape(array)[0], *lengths))

    return Indexed(gather(block_of, places), context)


def _union(tape: Tape, *contexts: Sequence[str]) -> tuple[str, ...]:
    found = {name for context in contexts for name in context}
    return tuple(name for name in tape.plan.sizes if name in found)


def _spread(indexed: Indexed, context: Sequence[str]) -> Any:
    """Return the array with an axis for each symbol of ``context``, of length one where it had none."""
    if tuple(context) == indexed.context:
        return indexed.array
    shape = shaping.shape(indexed.array)
    lengths = dict(zip(indexed.context, shape[1:], strict=False))
    inner = shape[1 + len(indexed.context) :]
    return shaping.reshape(indexed.array, (shape[0], *(lengths.get(name, 1) for name in context), *inner))


class Around:
    """For each factor of a tape the product of all others, summed over what is not in its scope.

    With :math:`Z` the sum of products over all assignments, this is the derivative of :math:`Z` by the factor's entries, which
    multiplications alone give (Darwiche 2003, "A differential approach to inference in Bayesian networks"), in any semiring.

    :param normalized: leave out the factors of what has no connection to the variables, which scale everything alike.
    """

    def __init__(self, tape: Tape, normalized: bool) -> None:
        self.tape = tape
        self.found: dict[Place, Place] = {}
        self.blocks: dict[int, Indexed] = {}
        self.beliefs: dict[str, tuple[Any, str]] = {}
        self._start(normalized)
        for step in reversed(tape.plan.instructions):
            if isinstance(step, Eliminate):
                self._eliminated(step)
            elif not isinstance(step, Load):
                self._multiplied(step)

    def _keep(self, places: Sequence[Place], indexed: Indexed) -> None:
        name = len(self.blocks)
        self.blocks[name] = indexed
        self.found.update((place, Place(name, row)) for row, place in enumerate(places))

    def of(self, places: Sequence[Place]) -> Indexed:
        """Return what is around the factors at ``places``."""
        tape, found = self.tape, [self.found[place] for place in places]
        context = _union(tape, *(self.blocks[place.block].context for place in found))
        lengths = tuple(tape.plan.sizes[name] for name in context)

        def block_of(block: int) -> Any:
            array = _spread(self.blocks[block], context)
            shape = shaping.shape(array)
            return shaping.broadcast_to(array, (shape[0], *lengths, *shape[1 + len(context) :]))

        return Indexed(gather(block_of, found), context)

    def _start(self, normalized: bool) -> None:
        semiring, plan = self.tape.semiring, self.tape.plan
        totals = [self.tape.semiring.product(gather(self.tape.blocks.__getitem__, places), 0) for _, places in plan.results]
        for index, (context, places) in enumerate(plan.results):
            factors = gather(self.tape.blocks.__getitem__, places)
            if normalized:
                self._keep(places, Indexed(shaping.full_like(factors, semiring.one), context))
                continue
            rest = Indexed(semiring.others(factors, 0), context)
            for other, (names, _) in enumerate(plan.results):
                if other != index:
                    rest = self._times(rest, Indexed(shaping.expand_dims(totals[other], 0), names))
            self._keep(places, rest)

    def _times(self, left: Indexed, right: Indexed) -> Indexed:
        context = _union(self.tape, left.context, right.context)
        product = self.tape.semiring.times(_spread(left, context), _spread(right, context))
        return Indexed(product, context)

    def _eliminated(self, step: Eliminate) -> None:
        tape, semiring = self.tape, self.tape.semiring
        around = self.of([Place(step.block, row) for row in range(len(step.variables))])
        context = _union(tape, around.context, step.context)
        lead = 1 + len(context)
        outside = shaping.expand_dims(_spread(around, context), lead + step.axis)
        parts = [_spread(Indexed(expand(tape, role, step), step.context), context) for role in step.roles]
        self._believe(step, semiring.times(outside, multiply(parts, semiring)), context)
        for index, role in enumerate(step.roles):
            rest = multiply([outside, *parts[:index], *parts[index + 1 :]], semiring)
            others = tuple(lead + axis for axis in range(len(step.sizes)) if axis not in role.axes)
            lengths = tuple(tape.plan.sizes[name] for name in context)
            rest = shaping.broadcast_to(rest, (len(step.variables), *lengths, *step.sizes))
            rest = semiring.plus(rest, others) if others else rest
            if role.count > 1:
                rest = self._among_equals(role, Indexed(rest, context))
            self._keep(role.places, Indexed(rest, context))

    def _among_equals(self, role: Role, around: Indexed) -> Any:
        """Return what is around each of the factors of a row that have the same scope."""
        tape = self.tape
        factors = gather(tape.blocks.__getitem__, role.places)
        shape = shaping.shape(factors)
        factors = shaping.reshape(factors, (shape[0] // role.count, role.count, *shape[1:]))
        rest = tape.semiring.others(factors, 1)
        rest = Indexed(shaping.reshape(rest, shape), role.context)
        repeated = Indexed(shaping.repeat(around.array, role.count, 0), around.context)
        return self._times(repeated, rest).array

    def _believe(self, step: Eliminate, joint: Any, context: tuple[str, ...]) -> None:
        lead = 1 + len(context)
        others = tuple(lead + axis for axis in range(len(step.sizes)) if axis != step.axis)
        belief = self.tape.semiring.plus(joint, others) if others else joint
        for row, name in enumerate(step.variables):
            self.beliefs[name] = belief[row], "".join(context)

    def _multiplied(self, step: Any) -> None:
        tape, semiring = self.tape, self.tape.semiring
        around = self.of([Place(step.block, row) for row in range(len(step.role.places))])
        factors = Indexed(collect(tape, step.role), step.role.context)
        axes = [1 + factors.context.index(plate) for plate in step.plates]
        order = [axis for axis in range(shaping.ndim(factors.array)) if axis not in axes]
        moved = shaping.permute_dims(factors.array, (*axes, *order))
        shape = shaping.shape(moved)
        flat = shaping.reshape(moved, (-1, *shape[len(axes) :]))
        rest = shaping.reshape(semiring.others(flat, 0), shape)
        rest = self._with_copies(rest, moved, math.prod(exponents(tape, step)))
        back = sorted(range(len(order) + len(axes)), key=[*axes, *order].__getitem__)
        rest = shaping.permute_dims(rest, tuple(back))
        self._keep(step.role.places, self._times(around, Indexed(rest, factors.context)))

    def _with_copies(self, others: Any, own: Any, count: Any) -> Any:
        """Return what is around one slice of a plate each of whose slices stands for ``count`` independent ones like it.

        :param others: the product of the other slices.
        :param own: the slice itself.
        """
        semiring = self.tape.semiring
        if isinstance(count, (int, float)) and count == 1:
            return others
        # What is impossible stays so, also under a negative power.
        copies = elementwise.where(own == semiring.zero, semiring.zero, semiring.power(own, count - 1))
        return semiring.times(semiring.power(others, count), copies)


def normalize(logits: Any) -> Any:
    """Return ``logits`` less their log-sum-exp along the last axis; ``-inf`` where all are."""
    total = special.logsumexp(logits, axis=-1, keepdims=True)
    return logits - elementwise.where(elementwise.isfinite(total), total, 0.0)
