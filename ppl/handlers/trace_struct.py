"""The record of one run of a model: its sites, their values and log densities, and the edges between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

from ppl.errors import DuplicateSite, HandlerError, SiteError
from ppl.handlers import density, packed, shapes
from ppl.typing import Message

SiteFilter = Callable[[str, Message], bool]
# The code that met a site and the offset of its instruction: enough to find the line, and nothing that keeps arrays alive.
Place = tuple[CodeType, int]


def _every_site(name: str, site: Message) -> bool:
    return True


class Trace:
    """The sites of one run, in order: ``trace.nodes["x"]["value"]``.

    :param graph_type: ``"flat"``, or ``"dense"`` for an edge between any two sample sites that plates do not separate.

    Besides the sites there are the nodes ``_INPUT`` and ``_RETURN``. A node is the message of its site (see :mod:`ppl.runtime`);
    :meth:`compute_log_prob` adds ``log_prob``, ``unscaled_log_prob`` and ``log_prob_sum``.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> record = handlers.trace(lambda: ppl.sample("x", dist.Normal(0.0, 1.0))).get_trace()
    >>> list(record.stochastic_nodes), "x" in record
    (['x'], True)
    """

    def __init__(self, graph_type: str = "flat") -> None:
        if graph_type not in ("flat", "dense"):
            raise HandlerError(f"unknown graph_type {graph_type!r}; expected 'flat' or 'dense'")
        self.graph_type = graph_type
        self.nodes: dict[str, Message] = {}
        self._places: list[tuple[CodeType, dict[str, int]]] = []
        self._edges: dict[tuple[str, str], None] = {}
        self.plate_to_symbol = packed.Symbols()
        self.symbol_to_dim: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Code does not pickle; a copy elsewhere has no use for the places.
        return {**vars(self), "_places": []}

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Message:
        return self.nodes[name]

    def __repr__(self) -> str:
        return f"Trace({', '.join(self.nodes)})"

    def __str__(self) -> str:
        return self.format_shapes()

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Pairs of site names, from parent to child."""
        return list(self._edges)

    def add_node(self, site_name: str, **kwargs: Any) -> None:
        """Record a site.

        :param site_name: its name.
        :raises DuplicateSite: if another site has that name (a param may be read again, a whole plate entered again).
        """
        self.record(site_name, kwargs)

    def record(self, name: str, node: Message) -> None:
        """Record a site without copying its node."""
        if name in self.nodes:
            self.check_recurrence(name, node)
        self.nodes[name] = node

    def check_recurrence(self, name: str, node: Message, place: Place | None = None) -> None:
        """Raise ``DuplicateSite`` unless the recorded site ``name`` may come again as ``node``, met at ``place``."""
        known = self.nodes[name]
        if not _may_recur(known, node):
            raise DuplicateSite(_duplicate(name, (known, self.place_of(name)), (node, place)))

    def places_in(self, code: CodeType) -> dict[str, int]:
        """Return a dict to be filled with the sites that ``code`` meets from now on and the offsets of their instructions."""
        for known, met in self._places:
            if known is code:
                return met
        self._places.append((code, {}))
        return self._places[-1][1]

    def place_of(self, site_name: str) -> Place | None:
        """Return the code that met a site and the offset of its instruction, ``None`` if that was not recorded."""
        return next(((code, met[site_name]) for code, met in self._places if site_name in met), None)

    def add_edge(self, site1: str, site2: str) -> None:
        """Add an edge from ``site1`` to ``site2``; unknown names become empty nodes."""
        for name in (site1, site2):
            self.nodes.setdefault(name, {"type": "unknown", "name": name})
        self._edges[site1, site2] = None

    def remove_node(self, site_name: str) -> None:
        """Forget a site and its edges.

        :raises SiteError: if there is no such site.
        """
        if site_name not in self.nodes:
            raise SiteError(f"the trace has no site {site_name!r} to remove; it has {', '.join(map(repr, self.nodes))}")
        del self.nodes[site_name]
        for _, met in self._places:
            met.pop(site_name, None)
        self._edges = {edge: None for edge in self._edges if site_name not in edge}

    def copy(self) -> Trace:
        """Return a trace with the same nodes and edges; adding to one leaves the other as it was."""
        other = type(self)(self.graph_type)
        other.nodes = dict(self.nodes)
        other._places = [(code, dict(met)) for code, met in self._places]
        other._edges = dict(self._edges)
        other.plate_to_symbol = packed.Symbols(self.plate_to_symbol)
        other.symbol_to_dim = dict(self.symbol_to_dim)
        return other

    def predecessors(self, site_name: str) -> list[str]:
        """Return the names of the sites with an edge to ``site_name``."""
        return [parent for parent, child in self._edges if child == site_name]

    def successors(self, site_name: str) -> list[str]:
        """Return the names of the sites with an edge from ``site_name``."""
        return [child for parent, child in self._edges if parent == site_name]

    def topological_sort(self, reverse: bool = False) -> list[str]:
        """Return all names, parents before children; equals keep the order of the run.

        :raises HandlerError: if the edges form a circle.
        """
        waiting = dict.fromkeys(self.nodes, 0)
        children: dict[str, list[str]] = {name: [] for name in self.nodes}
        for parent, child in self._edges:
            waiting[child] += 1
            children[parent].append(child)
        ready = [name for name, parents in waiting.items() if parents == 0]
        order: list[str] = []
        while ready:
            name = ready.pop(0)
            order.append(name)
            for child in children[name]:
                waiting[child] -= 1
                if waiting[child] == 0:
                    ready.append(child)
        if len(order) < len(self.nodes):
            raise HandlerError(f"the edges form a circle through {sorted(set(self.nodes) - set(order))}")
        return order[::-1] if reverse else order

    def _names(self, choose: Callable[[Message], bool]) -> list[str]:
        return [name for name, node in self.nodes.items() if choose(node)]

    @property
    def stochastic_nodes(self) -> list[str]:
        """Names of the sample sites that are not observed."""
        return self._names(lambda node: node["type"] == "sample" and not node["is_observed"])

    @property
    def observation_nodes(self) -> list[str]:
        """Names of the observed sample sites."""
        return self._names(lambda node: node["type"] == "sample" and node["is_observed"])

    @property
    def param_nodes(self) -> list[str]:
        """Names of the param sites."""
        return self._names(lambda node: node["type"] == "param")

    @property
    def reparameterized_nodes(self) -> list[str]:
        """Names of the unobserved sample sites whose draws carry gradients."""
        return [name for name in self.stochastic_nodes if getattr(self.nodes[name]["fn"], "has_rsample", False)]

    @property
    def nonreparam_stochastic_nodes(self) -> list[str]:
        """Names of the unobserved sample sites whose draws carry no gradient."""
        return [name for name in self.stochastic_nodes if not getattr(self.nodes[name]["fn"], "has_rsample", False)]

    def iter_stochastic_nodes(self) -> Iterator[tuple[str, Message]]:
        """Iterate over name and node of the unobserved sample sites."""
        for name in self.stochastic_nodes:
            yield name, self.nodes[name]

    def compute_log_prob(self, site_filter: SiteFilter = _every_site) -> None:
        """Add ``log_prob`` (of the site's batch shape, scaled and masked) and its sum to each chosen sample site, once.

        :param site_filter: a function of name and node.
        :raises SiteError: if a value does not fit its distribution; the message names the site.
        """
        for name, node in self.nodes.items():
            if node["type"] == "sample" and "log_prob" not in node and site_filter(name, node):
                density.compute(name, node)

    def log_prob_sum(self, site_filter: SiteFilter = _every_site) -> Any:
        """Return the sum of the log densities of the chosen sample sites; 0 if there are none."""
        total: Any = 0.0
        for name, node in self.nodes.items():
            if node["type"] == "sample" and site_filter(name, node):
                if "log_prob_sum" not in node:
                    density.compute(name, node)
                total = total + node["log_prob_sum"]
        return total

    def compute_score_parts(self) -> None:
        """Add ``score_parts`` to each sample site, and ``log_prob`` with its sum."""
        for name, node in self.nodes.items():
            if node["type"] == "sample" and "score_parts" not in node:
                density.compute_score_parts(name, node)

    def symbolize_dims(self, plate_to_symbol: Mapping[str, str] | None = None) -> None:
        """Give a symbol to each plate and each enumerated variable, and tell each sample site those of its dimensions.

        :param plate_to_symbol: symbols of plates by name. Given that of the model's trace, a guide's trace shares the symbols of
            plates and of enumerated variables with it.
        :raises HandlerError: if two of these symbols are the same.

        Afterwards ``plate_to_symbol`` and ``symbol_to_dim`` hold the symbols, and ``infer["_dim_to_symbol"]`` those of a site.
        """
        self.plate_to_symbol, self.symbol_to_dim = packed.symbolize(self.nodes.values(), plate_to_symbol)

    def pack_tensors(self, plate_to_symbol: Mapping[str, str] | None = None) -> None:
        """Add ``packed`` to each sample site: its log densities, score parts and mask as :class:`ppl.handlers.packed.Packed`.

        :param plate_to_symbol: as for :meth:`symbolize_dims`, which this calls.
        :raises ShapeError: if a log density has a dimension that is no plate's and no enumerated variable's.

        Call :meth:`compute_log_prob` or :meth:`compute_score_parts` before.
        """
        self.symbolize_dims(plate_to_symbol)
        for node in self.nodes.values():
            if node["type"] == "sample":
                packed.pack_site(node)

    def format_shapes(self, title: str = "Trace Shapes:", last_site: str | None = None) -> str:
        """Return a table of the shapes at each site: batch shape, a bar, event shape.

        :param title: its first line.
        :param last_site: the site to stop after.
        """
        return shapes.table(self.nodes, title, last_site)


def _may_recur(known: Message, node: Message) -> bool:
    if known["type"] != node["type"]:
        return False
    if node["type"] == "subsample":
        # A whole plate has nothing random to record twice.
        return known["value"] is node["value"] or (known["infer"] == node["infer"] and not node["infer"].get("_subsampled"))
    return node["type"] not in ("sample", "args", "return")


def _duplicate(name: str, first: tuple[Message, Place | None], second: tuple[Message, Place | None]) -> str:
    kind, other = first[0]["type"], second[0]["type"]
    if kind != other:
        return (
            f"site {name!r} is a {kind} site first ({_describe(*first)}) and a {other} site later ({_describe(*second)}); "
            "expected one type for a name; try another name for one of them"
        )
    return (
        f"two {other} sites are called {name!r}: first {_describe(*first)}, then {_describe(*second)}; expected distinct names; "
        f"try ppl.plate for independent repetitions, ppl.markov with names such as f'{name}_{{t}}' for a sequence, or a name "
        f"scope"
    )


def _describe(node: Message, place: Place | None) -> str:
    plates = ", ".join(frame.name for frame in node.get("cond_indep_stack", ()))
    return f"{node.get('fn')!r}" + (f" in plate {plates}" if plates else "") + (f" at {_line(*place)}" if place else "")


def _line(code: CodeType, offset: int) -> str:
    """Return file and line of the instruction at ``offset``."""
    return f"{code.co_filename}:{line_of(code, offset)}"


def line_of(code: CodeType, offset: int) -> int:
    """Return the number of the line of the instruction at ``offset``."""
    lines = (line for start, end, line in code.co_lines() if start <= offset < end and line is not None)
    return next(lines, code.co_firstlineno)
