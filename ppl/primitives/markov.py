"""Declare that a sequence of sites depends on its recent past alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.markov import MarkovMessenger


def markov(fn: Any = None, history: int = 1, keep: bool = False) -> Any:
    """Declare a Markov chain, as a context manager, a decorator of a recursive function, or around an iterable.

    :param fn: a function, an iterable such as ``range(n)``, or nothing for a context manager.
    :param history: how many earlier steps a step may depend on.
    :param keep: whether neighbouring branches of one step may depend on each other.
    :raises HandlerError: if ``fn`` is neither a function nor an iterable, or ``history`` is negative.

    >>> import ppl
    >>> [step for step in ppl.markov(range(3))]
    [0, 1, 2]
    """
    if fn is None:
        return MarkovMessenger(history, keep)
    if callable(fn):
        return _each_call(fn, history, keep)
    if isinstance(fn, Iterable):
        return _each_step(fn, MarkovMessenger(history, keep))
    raise HandlerError(f"markov takes a function, an iterable or nothing, got {type(fn).__name__}")


def _each_call(fn: Callable[..., Any], history: int, keep: bool) -> Callable[..., Any]:
    return MarkovMessenger(history, keep).bind(fn)


def _each_step(steps: Iterable[Any], messenger: MarkovMessenger) -> Iterator[Any]:
    for step in steps:
        with messenger:
            yield step
