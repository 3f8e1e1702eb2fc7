"""Intervene: replace sample sites by values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl import ops
from ppl.errors import HandlerError
from ppl.handlers.names import NamesSites, values_of
from ppl.handlers.trace_struct import Trace
from ppl.typing import Message


class do(NamesSites):
    """Set sample sites to values, as if the model had them written in place of the sites.

    :param data: a dict from site name to value, or a :class:`Trace` whose values are taken.
    :raises HandlerError: if ``data`` is missing.

    Where :class:`condition` keeps the site and its log density, ``do`` cuts it off: what lies further out sees no such site, and
    its parents learn nothing from it (Pearl 2009, section 3.2). Names in ``data`` that no site of the run has give one warning
    that shows the closest names.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return 2.0 * ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> recorded = handlers.trace(handlers.do(model, data={"x": 0.5})).get_trace()
    >>> "x" in recorded, float(recorded.nodes["_RETURN"]["value"])
    (False, 1.0)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | Trace | None = None) -> None:
        if data is None:
            raise HandlerError("do needs data, a dict or a Trace from site name to value; got None")
        super().__init__(fn)
        self.data = values_of(data)
        self.expect(() if isinstance(data, Trace) else self.data, to="do")

    def on_sample(self, message: Message) -> None:
        """Give the site its value and hide it from everything further out."""
        name = message["name"]
        self.met.add(name)
        if name in self.data:
            value = self.data[name]
            message["value"] = value if ops.is_array(value) else ops.array(value)
            message["done"], message["stop"] = True, True
