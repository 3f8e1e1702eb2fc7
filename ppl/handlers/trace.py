"""Record the sites of a run."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.handlers.trace_struct import Trace
from ppl.typing import Message

# What the names of this library's files begin with, and how many calls lie between postprocess_message and that of ppl.sample.
_LIBRARY = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_in_library: dict[str, bool] = {}
_DEPTH = 3


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


def _outside(frame: FrameType | None) -> FrameType | None:
    """Return ``frame``, or the nearest one further out that runs no code of this library."""
    while frame is not None:
        name = frame.f_code.co_filename
        inside = _in_library.get(name)
        if inside is None:
            inside = _in_library[name] = name.startswith(_LIBRARY)
        if not inside:
            break
        frame = frame.f_back
    return frame


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
        self._begin()

    def _begin(self) -> None:
        self.trace = Trace(self.graph_type)
        self._code: CodeType | None = None
        self._offsets: dict[str, int] = {}

    def __enter__(self) -> trace:
        if self.fn is not None:
            self.refuse_entry()
        self._begin()
        super().__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool | None:
        super().__exit__(kind, error, traceback)
        self._code = None
        if self.graph_type == "dense" and kind is None:
            identify_dense_edges(self.trace)
        return None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            return super().__call__(*args, **kwargs)
        # A run records into a handler of its own, so that threads may share this one.
        run = copy.copy(self)
        run.fn = None
        try:
            with run:
                nodes = run.trace.nodes
                nodes["_INPUT"] = {"type": "args", "name": "_INPUT", "args": args, "kwargs": kwargs}
                value = self.fn(*args, **kwargs)
                nodes["_RETURN"] = {"type": "return", "name": "_RETURN", "value": value}
        finally:
            self.trace = run.trace
        return value

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` recorded by a handler like this one."""
        bound = copy.copy(self)
        bound._begin()
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
        bound = copy.copy(self)
        bound(*args, **kwargs)
        self.trace = bound.trace
        return bound.trace

    def reset(self) -> None:
        """Begin the record anew."""
        recorded = self.trace.nodes.get("_INPUT")
        self._begin()
        if recorded is not None:
            self.trace.nodes["_INPUT"] = recorded

    def postprocess_message(self, message: Message) -> None:
        """Record the site."""
        if self.param_only and message["type"] != "param":
            return
        try:
            frame = sys._getframe(_DEPTH)
        except ValueError:
            frame = sys._getframe()
        # Written out, and for the commonest case (the function that met the last site meets this one), since every site pays.
        offset = frame.f_lasti if frame.f_code is self._code else self._elsewhere(frame)
        name, nodes = message["name"], self.trace.nodes
        if name in nodes:
            self.trace.check_recurrence(name, message, (self._code, offset) if self._code else None)
        nodes[name] = message.copy()
        self._offsets[name] = offset

    def _elsewhere(self, frame: FrameType) -> int:
        """Take note of the code outside this library that meets sites now, and return the offset of its instruction."""
        outside = _outside(frame) or frame
        if outside.f_code is not self._code:
            self._code = outside.f_code
            self._offsets = self.trace.places_in(self._code)
        return outside.f_lasti
