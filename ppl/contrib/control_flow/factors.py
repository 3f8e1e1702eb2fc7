"""The log densities of all steps of an enumerated loop, and the sum over what happens inside of it.

Arrays have time as leading axis and, right of it, the batch dimensions of one step at their places counted from the right:
plates, then dimensions of enumerated sites, then for each enumerated site that later steps see dimensions of its values in the
steps before. Where steps see several of these, as many steps as they see are taken together: a joint value of that many steps in
a row depends on the one before it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from ppl import ops
from ppl.errors import EnumerationError
from ppl.handlers.indep import CondIndepStackFrame
from ppl.ops import chain
from ppl.ops.semiring import LOG_SUM_PRODUCT, Semiring

Plates = frozenset[int]

# How many joint values two blocks of steps may have: a table of them is held for each block.
MOST_PAIRS = 2**22


class Variable(NamedTuple):
    """An enumerated site of the steps.

    :param name: the site.
    :param dim: the dimension of its values in a step.
    :param before: the dimensions of its values in the step before, the one before that, and so on; none if no later step sees
        them.
    :param size: how many values.
    :param plates: the dimensions of the plates inside of the step that it stands in.
    """

    name: str
    dim: int
    before: tuple[int, ...]
    size: int
    plates: Plates


class Term(NamedTuple):
    """Log densities of a site in all steps.

    :param name: the site.
    :param array: shape ``(T, ...)``.
    :param plates: the dimensions of the plates inside of the step that it stands in.
    """

    name: str
    array: Any
    plates: Plates


@dataclass
class Reduced:
    """Steps whose local variables and plates are summed out.

    :param array: what depends on the variables that the next step sees, and whatever else stands in their plates.
    :param constants: by site, what does not and stands outside of their plates: one number for all steps.
    :param tables: for each local variable, in the order of the sums, the table before its sum.
    """

    array: Any
    constants: dict[str, Any] = field(default_factory=dict)
    tables: list[tuple[Variable, Any]] = field(default_factory=list)


class Steps:
    """How the steps of a loop are summed out.

    :param variables: the enumerated sites.
    :param frames: the plates inside of the step by dimension.
    :param rank: how many dimensions a step has.
    :param history: how many steps back a step sees, of which there are as many at least.
    :raises EnumerationError: if the sites that the next step sees stand in different plates inside of the step, or have too many
        joint values.
    """

    def __init__(
        self, variables: Sequence[Variable], frames: Mapping[int, CondIndepStackFrame], rank: int, history: int = 1
    ) -> None:
        self.frames, self.rank, self.history = frames, rank, history
        self.carried = [variable for variable in variables if variable.before]
        self.local = sorted((v for v in variables if not v.before), key=lambda variable: -len(variable.plates))
        plates = {variable.plates for variable in self.carried}
        if len(plates) > 1:
            names = [variable.name for variable in self.carried]
            raise EnumerationError(
                f"sites {names} inside scan are all seen by the next step, but stand in different plates inside of the step; "
                "expected the same plates, since the joint chain is exponential in their sizes otherwise; try ppl.plate around "
                "scan"
            )
        self.plates: Plates = plates.pop() if plates else frozenset()
        self.size = prod(variable.size for variable in self.carried)
        if self.history > 1 and self.size ** (2 * self.history) > MOST_PAIRS:
            raise EnumerationError(
                f"sites {[variable.name for variable in self.carried]} inside scan have {self.size} joint values in a step, so "
                f"that two times {self.history} steps in a row have {self.size ** (2 * self.history)}; expected {MOST_PAIRS} at "
                "most; try a shorter history"
            )

    def aligned(self, array: Any) -> Any:
        """Return an array of shape ``(T, ...)`` with all dimensions of a step."""
        shape = tuple(ops.shape(array))
        return ops.reshape(array, (shape[0], *(1,) * (self.rank + 1 - len(shape)), *shape[1:]))

    def reduce(self, terms: Iterable[Term], semiring: Semiring = LOG_SUM_PRODUCT) -> Reduced:
        """Sum the local variables out of each step, and multiply over plates that the others do not stand in.

        :param semiring: what a sum is.
        :raises EnumerationError: if a site outside of a plate depends on an enumerated one inside.
        """
        left = [Term(term.name, self.aligned(term.array), term.plates) for term in terms]
        tables = []
        for variable in self.local:
            held = [term for term in left if _has(term.array, variable.dim) or term.name == variable.name]
            table = _total([self._within(term, variable.plates, [variable]) for term in held])
            tables.append((variable, table))
            left = [term for term in left if not any(term is other for other in held)]
            summed = ops.expand_dims(semiring.plus(table, variable.dim), ops.ndim(table) + variable.dim)
            left.append(Term(variable.name, summed, variable.plates))
        constants: dict[str, Any] = {}
        inside = []
        for term in left:
            if self.plates <= term.plates or self._is_seen(term):
                inside.append(self._within(term, self.plates, self.carried))
            else:
                outside = self._within(term, frozenset(), [])
                constants[term.name] = constants.get(term.name, 0.0) + outside
        return Reduced(_total(inside), constants, tables)

    def _is_seen(self, term: Term) -> bool:
        return any(_has(term.array, dim) for variable in self.carried for dim in (variable.dim, *variable.before))

    def _within(self, term: Term, plates: Plates, variables: Sequence[Variable]) -> Any:
        """Return a term multiplied over all plates but ``plates``, those of ``variables``."""
        if not plates <= term.plates:
            names = [self.frames[dim].name for dim in plates - term.plates]
            raise EnumerationError(
                f"site {term.name!r} inside scan lies outside of plates {names} but depends on the enumerated sites "
                f"{[variable.name for variable in variables]} inside; expected what depends on them to be inside of the plate "
                f"too; try to move {term.name!r} into the plate"
            )
        array = term.array
        for dim in term.plates - plates:
            frame = self.frames[dim]
            factor = (frame.full_size or 1) / (frame.size or 1) if frame.full_size and frame.size else 1.0
            if ops.shape(array)[dim] == 1 and frame.size is not None:
                factor = factor * frame.size
            array = ops.sum(array, axis=dim, keepdims=True) * factor
        return array

    # -- chains --

    def _others(self) -> list[int]:
        """Return the dimensions that are no carried variable's."""
        taken = {dim for variable in self.carried for dim in (variable.dim, *variable.before)}
        return [dim for dim in range(-self.rank, 0) if dim not in taken]

    def _windows(self, array: Any, depth: int) -> Any:
        """Return ``(..., T, K, ..., K)``: the joint values ``depth`` steps before each step, and so on up to its own."""
        sizes = {dim: v.size for v in self.carried for dim in (v.dim, *v.before[:depth])}
        array = _stretched(array, sizes)
        others = self._others()
        order = [v.before[back] for back in range(self.history) for v in self.carried if back >= depth]
        order += [v.before[back - 1] for back in range(depth, 0, -1) for v in self.carried]
        order += [v.dim for v in self.carried]
        array = ops.permute_dims(array, (*(self.rank + 1 + dim for dim in others), 0, *(self.rank + 1 + dim for dim in order)))
        shape = tuple(ops.shape(array))
        return ops.reshape(array, (*shape[: len(others) + 1], *(self.size,) * (depth + 1)))

    def _parts(self, arrays: Sequence[Any]) -> tuple[int, Any]:
        """Return how many of the alike steps stand in front of the first full block, and the array of these steps if any."""
        later = arrays[self.history] if len(arrays) > self.history else None
        return (0 if later is None else ops.shape(later)[0] % self.history), later

    def start(self, arrays: Sequence[Any]) -> Any:
        """Return ``(..., R, S)``: the log weights of the states of the first full block, after the steps in front of it.

        :param arrays: of the first steps, one each, and of all later ones if there are any.

        A state is a joint value of as many steps in a row as a step sees.
        """
        rest, later = self._parts(arrays)
        length = self.history + rest
        total: Any = 0.0
        for place in range(length):
            depth = min(place, self.history)
            windows = self._windows(arrays[place] if place < self.history else later, depth)
            axis = -2 - depth
            step = place - self.history if place >= self.history else 0
            one = windows[(..., step, *(slice(None),) * (depth + 1))]
            batch = tuple(ops.shape(windows))[:axis]
            places = [self.size if place - depth <= at <= place else 1 for at in range(length)]
            total = total + ops.reshape(one, (*batch, *places))
        shape = tuple(ops.shape(total))
        return ops.reshape(total, (*shape[: len(shape) - length], self.size**rest, self.size**self.history))

    def matrices(self, arrays: Sequence[Any]) -> Any:
        """Return ``(..., T, S, S)``, from the state of each block to that of the next; ``None`` if there is one alone."""
        rest, later = self._parts(arrays)
        if later is None or ops.shape(later)[0] == rest:
            return None
        windows = self._windows(later, self.history)
        total: Any = 0.0
        for place in range(self.history):
            one = windows[(..., slice(rest + place, None, self.history), *(slice(None),) * (self.history + 1))]
            batch = tuple(ops.shape(one))[: -self.history - 1]
            places = [self.size if place <= at <= place + self.history else 1 for at in range(2 * self.history)]
            total = total + ops.reshape(one, (*batch, *places))
        shape = tuple(ops.shape(total))
        states = self.size**self.history
        return ops.reshape(total, (*shape[: len(shape) - 2 * self.history], states, states))

    def last_block(self, arrays: Sequence[Any], semiring: Semiring) -> Any:
        """Return ``(..., S)``, the log weight of each state of the last block over all ways to it."""
        table, matrices = self.start(arrays), self.matrices(arrays)
        start = semiring.plus(table, -2) if ops.shape(table)[-2] > 1 else table[..., 0, :]
        if matrices is None:
            return start
        if semiring is LOG_SUM_PRODUCT:
            return chain.log_forward(start, matrices)
        product = chain.products(matrices, semiring)[-1][..., 0, :, :]
        return semiring.plus(ops.expand_dims(start, -1) + product, -2)

    def unfold(self, array: Any) -> Any:
        """Return an array ``(..., K)`` with each variable at its dimension, and no leading axis of time."""
        others = self._others()
        shape = tuple(ops.shape(array))[:-1]
        array = ops.reshape(array, (*shape, *(1 for v in self.carried for _ in v.before), *(v.size for v in self.carried)))
        places = [*others, *(dim for v in self.carried for dim in v.before), *(v.dim for v in self.carried)]
        return ops.permute_dims(array, tuple(places.index(dim) for dim in range(-self.rank, 0)))

    def scalars(self, array: Any) -> Any:
        """Return ``(...)`` from one integer for each place, whose leading axis has size 1."""
        array = self.aligned(array)
        others = self._others()
        return ops.reshape(array, tuple(ops.shape(array)[dim] for dim in others))

    def unfold_indices(self, array: Any) -> Any:
        """Return ``(..., T)`` as an array ``(T, ...)`` with all dimensions of a step, of size 1 for those of variables."""
        others = self._others()
        array = ops.moveaxis(array, -1, 0)
        shape, sizes = tuple(ops.shape(array)), dict.fromkeys(range(-self.rank, 0), 1)
        sizes.update(zip(others, shape[1:], strict=True))
        return ops.reshape(array, (shape[0], *(sizes[dim] for dim in range(-self.rank, 0))))

    def last_shape(self, reduced: Sequence[Reduced]) -> tuple[int, ...]:
        """Return the shape of :meth:`last_state` without leading axes of size 1."""
        sizes = [1] * self.rank
        for part in reduced:
            for dim in range(-self.rank, 0):
                sizes[dim] = max(sizes[dim], int(ops.shape(part.array)[dim]))
        for variable in self.carried:
            sizes[variable.dim] = variable.size
            for dim in variable.before:
                sizes[dim] = 1
        while sizes and sizes[0] == 1:
            sizes = sizes[1:]
        return tuple(sizes)

    def last_state(self, reduced: Sequence[Reduced], semiring: Semiring = LOG_SUM_PRODUCT) -> Any:
        """Return the log weight of each joint value of the carried variables after the last step, over all ways to it.

        :param reduced: the first steps, one each, and all later ones if there are any.
        """
        if not self.carried:
            total: Any = 0.0
            for part in reduced:
                total = total + ops.sum(part.array, axis=0)
            return total
        weights = self.last_block([part.array for part in reduced], semiring)
        if self.history > 1:
            batch = tuple(ops.shape(weights))[:-1]
            weights = semiring.plus(ops.reshape(weights, (*batch, self.size ** (self.history - 1), self.size)), -2)
        return self.unfold(weights)


def pick(array: Any, dim: int, index: Any) -> Any:
    """Return an array of shape ``(T, ...)`` at the integers ``index`` along ``dim``, where size 1 stays.

    :param index: as many axes, size 1 along ``dim``; it broadcasts elsewhere.
    """
    if ops.shape(array)[dim] == 1:
        return array
    shape, wanted = list(ops.shape(array)), list(ops.shape(index))
    length = shape[dim]
    shape[dim] = 1
    common = list(ops.broadcast_shapes(tuple(shape), tuple(wanted)))
    index = ops.broadcast_to(index, tuple(common))
    common[dim] = length
    return ops.take_along_axis(ops.broadcast_to(array, tuple(common)), index, axis=dim)


def _has(array: Any, dim: int) -> bool:
    return bool(ops.shape(array)[dim] != 1)


def _total(arrays: Sequence[Any]) -> Any:
    total: Any = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


def _stretched(array: Any, sizes: Mapping[int, int]) -> Any:
    shape = list(ops.shape(array))
    for dim, size in sizes.items():
        shape[dim] = size
    return array if tuple(shape) == tuple(ops.shape(array)) else ops.broadcast_to(array, tuple(shape))


def trimmed(array: Any) -> Any:
    """Return an array without leading axes of size 1."""
    shape = tuple(ops.shape(array))
    while shape and shape[0] == 1:
        shape = shape[1:]
    return ops.reshape(array, shape)
