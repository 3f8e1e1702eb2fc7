"""Run a model along the complete traces of a queue of partial ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from queue import Empty
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.escape import discrete_escape, enum_extend, escape
from ppl.handlers.replay import replay
from ppl.handlers.trace import trace
from ppl.handlers.trace_struct import Trace
from ppl.runtime import NonlocalExit
from ppl.typing import Message

MAX_TRIES = 1_000_000


def queue(
    fn: Callable[..., Any] | None = None,
    queue: Any = None,
    max_tries: int | None = None,
    extend_fn: Callable[..., list[Trace]] | None = None,
    escape_fn: Callable[[Trace, Message], bool] | None = None,
    num_samples: int | None = None,
) -> Callable[..., Any]:
    """Return ``fn`` made to follow the partial traces of a queue: each call returns the value of one complete run.

    :param fn: a model; without it, the result decorates one.
    :param queue: an object with ``put(trace)`` and ``get()`` or ``get_nowait()``, such as :class:`queue.Queue`, that holds at
        least one partial trace, at first the empty one.
    :param max_tries: how many runs at the most until one is complete; 1000000 by default.
    :param extend_fn: from partial trace, message and ``num_samples`` to the extended traces that are put; by default
        :func:`enum_extend`, one for each value of a discrete site.
    :param escape_fn: from partial trace and message to whether the site must be extended; by default :func:`discrete_escape`.
    :param num_samples: passed to ``extend_fn``.
    :raises HandlerError: if the queue is missing or empty, if no run was complete after ``max_tries``, or if it is entered as a
        context manager.

    Calling it until the queue is empty enumerates the discrete sites in sequence.

    >>> import ppl
    >>> from queue import LifoQueue
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return int(ppl.sample("x", dist.Bernoulli(0.5)) + ppl.sample("y", dist.Bernoulli(0.5)))
    >>> partial = LifoQueue()
    >>> partial.put(handlers.Trace())
    >>> enumerated = handlers.queue(model, queue=partial)
    >>> results = []
    >>> while not partial.empty():
    ...     results.append(enumerated())
    >>> results
    [2, 1, 1, 0]
    """
    if queue is None:
        raise HandlerError("queue needs queue, an object with put and get that holds partial traces; got None")
    decorate = _Queue(queue, max_tries, extend_fn, escape_fn, num_samples)
    return decorate if fn is None else decorate(fn)


class _Queue:
    """Decorates models; a block of code cannot be run again, so it is no context manager."""

    def __init__(
        self,
        queue: Any,
        max_tries: int | None,
        extend_fn: Callable[..., list[Trace]] | None,
        escape_fn: Callable[[Trace, Message], bool] | None,
        num_samples: int | None,
    ) -> None:
        self.queue = queue
        self.tries = MAX_TRIES if max_tries is None else max_tries
        self.extend = extend_fn or enum_extend
        self.leaves_at = escape_fn or discrete_escape
        self.num_samples = num_samples

    def __enter__(self) -> None:
        raise HandlerError("queue runs a function many times, got a block of code; try handlers.queue(fn, queue=...)")

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Never reached, but looked up before."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(fn):
            raise HandlerError(f"queue wraps a function, got {type(fn).__name__}; pass its other arguments by keyword")

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            for _ in range(self.tries):
                partial = _next(self.queue)
                try:
                    with trace() as recorder:
                        followed = replay(escape(fn, functools.partial(self.leaves_at, partial)), trace=partial)
                        recorder.trace.add_node("_INPUT", name="_INPUT", type="args", args=args, kwargs=kwargs)
                        return followed(*args, **kwargs)
                except NonlocalExit as left:
                    left.reset_stack()
                    for extended in self.extend(partial, left.site, num_samples=self.num_samples):
                        self.queue.put(extended)
            raise HandlerError(f"queue found no complete trace in {self.tries} tries; expected one; try a larger max_tries")

        return run


def _next(queue: Any) -> Trace:
    try:
        found: Trace = queue.get_nowait() if hasattr(queue, "get_nowait") else queue.get()
    except Empty:
        raise HandlerError("the queue of partial traces is empty; expected at least one; try queue.put(Trace())") from None
    return found
