"""The documented path of :class:`LiftMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.lift import lift


class LiftMessenger(lift):
    """The handler :class:`ppl.handlers.lift` without a function."""

    def __init__(self, prior: Any) -> None:
        super().__init__(prior=prior)
