"""Which site of a model an error belongs to, read off the traceback and the model's source."""

from __future__ import annotations

import ast
import linecache
import os
import re
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ppl.user_code import is_library

_PRIMITIVES = ("sample", "param", "deterministic", "factor")
_QUOTED = re.compile(r"(?:site|parameter|plate) '([^']+)'")
ARRAY_LIBRARIES = ("torch", "jax", "numpy", "scipy")


class Place(NamedTuple):
    """Where a run of a model failed.

    :param site: the site that could not be made, ``None`` if nothing tells.
    :param line: file, line and text of the model's own code, or ``""``.
    :param on_the_way: whether the line stands before the call of the site, and not in it.
    """

    site: str | None
    line: str
    on_the_way: bool


def place_of(error: BaseException, pending: str | None, names: list[str]) -> Place:
    """Return where ``error`` was raised.

    :param pending: the site whose message was under way.
    :param names: the sites that have their values, in order.
    """
    frames = list(_model_frames(error))
    line = _line(*frames[0]) if frames else ""
    if pending is not None:
        return Place(pending, line, False)
    for frame, offset in frames:
        site, on_the_way = _site_at(frame, offset)
        if site is not None:
            return Place(site, line, on_the_way)
    quoted = _QUOTED.search(str(error))
    return Place(quoted[1] if quoted else names[-1] if names else None, line, quoted is None)


def libraries_of(model: Callable[..., Any]) -> list[str]:
    """Return which array libraries the code of a model uses by name, torch and jax first."""
    code = getattr(getattr(model, "__wrapped__", model), "__code__", None)
    if code is None:
        code = getattr(vars(type(model)).get("__call__"), "__code__", None)
    names = _names(code) if code is not None else set()
    scope = getattr(model, "__globals__", {})
    found = {name for name in names if name in ARRAY_LIBRARIES}
    for name in names:
        value = scope.get(name)
        if isinstance(value, types.ModuleType):
            found |= {value.__name__.split(".")[0]} & set(ARRAY_LIBRARIES)
    return [library for library in ARRAY_LIBRARIES if library in found]


def _names(code: types.CodeType) -> set[str]:
    found = {name.split(".")[0] for name in code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _model_frames(error: BaseException) -> Iterator[tuple[types.FrameType, int]]:
    """Yield frame and instruction of the code that is no library's, from the innermost outwards."""
    found = []
    traceback = error.__traceback__
    while traceback is not None:
        if not is_library(traceback.tb_frame.f_code.co_filename):
            found.append((traceback.tb_frame, traceback.tb_lasti))
        traceback = traceback.tb_next
    yield from reversed(found)


def _span(frame: types.FrameType, offset: int) -> tuple[int, int]:
    """Return line and column of an instruction."""
    positions = list(frame.f_code.co_positions())
    line, _, column, _ = positions[offset // 2] if offset // 2 < len(positions) else (None,) * 4
    return line or frame.f_lineno, column or 0


def _line(frame: types.FrameType, offset: int) -> str:
    number = _span(frame, offset)[0]
    name = frame.f_code.co_filename
    text = linecache.getline(name, number).strip()
    return f"{os.path.basename(name)}:{number}" + (f": {text}" if text else "")


def _site_at(frame: types.FrameType, offset: int) -> tuple[str | None, bool]:
    """Return the site in whose call an instruction stands, or else the next one of the function, and whether it is that."""
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    try:
        parsed = ast.parse(source)
    except SyntaxError:
        return None, False
    calls = [node for node in ast.walk(parsed) if isinstance(node, ast.Call) and _called(node) in _PRIMITIVES]
    here = _span(frame, offset)
    around = [node for node in calls if _start(node) <= here < _end(node)]
    if around:
        return _name_of(max(around, key=_start), frame), False
    function = [node for node in ast.walk(parsed) if isinstance(node, (ast.FunctionDef, ast.Lambda)) and _holds(node, here)]
    if not function or frame.f_code.co_name == "<module>":
        return None, False
    innermost = max(function, key=_start)
    later = sorted((node for node in calls if here < _start(node) < _end(innermost)), key=_start)
    return (_name_of(later[0], frame), True) if later else (None, False)


def _holds(node: ast.FunctionDef | ast.Lambda, here: tuple[int, int]) -> bool:
    return _start(node) <= here < _end(node)


def _start(node: Any) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: Any) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def _name_of(call: ast.Call, frame: types.FrameType) -> str | None:
    given = call.args[0] if call.args else next((keyword.value for keyword in call.keywords if keyword.arg == "name"), None)
    return _text(given, {**frame.f_globals, **frame.f_locals})


def _text(node: ast.expr | None, scope: dict[str, Any]) -> str | None:
    """Return the string that a constant, a variable or a formatted string stands for, ``None`` if it takes more to know."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return str(scope[node.id]) if node.id in scope else None
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, scope)
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part, scope) for part in node.values]
        return None if None in parts else "".join(part for part in parts if part is not None)
    return None
