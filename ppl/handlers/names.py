"""What handlers that take values by site name share: reading them, and noticing a name that no site has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ppl.errors import HandlerError, PplWarning
from ppl.handlers.trace_struct import Trace


def values_of(data: Mapping[str, Any] | Trace) -> dict[str, Any]:
    """Return a dict from site name to value."""
    if isinstance(data, Trace):
        return {name: node["value"] for name, node in data.nodes.items() if node["type"] == "sample"}
    if not isinstance(data, Mapping):
        raise HandlerError(f"values are given as a dict or a Trace from site name to value, got {type(data).__name__}")
    return dict(data)


class MissedNames:
    """Warns at the end of a run about names that no site had.

    :param handler: the name of the handler, for the warning.
    :param data: the names that were given.
    :param strict: whether to warn at all.
    """

    def __init__(self, handler: str, data: Mapping[str, Any], strict: bool = True) -> None:
        self.handler = handler
        self.expected = frozenset(data) if strict else frozenset()
        self.seen: list[set[str]] = []

    def enter(self) -> None:
        """Begin a run."""
        self.seen.append(set())

    def see(self, name: str) -> None:
        """Note a site of the current run."""
        if self.seen:
            self.seen[-1].add(name)

    def leave(self, error: Any) -> None:
        """End a run; an unfinished one gives no warning."""
        seen = self.seen.pop()
        if error is not None or self.expected <= seen:
            return
        for name in sorted(self.expected - seen):
            close = get_close_matches(name, seen, n=3)
            known = close or sorted(seen)
            hint = f"; {'closest' if close else 'its'} sites are {', '.join(map(repr, known))}" if known else "; it has no sites"
            text = f"{self.handler} got a value for {name!r}, but the model has no such site{hint}"
            warnings.warn(text, PplWarning, stacklevel=4)
