"""The documented path of :class:`ConditionMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.condition import condition


class ConditionMessenger(condition):
    """The handler :class:`ppl.handlers.condition` without a function."""

    def __init__(self, data: Any) -> None:
        super().__init__(data=data)
