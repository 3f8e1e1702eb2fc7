"""Which sites of a model depend on which: found by running it again with one site's value changed.

All other sites keep their values, so what differs depends on the changed site directly: the numbers inside a later site's
distribution, its mask or scale, an observed value, or whether the site exists. This sees dependence through indexing by
discrete values and through Python's ``if`` and ``for``, on every backend alike. It cannot see dependence that none of the tried
values brings to light, such as ``if x > 100`` for a standard normal ``x``; nor what a plain function or a stateful object
hides from the comparison. The model runs about six times for each of its sites.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ppl.contrib.render.evidence import same
from ppl.contrib.render.rerun import Rerun, Site, other_values, run
from ppl.distributions.wrapper import Wrapper
from ppl.errors import PplWarning
from ppl.runtime import is_distribution

SEED = 0
# Branches that a model may take; a loop of random length could otherwise go on for ever.
MOST_WORLDS = 8
MOST_SEEN = 4


@dataclass(frozen=True)
class Plate:
    """A plate: ``size`` elements, of ``full_size``; ``None`` where it declares none."""

    name: str
    size: int | None
    full_size: int | None

    @property
    def label(self) -> str:
        """Its name and size, as in ``rows [3 of 10]``."""
        if self.size is None:
            return self.name
        part = self.full_size is not None and self.full_size != self.size
        return f"{self.name} [{self.size} of {self.full_size}]" if part else f"{self.name} [{self.size}]"


@dataclass(frozen=True)
class Node:
    """A site in the graph.

    :param name: its name.
    :param kind: ``"latent"``, ``"observed"``, ``"deterministic"``, ``"factor"`` or ``"param"``.
    :param text: its distribution, or the constraint of a param.
    :param plates: the plates around it, outermost first.
    """

    name: str
    kind: str
    text: str
    plates: tuple[Plate, ...] = ()


@dataclass(frozen=True)
class Structure:
    """The sites of a model by name, and pairs of names from parent to child."""

    nodes: dict[str, Node]
    edges: tuple[tuple[str, str], ...]


def find_structure(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    with_params: bool = True,
) -> Structure:
    """Return the sites of a model and their direct dependences.

    :param model: the model.
    :param model_args: its arguments.
    :param model_kwargs: its keyword arguments.
    :param with_params: whether parameters are sites too; without them fewer runs are needed.
    :raises Exception: what the model raises when it is run as it is.

    The runs use one seed, and leave the param store and the source of randomness as they were. Sites whose distributions
    differ from run to run although no value has changed get no parents, and a warning.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> from ppl.contrib.render import find_structure
    >>> def model():
    ...     coin = ppl.sample("coin", dist.Bernoulli(0.5))
    ...     ppl.sample("y", dist.Normal([-1.0, 1.0][int(coin)], 1.0), obs=0.3)
    >>> find_structure(model).edges
    (('coin', 'y'),)
    """
    search = _Search(model, tuple(model_args), dict(model_kwargs or {}), with_params)
    search.explore()
    return search.result()


class _Search:
    def __init__(self, model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], with_params: bool) -> None:
        self.model, self.args, self.kwargs = model, args, kwargs
        self.kinds = {"latent", "observed", "deterministic"} | ({"param"} if with_params else set())
        self.with_params = with_params
        self.sites: dict[str, Site] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.stuck: dict[str, Exception] = {}
        self.unstable: set[str] = set()

    def _run(self, values: Mapping[str, Any], indices: Mapping[str, Any]) -> Rerun:
        return run(self.model, self.args, self.kwargs, values, indices, SEED)

    def explore(self) -> None:
        """Vary each site of the first run, then of each run in which a site appeared that was not known."""
        worlds = [self._run({}, {})]
        explored = 0
        while worlds and explored < MOST_WORLDS:
            world = worlds.pop(0)
            if explored and all(name in self.sites for name in world.sites):
                continue
            explored += 1
            worlds += self._vary(world)
        if self.unstable:
            warnings.warn(
                f"the distributions at {_listed(self.unstable)} differ between two runs with the same values, so what they "
                "depend on cannot be told; expected a model whose randomness all comes from its sites",
                PplWarning,
                stacklevel=4,
            )
        for name, error in self.stuck.items():
            warnings.warn(
                f"the model fails with every other value of {name!r} that was tried ({type(error).__name__}: {error}), so edges "
                "from that site may be missing",
                PplWarning,
                stacklevel=4,
            )

    def _vary(self, world: Rerun) -> list[Rerun]:
        values = {name: site.value for name, site in world.sites.items() if site.kind != "factor"}
        reference, again = (self._run(values, world.indices) for _ in range(2))
        for name, site in reference.sites.items():
            self.sites.setdefault(name, site)
            if name not in again.sites or not same(site.evidence, again.sites[name].evidence):
                self.unstable.add(name)
        seen: dict[str, list[Any]] = {}
        discovered = []
        for name, site in reference.sites.items():
            if site.kind not in self.kinds:
                continue
            outcomes = []
            for value in other_values(site, seen.get(name, [])):
                try:
                    outcomes.append(self._run({**values, name: value}, world.indices))
                except Exception as error:  # whatever a model may raise at a value that it did not foresee
                    self.stuck.setdefault(name, error)
            if outcomes:
                self.stuck.pop(name, None)
            for outcome in outcomes:
                self._compare(name, reference, outcome, seen)
            discovered += [outcome for outcome in outcomes if any(other not in reference.sites for other in outcome.sites)]
        return discovered

    def _compare(self, name: str, reference: Rerun, outcome: Rerun, seen: dict[str, list[Any]]) -> None:
        for other in {**reference.sites, **outcome.sites}:
            here, there = reference.sites.get(other), outcome.sites.get(other)
            if other == name:
                continue
            if here is None or there is None:
                self.edges[name, other] = None
            elif other not in self.unstable and not same(here.evidence, there.evidence):
                self.edges[name, other] = None
                if there.kind == "deterministic" and len(seen.setdefault(other, [])) < MOST_SEEN:
                    seen[other].append(there.natural)

    def result(self) -> Structure:
        """Return what was found."""
        nodes = {name: _node(site) for name, site in self.sites.items() if self.with_params or site.kind != "param"}
        order = {name: place for place, name in enumerate(nodes)}
        edges = [edge for edge in self.edges if all(name in order for name in edge)]
        return Structure(nodes, tuple(sorted(edges, key=lambda edge: (order[edge[0]], order[edge[1]]))))


def _listed(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def _node(site: Site) -> Node:
    frames = site.frames
    if site.kind == "param":
        # A parameter has one value for each element of a plate only if an axis of its own says so.
        shape = tuple(site.value.shape) if hasattr(site.value, "shape") else ()
        rank = len(shape) - (len(shape) if site.event_dim is None else site.event_dim)
        frames = tuple(frame for frame in frames if frame.dim is not None and -frame.dim <= rank and shape[:rank][frame.dim] > 1)
    return Node(site.name, site.kind, _text(site), tuple(Plate(frame.name, frame.size, frame.full_size) for frame in frames))


def _text(site: Site) -> str:
    if site.kind in ("deterministic", "factor"):
        return site.kind
    fn = site.fn
    if site.kind == "param":
        return repr(fn)
    while isinstance(fn, Wrapper):
        fn = getattr(fn, "base_dist", None)
    return type(fn).__name__ if is_distribution(fn) else getattr(fn, "__name__", type(fn).__name__)
