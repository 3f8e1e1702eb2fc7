"""Numerical integration of Hamilton's equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import Mass


class Phase(NamedTuple):
    """A point of phase space for each chain, with the potential energy and its gradient there."""

    position: Any
    momentum: Any
    potential_energy: Any
    gradient: Any


def leapfrog(
    energy_and_gradient: Callable[..., Any], metric: Metric, phase: Phase, step_size: Any, mass: Mass, data: Any
) -> Phase:
    """One step of the leapfrog (velocity Verlet) scheme: half kick, drift, half kick (Neal 2011, sec. 2.3).

    :param energy_and_gradient: ``(position (C, D), data) -> (energy (C,), gradient (C, D))``.
    :param step_size: signed step, broadcastable to ``(C, 1)``.
    """
    momentum = phase.momentum - 0.5 * step_size * phase.gradient
    position = phase.position + step_size * metric.velocity(mass, momentum)
    potential_energy, gradient = energy_and_gradient(position, data)
    return Phase(position, momentum - 0.5 * step_size * gradient, potential_energy, gradient)
