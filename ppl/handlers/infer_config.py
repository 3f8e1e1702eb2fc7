"""Change the metadata of sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.typing import Message


class infer_config(Handler):
    """Update the ``infer`` metadata of each sample and param site.

    :param config_fn: a function of the message that returns a dict, merged into ``infer``.
    :raises HandlerError: if it is missing, or returns something else.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> configured = handlers.infer_config(lambda: ppl.sample("x", dist.Bernoulli(0.5)), lambda site: {"enumerate": "parallel"})
    >>> handlers.trace(configured).get_trace().nodes["x"]["infer"]
    {'enumerate': 'parallel'}
    """

    def __init__(
        self, fn: Callable[..., Any] | None = None, config_fn: Callable[[Message], Mapping[str, Any]] | None = None
    ) -> None:
        if not callable(config_fn):
            raise HandlerError(f"infer_config needs config_fn, a function of a site that returns a dict; got {config_fn!r}")
        super().__init__(fn)
        self.config_fn = config_fn

    def _configure(self, message: Message) -> None:
        update = self.config_fn(message)
        if not isinstance(update, Mapping):
            raise HandlerError(
                f"config_fn returned {type(update).__name__} at site {message['name']!r}; expected a dict, maybe empty"
            )
        message["infer"].update(update)

    on_sample = on_param = _configure
