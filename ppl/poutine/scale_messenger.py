"""The documented path of :class:`ScaleMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.scale import scale as scale_handler


class ScaleMessenger(scale_handler):
    """The handler :class:`ppl.handlers.scale` without a function."""

    def __init__(self, scale: Any) -> None:
        super().__init__(scale=scale)
