"""The graph as a Mermaid flowchart, which many viewers of Markdown draw."""

from __future__ import annotations

from itertools import count

from ppl.contrib.render.boxes import Box, descriptions, nest
from ppl.contrib.render.structure import Structure

SHAPES = {
    "latent": '(["{}"])',
    "observed": '(["{}"])',
    "deterministic": '["{}"]',
    "factor": '["{}"]',
    "param": '["{}"]',
}
CLASSES = {
    "latent": "fill:#fff,stroke:#000,color:#000",
    "observed": "fill:#ccc,stroke:#000,color:#000",
    "deterministic": "fill:#fff,stroke:#000,color:#000,stroke-dasharray:4 3",
    "factor": "fill:#000,stroke:#000,color:#fff",
    "param": "fill:#fff,stroke:#000,color:#000",
    "legend": "fill:none,stroke:none,text-align:left",
}


def escape(label: str) -> str:
    """Return ``label`` with all but letters, digits, blanks and a few harmless signs as character codes.

    >>> from ppl.contrib.render import mermaid
    >>> mermaid.escape('a"b')
    'a#34;b'
    """
    return "".join(
        "<br/>" if sign == "\n" else sign if sign.isalnum() or sign in " _-.,~()" else f"#{ord(sign)};" for sign in label
    )


def text(structure: Structure, render_distributions: bool = False) -> str:
    """Return the graph as a Mermaid flowchart."""
    identifiers = {name: f"n{place}" for place, name in enumerate(structure.nodes)}
    lines = ["flowchart TD"]
    _write(nest(structure.nodes.values()), lines, "    ", count(), identifiers)
    lines += [f"    {identifiers[parent]} --> {identifiers[child]}" for parent, child in structure.edges]
    used = [kind for kind in SHAPES if any(node.kind == kind for node in structure.nodes.values())]
    if render_distributions:
        lines.append(f'    legend["{"<br/>".join(escape(line) for line in descriptions(structure))}"]:::legend')
        used.append("legend")
    return "\n".join(lines + [f"    classDef {kind} {CLASSES[kind]}" for kind in used])


def _write(box: Box, lines: list[str], indent: str, numbers: count[int], identifiers: dict[str, str]) -> None:
    for node in box.nodes:
        lines.append(f"{indent}{identifiers[node.name]}{SHAPES[node.kind].format(escape(node.name))}:::{node.kind}")
    for inner in box.boxes.values():
        label = "" if inner.plate is None else inner.plate.label
        lines.append(f'{indent}subgraph p{next(numbers)}["{escape(label)}"]')
        _write(inner, lines, f"{indent}    ", numbers, identifiers)
        lines.append(f"{indent}end")
