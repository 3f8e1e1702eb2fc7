"""The steps of a Markov chain, and which earlier ones a site may depend on."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.runtime import STACK
from ppl.typing import Message


class MarkovFrame:
    """One step of a chain; nothing but its identity matters."""

    __slots__ = ()


class MarkovScope(NamedTuple):
    """What a site knows of one chain around it.

    :param frame: the step in which the site lies.
    :param visible: the steps that it may depend on, from the oldest to ``frame`` itself.
    :param reserved: the steps that some site, this one or a later one, may see together with ``frame``.
    """

    frame: MarkovFrame
    visible: tuple[MarkovFrame, ...]
    reserved: tuple[MarkovFrame, ...]


class MarkovStep(Handler):
    """One entry of a chain: it tells the sites inside in which step they lie.

    :param chain: the messenger that was entered.
    :param scope: the step and those that it sees.
    :param kept: the step of each level of a chain whose branches see each other.
    :param level: how many steps of the chain lie before this one.
    """

    def __init__(self, chain: MarkovMessenger, scope: MarkovScope, kept: dict[int, MarkovFrame], level: int) -> None:
        super().__init__()
        self.chain = chain
        self.scope = scope
        self.kept = kept
        self.level = level

    def on_sample(self, message: Message) -> None:
        """Count the entry; the innermost one of a chain says which steps the site sees."""
        message["infer"]["_markov_depth"] = 1 + message["infer"].get("_markov_depth", 0)
        message.setdefault("markov_scopes", {}).setdefault(self.chain.identity, self.scope)


class MarkovMessenger(Handler):
    """A chain: entered inside itself it begins the next step, entered beside itself a neighbouring branch.

    :param history: how many earlier steps a step may depend on; with 0 the steps are independent, as those of a plate.
    :param keep: whether neighbouring branches at one level may depend on each other. Otherwise they are independent given the
        steps that they share.
    :raises HandlerError: if ``history`` is negative.

    Each site inside carries ``infer["_markov_depth"]``, the number of entries around it, and ``message["markov_scopes"]``, for
    each chain around it a ``MarkovScope``. By these :class:`ppl.handlers.enum` reuses dimensions.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     with ppl.markov(history=1):
    ...         ppl.sample("x", dist.Bernoulli(0.5))
    >>> handlers.trace(model).get_trace().nodes["x"]["infer"]
    {'_markov_depth': 1}
    """

    def __init__(self, history: int = 1, keep: bool = False) -> None:
        if not isinstance(history, int) or isinstance(history, bool) or history < 0:
            raise HandlerError(
                f"markov takes history, an int of zero or more, got {history!r}; try history=1, a step that depends on the one "
                "before"
            )
        super().__init__()
        self.history = history
        self.keep = bool(keep)
        self.identity = object()
        self._kept: dict[int, MarkovFrame] = {}

    def __enter__(self) -> MarkovMessenger:
        self._step(self._enclosing()).__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool | None:
        step = self._enclosing()
        return None if step is None else step.__exit__(kind, error, traceback)

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn``, each call of which is a step; a call from outside begins a new chain."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            # A copy for each call, so that chains begun by different threads or runs share no kept steps.
            with self._fresh():
                return fn(*args, **kwargs)

        return functools.update_wrapper(wrapped, fn, updated=())

    def steps(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """Iterate over ``iterable``, each turn a step after the one before."""
        previous = self._enclosing()
        for item in iterable:
            previous = self._step(previous)
            with previous:
                yield item

    def _fresh(self) -> MarkovMessenger:
        fresh = copy.copy(self)
        fresh._kept = {}
        return fresh

    def _enclosing(self) -> MarkovStep | None:
        for handler in reversed(STACK.get()):
            if isinstance(handler, MarkovStep) and handler.chain.identity is self.identity:
                return handler
        return None

    def _step(self, previous: MarkovStep | None) -> MarkovStep:
        level, before = (0, ()) if previous is None else (previous.level + 1, previous.scope.visible)
        kept = self._kept if previous is None else previous.kept
        frame = kept.setdefault(level, MarkovFrame()) if self.keep else MarkovFrame()
        visible = (*before, frame)[-1 - self.history :]
        # A kept step further down, left for now, is seen again from the next branch.
        below = (kept[deeper] for deeper in range(level + 1, level + self.history + 1) if deeper in kept)
        return MarkovStep(self, MarkovScope(frame, visible, (*visible, *below)), kept, level)
