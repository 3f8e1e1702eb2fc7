"""The code of a page: its Python blocks run in order in one namespace, and print what the text block below them says.

A comment before a block says more about it: ``<!-- backends: torch jax -->`` names the backends on which code runs, all of them
without it; ``<!-- within 0.1 -->`` lets each number of a printed output differ by so much, for what is an estimate.
"""

import contextlib
import io
import re
from typing import NamedTuple

FENCE = re.compile(r"(?:^<!-- ([^>]*) -->\n+)?^```(\w+)\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
# What a page writes for a block that runs on any backend.
CHOICE = re.compile(r'"numpy"(?=\):  # or "torch", "jax")')


class Block(NamedTuple):
    """Code, its first line, where it runs (empty: everywhere), and what it prints (``None``: anything) within a tolerance."""

    code: str
    line: int
    backends: tuple[str, ...] = ()
    expected: str | None = None
    tolerance: float = 0.0


def blocks(page):
    """Return the blocks of a page."""
    found, end = [], None
    for match in FENCE.finditer(page):
        note, kind, body = match.groups()
        line = page.count("\n", 0, match.start(3)) + 1
        if kind == "python":
            names = tuple(note.removeprefix("backends: ").split()) if note and note.startswith("backends: ") else ()
            found.append(Block(body, line, names))
            end = match.end()
        elif kind == "text" and end is not None and not page[end : match.start()].strip():
            tolerance = float(note.removeprefix("within ")) if note and note.startswith("within ") else 0.0
            found[-1] = found[-1]._replace(expected=body, tolerance=tolerance)
    return found


def same(printed, expected, tolerance):
    """Whether two texts agree but for their numbers, and these within a tolerance."""
    if not tolerance:
        return printed == expected
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, expected)]
    near = len(numbers[0]) == len(numbers[1]) and all(abs(a - b) <= tolerance for a, b in zip(*numbers, strict=True))
    return near and NUMBER.sub("#", printed) == NUMBER.sub("#", expected)


def faults(page, backend):
    """Run the blocks of a page and return where one prints something else than the page says."""
    namespace, found = {"__name__": "page"}, []
    for block in blocks(page):
        if block.backends and backend not in block.backends:
            continue
        printed = io.StringIO()
        code = compile("\n" * (block.line - 1) + CHOICE.sub(f'"{backend}"', block.code), "<page>", "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.expected is not None and not same(printed.getvalue(), block.expected, block.tolerance):
            found.append(f"line {block.line}: printed {printed.getvalue()!r}, the page says {block.expected!r}")
    return found
