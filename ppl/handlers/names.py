"""What handlers that take values by site name share: reading them, and noticing a name that no site has."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
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


# The sites met so far in each run under way, the innermost last; threads that share a handler have runs of their own.
_runs: ContextVar[tuple[tuple[MissedNames, set[str]], ...]] = ContextVar("ppl_missed_names", default=())


class MissedNames:
    """Warns at the end of a run about names that no site had.

    :param handler: the name of the handler, for the warning.
    :param data: the names that were given.
    :param strict: whether to warn at all.
    :param alike: whether to warn only of a name like that of a site which got no value: others may be meant for other models.
    """

    def __init__(self, handler: str, data: Iterable[str], strict: bool = True, alike: bool = False) -> None:
        self.handler = handler
        self.expected = frozenset(data) if strict else frozenset()
        self.alike = alike

    def enter(self) -> None:
        """Begin a run."""
        if self.expected:
            _runs.set((*_runs.get(), (self, set())))

    def see(self, name: str) -> None:
        """Note a site of the current run."""
        if self.expected:
            for owner, seen in reversed(_runs.get()):
                if owner is self:
                    seen.add(name)
                    return

    def leave(self, error: Any) -> None:
        """End a run; an unfinished one gives no warning."""
        if not self.expected:
            return
        runs = _runs.get()
        place = next((index for index in range(len(runs) - 1, -1, -1) if runs[index][0] is self), None)
        if place is None:
            return
        # Runs above this one were abandoned.
        _runs.set(runs[:place])
        if error is None:
            self._warn(runs[place][1])

    def _warn(self, seen: set[str]) -> None:
        for name in sorted(self.expected - seen):
            close = get_close_matches(name, seen - self.expected if self.alike else seen, n=3)
            if self.alike and not close:
                continue
            known = close or sorted(seen)
            hint = f"; {'closest' if close else 'its'} sites are {', '.join(map(repr, known))}" if known else "; it has no sites"
            text = f"{self.handler} got a value for {name!r}, but the model has no such site{hint}"
            warnings.warn(text, PplWarning, stacklevel=5)
