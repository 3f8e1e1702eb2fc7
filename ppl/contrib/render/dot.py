"""The graph in DOT, the language of Graphviz."""

from __future__ import annotations

from itertools import count

from ppl.contrib.render.boxes import Box, descriptions, nest
from ppl.contrib.render.structure import Structure

STYLES = {
    "latent": 'shape=ellipse, style=filled, fillcolor="white"',
    "observed": 'shape=ellipse, style=filled, fillcolor="gray80"',
    "deterministic": "shape=box, style=dashed",
    "factor": 'shape=box, style=filled, fillcolor="black", fontcolor="white"',
    "param": "shape=square, style=solid",
}


def quote(name: str) -> str:
    r"""Return ``name`` as a quoted identifier.

    >>> from ppl.contrib.render import dot
    >>> print(dot.quote('a"b'))
    "a\"b"
    """
    plain = name.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + plain.replace("\r", "").replace("\n", "\\n") + '"'


def label(text: str) -> str:
    """Return ``text`` as a quoted label, which shows it as it is: in labels Graphviz reads character references, as HTML does.

    >>> from ppl.contrib.render import dot
    >>> print(dot.label("a &lt; b"))
    "a &amp;lt; b"
    """
    return quote(text.replace("&", "&amp;"))


def text(structure: Structure, render_distributions: bool = False) -> str:
    """Return the graph in DOT."""
    lines = ["digraph model {"]
    _write(nest(structure.nodes.values()), lines, "    ", count())
    lines += [f"    {quote(parent)} -> {quote(child)};" for parent, child in structure.edges]
    if render_distributions:
        lines.append(_legend(structure))
    return "\n".join([*lines, "}"])


def _write(box: Box, lines: list[str], indent: str, numbers: count[int]) -> None:
    lines += [f"{indent}{quote(node.name)} [label={label(node.name)}, {STYLES[node.kind]}];" for node in box.nodes]
    for inner in box.boxes.values():
        shown = "" if inner.plate is None else inner.plate.label
        lines.append(f"{indent}subgraph cluster_{next(numbers)} {{")
        lines.append(f"{indent}    label={label(shown)}; labeljust=r; labelloc=b;")
        _write(inner, lines, f"{indent}    ", numbers)
        lines.append(f"{indent}}}")


def _legend(structure: Structure) -> str:
    name = "distributions"
    while name in structure.nodes:
        name += "_"
    # Each line ends with the escape that sets it flush left.
    lines = "".join(label(line)[1:-1] + "\\l" for line in "\n".join(descriptions(structure)).splitlines())
    return f'    {quote(name)} [label="{lines}", shape=plaintext];'
