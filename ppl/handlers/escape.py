"""Leave a model at a site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.handlers.trace_struct import Trace
from ppl.runtime import NonlocalExit, is_distribution
from ppl.typing import Message


class escape(Handler):
    """Raise :class:`NonlocalExit` at the first sample site that ``escape_fn`` chooses.

    :param escape_fn: a function of the message, true for a site at which to leave.
    :raises HandlerError: if it is missing.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.runtime import NonlocalExit
    >>> def model():
    ...     return ppl.sample("y", dist.Normal(ppl.sample("x", dist.Normal(0.0, 1.0)), 1.0))
    >>> try:
    ...     handlers.escape(model, lambda site: site["name"] == "y")()
    ... except NonlocalExit as left:
    ...     print("left at", left.site["name"])
    left at y
    """

    def __init__(self, fn: Callable[..., Any] | None = None, escape_fn: Callable[[Message], bool] | None = None) -> None:
        if not callable(escape_fn):
            raise HandlerError(f"escape needs escape_fn, a function of a site that returns a bool; got {escape_fn!r}")
        super().__init__(fn)
        self.escape_fn = escape_fn

    def on_sample(self, message: Message) -> None:
        """Leave here if the function says so, once the message has nothing further out to pass."""
        if self.escape_fn(message):
            message["done"], message["stop"] = True, True
            message["continuation"] = _leave


def _leave(message: Message) -> None:
    raise NonlocalExit(message)


def all_escape(trace: Trace, msg: Message) -> bool:
    """Return whether a sample site is latent and not in ``trace`` yet.

    :param trace: a partial trace.
    :param msg: the message of a site.
    """
    return bool(msg["type"] == "sample" and not msg["is_observed"] and msg["name"] not in trace)


def discrete_escape(trace: Trace, msg: Message) -> bool:
    """Return whether a sample site is latent, enumerable and not in ``trace`` yet.

    :param trace: a partial trace.
    :param msg: the message of a site.
    """
    return all_escape(trace, msg) and is_distribution(msg["fn"]) and bool(msg["fn"].has_enumerate_support)


def enum_extend(trace: Trace, msg: Message, num_samples: int | None = None) -> list[Trace]:
    """Return copies of ``trace``, each with one value of the support of the site added.

    :param trace: a partial trace; it stays as it is.
    :param msg: the message of a site whose distribution enumerates its support.
    :param num_samples: how many values at the most; all by default.
    """
    values = list(msg["fn"].enumerate_support())
    return [_extended(trace, msg, value) for value in (values if num_samples is None else values[:num_samples])]


def mc_extend(trace: Trace, msg: Message, num_samples: int | None = None) -> list[Trace]:
    """Return copies of ``trace``, each with one draw of the site added.

    :param trace: a partial trace; it stays as it is.
    :param msg: the message of a site.
    :param num_samples: how many draws; one by default.
    """
    draws = (msg["fn"](*msg["args"], **msg["kwargs"]) for _ in range(1 if num_samples is None else num_samples))
    return [_extended(trace, msg, value) for value in draws]


def _extended(trace: Trace, msg: Message, value: Any) -> Trace:
    extended = trace.copy()
    node = {**msg, "infer": dict(msg["infer"]), "value": value, "done": True, "stop": False, "continuation": None}
    extended.add_node(msg["name"], **node)
    return extended
