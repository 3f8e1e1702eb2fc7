"""Handlers whose state belongs to one entry, and not to the object that is entered."""

from __future__ import annotations

import copy
from typing import Any, Self

from ppl.handlers.messenger import Handler
from ppl.runtime import STACK


class PerEntry(Handler):
    """A handler that may be entered many times at once: by threads, by tasks, and by a model inside itself.

    On the stack stands a copy of the handler, one for each entry. :meth:`begin` sets up the state of the copy, the hooks of
    messages run on it, and :meth:`end` is its last call.
    """

    _entered: PerEntry | None = None

    def begin(self) -> None:
        """Set up the state of this entry."""

    def end(self, kind: Any, error: Any, traceback: Any) -> None:
        """Leave; the arguments are those of ``__exit__``."""

    def entry(self) -> Self | None:
        """Return the innermost entry of this handler here, itself if it is one, ``None`` where it is not entered."""
        if self._entered is not None:
            return self
        for handler in reversed(STACK.get()):
            if isinstance(handler, type(self)) and handler._entered is self:
                return handler
        return None

    def fresh(self) -> Self:
        """Return a copy to stand on the stack for this handler."""
        copied = copy.copy(self)
        copied._entered = self
        return copied

    def __enter__(self) -> Any:
        self.check_entry()
        entry = self.fresh()
        entry.begin()
        STACK.set((*STACK.get(), entry))
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool | None:
        entry = self.entry()
        if entry is not None:
            Handler.__exit__(entry, kind, error, traceback)
            entry.end(kind, error, traceback)
        return None

    def abandon(self) -> None:
        """End the entry together with the handler around it."""
        self.end(GeneratorExit, None, None)
