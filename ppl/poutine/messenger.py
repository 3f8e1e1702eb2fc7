"""The documented path of :class:`Messenger`."""

from ppl.handlers.messenger import Messenger

__all__ = ["Messenger"]
