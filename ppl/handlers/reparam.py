"""Express latent sites through others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ppl import ops
from ppl.distributions import Delta
from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.handlers.names import NamesSites
from ppl.typing import Message

Strategy = Callable[[Message], tuple[Any, Any]]
Config = Mapping[str, Strategy] | Callable[[Message], Strategy | None]

# The handlers whose strategies are at work, so that a function is not asked about the sites which its own choices make.
_APPLYING: ContextVar[tuple[Handler, ...]] = ContextVar("ppl_reparam_applying", default=())


class reparam(NamesSites):
    """Let strategies rewrite sample sites: ``reparam(model, {"x": LocScaleReparam(0.0)})``.

    :param config: a dict from site name to strategy, or a function of the message that returns a strategy or ``None``.
    :raises HandlerError: if it is missing or something else, or if a strategy returns no pair.

    A strategy is a function of the message that returns a distribution and a value. With a value the site is deterministic
    and has that value; the strategy has drawn the sites that it computes it from by ``ppl.sample``, and they see all handlers and
    plates around the site. With ``None`` the site is drawn from the distribution. :mod:`ppl.infer.reparam` has strategies.

    The sites that a strategy draws may have one in the same dict; a function is not asked about them. Names in a dict that no
    site of the run has give one warning that shows the closest names.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.infer.reparam import LocScaleReparam
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(5.0, 2.0))
    >>> trace = handlers.trace(handlers.reparam(model, config={"x": LocScaleReparam(0.0)})).get_trace()
    >>> noise = trace.nodes["x_decentered"]["value"]
    >>> trace.stochastic_nodes, bool(trace.nodes["x"]["value"] == 5.0 + 2.0 * noise)
    (['x_decentered'], True)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, config: Config | None = None) -> None:
        wrong = sorted(str(name) for name, value in config.items() if not callable(value)) if isinstance(config, Mapping) else []
        if wrong or not (isinstance(config, Mapping) or callable(config)):
            raise HandlerError(
                "reparam needs config, a dict from site name to strategy or a function of a site that returns one; got "
                + (f"no strategy for {', '.join(map(repr, wrong))}" if wrong else repr(config))
                + "; try {'x': ppl.infer.reparam.LocScaleReparam()}"
            )
        super().__init__(fn)
        self.config: Config = dict(config) if isinstance(config, Mapping) else config
        self.expect(self.config if isinstance(self.config, Mapping) else (), to="the config of reparam")

    def on_sample(self, message: Message) -> None:
        """Apply the strategy of the site, if it has one."""
        strategy = self._strategy(message)
        if strategy is None:
            return
        token = _APPLYING.set((*_APPLYING.get(), self))
        try:
            answer = strategy(message)
        finally:
            _APPLYING.reset(token)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise HandlerError(
                f"the strategy {strategy!r} returned {type(answer).__name__} at site {message['name']!r}; expected a "
                "distribution and a value, the value None to draw the site"
            )
        message["fn"], value = answer
        if value is not None:
            _make_deterministic(message, value)

    def _strategy(self, message: Message) -> Strategy | None:
        if isinstance(self.config, Mapping):
            self.met.add(message["name"])
            return self.config.get(message["name"])
        if any(handler is self for handler in _APPLYING.get()) or message["infer"].get("_deterministic"):
            return None
        return self.config(message)


def _make_deterministic(message: Message, value: Any) -> None:
    """Turn a site into one that records ``value`` and has no density."""
    event_dim = message["fn"].event_dim
    value = value if ops.is_array(value) else ops.array(value)
    message["fn"] = Delta(value, event_dim=event_dim, validate_args=False)
    message["value"], message["is_observed"], message["done"], message["mask"] = value, True, True, False
    message["infer"] = {**message["infer"], "_deterministic": True}
