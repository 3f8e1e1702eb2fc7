"""The documented path of :class:`DoMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.do import do


class DoMessenger(do):
    """The handler :class:`ppl.handlers.do` without a function."""

    def __init__(self, data: Any) -> None:
        super().__init__(data=data)
