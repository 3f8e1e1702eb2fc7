"""Random models of discrete sites as data: a generator for hypothesis, and how a model of it runs."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy
from hypothesis import strategies as st

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.ops.indexing import Vindex

CROSSING = ((), ("outer",), ("inner",), ("outer", "inner"))
PATHS = ((), ("outer",), ("outer", "inner"), ("other",))
DIMS = {"outer": -1, "inner": -2, "other": -1}


def combined(table, values, sizes):
    return table[tuple(values)] if values else table


def vindexed(table, values, sizes):
    return Vindex(table)[(*values, slice(None))]


def vindexed_in_turn(table, values, sizes):
    for place, value in enumerate(values):
        table = Vindex(table)[(..., value, *(slice(None),) * (len(values) - place))]
    return table


def flat(table, values, sizes):
    position = 0
    for value, size in zip(values, sizes, strict=True):
        position = position * size + value
    rows = ops.reshape(table, (-1, table.shape[-1]))
    return rows[position]


def weighted(table, values, sizes):
    for place, (value, size) in enumerate(zip(values, sizes, strict=True)):
        left = len(values) - place
        weights = ops.one_hot(value, size, dtype="float64")
        table = ops.sum(weights[(..., *(None,) * left)] * table, axis=-left - 1)
    return table


def chosen(table, values, sizes):
    """Take the rows of the first parent by conditions, the others by indices."""
    if not values:
        return table
    first, *others = values
    rows = [combined(table[index], others, sizes[1:]) for index in range(sizes[0])]
    result = rows[0]
    for index, row in enumerate(rows[1:], 1):
        result = ops.where((first == index)[..., None], row, result)
    return result


def constant(table, values, sizes):
    return ops.stack([1.0 - table, table], axis=-2)[(*values, 1)]


def constant_last(table, values, sizes):
    return ops.stack([1.0 - table, table], axis=-2)[tuple(values)][..., 1, :]


def constant_vindexed(table, values, sizes):
    return Vindex(ops.stack([1.0 - table, table], axis=-2))[(*values, 1)]


STYLES = {
    style.__name__: style
    for style in (combined, vindexed, vindexed_in_turn, flat, weighted, chosen, constant, constant_last, constant_vindexed)
}


class Family(NamedTuple):
    """A family of finite support.

    :param make: from probabilities and their number to a distribution.
    :param index: from a value to its index in the support.
    :param values: from the number of values to the support, a host array.
    """

    make: Callable
    index: Callable
    values: Callable


FAMILIES = {
    "categorical": Family(lambda row, size: dist.Categorical(row), lambda x: x, numpy.arange),
    "bernoulli": Family(
        lambda row, size: dist.Bernoulli(row[..., 0]), lambda x: ops.astype(x, "int64"), lambda size: numpy.arange(2.0)
    ),
    "binomial": Family(
        lambda row, size: dist.Binomial(size - 1, row[..., 0]),
        lambda x: ops.astype(x, "int64"),
        lambda size: numpy.arange(float(size)),
    ),
    "one_hot": Family(lambda row, size: dist.OneHotCategorical(row), lambda x: ops.argmax(x, axis=-1), numpy.eye),
}


def values_of(node):
    """Return the support of a latent node."""
    return FAMILIES[node.family].values(node.size)


@dataclass(frozen=True)
class Node:
    """One site.

    :param kind: ``"latent"`` for one to enumerate, ``"observed"``, or ``"continuous"`` for a normal one that has a given value.
    :param path: the plates around it, a tuple of names.
    :param size: how many values, if it is latent.
    :param parents: indices of nodes that its table is read by, and of continuous ones that are added.
    :param style: how the table is read.
    :param mask: ``None``, ``"plate"`` for some elements, or ``"parent"`` for all values but the first of its first parent.
    :param family: of a latent site, one of ``FAMILIES``.
    """

    kind: str
    path: tuple[str, ...] = ()
    size: int = 2
    parents: tuple[int, ...] = ()
    style: str = "combined"
    mask: str | None = None
    family: str = "categorical"


@dataclass(frozen=True)
class Program:
    """A model: its sites in order, the sizes of its plates, and a seed for its tables.

    :param history: with a number, latent sites and what follows each up to the next one are the steps of a chain.
    :param infer: the marks of the latent sites.
    :param kinds: of which nodes run; those of a guide are latent.
    """

    nodes: tuple[Node, ...]
    sizes: dict[str, int] = field(default_factory=lambda: {"outer": 2, "inner": 2, "other": 2}, hash=False)
    seed: int = 0
    history: int | None = None
    infer: dict = field(default_factory=lambda: {"enumerate": "parallel"}, hash=False)
    kinds: tuple[str, ...] = ("latent", "observed", "continuous")

    def shape(self, node):
        """Return the shape of the plates around a node."""
        shape = [1] * max((-DIMS[name] for name in node.path), default=0)
        for name in node.path:
            shape[DIMS[name]] = self.sizes[name]
        return tuple(shape)

    def name(self, index):
        """Return the name of a node."""
        return f"{self.nodes[index].kind[0]}{index}"

    @property
    def latent(self):
        """Name, values and plate shape of each site to enumerate."""
        return [(self.name(i), values_of(node), self.shape(node)) for i, node in enumerate(self.nodes) if node.kind == "latent"]

    @property
    def num_assignments(self):
        """The number of joint values of the latent sites."""
        return math.prod(len(values) ** math.prod(shape) for _, values, shape in self.latent)

    @property
    def given(self):
        """The values of the continuous sites."""
        return {
            self.name(i): ops.array(self._numbers(i).normal(size=self.shape(node)))
            for i, node in enumerate(self.nodes)
            if node.kind == "continuous"
        }

    def _numbers(self, index):
        return numpy.random.default_rng([self.seed, index])

    def __call__(self):
        """Run the model."""
        values = []
        if self.history is None:
            for index in range(len(self.nodes)):
                self._site(index, values)
            return
        starts = [i for i, node in enumerate(self.nodes) if node.kind == "latent"]
        for index in range(starts[0]):
            self._site(index, values)
        for start, end in ppl.markov(zip(starts, [*starts[1:], len(self.nodes)], strict=True), history=self.history):
            for index in range(start, end):
                self._site(index, values)

    def _site(self, index, values):
        node, numbers = self.nodes[index], self._numbers(index)
        if node.kind not in self.kinds:
            values.append(None)
            return
        discrete = [parent for parent in node.parents if self.nodes[parent].kind == "latent"]
        sizes = [self.nodes[parent].size for parent in discrete]
        table = numbers.dirichlet(numpy.ones(node.size), size=tuple(sizes))
        parents = [FAMILIES[self.nodes[parent].family].index(values[parent]) for parent in discrete]
        row = STYLES[node.style](ops.array(table), parents, sizes)
        with ExitStack() as stack:
            for name in node.path:
                stack.enter_context(ppl.plate(name, self.sizes[name], dim=DIMS[name]))
            if node.mask == "plate":
                stack.enter_context(handlers.mask(mask=ops.array(numbers.random(self.shape(node)) < 0.6)))
            elif node.mask == "parent" and parents:
                stack.enter_context(handlers.mask(mask=parents[0] > 0))
            values.append(self._drawn(index, node, row, numbers, values))

    def _drawn(self, index, node, row, numbers, values):
        name = self.name(index)
        if node.kind == "latent":
            return ppl.sample(name, FAMILIES[node.family].make(row, node.size), infer=self.infer)
        loc = 3.0 * row[..., 0]
        for parent in node.parents:
            if self.nodes[parent].kind == "continuous":
                loc = loc + 0.5 * values[parent]
        obs = ops.array(numbers.normal(size=self.shape(node))) if node.kind == "observed" else None
        return ppl.sample(name, dist.Normal(loc, 1.0), obs=obs)


def visible(path, other):
    """Return whether a site in the plates ``path`` may depend on one in the plates ``other``."""
    return set(other) <= set(path)


@st.composite
def programs(draw, most=400, paths=PATHS):
    """Models of sites in plates, by default nested and neighbouring ones, of at most ``most`` joint values."""
    sizes = {name: draw(st.integers(1, 3)) for name in DIMS}
    seed = draw(st.integers(0, 2**16))
    nodes = []
    for _ in range(draw(st.integers(2, 7))):
        kind = draw(st.sampled_from(["latent", "latent", "observed", "observed", "continuous"]))
        path = draw(st.sampled_from(paths))
        seen = [i for i, other in enumerate(nodes) if other.kind != "observed" and visible(path, other.path)]
        parents = draw(st.lists(st.sampled_from(seen), unique=True, max_size=3)) if seen else []
        style, mask = draw(st.sampled_from(sorted(STYLES))), draw(st.sampled_from([None, None, "plate", "parent"]))
        node = _node(draw, kind, path, parents, style, mask)
        if Program((*nodes, node), sizes).num_assignments <= most:
            nodes.append(node)
    return Program(tuple(nodes), sizes, seed, infer={"enumerate": "parallel", "expand": draw(st.booleans())})


def _node(draw, kind, path, parents, style, mask):
    family = draw(st.sampled_from(["categorical", *FAMILIES]))
    size = 2 if family == "bernoulli" else draw(st.integers(2, 3))
    return Node(kind, path, size, tuple(parents), style, mask, family)


@st.composite
def chains(draw, most=400):
    """Markov chains of history 0 to 3, perhaps along a plate, perhaps with a site before that all steps see."""
    history, seed = draw(st.integers(0, 3)), draw(st.integers(0, 2**16))
    path = draw(st.sampled_from([(), (), ("outer",)]))
    sizes = {"outer": draw(st.integers(1, 2)), "inner": 1, "other": 1}
    nodes, steps = [], []
    if draw(st.booleans()):
        nodes.append(Node("continuous"))
    before = [i for i in range(len(nodes))]
    for _ in range(draw(st.integers(2, 7))):
        style = draw(st.sampled_from(sorted(STYLES)))
        seen = [*before, *steps[len(steps) - history :]] if history else before
        parents = draw(st.lists(st.sampled_from(seen), unique=True, max_size=3)) if seen else []
        mask = draw(st.sampled_from([None, None, "plate", "parent"]))
        latent = _node(draw, "latent", path, parents, style, mask)
        if Program((*nodes, latent), sizes).num_assignments > most:
            break
        nodes.append(latent)
        steps.append(len(nodes) - 1)
        nodes.append(Node("observed", path, 2, (steps[-1], *before), draw(st.sampled_from(sorted(STYLES)))))
    return Program(tuple(nodes), sizes, seed, history, {"enumerate": "parallel", "expand": draw(st.booleans())})
