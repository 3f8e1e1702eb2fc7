"""The documented path of :class:`BroadcastMessenger`."""

from __future__ import annotations

from ppl.handlers.broadcast import broadcast


class BroadcastMessenger(broadcast):
    """The handler :class:`ppl.handlers.broadcast` without a function."""

    def __init__(self) -> None:
        super().__init__()
