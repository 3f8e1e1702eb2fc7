"""The frame of a Markov chain."""

from __future__ import annotations

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.typing import Message


class MarkovMessenger(Handler):
    """Counts the steps of a Markov chain around the sites inside.

    :param history: how many earlier steps a step may depend on.
    :param keep: whether neighbouring branches of one step may depend on each other.
    :raises HandlerError: if ``history`` is negative.

    Each site inside carries ``infer["_markov_depth"]``, the number of chains around it.
    """

    def __init__(self, history: int = 1, keep: bool = False) -> None:
        if not isinstance(history, int) or history < 0:
            raise HandlerError(f"markov takes history, an int of zero or more, got {history!r}")
        super().__init__()
        self.history = history
        self.keep = keep

    def on_sample(self, message: Message) -> None:
        """Note that the site lies in one more chain."""
        message["infer"]["_markov_depth"] = 1 + message["infer"].get("_markov_depth", 0)
