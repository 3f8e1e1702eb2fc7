"""Which terms of a bound a random choice may influence, told from the order of the sites and from their plates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ppl import ops
from ppl.typing import Message

Sites = list[tuple[str, Message]]
# Names of plates that are dimensions, by dimension.
Plates = dict[int, str]


def sample_sites(trace: Any) -> Sites:
    """Return name and node of each sample site of a trace, in order."""
    return [(name, site) for name, site in trace.nodes.items() if site["type"] == "sample"]


def is_computed(site: Message) -> bool:
    """Return whether the value of a site is a function of those before it."""
    return bool(site["infer"].get("_deterministic"))


def plates_of(site: Message) -> Plates:
    """Return the plates around a site that are dimensions of it, time left out: later steps depend on earlier ones."""
    return {frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.dim is not None and frame.independent}


def common(first: Plates, second: Plates) -> Plates:
    """Return the plates that both have, at the same dimension."""
    return {dim: name for dim, name in first.items() if second.get(dim) == name}


def are_apart(first: Message, second: Message) -> bool:
    """Return whether two sites lie in different steps of one sequential plate, which are independent of each other."""
    steps = {frame.name: frame.counter for frame in first["cond_indep_stack"]}
    return any(frame.counter != steps.get(frame.name, frame.counter) for frame in second["cond_indep_stack"])


def reached(sites: Sites, seeds: Mapping[str, Plates], carries: Callable[[Message], bool]) -> dict[str, Plates]:
    """Return the sites that may depend on a random choice, each with the plates whose elements stay apart.

    :param sites: in order; a site may depend on any earlier one, unless the two are steps of one sequential plate.
    :param seeds: sites whose values depend on the choice from the start, with their plates that stay apart.
    :param carries: whether the value of another site that depends on the choice does too, so that later sites learn of it.

    A plate declares its elements independent given the sites outside. A site outside may collect all elements in its value, so
    that what follows it depends on all of them, inside the plate too.
    """
    found: dict[str, Plates] = {}
    carriers: dict[Any, tuple[Message, Plates]] = {}
    for name, site in sites:
        own = plates_of(site)
        kept = common(own, seeds[name]) if name in seeds else None
        for earlier, plates in carriers.values():
            if not are_apart(earlier, site):
                kept = common(own if kept is None else kept, plates)
        if kept is None:
            continue
        found[name] = kept
        if name in seeds or carries(site):
            # Sites of the same plates, and steps, carry alike: one entry stands for all of them.
            stack = site["cond_indep_stack"]
            carriers[stack] = (site, common(kept, carriers[stack][1]) if stack in carriers else kept)
    return found


def influence(name: str, site: Message, guide_sites: Sites, model_sites: Sites) -> tuple[dict[str, Plates], dict[str, Plates]]:
    """Return the sites of the guide and of the model whose log densities a guide's site may change, with plates kept apart."""
    in_guide = reached(guide_sites, {name: plates_of(site)}, lambda other: not other["is_observed"] or is_computed(other))
    # The model's random values are the guide's, whatever the model itself would draw them from.
    drawn = {other for other, node in guide_sites if not node["is_observed"]}
    seeds = {other: plates for other, plates in in_guide.items() if other in drawn}
    return in_guide, reached(model_sites, seeds, is_computed)


def sum_outside(term: Any, plates: Iterable[int]) -> Any:
    """Return ``term`` summed over its dimensions but those in ``plates``, each summed one left with size 1."""
    axes = tuple(dim for dim in range(-ops.ndim(term), 0) if dim not in plates)
    return ops.sum(term, axis=axes, keepdims=True) if axes else term
