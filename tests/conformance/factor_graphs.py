"""Random factor graphs with plates, and their log evidence and marginals by one table over all copies of all variables."""

import dataclasses
import itertools
import math

import numpy
from hypothesis import strategies as st
from scipy import special

MOST_ASSIGNMENTS = 4096
MOST_AXES = 32


@dataclasses.dataclass
class Graph:
    """Log factors ``(array, symbols)``; the rest as :func:`ppl.ops.elimination.eliminate` takes it."""

    factors: list
    variables: str
    plates: str = ""
    scales: dict = dataclasses.field(default_factory=dict)
    kept: str = ""

    def __repr__(self):
        dims = [(array.shape, symbols) for array, symbols in self.factors]
        return f"Graph({dims}, {self.variables!r}, {self.plates!r}, {self.scales}, kept={self.kept!r})"

    def sizes(self):
        return {symbol: size for array, dims in self.factors for symbol, size in zip(dims, array.shape, strict=True)}

    def batch(self):
        """Return the symbols that are left in the end."""
        return [symbol for symbol in self.sizes() if symbol in self.kept or symbol not in self.variables + self.plates]


def log_evidence(graph):
    """Return the log evidence, an array over ``graph.batch()``; scales must be integers, which repeat the slices of a plate."""
    return _over_batch(graph, lambda table, places: special.logsumexp(table))


def gradients(graph):
    """Return the derivative of the log evidence for each factor of a graph without batch: how often each entry is expected."""

    def expected(table, places):
        weights = numpy.exp(table - special.logsumexp(table))
        counts = [numpy.zeros(array.shape) for array, _ in graph.factors]
        for number, index, axes in places:
            margin = weights.sum(tuple(set(range(weights.ndim)) - set(axes)))
            order = sorted(axes)
            counts[number][index] += numpy.transpose(margin, [order.index(axis) for axis in axes])
        return counts

    return _expand(graph, {}, expected)


def _over_batch(graph, reduce):
    batch, sizes = graph.batch(), graph.sizes()
    result = numpy.empty([sizes[symbol] for symbol in batch])
    for index in numpy.ndindex(result.shape):
        result[index] = _expand(graph, dict(zip(batch, index, strict=True)), reduce)
    return result


def _expand(graph, at, reduce):
    """Return ``reduce(table, places)`` of the log density at all joint assignments, one axis for each copy of a variable.

    ``places`` tells for each slice of each factor its number, its index in the array and the axes of the table that it has.
    """
    axes, places = _copies(graph, at)
    sizes = graph.sizes()
    lengths = [sizes[symbol] for symbol, _ in axes]
    table = numpy.zeros(lengths)
    for number, index, held in places:
        order = sorted(held)
        part = numpy.transpose(graph.factors[number][0][index], [held.index(axis) for axis in order])
        table = table + part.reshape([size if axis in held else 1 for axis, size in enumerate(lengths)])
    return reduce(table, places)


def _copies(graph, at):
    plates = [plate for plate in graph.plates if plate not in graph.kept]
    sizes, homes, axes, places = graph.sizes(), {}, {}, []
    for _, dims in graph.factors:
        for symbol in graph.variables:
            if symbol in dims:
                here = {plate for plate in plates if plate in dims}
                homes[symbol] = homes.get(symbol, here) & here
    for number, (_, dims) in enumerate(graph.factors):
        around = [plate for plate in plates if plate in dims]
        for copy in itertools.product(*(range(sizes[plate] * graph.scales.get(plate, 1)) for plate in around)):
            slot = dict(zip(around, copy, strict=True))
            index, held = [], []
            for symbol in dims:
                if symbol in graph.variables:
                    key = symbol, tuple(slot[plate] for plate in around if plate in homes[symbol])
                    held.append(axes.setdefault(key, len(axes)))
                    index.append(slice(None))
                else:
                    index.append(slot[symbol] % sizes[symbol] if symbol in slot else at.get(symbol, 0))
            places.append((number, tuple(index), held))
    return axes, places


def assignments(graph):
    """Return how many joint assignments the table of a graph has, infinity where numpy has too few axes for it."""
    axes, _ = _copies(graph, {})
    sizes = graph.sizes()
    return math.prod(sizes[symbol] for symbol, _ in axes) if len(axes) <= MOST_AXES else math.inf


@st.composite
def graphs(draw, plain=False):
    """Draw a graph of at most four variables and two plates, nested or crossed, with impossible entries and repeated slices."""
    plates = {symbol: draw(st.integers(1, 3)) for symbol in "pq"[: 0 if plain else draw(st.integers(0, 2))]}
    variables = {symbol: draw(st.integers(1, 3)) for symbol in "abcd"[: draw(st.integers(1, 4))]}
    homes = {symbol: frozenset(draw(st.sets(st.sampled_from(sorted(plates))))) if plates else frozenset() for symbol in variables}
    batch = {} if plain or draw(st.integers(0, 3)) else {"s": 2}
    sizes = {**plates, **variables, **batch}
    generator = numpy.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 30.0, 300.0]))
    # A factor of its own keeps a variable from moving into more plates than its home.
    scopes = [(symbol, homes[symbol]) for symbol in variables if draw(st.booleans())]
    for _ in range(draw(st.integers(1, 4))):
        scope = "".join(sorted(draw(st.sets(st.sampled_from(sorted(variables)), max_size=3))))
        scopes.append((scope, draw(st.sets(st.sampled_from(sorted({**plates, **batch})))) if plates or batch else set()))
    factors = []
    for scope, extra in scopes:
        dims = draw(st.permutations(sorted({*scope, *extra}.union(*(homes[symbol] for symbol in scope)))))
        array = generator.normal(0.0, spread, [sizes[symbol] for symbol in dims])
        if draw(st.integers(0, 3)) == 0:
            array = numpy.where(generator.random(array.shape) < 0.3, -math.inf, array)
        factors.append((array, "".join(dims)))
    scales = {plate: 2 for plate in plates if draw(st.integers(0, 3)) == 0}
    kept = draw(st.sampled_from(["", *plates])) if draw(st.integers(0, 3)) == 0 else ""
    return Graph(factors, "".join(variables), "".join(plates), {k: v for k, v in scales.items() if k not in kept}, kept)
