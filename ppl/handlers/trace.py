"""Record the sites of a run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.handlers.trace_struct import Trace
from ppl.typing import Message


def identify_dense_edges(trace: Trace) -> None:
    """Add an edge between any two sample sites of ``trace`` that lie in no two different steps of one sequential plate.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     ppl.sample("y", dist.Normal(ppl.sample("x", dist.Normal(0.0, 1.0)), 1.0))
    >>> handlers.trace(model, graph_type="dense").get_trace().edges
    [('x', 'y')]
    """
    earlier: list[tuple[str, Message]] = []
    for name, node in trace.nodes.items():
        if node["type"] != "sample":
            continue
        for past_name, past in earlier:
            if not _independent(past, node):
                trace.add_edge(past_name, name)
        earlier.append((name, node))


def _independent(first: Message, second: Message) -> bool:
    pairs = zip(first["cond_indep_stack"], second["cond_indep_stack"], strict=False)
    return any(a.name == b.name and a.counter != b.counter for a, b in pairs)


class trace(Handler):
    """Record the sites of a run: ``trace(model).get_trace(x)`` returns a :class:`Trace`.

    :param graph_type: ``"flat"``, or ``"dense"`` to add the edges of :func:`identify_dense_edges`.
    :param param_only: record param sites alone.
    :raises DuplicateSite: when two sample sites of the run share a name.

    As a context manager it gives itself; ``get_trace()`` then returns what was recorded.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> recorded = handlers.trace(lambda: ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)).get_trace()
    >>> round(float(recorded.log_prob_sum()), 4)
    -1.0439
    """

    def __init__(
        self, fn: Callable[..., Any] | None = None, graph_type: str | None = None, param_only: bool | None = None
    ) -> None:
        super().__init__(fn)
        self.graph_type = graph_type or "flat"
        self.param_only = bool(param_only)
        self.trace = Trace(self.graph_type)

    def __enter__(self) -> trace:
        self.trace = Trace(self.graph_type)
        super().__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool | None:
        super().__exit__(kind, error, traceback)
        if self.graph_type == "dense" and kind is None:
            identify_dense_edges(self.trace)
        return None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            return super().__call__(*args, **kwargs)
        with self:
            nodes = self.trace.nodes
            nodes["_INPUT"] = {"type": "args", "name": "_INPUT", "args": args, "kwargs": kwargs}
            value = self.fn(*args, **kwargs)
            nodes["_RETURN"] = {"type": "return", "name": "_RETURN", "value": value}
        return value

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` recorded by a handler like this one."""
        bound = copy.copy(self)
        bound.trace = Trace(self.graph_type)
        bound._wrap(fn)
        return bound

    def get_trace(self, *args: Any, **kwargs: Any) -> Trace:
        """Run the function and return its trace; without a function, return a copy of what was recorded.

        :raises HandlerError: if arguments are given but no function.
        """
        if self.fn is None:
            if args or kwargs:
                raise HandlerError("get_trace got arguments, but trace wraps no function; try handlers.trace(fn).get_trace(...)")
            return self.trace.copy()
        self(*args, **kwargs)
        return self.trace

    def reset(self) -> None:
        """Begin the record anew."""
        recorded = self.trace.nodes.get("_INPUT")
        self.trace = Trace(self.graph_type)
        if recorded is not None:
            self.trace.nodes["_INPUT"] = recorded

    def postprocess_message(self, message: Message) -> None:
        """Record the site."""
        if self.param_only and message["type"] != "param":
            return
        self.trace.record(message["name"], message.copy())
