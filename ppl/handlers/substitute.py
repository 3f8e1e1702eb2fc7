"""Give sites their values without observing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.handlers.names import values_of
from ppl.handlers.trace_struct import Trace
from ppl.typing import Message


class substitute(Handler):
    """Give sample, param and plate-index sites their values; sample sites stay latent.

    :param data: a dict or a :class:`Trace` from site name to value; values of parameters are constrained ones.
    :param substitute_fn: a function of the message that returns a value, or ``None`` to leave the site alone.
    :raises HandlerError: unless exactly one of the two is given.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> recorded = handlers.trace(handlers.substitute(model, data={"x": 0.5})).get_trace()
    >>> recorded.nodes["x"]["is_observed"], float(recorded.nodes["x"]["value"])
    (False, 0.5)
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        data: Mapping[str, Any] | Trace | None = None,
        substitute_fn: Callable[[Message], Any] | None = None,
    ) -> None:
        if (data is None) == (substitute_fn is None):
            raise HandlerError("substitute needs exactly one of data and substitute_fn")
        super().__init__(fn)
        self.data = {} if data is None else values_of(data)
        self.substitute_fn = substitute_fn

    def _give(self, message: Message) -> None:
        if message["is_observed"]:
            return
        value = self.data.get(message["name"]) if self.substitute_fn is None else self.substitute_fn(message)
        if value is not None:
            message["value"] = value

    on_sample = on_param = on_subsample = _give
