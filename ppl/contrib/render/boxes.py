"""Plates as boxes in boxes, and the lines of the list of distributions: what all written forms of a graph share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ppl.contrib.render.structure import Node, Plate, Structure


@dataclass
class Box:
    """One plate's box; the outermost, without a plate, is the page.

    :param plate: the plate.
    :param nodes: the sites in it and in no box inside.
    :param boxes: the boxes inside, by plate name.
    """

    plate: Plate | None = None
    nodes: list[Node] = field(default_factory=list)
    boxes: dict[str, Box] = field(default_factory=dict)


def nest(nodes: Iterable[Node]) -> Box:
    """Return the page with all boxes.

    Boxes cannot cross: of two plates that overlap, one is drawn again inside the other. Sites in the same plates share a box in
    whichever order the plates were entered.
    """
    page = Box()
    paths: dict[frozenset[str], tuple[Plate, ...]] = {}
    for node in nodes:
        box = page
        for plate in paths.setdefault(frozenset(plate.name for plate in node.plates), node.plates):
            box = box.boxes.setdefault(plate.name, Box(plate))
        box.nodes.append(node)
    return page


def descriptions(structure: Structure) -> list[str]:
    """Return a line for each site that has a distribution or a constraint."""
    lines = []
    for node in structure.nodes.values():
        if node.kind == "param":
            lines.append(f"{node.name} in {node.text}")
        elif node.text != node.kind:
            lines.append(f"{node.name} ~ {node.text}")
    return lines
