"""What is left of the enumerated sites of a loop: the weight of its last state, and draws of all of them given that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl import ops
from ppl.contrib.control_flow.factors import Steps, Term, Variable, pick, trimmed
from ppl.distributions.distribution import Distribution
from ppl.errors import EnumerationError
from ppl.infer.enum.assignment import Series
from ppl.ops import chain, random
from ppl.ops.semiring import LOG_SUM_PRODUCT, MAX_PRODUCT
from ppl.typing import Shape


class Summed(Distribution):
    """What a site of a loop says once the loop is summed out: a fixed log density, whatever its value.

    :param like: the distribution of the site, of which it has events, support and values.
    :param log_density: an array, or a function that returns it, called when it is first needed.
    :param batch_shape: its batch shape.
    """

    def __init__(self, like: Any, log_density: Any, batch_shape: Any) -> None:
        self.like, self._log_density = like, log_density
        super().__init__(tuple(batch_shape), tuple(like.event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the site."""
        return self.like.support

    @property
    def has_rsample(self) -> bool:
        """Whether draws of the site have gradients."""
        return bool(self.like.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:
        """Whether the support of the site is finite."""
        return bool(self.like.has_enumerate_support)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Return the values of the site along a new leading axis."""
        values = self.like.enumerate_support(expand=False)
        shape = tuple(ops.shape(values))
        event = shape[len(shape) - self.event_dim :]
        values = ops.reshape(values, (shape[0], *(1,) * len(self.batch_shape), *event))
        return ops.broadcast_to(values, (shape[0], *self.batch_shape, *event)) if expand else values

    def log_prob(self, value: Any) -> Any:
        """Return the fixed log density."""
        if callable(self._log_density):
            self._log_density = self._log_density()
        return self._log_density

    def _current_batch_shape(self) -> Any:
        return self._batch_shape


class States:
    """Draws of the enumerated sites of a loop.

    :param steps: how the steps were summed out.
    :param terms: the log densities of the sites of the first steps, one each, and those of all later ones if there are any.
    :param owners: the enumerated site of each dimension that stays.
    :param sites: the enumerated sites by name.
    :param reverse: whether the last slice came first.
    """

    def __init__(
        self, steps: Steps, terms: list[list[Term]], owners: Mapping[int, str], sites: Mapping[str, Any], reverse: bool
    ) -> None:
        self.steps, self.terms, self.owners, self.sites, self.reverse = steps, terms, dict(owners), dict(sites), reverse

    def best(self) -> Any:
        """Return the log density of the most probable way to each last state, in the place of the sum over all of them."""
        reduced = [self.steps.reduce(terms, MAX_PRODUCT) for terms in self.terms]
        return trimmed(self.steps.last_state(reduced, MAX_PRODUCT))

    # -- the posterior of each step --

    def series(self) -> dict[str, Series]:
        """Return what the enumerated sites are.

        :raises EnumerationError: if a plate inside of the step is subsampled.
        """
        length = sum(ops.shape(part[0].array)[0] for part in self.terms)
        found = {}
        for variable in (*self.steps.carried, *self.steps.local):
            site = self.sites[variable.name]
            fn = site.message["fn"]
            fn = fn.like if isinstance(fn, Summed) else fn
            support = fn.enumerate_support(expand=False)
            events = tuple(ops.shape(support))[ops.ndim(support) - len(fn.event_shape) :]
            support = ops.reshape(support, (variable.size, *events))
            found[variable.name] = Series(variable.size, support, self._plates(site), length, self.reverse, fn)
        return found

    def _plates(self, site: Any) -> dict[int, int]:
        for dim, frame in self.steps.frames.items():
            if frame.full_size not in (None, frame.size):
                raise EnumerationError(
                    f"plate {frame.name!r} (dim={dim}) inside of the step of scan has {frame.size} of {frame.full_size} "
                    "elements, which count for all in the sum over enumerated sites; expected all of them; try it without "
                    "subsample_size"
                )
        return {frame.dim: frame.size for frame in site.message["cond_indep_stack"] if frame.vectorized}

    def slots(self) -> dict[str, list[Shape]]:
        """Return the shapes of the log densities of each enumerated site: of the first steps, one each, and of all later ones."""
        found = {}
        for name, series in self.series().items():
            shape = [1] * self.steps.rank
            for dim, size in {**series.plates, self._dim(name): series.size}.items():
                shape[dim] = size
            found[name] = [(int(ops.shape(part[0].array)[0]), *shape) for part in self.terms]
        return found

    def _dim(self, name: str) -> int:
        return next(variable.dim for variable in (*self.steps.carried, *self.steps.local) if variable.name == name)

    def weights(self, extra: Mapping[str, list[Any]]) -> Any:
        """Return the log weight of each last state.

        :param extra: what is added to the log densities of enumerated sites, of the shapes of :meth:`slots`.
        """
        steps = self.steps
        terms = [
            [t._replace(array=steps.aligned(t.array) + extra[t.name][place]) if t.name in extra else t for t in part]
            for place, part in enumerate(self.terms)
        ]
        weights = trimmed(steps.last_state([steps.reduce(part) for part in terms]))
        if steps.carried:
            return weights
        # Each value of the site that stands for the loop has an equal part of it.
        size = self.series()[next(iter(self.sites))].size
        return weights - ops.log(ops.array(float(size)))

    def in_front(self, name: str, table: Any) -> list[Any]:
        """Return a row for each step of a host array of the shape of :meth:`slots`: the plates, then the values."""
        series = self.series()[name]
        axis = self.steps.rank + 1 + self._dim(name)
        shape = tuple(series.plates[dim] for dim in sorted(series.plates))
        others = [place for place in range(table.ndim) if place != axis]
        return list(table.transpose(*others, axis).reshape(table.shape[0], *shape, series.size))

    def draw(self, indices: Mapping[str, Any], temperature: int = 1, key: Any = None) -> dict[str, Any]:
        """Return values of the enumerated sites in all steps by name: a joint draw from their posterior, or its mode.

        :param indices: for each enumerated site outside of the loop that it depends on, and for each site whose last value the
            loop hands on, integers over the dimensions of its plates: which value it has.
        :param temperature: 1 for a draw, 0 for the most probable values.
        :param key: source of randomness; ``None`` for the ambient one.
        """
        steps = self.steps
        if temperature and key is None:
            key = random.next_key("scan")
        width = max(len(self.terms), 2)
        count = 1 + width * len(steps.local)
        keys = [None] * count if key is None else random.split(key, count)
        reduced = [steps.reduce(terms, LOG_SUM_PRODUCT if temperature else MAX_PRODUCT) for terms in self.terms]
        drawn = self._carried([self._given(part.array, indices) for part in reduced], indices, temperature, keys[0])
        for place, variable in reversed(list(enumerate(steps.local))):
            tables = [self._given(part.tables[place][1], indices) for part in reduced]
            own = keys[1 + width * place : 1 + width * (place + 1)]
            drawn[variable.name] = self._local(variable, tables, drawn, temperature, own)
        return {name: self._values(self.sites[name], index) for name, index in drawn.items()}

    def _given(self, array: Any, indices: Mapping[str, Any]) -> Any:
        """Return an array at the values of the sites outside of the loop."""
        inside = {dim for v in (*self.steps.carried, *self.steps.local) for dim in (v.dim, *v.before)}
        for dim, name in self.owners.items():
            if dim not in inside and dim >= -self.steps.rank and ops.shape(array)[dim] != 1:
                array = pick(array, dim, self.steps.aligned(ops.expand_dims(indices[name], 0)))
        return array

    def _carried(self, parts: list[Any], indices: Mapping[str, Any], temperature: int, key: Any) -> dict[str, Any]:
        """Return the indices of the values that go on from step to step, shape ``(T, ...)`` with all dimensions."""
        steps = self.steps
        if not steps.carried:
            return {}
        semiring = LOG_SUM_PRODUCT if temperature else MAX_PRODUCT
        table, matrices = steps.start(parts), steps.matrices(parts)
        last: Any = 0
        for variable in steps.carried:
            last = last * variable.size + ops.expand_dims(indices[variable.name], 0)
        last = steps.scalars(last)
        several = steps.history > 1
        keys = [key] * 3 if key is None or not several else random.split(key, 3)
        if several:
            weights = steps.last_block(parts, semiring)
            batch = tuple(ops.shape(weights))[:-1]
            weights = ops.reshape(weights, (*batch, steps.size ** (steps.history - 1), steps.size))
            earlier = chain.choose(chain.column(weights, ops.broadcast_to(last, batch)), temperature, keys[1])
            last = earlier * steps.size + last
        start = semiring.plus(table, -2) if ops.shape(table)[-2] > 1 else table[..., 0, :]
        if matrices is None:
            states = ops.expand_dims(ops.broadcast_to(last, tuple(ops.shape(start))[:-1]), -1)
        else:
            batch = ops.broadcast_shapes(tuple(ops.shape(start))[:-1], tuple(ops.shape(matrices))[:-3])
            matrices = ops.broadcast_to(matrices, (*batch, *tuple(ops.shape(matrices))[-3:]))
            first = matrices[..., :1, :, :] + ops.expand_dims(ops.expand_dims(start, -2), -1)
            states = chain.path(ops.concat([first, matrices[..., 1:, :, :]], axis=-3), last, None, temperature, keys[0])
        if several:
            states = self._unblocked(states, table, temperature, keys[2])
        drawn = {}
        for variable in reversed(steps.carried):
            drawn[variable.name] = steps.unfold_indices(ops.remainder(states, variable.size))
            states = states // variable.size
        return drawn

    def _unblocked(self, states: Any, table: Any, temperature: int, key: Any) -> Any:
        """Return the joint value in each step from those of blocks of steps, and draw those in front of the first block."""
        steps = self.steps
        values = _digits(states, steps.size, steps.history)
        rest = sum(ops.shape(part[0].array)[0] for part in self.terms) - ops.shape(values)[-1]
        if rest == 0:
            return values
        batch = tuple(ops.shape(states))[:-1]
        table = ops.broadcast_to(table, (*batch, *tuple(ops.shape(table))[-2:]))
        front = chain.choose(chain.column(table, states[..., 0]), temperature, key)
        return ops.concat([_digits(ops.expand_dims(front, -1), steps.size, rest), values], axis=-1)

    def _local(self, variable: Variable, tables: list[Any], drawn: Mapping[str, Any], temperature: int, keys: list[Any]) -> Any:
        """Return the indices of the values of a local variable, given those that were summed after it."""
        rows = []
        for part, table in enumerate(tables):
            stop = part + 1 if part < self.steps.history else None
            for other in (*self.steps.carried, *self.steps.local):
                if other.name in drawn:
                    table = pick(table, other.dim, drawn[other.name][part:stop])
                    for back, dim in enumerate(other.before[:part], start=1):
                        end = -back if stop is None else stop - back
                        table = pick(table, dim, drawn[other.name][part - back : end])
            index = chain.choose(ops.moveaxis(table, variable.dim, -1), temperature, keys[part])
            rows.append(ops.expand_dims(index, ops.ndim(index) + 1 + variable.dim))
        return rows[0] if len(rows) == 1 else _joined(rows)

    def _values(self, site: Any, index: Any) -> Any:
        values = site.message["fn"].enumerate_support(expand=False)
        shape = tuple(ops.shape(values))
        event = shape[len(shape) - len(site.message["fn"].event_shape) :]
        right = tuple(ops.shape(index))[ops.ndim(index) + site.dim + 1 :]
        flat = ops.take(ops.reshape(values, (shape[0], *event)), ops.reshape(index, (-1,)), axis=0)
        stacked = ops.reshape(flat, (ops.shape(index)[0], *right, *event))
        return ops.flip(stacked, 0) if self.reverse else stacked


def _digits(states: Any, size: int, count: int) -> Any:
    """Return ``(..., T)`` joint values of ``count`` steps as ``(..., T * count)`` values of one."""
    digits = [ops.remainder(states // size ** (count - 1 - place), size) for place in range(count)]
    shape = tuple(ops.shape(states))
    return ops.reshape(ops.stack(digits, axis=-1), (*shape[:-1], shape[-1] * count))


def _joined(rows: list[Any]) -> Any:
    common = ops.broadcast_shapes(*(tuple(ops.shape(row))[1:] for row in rows))
    return ops.concat([ops.broadcast_to(row, (ops.shape(row)[0], *common)) for row in rows], axis=0)
