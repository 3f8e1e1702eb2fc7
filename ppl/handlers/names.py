"""What handlers that take values by site name share: reading them, and noticing a name that no site has."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ppl.errors import HandlerError, PplWarning
from ppl.handlers.entry import PerEntry
from ppl.handlers.trace_struct import Trace


def values_of(data: Mapping[str, Any] | Trace) -> dict[str, Any]:
    """Return a dict from site name to value."""
    if isinstance(data, Trace):
        return {name: node["value"] for name, node in data.nodes.items() if node["type"] == "sample"}
    if not isinstance(data, Mapping):
        raise HandlerError(f"values are given as a dict or a Trace from site name to value, got {type(data).__name__}")
    return dict(data)


class NamesSites(PerEntry):
    """A handler that is given names of sites: at the end of a run it warns about those that no site had.

    A subclass calls :meth:`expect` once and adds to ``met`` the name of each site that it sees.
    """

    met: set[str]
    _expected: frozenset[str] = frozenset()

    def expect(self, names: Iterable[str], to: str, alike: bool = False) -> None:
        """Set the names.

        :param names: the names that were given.
        :param to: what they were given to, for the warning.
        :param alike: whether to warn only of a name like that of a site which got no value: others may be meant for other
            models.
        """
        self._expected, self._to, self._alike = frozenset(names), to, alike

    def begin(self) -> None:
        """Have met no site."""
        self.met = set()

    def reset(self) -> None:
        """Have met no site."""
        self.met = set()

    def end(self, kind: Any, error: Any, traceback: Any) -> None:
        """Warn, unless the run is unfinished."""
        if kind is not None or self._expected <= self.met:
            return
        for name in sorted(self._expected - self.met):
            close = get_close_matches(name, self.met - self._expected if self._alike else self.met, n=3)
            if self._alike and not close:
                continue
            known = close or sorted(self.met)
            hint = f"; {'closest' if close else 'its'} sites are {', '.join(map(repr, known))}" if known else "; it has no sites"
            text = f"{self._to} got a value for {name!r}, but the model has no such site{hint}"
            warnings.warn(text, PplWarning, stacklevel=4)
