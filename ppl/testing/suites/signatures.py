"""Each function of a backend has the parameters, kinds and defaults of its declaration."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ppl import registry
from ppl.testing.numeric import Mismatch
from ppl.testing.strict import ARRAY_PARTS, declaration, declared_functions
from ppl.testing.suites.check import Check


def form(function: Callable[..., Any]) -> list[Any]:
    """Return the names, kinds and defaults of a function's parameters; annotations do not count."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def check_signature(part: str, name: str) -> None:
    """The active backend's function is called as its declaration is."""
    declared = declaration(part, name)
    module = getattr(registry.active(), part)
    if not hasattr(module, name):
        raise registry.gap(name) or Mismatch(f"a function {name} in the part {part}", "none")
    found = getattr(module, name)
    if not callable(found):
        raise Mismatch("a function", f"a {type(found).__name__}")
    if form(found) != form(declared):
        raise Mismatch(f"{name}{inspect.signature(declared)}", f"{name}{inspect.signature(found)}")


CHECKS = tuple(
    Check(name, "signature", f"part {part!r}", functools.partial(check_signature, part, name))
    for part in ARRAY_PARTS
    for name in declared_functions(part)
)
