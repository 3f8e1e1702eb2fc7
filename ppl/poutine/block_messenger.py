"""The documented path of :class:`BlockMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.block import block


class BlockMessenger(block):
    """The handler :class:`ppl.handlers.block` without a function; it takes the same other arguments."""

    def __init__(
        self, hide_fn: Any = None, expose_fn: Any = None, hide_all: bool = True, expose_all: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(None, hide_fn, expose_fn, hide_all=hide_all, expose_all=expose_all, **kwargs)
