"""Single values for sites that were enumerated, and arrays of an enumerated run read at them."""

from __future__ import annotations

import random as python_random
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ppl import ops
from ppl.typing import Message, Shape

# The length of the pattern of values along the elements of plates: prime, so that it falls in step with no plate.
PATTERN = 101
# Three runs give a binary site one of six codes that hold both values, and neighbours another one.
CODES = ((0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 0, 0))


class Misfit(Exception):
    """An axis is not as long as the support of the site whose values run along it.

    :param dim: the axis, counted from the right of the batch shape.
    :param owner: the site, ``None`` where no site is visible that runs along the axis.
    """

    def __init__(self, dim: int, owner: str | None) -> None:
        super().__init__(dim, owner)
        self.dim = dim
        self.owner = owner


class Variable(NamedTuple):
    """An enumerated site.

    :param dim: the dimension along which its values run.
    :param size: how many values.
    :param plates: the sizes of the plates around it by their dimension.
    """

    dim: int
    size: int
    plates: dict[int, int]


class Series(NamedTuple):
    """An enumerated site of all steps of a loop.

    :param size: how many values, ``support`` with them along its leading axis.
    :param plates: the sizes of the plates around it by their dimension.
    :param length: how many steps.
    :param reverse: whether the last step comes first.
    :param fn: the distribution of one step.
    """

    size: int
    support: Any
    plates: dict[int, int]
    length: int
    reverse: bool
    fn: Any

    @property
    def shape(self) -> Shape:
        """Its steps, then the sizes of its plates."""
        return (self.length, *(self.plates[dim] for dim in sorted(self.plates)))


def variable_of(node: Message) -> Variable | None:
    """Return the variable of a node of an enumerated run, ``None`` if the site has a single value."""
    dim = node.get("infer", {}).get("_enumerate_dim")
    if node["type"] != "sample" or dim is None:
        return None
    batch = batch_shape(node["value"], len(node["fn"].event_shape))
    plates = {frame.dim: frame.size for frame in node["cond_indep_stack"] if frame.vectorized}
    sizes = {place: size or tuple(node["fn"].batch_shape)[place] for place, size in plates.items()}
    return Variable(dim, batch[dim] if -dim <= len(batch) else 1, sizes)


def batch_shape(value: Any, event_dim: int) -> Shape:
    """Return the shape of ``value`` without its last ``event_dim`` axes."""
    shape = tuple(ops.shape(value))
    return shape[: len(shape) - event_dim]


class Assignment:
    """One value of each enumerated site, another one for each element of its plates.

    :param variables: the enumerated sites by name.
    :param patterns: for each of them the indices of its values, repeated along the elements of its plates.
    :param first_available_dim: the rightmost dimension that no plate uses.
    :param series: the enumerated sites of loops by name, whose patterns name a value for each element of each step.
    """

    def __init__(
        self,
        variables: Mapping[str, Variable],
        patterns: Mapping[str, tuple[int, ...]],
        first_available_dim: int,
        series: Mapping[str, Series] | None = None,
    ) -> None:
        self.variables = variables
        self.series = series or {}
        self.first_available_dim = first_available_dim
        self.patterns = dict(patterns)
        self._indices: dict[str, Any] = {}

    def shifted(self, name: str) -> Assignment:
        """Return the assignment that has the next value of one site."""
        count = self.variables[name].size
        pattern = tuple((index + 1) % count for index in self.patterns[name])
        return Assignment(self.variables, {**self.patterns, name: pattern}, self.first_available_dim, self.series)

    def steps(self, name: str) -> Any:
        """Return the values of a site of a loop, time as leading axis; ``None`` for another site."""
        if name not in self.series:
            return None
        series = self.series[name]
        shape = [1] * -min(series.plates, default=0)
        for dim, size in series.plates.items():
            shape[dim] = size
        values = ops.take(series.support, ops.array(list(self.patterns[name])), axis=0)
        return ops.reshape(values, (series.length, *shape, *tuple(ops.shape(values))[1:]))

    def index(self, name: str) -> Any:
        """Return the indices of a site's values: an int, or host ints with an axis for each dimension of its plates."""
        if name not in self._indices:
            pattern, plates = self.patterns[name], self.variables[name].plates
            if name in self.series:
                # What comes after a loop sees its last step alone.
                count = len(pattern) // self.series[name].length
                pattern = pattern[:count] if self.series[name].reverse else pattern[-count:]
            shape = [1] * -min(plates, default=0)
            total = 1
            for dim, size in plates.items():
                shape[dim] = size
                total *= size
            flat = [pattern[element % len(pattern)] for element in range(total)]
            self._indices[name] = _integers(flat, tuple(shape)) if plates else flat[0]
        return self._indices[name]

    def at(self, value: Any, owners: Mapping[int, str], event_dim: int = 0, on_host: bool = False) -> Any:
        """Return an array of the enumerated run where the enumerated sites have these values.

        :param value: an array whose axes before the last ``event_dim`` ones are batch dimensions.
        :param owners: the enumerated site that runs along each dimension.
        :param on_host: whether ``value`` is a host array.
        :raises Misfit: if an axis is longer than one and is not as long as its owner's support, or has no owner and no plate.
        """
        batch = batch_shape(value, event_dim)
        dims = range(-len(batch), 0)
        if all(size == 1 or dim not in owners for dim, size in zip(dims, batch, strict=True)) and (
            all(size == 1 for size in batch[: self.first_available_dim + 1])
        ):
            return value
        places: list[Any] = []
        for dim, size in zip(dims, batch, strict=True):
            if size == 1:
                places.append(0)
            elif dim in owners:
                if size != self.variables[owners[dim]].size:
                    raise Misfit(dim, owners[dim])
                places.append(self.index(owners[dim]))
            elif dim <= self.first_available_dim:
                raise Misfit(dim, None)
            else:
                places.append(_integers(range(size), (size, *(1,) * (-dim - 1))))
        if on_host:
            return value[tuple(places)]
        # On the host, since backends that compile would do so for each shape.
        picked = ops.array(ops.to_numpy(value)[tuple(places)], dtype=ops.dtype_name(value))
        return picked if ops.device(picked) == ops.device(value) else ops.to_device(picked, ops.device(value))


def assignments(variables: Mapping[str, Variable], runs: int, first_available_dim: int) -> list[Assignment]:
    """Return some assignments in which each value of a small support occurs and no two neighbouring sites go together.

    :param variables: the enumerated sites by name, in the order of the run.
    :param first_available_dim: the rightmost dimension that no plate uses.
    :param runs: how many; three show every value of supports of up to three values.
    """
    generator = python_random.Random(0)
    starts = {name: _starts(generator, place, variable.size) for place, (name, variable) in enumerate(variables.items())}
    return [
        Assignment(
            variables,
            {name: _pattern(generator, starts[name][run % 3], variable) for name, variable in variables.items()},
            first_available_dim,
        )
        for run in range(runs)
    ]


def _integers(numbers: Iterable[int], shape: tuple[int, ...]) -> Any:
    return ops.to_numpy(ops.array(list(numbers))).reshape(shape)


def _starts(generator: python_random.Random, place: int, count: int) -> tuple[int, ...]:
    if count <= 2:
        return tuple(index % count for index in CODES[place % len(CODES)])
    return tuple(generator.sample(range(count), 3))


def _pattern(generator: python_random.Random, first: int, variable: Variable) -> tuple[int, ...]:
    if not variable.plates:
        return (first,)
    others = (generator.randrange(variable.size) for _ in range(PATTERN - 1))
    return (first, *others)
