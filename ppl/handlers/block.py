"""Hide sites from the handlers further out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.typing import Message


class block(Handler):
    """Hide sites from everything outside; without arguments all of them.

    :param hide_fn: a function of the message, true for a site to hide; the arguments below are then ignored.
    :param expose_fn: a function of the message, true for a site to show.
    :param hide: names to hide.
    :param expose: names to show, all others are hidden.
    :param hide_types: message types to hide; ``"observe"`` is the type of an observed sample site.
    :param expose_types: message types to show, all others are hidden.
    :param hide_all: hide what no other argument decides.
    :param expose_all: show what no other argument decides.
    :raises HandlerError: if two arguments contradict each other.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> "x" in handlers.trace(handlers.block(model, hide=["x"])).get_trace()
    False
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        hide_fn: Callable[[Message], bool] | None = None,
        expose_fn: Callable[[Message], bool] | None = None,
        hide: Collection[str] | None = None,
        expose: Collection[str] | None = None,
        hide_types: Collection[str] | None = None,
        expose_types: Collection[str] | None = None,
        hide_all: bool = True,
        expose_all: bool = False,
    ) -> None:
        if hide_fn is not None and expose_fn is not None:
            raise HandlerError("block takes hide_fn or expose_fn, got both")
        for hidden, shown, kind in ((hide, expose, "names"), (hide_types, expose_types, "types")):
            both = set(hidden or ()) & set(shown or ())
            if both:
                raise HandlerError(f"block cannot both hide and expose the {kind} {sorted(both)}")
        super().__init__(fn)
        self.hidden_names = frozenset(hide or ())
        self._hidden_types = frozenset(hide_types or ())
        self._shown_names = frozenset(expose or ())
        self._shown_types = frozenset(expose_types or ())
        chosen = expose is not None or expose_types is not None
        undecided = hide is None and hide_types is None and hide_all and not expose_all
        self._hide_others = chosen or undecided
        if hide_fn is not None:
            self.hides = lambda message: bool(hide_fn(message))
        elif expose_fn is not None:
            self.hides = lambda message: not expose_fn(message)
        else:
            self.hides = self._hides

    def _hides(self, message: Message) -> bool:
        name = message["name"]
        kind = "observe" if message["is_observed"] and message["type"] == "sample" else message["type"]
        if name in self.hidden_names or kind in self._hidden_types:
            return True
        return self._hide_others and name not in self._shown_names and kind not in self._shown_types

    def process_message(self, message: Message) -> None:
        """Stop the message here if its site is hidden."""
        if self.hides(message):
            message["stop"] = True
