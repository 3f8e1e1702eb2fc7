"""The table of shapes that a trace prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl import ops
from ppl.runtime import is_distribution
from ppl.typing import Message

Row = tuple[str, list[str], list[str]]


def _cells(shape: Any) -> list[str]:
    return [str(size) for size in shape]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if hasattr(value, "shape") else tuple(ops.shape(value)) if isinstance(value, (int, float)) else ()


def _rows(name: str, node: Message) -> list[Row]:
    if node["type"] == "param":
        shape = _shape(node["value"])
        event_dim = (node["kwargs"] or {}).get("event_dim")
        rank = 0 if event_dim is None else len(shape) - event_dim
        return [(name, _cells(shape[:rank]), _cells(shape[rank:]))]
    fn, shape = node["fn"], _shape(node["value"])
    if not is_distribution(fn):
        return [(f"{name} value", _cells(shape), [])]
    event_dim = len(fn.event_shape)
    rank = len(shape) - event_dim
    rows = [
        (f"{name} dist", _cells(fn.batch_shape), _cells(fn.event_shape)),
        ("value", _cells(shape[:rank]), _cells(shape[rank:])),
    ]
    if "log_prob" in node:
        rows.append(("log_prob", _cells(_shape(node["log_prob"])), []))
    return rows


def table(nodes: Mapping[str, Message], title: str, last_site: str | None) -> str:
    """Return the table of param sites and sample sites, columns aligned at the bar."""
    sections: dict[str, list[Row]] = {"Param Sites:": [], "Sample Sites:": []}
    for name, node in nodes.items():
        if node["type"] == "param":
            sections["Param Sites:"] += _rows(name, node)
        elif node["type"] == "sample":
            sections["Sample Sites:"] += _rows(name, node)
        if name == last_site:
            break
    rows = [row for section in sections.values() for row in section]
    left = max([len(head) for head in sections] + [len(label) for label, _, _ in rows])
    batch_columns = max([len(batch) for _, batch, _ in rows], default=0)
    event_columns = max([len(event) for _, _, event in rows], default=0)
    width = max([len(cell) for _, batch, event in rows for cell in batch + event], default=1)
    lines = [title]
    for head, section in sections.items():
        lines.append(head.rjust(left) if rows else head)
        for label, batch, event in section:
            cells = [""] * (batch_columns - len(batch)) + batch + ["|"] + event + [""] * (event_columns - len(event))
            lines.append(" ".join([label.rjust(left), *(cell.rjust(1 if cell == "|" else width) for cell in cells)]).rstrip())
    return "\n".join(lines)
