"""Give parameters a prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import HandlerError, SiteError
from ppl.handlers.names import NamesSites
from ppl.runtime import is_distribution
from ppl.typing import Message


class lift(NamesSites):
    """Make param sites sample sites: ``lift(model, {"s": dist.Exponential(0.3)})``.

    :param prior: a distribution for every parameter, or a dict from name to distribution; others stay parameters. A function
        that returns a draw serves as well.
    :raises HandlerError: if it is missing or something else.
    :raises SiteError: if the shape of the prior does not fit the initial value of the parameter.

    A prior of fewer dimensions than the parameter's initial value is expanded to its shape. Names that no param site of the run
    has give one warning that shows the closest names.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> lifted = handlers.lift(lambda: ppl.param("s", 0.5), prior={"s": dist.Exponential(0.3)})
    >>> handlers.trace(lifted).get_trace().nodes["s"]["type"]
    'sample'
    """

    def __init__(self, fn: Callable[..., Any] | None = None, prior: Any = None) -> None:
        if isinstance(prior, Mapping):
            wrong = sorted(str(name) for name, value in prior.items() if not callable(value))
        else:
            wrong = [] if callable(prior) else ["prior"]
        if wrong:
            raise HandlerError(f"lift needs distributions, or one, as prior; {', '.join(wrong)} is none")
        super().__init__(fn)
        self.prior = dict(prior) if isinstance(prior, Mapping) else prior
        self.expect(self.prior if isinstance(self.prior, dict) else (), to="lift")

    def on_param(self, message: Message) -> None:
        """Turn the site into a sample site of its prior."""
        name = message["name"]
        self.met.add(name)
        prior = self.prior.get(name) if isinstance(self.prior, dict) else self.prior
        if prior is None:
            return
        start = message["args"][1] if len(message["args"]) > 1 else None
        message["type"], message["fn"] = "sample", _fitted(name, prior, start)
        message["args"], message["kwargs"] = (), {}
        message["infer"]["_lifted"] = True


def _fitted(name: str, prior: Any, start: Any) -> Any:
    """Return the prior expanded to the shape of an initial value, where there is one to see."""
    if not is_distribution(prior) or not hasattr(start, "shape"):
        return prior
    wanted, shape = tuple(start.shape), tuple(prior.shape())
    if wanted == shape:
        return prior
    event = tuple(prior.event_shape)
    batch = wanted[: len(wanted) - len(event)]
    if len(wanted) < len(event) or wanted[len(batch) :] != event:
        raise SiteError(
            f"the prior of parameter {name!r} draws shape {shape}, but its initial value has shape {wanted}; expected "
            "shapes that fit; try .expand(shape).to_event(n) on the prior"
        )
    return prior.expand(batch)
