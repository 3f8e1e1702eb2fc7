"""The documented path of :class:`EscapeMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.escape import escape


class EscapeMessenger(escape):
    """The handler :class:`ppl.handlers.escape` without a function."""

    def __init__(self, escape_fn: Any) -> None:
        super().__init__(escape_fn=escape_fn)
