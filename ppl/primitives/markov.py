"""Declare that a sequence of sites depends on its recent past alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.markov import MarkovMessenger


def markov(fn: Any = None, history: int = 1, keep: bool = False) -> Any:
    """Declare a Markov chain, as a context manager, a decorator of a recursive function, or around an iterable.

    :param fn: a function, an iterable such as ``range(n)``, or nothing for a context manager.
    :param history: how many earlier steps a step may depend on; with 0 the steps are independent, as those of a plate.
    :param keep: whether neighbouring branches at one level may depend on each other. Otherwise they are independent given the
        steps that they share.
    :raises HandlerError: if ``fn`` is neither a function nor an iterable, or ``history`` is negative.

    Each turn of an iterable, each call of the function from within itself, and each entry of the context inside itself is the
    next step; entries beside each other are branches. :class:`ppl.handlers.enum` gives the enumerated sites of steps that do
    not see each other the same dimension.

    >>> import ppl
    >>> [step for step in ppl.markov(range(3))]
    [0, 1, 2]
    """
    chain = MarkovMessenger(history, keep)
    if fn is None:
        return chain
    if callable(fn):
        return chain.bind(fn)
    if isinstance(fn, Iterable):
        return chain.steps(fn)
    raise HandlerError(
        f"markov takes a function, an iterable or nothing, got {type(fn).__name__}; try ppl.markov(range(n)) for a "
        "chain of n steps"
    )
