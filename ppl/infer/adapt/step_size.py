"""Step sizes: a first one by doubling or halving, then dual averaging from one transition to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import ops, tree
from ppl.infer.adapt import dual_averaging
from ppl.infer.adapt.dual_averaging import DualAveragingState
from ppl.infer.mcmc.state import ChainState, StepInfo, Tuning

MAX_DOUBLINGS = 50


def search(accept_prob: Callable[[float], float], initial: float = 1.0, target: float = 0.8) -> float:
    """Return a step size at which the acceptance probability of a single step crosses ``target``.

    The search is that of Hoffman and Gelman (2014, alg. 4).

    :param accept_prob: step size to the mean acceptance probability of one leapfrog step from the start.
    """
    step_size = initial
    growing = accept_prob(step_size) > target
    for _ in range(MAX_DOUBLINGS):
        following = step_size * (2.0 if growing else 0.5)
        if (accept_prob(following) > target) != growing:
            return step_size if growing else following
        step_size = following
    return step_size


class StepSizeAdaptation:
    """Dual averaging of the step size towards an acceptance probability; its methods but ``start`` are pure and compiled.

    A kernel with more to tune has a class of its own with these methods.

    :param target: the acceptance probability aimed at.

    ``adapting`` is a bool, or an array of one where a loop is compiled for both.
    """

    moves_on = False
    """Whether the state changes after warm-up too."""

    def __init__(self, target: float) -> None:
        self.target = target

    def start(self, step_size: float) -> DualAveragingState:
        """Return the state that begins at ``step_size``."""
        return dual_averaging.start(step_size)

    def restart(self, state: DualAveragingState, step_size: float) -> DualAveragingState:
        """Return the state that begins again at ``step_size`` after the metric has changed."""
        return dual_averaging.start(step_size)

    def tuning(self, state: DualAveragingState, adapting: Any) -> Tuning:
        """Return the numbers of the next transition: exploring while ``adapting``, averaged afterwards."""
        step_size = ops.exp(either(adapting, state.log_step, state.log_average))
        return Tuning(step_size, step_size)

    def update(self, state: DualAveragingState, before: ChainState, after: ChainState, info: StepInfo) -> DualAveragingState:
        """Return the state after a transition."""
        return dual_averaging.update(state, ops.mean(info.accept_prob), self.target)

    def keep(self, old: DualAveragingState, new: DualAveragingState, adapting: Any) -> DualAveragingState:
        """Return the state to go on with: ``new`` while ``adapting``, ``old`` afterwards."""
        kept: DualAveragingState = tree.map(lambda after, before: either(adapting, after, before), new, old)
        return kept


def either(condition: Any, first: Any, second: Any) -> Any:
    """Return ``where(condition, first, second)``, without an operation where the condition is a bool."""
    if isinstance(condition, bool):
        return first if condition else second
    return ops.where(condition, first, second)
