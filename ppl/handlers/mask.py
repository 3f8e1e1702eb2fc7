"""Leave out elements of log densities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.typing import Message


def combine(first: Any, second: Any) -> Any:
    """Return the mask of the elements that both masks keep; ``None`` keeps all."""
    if first is None or first is True:
        return second
    if second is None or second is True:
        return first
    if first is False or second is False:
        return False
    return ops.logical_and(first, second)


class mask(Handler):
    """Leave out the sample sites, or the elements of their batches, where ``mask`` is false; nested masks must all hold.

    :param mask: a bool, or an array of zeros and ones that broadcasts with the sites' batch shape.
    :raises HandlerError: if it is missing.

    What is left out adds exactly zero to the log density and to its gradient, even where the density is not finite.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> float(handlers.trace(handlers.mask(model, mask=False)).get_trace().log_prob_sum())
    0.0
    """

    def __init__(self, fn: Callable[..., Any] | None = None, mask: Any = None) -> None:
        if mask is None:
            raise HandlerError("mask needs a bool or a boolean array; got None")
        super().__init__(fn)
        self.mask = mask if isinstance(mask, bool) else ops.astype(ops.array(mask), "bool")

    def on_sample(self, message: Message) -> None:
        """Combine the site's mask with this one."""
        message["mask"] = combine(message["mask"], self.mask)
