"""Multiply log densities by a factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.ops import autodiff
from ppl.typing import Message


class scale(Handler):
    """Multiply the log density of every sample site by ``scale``; nested scales multiply.

    :param scale: a non-negative number, or an array that broadcasts with the sites' batch shape.
    :raises HandlerError: if it is missing, negative or NaN.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> observed = handlers.scale(lambda: ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5), scale=10.0)
    >>> round(float(handlers.trace(observed).get_trace().log_prob_sum()), 4)
    -10.4394
    """

    def __init__(self, fn: Callable[..., Any] | None = None, scale: Any = None) -> None:
        if scale is None:
            raise HandlerError("scale needs a factor, a non-negative number or array; got None")
        if isinstance(scale, (int, float)):
            valid = scale >= 0
        else:
            valid = autodiff.is_tracing() or bool(ops.all(ops.greater_equal(scale, 0)))
        if not valid:
            raise HandlerError(f"scale needs a non-negative factor, got {scale}")
        super().__init__(fn)
        self.scale = scale

    def on_sample(self, message: Message) -> None:
        """Multiply the site's scale."""
        message["scale"] = self.scale * message["scale"]
