"""Step size adaptation by dual averaging (Nesterov 2009; Hoffman and Gelman 2014, sec. 3.2)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ppl import ops
from ppl.ops import dual_averaging


class DualAveragingState(NamedTuple):
    """Scalars: the current and the averaged logarithm of the step size, the averaged error, the count and the point shrunk to."""

    log_step: Any
    log_average: Any
    error: Any
    count: Any
    anchor: Any


def start(step_size: float) -> DualAveragingState:
    """Return the state that begins at ``step_size`` and favours ten times as much."""
    log_step = math.log(step_size)
    start, zero, anchor = (ops.array(number) for number in (log_step, 0.0, log_step + math.log(10.0)))
    return DualAveragingState(start, start, zero, zero, anchor)


def update(state: DualAveragingState, accept_prob: Any, target: float) -> DualAveragingState:
    """Return the state after a transition of mean acceptance probability ``accept_prob``."""
    before = dual_averaging.DualAveragingState(state.log_step, state.log_average, state.error, state.count)
    log_step, log_average, error, count = dual_averaging.advance(before, target - accept_prob, prox_center=state.anchor)
    return DualAveragingState(log_step, log_average, error, count, state.anchor)
