"""Expand distributions to the plates around them."""

from __future__ import annotations

from ppl.errors import PlateError
from ppl.handlers.messenger import Handler
from ppl.runtime import is_distribution
from ppl.typing import Message


class broadcast(Handler):
    """Expand the distribution of each sample site to the sizes of the plates around it.

    :raises PlateError: if a batch dimension of the distribution is neither 1 nor its plate's size.

    A :class:`ppl.plate` does this by itself; the handler serves frames that other handlers add, and models that state it.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> @handlers.broadcast
    ... def model():
    ...     with ppl.plate("batch", 100, dim=-2), ppl.plate("components", 3, dim=-1):
    ...         return ppl.sample("x", dist.Bernoulli(0.5))
    >>> tuple(model().shape)
    (100, 3)
    """

    def on_sample(self, message: Message) -> None:
        """Expand the distribution of the site along each frame of its stack."""
        fn = message["fn"]
        if message["done"] or not is_distribution(fn) or message["infer"].get("_deterministic"):
            return
        batch = list(fn.batch_shape)
        for frame in message["cond_indep_stack"]:
            if not frame.vectorized or frame.size is None:
                continue
            batch = [1] * (-frame.dim - len(batch)) + batch
            if batch[frame.dim] not in (1, frame.size):
                raise PlateError(
                    f"site {message['name']!r} has batch shape {tuple(fn.batch_shape)} but plate {frame.name!r} has size "
                    f"{frame.size} at dim={frame.dim}; expected size 1 or {frame.size} there; try .to_event(n) if the dimension "
                    "is not a plate's"
                )
            batch[frame.dim] = frame.size
        if tuple(batch) != tuple(fn.batch_shape):
            message["fn"] = fn.expand(tuple(batch))
