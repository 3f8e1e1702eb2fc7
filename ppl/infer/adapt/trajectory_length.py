"""Trajectory lengths: Adam on the log of the length, beside dual averaging of the step size.

Source: Hoffman, Radul and Sountsov (2021), "An adaptive-MCMC scheme for setting trajectory lengths in Hamiltonian Monte Carlo".
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ppl import ops, tree
from ppl.infer.adapt import dual_averaging
from ppl.infer.adapt.dual_averaging import DualAveragingState
from ppl.infer.adapt.step_size import either
from ppl.infer.mcmc.state import ChainState, StepInfo, Tuning

# Sec. 3 and app. A of the paper: Adam without momentum.
LEARNING_RATE = 0.025
SQUARE_DECAY = 0.95
AVERAGE_DECAY = 0.5
MAX_STEPS = 1000.0
LARGEST_GRADIENT = 1e15
FIRST_STEPS = 8.0
# A quarter of the period of a standard normal: draws are independent after it.
QUARTER_PERIOD = 0.5 * math.pi
# The sequence of fractions repeats after 2 ** 20 transitions.
HALTON_BITS = 20


class LengthState(NamedTuple):
    """The state of dual averaging, and scalars: the log of the length, its average, the mean squared gradient, two counts.

    ``count`` is that of updates since the start; ``index`` that of transitions, sampling included.
    """

    step: DualAveragingState
    log_length: Any
    log_average: Any
    squared: Any
    count: Any
    index: Any


class LengthAdaptation:
    """Step size towards a harmonic mean of acceptance probabilities, trajectory length up the gradient of ChEES.

    Its methods are those of :class:`~ppl.infer.adapt.step_size.StepSizeAdaptation`.

    :param target: the harmonic mean aimed at, 0.651 in the paper.
    :param length: the first length; eight steps if ``None``.
    """

    moves_on = True

    def __init__(self, target: float, length: float | None = None) -> None:
        self.target = target
        self.length = length

    def start(self, step_size: float) -> LengthState:
        """Return the state that begins at ``step_size``."""
        return self._begin(step_size, FIRST_STEPS * step_size if self.length is None else self.length, ops.array(1.0))

    def restart(self, state: LengthState, step_size: float) -> LengthState:
        """Return the state that begins again at ``step_size`` after the metric, and with it the unit of length, has changed.

        How much it has changed is not known: the length moves half of the way, in logs, to where a perfect metric would have it.
        """
        return self._begin(step_size, math.sqrt(QUARTER_PERIOD * math.exp(float(state.log_average))), state.index)

    def _begin(self, step_size: float, length: float, index: Any) -> LengthState:
        log_length, zero = ops.array(math.log(length)), ops.array(0.0)
        return LengthState(dual_averaging.start(step_size), log_length, log_length, zero, zero, index)

    def tuning(self, state: LengthState, adapting: Any) -> Tuning:
        """Return the numbers of the next transition, its length jittered: exploring while ``adapting``, averaged afterwards."""
        step_size = ops.exp(either(adapting, state.step.log_step, state.step.log_average))
        length = ops.exp(either(adapting, state.log_length, state.log_average))
        return Tuning(step_size, halton(state.index) * length)

    def update(self, state: LengthState, before: ChainState, after: ChainState, info: StepInfo) -> LengthState:
        """Return the state after a transition whose ``info.for_adaptation`` holds the gradient by the log of the length."""
        (gradient,) = info.for_adaptation
        gradient = ops.where(ops.isnan(gradient), ops.zeros_like(gradient), gradient)
        # Its square stays finite in single precision.
        gradient = ops.clip(gradient, min=-LARGEST_GRADIENT, max=LARGEST_GRADIENT)
        # One chain that is stuck brings the harmonic mean to zero, where the arithmetic one would leave it behind.
        harmonic_mean = 1.0 / ops.mean(1.0 / ops.maximum(info.accept_prob, 1e-10))
        step = dual_averaging.update(state.step, harmonic_mean, self.target)
        count = state.count + 1.0
        squared = SQUARE_DECAY * state.squared + (1.0 - SQUARE_DECAY) * gradient**2
        unbiased = squared / (1.0 - SQUARE_DECAY**count)
        log_length = state.log_length + LEARNING_RATE * gradient / (ops.sqrt(unbiased) + 1e-30)
        # The averaged step size is far off at first, so that the bounds hang on the one that was found by search.
        shortest = step.anchor - math.log(10.0)
        log_length = ops.maximum(ops.minimum(log_length, shortest + math.log(MAX_STEPS)), shortest)
        weight = count**-AVERAGE_DECAY
        log_average = weight * log_length + (1.0 - weight) * state.log_average
        return LengthState(step, log_length, log_average, squared, count, state.index + 1.0)

    def keep(self, old: LengthState, new: LengthState, adapting: Any) -> LengthState:
        """Return the state to go on with: ``new`` while ``adapting``, ``old`` afterwards but for the index."""
        kept: LengthState = tree.map(lambda after, before: either(adapting, after, before), new, old)
        return kept._replace(index=new.index)


def halton(index: Any) -> Any:
    """Return the number ``index`` (from 1) of the Halton sequence of base two: its binary digits mirrored at the point.

    >>> from ppl import ops
    >>> from ppl.infer.adapt.trajectory_length import halton
    >>> [float(halton(ops.array(index))) for index in (1.0, 2.0, 3.0, 4.0)]
    [0.5, 0.25, 0.75, 0.125]
    """
    powers = 2.0 ** ops.arange(0.0, float(HALTON_BITS))
    quotients = ops.floor(index / powers)
    digits = quotients - 2.0 * ops.floor(0.5 * quotients)
    return ops.sum(digits / (2.0 * powers))
