"""The documented path of :class:`ReplayMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.replay import replay


class ReplayMessenger(replay):
    """The handler :class:`ppl.handlers.replay` without a function."""

    def __init__(self, trace: Any = None, params: Any = None) -> None:
        super().__init__(trace=trace, params=params)
