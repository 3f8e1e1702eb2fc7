"""Reuse the values of an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import HandlerError, SiteError
from ppl.handlers.names import NamesSites
from ppl.handlers.trace_struct import Trace
from ppl.typing import Message


class replay(NamesSites):
    """Run with the sampled values, and the plate indices, of a trace.

    :param trace: a :class:`Trace`; sites that it lacks are drawn afresh.
    :param params: constrained values of param sites by name.
    :raises HandlerError: if neither is given.
    :raises SiteError: if a name is a sample site in one run and of another type in the other.

    A name of the trace that the run lacks gives a warning if it is like that of a site which was drawn afresh.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> earlier = handlers.trace(model).get_trace()
    >>> bool(handlers.replay(model, trace=earlier)() == earlier.nodes["x"]["value"])
    True
    """

    def __init__(
        self, fn: Callable[..., Any] | None = None, trace: Trace | None = None, params: Mapping[str, Any] | None = None
    ) -> None:
        if trace is None and params is None:
            raise HandlerError("replay needs a trace, params, or both; got neither")
        if trace is not None and not isinstance(trace, Trace):
            raise HandlerError(f"replay takes a Trace, got {type(trace).__name__}; try handlers.trace(fn).get_trace(...)")
        super().__init__(fn)
        self.trace = trace
        self.params = params
        self.expect(() if trace is None else trace.stochastic_nodes, to="replay", alike=True)

    def on_sample(self, message: Message) -> None:
        """Take the value and the inference metadata of the earlier site."""
        node = self._earlier(message)
        self.met.add(message["name"])
        if node is not None and not message["is_observed"]:
            message["done"], message["value"], message["infer"] = True, node["value"], node["infer"]

    def on_subsample(self, message: Message) -> None:
        """Take the indices of the earlier plate."""
        node = self._earlier(message)
        if node is not None:
            message["done"], message["value"] = True, node["value"]

    def on_param(self, message: Message) -> None:
        """Take the value of ``params``."""
        if self.params is not None and message["name"] in self.params:
            message["done"], message["value"] = True, self.params[message["name"]]

    def _earlier(self, message: Message) -> Message | None:
        node = None if self.trace is None else self.trace.nodes.get(message["name"])
        if node is not None and node["type"] != message["type"]:
            raise SiteError(
                f"site {message['name']!r} is a {message['type']} site here but a {node['type']} site in the replayed trace; "
                "expected the same type; try another name for one of them"
            )
        return node
