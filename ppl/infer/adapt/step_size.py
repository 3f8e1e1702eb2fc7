"""A first step size: doubled or halved until one leapfrog step changes the energy by about as much as is wanted."""

from __future__ import annotations

from collections.abc import Callable

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
