"""Where a model reads a table by the value of a site, and how to read it so that it works with all values at once."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Collection
from types import CodeType
from typing import NamedTuple

from ppl.handlers.trace_struct import Trace, line_of

INDEX = "x[value] puts the axes of an enumerated value first, so that a further index takes one of them"
REDUCE = "an index such as x[0], or a sum over all axes, takes the axis along which x has all its values"


class _Read(NamedTuple):
    """A chain of subscripts.

    :param line: of the file.
    :param expression: the whole chain.
    :param table: what is read.
    :param indices: those from the first that holds a value on.
    :param is_value: whether ``table`` is itself the value of a site.
    """

    line: int
    expression: ast.Subscript
    table: ast.expr
    indices: list[ast.expr]
    is_value: bool


def advice(trace: Trace, site: str, owners: Collection[str], enumerated: Collection[str], loses: bool = False) -> str:
    """Return how to index for a site that misreads the values of others, in the words of the model's source if it is found.

    :param trace: of the run that met the site.
    :param site: its name.
    :param owners: the sites whose values it may misread.
    :param enumerated: the sites that have several values at once, these among them.
    :param loses: whether a dimension is lost rather than misread.
    """
    place = trace.place_of(site)
    if place is None:
        return _general(owners, loses)
    code, line = place[0], line_of(*place)
    reads = _reads(code, line, owners, enumerated)
    file = os.path.basename(code.co_filename)
    if not reads:
        return f"{_general(owners, loses)} ({file}:{line})"
    read = reads[-1]
    table, indices = ast.unparse(read.table), list(map(ast.unparse, read.indices))
    where = f"in the place of {ast.unparse(read.expression)} ({file}:{read.line})"
    if read.is_value:
        return f"{REDUCE}; try {table}[..., {', '.join(indices)}] {where}"
    result = f"{INDEX}; try Vindex({table})[{', '.join(indices)}] {where}"
    # An array in the place of a number would move the axes once more.
    if isinstance(read.expression.value, ast.Subscript) and all(isinstance(i, ast.Constant) for i in read.indices[1:]):
        result += f" or {table}[{indices[0]}][..., {', '.join(indices[1:])}, :], with a colon for each axis that is left"
    return result


def _general(owners: Collection[str], loses: bool) -> str:
    if loses:
        return f"{REDUCE}; try x[..., 0], and axes that are counted from the right, inside of a plate or of an event"
    only = next(iter(owners)) if len(owners) == 1 else ""
    value = only if only.isidentifier() else "value"
    return f"{INDEX}; try Vindex(table)[{value}, ...] of ppl.ops.indexing, or table[{value}][..., i, :]"


def _reads(code: CodeType, line: int, owners: Collection[str], enumerated: Collection[str]) -> list[_Read]:
    """Return, the likeliest last, the subscripts of a function up to a line that may misread a value."""
    try:
        lines, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    suspects, names = _names_of(tree, owners), _names_of(tree, enumerated)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    before = max(first, 1) - 1
    # A call over many lines ends after the one that is known.
    statements = (node for node in ast.walk(tree) if isinstance(node, (ast.Expr, ast.Assign, ast.Return)))
    last = max((node.end_lineno or 0 for node in statements if node.lineno + before <= line), default=0) + before
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and id(node) not in inner:
            read = _read(node, node.lineno + before, names)
            if read is not None and any(_holds(part, suspects) for part in (read.table, *read.indices)) and read.line <= last:
                found.append(read)
    return sorted(found, key=lambda read: (isinstance(read.expression.value, ast.Subscript), read.line))


def _names_of(tree: ast.AST, owners: Collection[str]) -> set[str]:
    """Return the variables that a model assigns the values of sites to."""
    names = {name for owner in owners for name in (owner, owner.rstrip("0123456789_"))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            constants = (part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant))
            if any(constant in owners for constant in constants if isinstance(constant, str)):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _read(node: ast.Subscript, line: int, names: set[str]) -> _Read | None:
    links: list[ast.Subscript] = [node]
    while isinstance(links[0].value, ast.Subscript):
        links.insert(0, links[0].value)
    root = links[0].value
    if isinstance(root, ast.Name) and root.id in names and len(links) == 1:
        indices = _indices(node)
        return (
            None
            if any(isinstance(i, ast.Constant) and i.value is ... for i in indices)
            else _Read(line, node, root, indices, True)
        )
    while links and not any(_holds(index, names) for index in _indices(links[0])):
        links.pop(0)
    if not links:
        return None
    indices = [index for link in links for index in _indices(link)]
    # A table that is read by the value first and by nothing after it keeps each axis at its place.
    safe = len(links) == 1 and not any(isinstance(index, ast.Slice) for index in indices)
    return None if safe else _Read(line, node, links[0].value, indices, False)


def _holds(index: ast.expr, names: set[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(index))


def _indices(read: ast.Subscript) -> list[ast.expr]:
    return list(read.slice.elts) if isinstance(read.slice, ast.Tuple) else [read.slice]
