"""Fix sample sites to data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.names import NamesSites, values_of
from ppl.handlers.trace_struct import Trace
from ppl.typing import Message


class condition(NamesSites):
    """Fix sample sites to data: ``condition(model, {"x": 1.0})`` makes ``x`` an observed site.

    :param data: a dict from site name to value, or a :class:`Trace` whose values are taken.
    :raises HandlerError: if ``data`` is missing.

    Names in ``data`` that no site of the run has give one warning that shows the closest names.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> recorded = handlers.trace(handlers.condition(model, data={"x": 0.5})).get_trace()
    >>> recorded.nodes["x"]["is_observed"], round(float(recorded.log_prob_sum()), 4)
    (True, -1.0439)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | Trace | None = None) -> None:
        if data is None:
            raise HandlerError("condition needs data, a dict or a Trace from site name to value; got None")
        super().__init__(fn)
        self.data = values_of(data)
        self.expect(() if isinstance(data, Trace) else self.data, to="condition")

    def on_sample(self, message: Message) -> None:
        """Observe the site if it has data and is not observed already."""
        name = message["name"]
        self.met.add(name)
        if name in self.data and not message["is_observed"]:
            message["value"], message["is_observed"] = self.data[name], True
