"""The documented path of :class:`EnumMessenger`."""

from __future__ import annotations

from ppl.handlers.enum import enum


class EnumMessenger(enum):
    """The handler :class:`ppl.handlers.enum` without a function."""

    def __init__(self, first_available_dim: int | None = None) -> None:
        super().__init__(first_available_dim=first_available_dim)
