"""Record a computed value."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.distributions import Delta
from ppl.runtime import STACK, apply_stack, new_message


def deterministic(name: str, value: Any, event_dim: int | None = None) -> Any:
    """Record ``value`` under ``name`` in the trace and return it; it adds nothing to the log density.

    :param value: an array or number.
    :param event_dim: number of rightmost dimensions that are not batch dimensions, by default all.

    In a trace it is an observed, masked sample site of a ``Delta`` with ``infer["_deterministic"]``.

    >>> import ppl
    >>> trace = ppl.handlers.trace(lambda: ppl.deterministic("area", 6.0)).get_trace()
    >>> float(trace.nodes["area"]["value"]), float(trace.log_prob_sum())
    (6.0, 0.0)
    """
    if not STACK.get():
        return value
    array = value if hasattr(value, "shape") else ops.array(value)
    fn = Delta(array, event_dim=len(array.shape) if event_dim is None else event_dim)
    message = new_message("sample", name, fn, (), {}, array, True, {"_deterministic": True})
    message["mask"] = False
    return apply_stack(message)["value"]
