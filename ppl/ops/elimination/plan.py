"""The order in which variables are summed out and plates multiplied, worked out from symbols and sizes alone.

A plan is a list of instructions over *blocks*. A block holds many factors of one shape, stacked as rows of one array with axes
``(row, *context, *scope)``: the context are plates and batch symbols, the scope are variables. Where many variables have the same
surroundings, one instruction eliminates them all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from ppl.errors import ExponentialContraction, InferenceError, ShapeError

STEP_COST = 2**14
"""The fixed cost of one step, in entries of a table: what a dozen calls of an array library take."""
CHEAP_TABLE = STEP_COST
"""Up to so many entries for each variable a step of many variables costs less than a step for each of them."""
BATCH_ENTRIES = 2**23
"""How many entries the tables of one step may have together, unless it has one variable."""
LARGEST_TABLE = 2**27
LARGEST_GROWTH = 16
"""A sum is refused if a table has more entries than the former, and than the latter for each entry that was given."""


class Place(NamedTuple):
    """Where a factor is: a block and its row."""

    block: int
    row: int


@dataclass(frozen=True)
class Remaining:
    """A factor among those that are left.

    :param place: where its table is.
    :param context: its plates and batch symbols, in the order of the block's axes.
    :param scope: its variables, in the order of the block's axes.
    """

    place: Place
    context: tuple[str, ...]
    scope: tuple[str, ...]


@dataclass(frozen=True)
class Load:
    """Stack factors as given.

    :param groups: pairs of indices of factors and of the order that their axes take.
    """

    groups: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    block: int


@dataclass(frozen=True)
class Role:
    """Factors that take the same part in an elimination, ``count`` of them in each row.

    :param places: where they are, those of a row side by side.
    :param context: the context of them all.
    :param axes: which variables of the table they hold.
    """

    places: tuple[Place, ...]
    count: int
    context: tuple[str, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Eliminate:
    """Multiply factors to a table of axes ``(row, *context, *scope)`` and sum one variable of each row out.

    :param variables: the variable of each row.
    :param scopes: the variables of the table of each row.
    :param axis: which of them is summed out.
    :param sizes: how many values they have.
    """

    roles: tuple[Role, ...]
    variables: tuple[str, ...]
    scopes: tuple[tuple[str, ...], ...]
    axis: int
    sizes: tuple[int, ...]
    context: tuple[str, ...]
    block: int


@dataclass(frozen=True)
class Multiply:
    """Multiply factors over plates."""

    role: Role
    plates: tuple[str, ...]
    context: tuple[str, ...]
    block: int


@dataclass(frozen=True)
class Plan:
    """What to do, what is left, and how long the axes are.

    :param results: for each context that is left, the places of its factors.
    :param plates_of: the plates that each variable lives in.
    :param origins: for each factor as given its place and its variables, in the order of the axes there.
    """

    instructions: tuple[Load | Eliminate | Multiply, ...]
    results: tuple[tuple[tuple[str, ...], tuple[Place, ...]], ...]
    sizes: dict[str, int]
    plates_of: dict[str, frozenset[str]]
    origins: tuple[tuple[Place, tuple[str, ...]], ...]


@lru_cache(maxsize=256)
def make_plan(
    dims: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
    variables: frozenset[str],
    plates: frozenset[str],
) -> Plan:
    """Return how to eliminate ``variables`` and then ``plates`` from factors of these symbols and shapes.

    :raises ShapeError: if an axis has two lengths.
    :raises InferenceError: if a symbol stands for a variable and a plate.
    :raises ExponentialContraction: if no order is polynomial.
    """
    if variables & plates:
        raise InferenceError(f"a symbol stands for a variable or for a plate, got {sorted(variables & plates)} for both")
    planner = _Planner(dims, shapes, variables, plates)
    try:
        plan = planner.plan()
        settled = planner.largest <= max(CHEAP_TABLE, planner.given)
    except ExponentialContraction:
        settled = False
    if settled:
        return plan
    # Eliminating far apart variables at once may tie more of them together than one after another does.
    careful = _Planner(dims, shapes, variables, plates, batched=False)
    other = careful.plan()
    return plan if planner.finished and planner.cost <= careful.cost else other


@dataclass
class _Planner:
    dims: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    variables: frozenset[str]
    plates: frozenset[str]
    batched: bool = True
    instructions: list[Load | Eliminate | Multiply] = field(default_factory=list)
    blocks: int = 0
    largest: int = 0
    cost: int = 0
    finished: bool = False

    def plan(self) -> Plan:
        self.sizes = sizes_of(self.dims, self.shapes)
        self.given = sum(map(math.prod, self.shapes))
        self.rank = {symbol: rank for rank, symbol in enumerate(self.sizes)}
        self.plates_of: dict[str, frozenset[str]] = {}
        for dims in self.dims:
            here = self.plates.intersection(dims)
            for symbol in self.variables.intersection(dims):
                self.plates_of[symbol] = self.plates_of.get(symbol, here) & here
        pending: dict[frozenset[str], list[Remaining]] = {}
        given = self._load()
        for row in given:
            pending.setdefault(self.plates.intersection(row.context), []).append(row)
        finished: dict[tuple[str, ...], list[Place]] = {}
        while pending:
            here = max(pending, key=lambda names: (len(names), sorted(names)))
            rows = self._eliminate_all(pending.pop(here), here)
            for target, group in self._targets(rows, here).items():
                for row in self._multiply(group, here - target) if here else group:
                    if row.scope or target:
                        pending.setdefault(target, []).append(row)
                    else:
                        finished.setdefault(row.context, []).append(row.place)
        results = tuple((context, tuple(places)) for context, places in finished.items())
        self.finished = True
        origins = tuple((row.place, row.scope) for row in given)
        return Plan(tuple(self.instructions), results, self.sizes, self.plates_of, origins)

    def _new_block(self) -> int:
        self.blocks += 1
        return self.blocks - 1

    def in_order(self, symbols: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(symbols), key=self.rank.__getitem__))

    def _load(self) -> list[Remaining]:
        stacks: dict[tuple, dict[tuple[int, ...], list[int]]] = {}
        for index, dims in enumerate(self.dims):
            scope = self.in_order(self.variables.intersection(dims))
            context = self.in_order(set(dims).difference(scope))
            order = tuple(dims.index(symbol) for symbol in (*context, *scope))
            lengths = tuple(self.sizes[symbol] for symbol in scope)
            stacks.setdefault((context, lengths), {}).setdefault(order, []).append(index)
        rows: dict[int, Remaining] = {}
        for (context, _), groups in stacks.items():
            block = self._new_block()
            self.instructions.append(Load(tuple((tuple(group), order) for order, group in groups.items()), block))
            for row, index in enumerate(index for group in groups.values() for index in group):
                scope = self.in_order(self.variables.intersection(self.dims[index]))
                rows[index] = Remaining(Place(block, row), context, scope)
        return [rows[index] for index in range(len(self.dims))]

    def _eliminate_all(self, rows: list[Remaining], here: frozenset[str]) -> list[Remaining]:
        """Sum out the variables that live in exactly the plates ``here``."""
        local = Neighbourhoods(rows, {name for row in rows for name in row.scope if self.plates_of[name] == here}, self)
        while local.holders:
            symbols = local.choose(self.batched)
            self._eliminate(symbols, local)
        return list(local.rows)

    def _eliminate(self, symbols: Sequence[str], local: Neighbourhoods) -> None:
        parts: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Place]] = {}
        scopes = []
        for symbol in symbols:
            scope = local.scope(symbol)
            scopes.append(scope)
            for row in local.holders[symbol]:
                parts.setdefault((row.context, tuple(map(scope.index, row.scope))), []).append(row.place)
        roles = tuple(
            Role(tuple(places), len(places) // len(symbols), context, axes) for (context, axes), places in parts.items()
        )
        context = self.in_order(name for role in roles for name in role.context)
        axis = scopes[0].index(symbols[0])
        sizes = tuple(self.sizes[name] for name in scopes[0])
        block = self._new_block()
        self.instructions.append(Eliminate(roles, tuple(symbols), tuple(scopes), axis, sizes, context, block))
        entries = math.prod(sizes) * math.prod(self.sizes[name] for name in context)
        self._charge(entries, scopes[0], context)
        self.cost += STEP_COST + entries * len(symbols)
        local.replace(
            symbols,
            [
                Remaining(Place(block, index), context, tuple(name for name in scope if name != symbol))
                for index, (symbol, scope) in enumerate(zip(symbols, scopes, strict=True))
            ],
        )

    def _charge(self, entries: int, scope: Sequence[str], context: Sequence[str]) -> None:
        """Refuse a table that could not be held."""
        self.largest = max(self.largest, entries)
        if entries > max(LARGEST_TABLE, LARGEST_GROWTH * self.given):
            raise ExponentialContraction(
                f"the sum over {len(self.variables)} variables needs a table of {entries:.3g} entries over the variables "
                f"{', '.join(map(repr, scope))} and the axes {', '.join(map(repr, context)) or 'none'}; expected at most "
                f"{max(LARGEST_TABLE, LARGEST_GROWTH * self.given):.3g}; the cost is exponential in the number of variables that "
                "depend on each other; try fewer of them, or to sample some of them"
            )

    def _targets(self, rows: list[Remaining], here: frozenset[str]) -> dict[frozenset[str], list[Remaining]]:
        """Group factors by the plates that their variables need, which must be fewer than ``here``."""
        targets: dict[frozenset[str], list[Remaining]] = {}
        for row in rows:
            target = frozenset().union(*(self.plates_of[symbol] for symbol in row.scope))
            if row.scope and target == here:
                raise ExponentialContraction(self._refusal(row, here))
            targets.setdefault(target, []).append(row)
        return targets

    def _refusal(self, row: Remaining, here: frozenset[str]) -> str:
        lives = ", ".join(f"{name!r} in {sorted(self.plates_of[name])}" for name in row.scope)
        copies = sum(math.prod(self.sizes[plate] for plate in self.plates_of[name]) for name in row.scope)
        return (
            f"a factor over plates {sorted(here)} ties variables that live in different plates ({lives}); expected that those "
            f"of one plate can be summed out slice by slice, got {copies} copies that all depend on each other, so that the cost "
            "is exponential in the sizes of the plates; try to write one of the variables inside of all these plates, or "
            "outside of them"
        )

    def _multiply(self, rows: list[Remaining], over: frozenset[str]) -> list[Remaining]:
        stacks: dict[tuple, list[Remaining]] = {}
        for row in rows:
            stacks.setdefault((row.context, tuple(self.sizes[name] for name in row.scope)), []).append(row)
        done = []
        for (context, lengths), group in stacks.items():
            block = self._new_block()
            role = Role(tuple(row.place for row in group), 1, context, tuple(range(len(lengths))))
            rest = tuple(name for name in context if name not in over)
            self.instructions.append(Multiply(role, tuple(name for name in context if name in over), rest, block))
            done += [Remaining(Place(block, index), rest, row.scope) for index, row in enumerate(group)]
        return done


class Neighbourhoods:
    """The factors that are left of one context and, for each variable, those that hold it and what its elimination looks like.

    Variables look alike if the tables of their elimination have the same axes and factors take the same parts in them.
    """

    def __init__(self, rows: Iterable[Remaining], symbols: Collection[str], planner: _Planner) -> None:
        self.planner = planner
        self.rows = dict.fromkeys(rows)
        self.holders: dict[str, dict[Remaining, None]] = {name: {} for name in planner.in_order(symbols)}
        for row in self.rows:
            self._enter(row)
        self.looks: dict[str, Look] = {}
        self.alike: dict[Look, dict[str, None]] = {}
        for name in self.holders:
            self._look(name)

    def _enter(self, row: Remaining) -> None:
        self.rows[row] = None
        for name in row.scope:
            if name in self.holders:
                self.holders[name][row] = None

    def scope(self, symbol: str) -> tuple[str, ...]:
        """Return the variables of the table from which ``symbol`` is summed out."""
        return self.planner.in_order(name for row in self.holders[symbol] for name in row.scope)

    def _look(self, symbol: str) -> None:
        scope, sizes = self.scope(symbol), self.planner.sizes
        position = {name: axis for axis, name in enumerate(scope)}
        roles = sorted((row.context, tuple(position[name] for name in row.scope)) for row in self.holders[symbol])
        lengths = tuple(sizes[name] for name in scope)
        context = {name for names, _ in roles for name in names}
        entries = math.prod(lengths) * math.prod(sizes[name] for name in context)
        look = Look(entries, entries // sizes[symbol], lengths, position[symbol], tuple(roles))
        self.looks[symbol] = look
        self.alike.setdefault(look, {})[symbol] = None

    def _forget(self, symbol: str) -> None:
        look = self.looks.pop(symbol)
        del self.alike[look][symbol]
        if not self.alike[look]:
            del self.alike[look]

    def choose(self, batched: bool) -> list[str]:
        """Return variables that look alike and share no factor: the largest cheap set, or the one of the least result."""
        least = min(self.alike, key=lambda look: (look.result, look.entries))
        if not batched:
            return [next(iter(self.alike[least]))]
        best = self._apart(least)
        cheap = max(CHEAP_TABLE, least.entries)
        for look in sorted(self.alike, key=lambda look: -len(self.alike[look])):
            if len(self.alike[look]) <= len(best):
                break
            if look.entries <= cheap:
                best = max(best, self._apart(look), key=len)
        return best

    def _apart(self, look: Look) -> list[str]:
        most = max(1, BATCH_ENTRIES // look.entries)
        chosen: list[str] = []
        used: set[Remaining] = set()
        for name in sorted(self.alike[look], key=self.planner.rank.__getitem__):
            if len(chosen) < most and used.isdisjoint(self.holders[name]):
                chosen.append(name)
                used.update(self.holders[name])
        return chosen

    def replace(self, symbols: Sequence[str], results: Iterable[Remaining]) -> None:
        """Put the results of an elimination in the place of the factors that went into it."""
        touched: set[str] = set()
        for symbol in symbols:
            self._forget(symbol)
            for row in self.holders.pop(symbol):
                del self.rows[row]
                for name in row.scope:
                    if name in self.holders:
                        del self.holders[name][row]
                        touched.add(name)
        for row in results:
            self._enter(row)
            touched.update(name for name in row.scope if name in self.holders)
        for name in self.planner.in_order(touched.intersection(self.holders)):
            self._forget(name)
            self._look(name)


class Look(NamedTuple):
    """What the elimination of a variable looks like.

    :param entries: of the table.
    :param result: the entries that are left after the sum.
    :param lengths: of the axes of its variables.
    :param axis: that of the variable itself.
    :param roles: the context of each factor and which axes it has.
    """

    entries: int
    result: int
    lengths: tuple[int, ...]
    axis: int
    roles: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]


def sizes_of(dims: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Return the length of each symbol's axis, in the order of their first use.

    :raises ShapeError: if an axis has two lengths, or a factor has another number of axes than of symbols.
    """
    sizes: dict[str, int] = {}
    for names, shape in zip(dims, shapes, strict=True):
        if len(set(names)) != len(shape) or len(names) != len(shape):
            raise ShapeError(
                f"a factor of shape {shape} has the symbols {names!r}; expected one symbol for each axis, all different"
            )
        for name, size in zip(names, shape, strict=True):
            if sizes.setdefault(name, size) != size:
                raise ShapeError(
                    f"the axis {name!r} is {sizes[name]} long in one factor and {size} in another; expected one length for "
                    f"each symbol; got symbols {names!r} with shape {shape}"
                )
    return sizes
