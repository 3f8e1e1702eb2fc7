"""Add a term to the log density."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.distributions import Delta
from ppl.primitives.sample import sample


def factor(name: str, log_factor: Any, has_rsample: bool | None = None) -> None:
    """Add ``log_factor`` to the log density of a model.

    :param log_factor: an array of the shape of the surrounding plates, or a number.
    :param has_rsample: whether ``log_factor`` is differentiable in the parameters it was computed from; of use in guides.

    In a trace it is an observed site whose value is empty and whose distribution is a ``Delta`` of that log density.

    >>> import ppl
    >>> trace = ppl.handlers.trace(lambda: ppl.factor("penalty", -1.5)).get_trace()
    >>> float(trace.log_prob_sum())
    -1.5
    """
    log_density = ops.array(log_factor)
    nothing = ops.zeros((*ops.shape(log_density), 0))
    fn = Delta(nothing, log_density=log_density, event_dim=1, validate_args=False)
    infer = {"_factor": True} if has_rsample is None else {"_factor": True, "has_rsample": has_rsample}
    sample(name, fn, obs=nothing, infer=infer)
