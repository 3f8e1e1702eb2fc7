"""The documented path of :class:`TraceMessenger`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.handlers.trace import identify_dense_edges
from ppl.handlers.trace import trace as trace_handler
from ppl.handlers.trace_struct import Trace

__all__ = ["TraceHandler", "TraceMessenger", "identify_dense_edges"]


class TraceMessenger(trace_handler):
    """The handler :class:`ppl.handlers.trace` without a function."""

    def __init__(self, graph_type: str | None = None, param_only: bool | None = None) -> None:
        super().__init__(graph_type=graph_type, param_only=param_only)


class TraceHandler(trace_handler):
    """A function recorded by a :class:`TraceMessenger`."""

    @property
    def trace(self) -> Trace:
        """The trace of the last run."""
        return self._recorded

    @trace.setter
    def trace(self, recorded: Trace) -> None:
        self._recorded = recorded

    def __init__(self, msngr: trace_handler, fn: Callable[..., Any]) -> None:
        super().__init__(fn, msngr.graph_type, msngr.param_only)
