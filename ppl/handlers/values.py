"""Values of sites: checking their shapes."""

from __future__ import annotations

from ppl import ops
from ppl.errors import PlateError, ShapeError
from ppl.runtime import is_distribution
from ppl.typing import Message, Shape


def broadcastable(shape: Shape, target: Shape) -> bool:
    """Return whether two shapes broadcast with each other."""
    return all(a == b or a == 1 or b == 1 for a, b in zip(reversed(shape), reversed(target), strict=False))


def check_value_shape(message: Message) -> None:
    """Raise if the value of a sample site cannot be one of its distribution.

    :raises ShapeError: if the event shapes differ, or the batch shapes do not broadcast.
    :raises PlateError: if a dimension differs from the size of its plate.
    """
    fn = message["fn"]
    if not is_distribution(fn):
        return
    shape, batch, event = tuple(ops.shape(message["value"])), tuple(fn.batch_shape), tuple(fn.event_shape)
    rank = len(shape) - len(event)
    name, kind = message["name"], "observed value" if message["is_observed"] else "value"
    if rank < 0 or shape[rank:] != event:
        raise ShapeError(
            f"the {kind} of site {name!r} has shape {shape}; expected it to end in the event shape {event} of {fn!r}; "
            "try to reshape the value, or .to_event(n) on the distribution"
        )
    if broadcastable(shape[:rank], batch):
        return
    for frame in message["cond_indep_stack"]:
        if frame.vectorized and frame.size is not None and -frame.dim <= rank and shape[rank + frame.dim] not in (1, frame.size):
            raise PlateError(
                f"the {kind} of site {name!r} has size {shape[rank + frame.dim]} at dim={frame.dim}, but plate {frame.name!r} "
                f"has size "
                f"{frame.size} there; expected equal sizes; try ppl.plate({frame.name!r}, {shape[rank + frame.dim]}) or to "
                f"index the "
                "value with the plate's indices"
            )
    raise ShapeError(
        f"the {kind} of site {name!r} has batch shape {shape[:rank]}, which does not broadcast with the batch shape {batch} of "
        f"{fn!r}; "
        "expected shapes that broadcast; try to reshape the value, or a ppl.plate for each of its batch dimensions"
    )
