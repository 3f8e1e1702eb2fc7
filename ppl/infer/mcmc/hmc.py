"""Hamiltonian Monte Carlo with a fixed trajectory length (Neal 2011)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import ChainState, Mass, StepInfo, Transition, Tuning
from ppl.infer.mcmc.trajectory import MAX_ENERGY_CHANGE
from ppl.ops import control, random

MAX_LEAPFROG_STEPS = 1000


def make_leapfrog(energy_and_gradient: Callable[..., Any], metric: Metric) -> Callable[..., Phase]:
    """Return the pure function of one leapfrog step: the part of the sampler worth compiling."""

    def one_step(phase: Phase, step_size: Any, mass: Mass, data: Any) -> Phase:
        return leapfrog(energy_and_gradient, metric, phase, step_size, mass, data)

    return one_step


def make_step(
    metric: Metric, one_step: Callable[..., Phase], trajectory_length: float | None, num_steps: int | None
) -> Transition:
    """Return the transition ``step(key, state, tuning, mass, data) -> (state, info)`` of all chains.

    :param one_step: what :func:`make_leapfrog` returns, compiled or not.
    :param trajectory_length: integration time; the number of steps follows from the step size.
    :param num_steps: the number of steps, if fixed instead.
    """

    def step(key: Any, state: ChainState, tuning: Tuning, mass: Mass, data: Any) -> tuple[ChainState, StepInfo]:
        """One transition: fresh momentum, leapfrogs, Metropolis correction (Neal 2011, sec. 3.2)."""
        step_size = tuning.step_size
        key_momentum, key_accept = random.split(key)
        momentum = metric.draw(key_momentum, mass, ops.shape(state.position))
        initial_energy = state.potential_energy + metric.kinetic_energy(mass, momentum)
        count = _count(step_size, trajectory_length, num_steps)
        start = Phase(state.position, momentum, state.potential_energy, state.gradient)
        end = control.fori_loop(0, count, lambda _, phase: one_step(phase, step_size, mass, data), start)
        energy_change = end.potential_energy + metric.kinetic_energy(mass, end.momentum) - initial_energy
        energy_change = ops.where(ops.isnan(energy_change), ops.full_like(energy_change, float("inf")), energy_change)
        log_uniform = ops.log(random.open_uniform(key_accept, ops.shape(energy_change)))
        accepted = log_uniform < -energy_change
        moved = ChainState(
            ops.where(accepted[:, None], end.position, state.position),
            ops.where(accepted, end.potential_energy, state.potential_energy),
            ops.where(accepted[:, None], end.gradient, state.gradient),
        )
        steps = ops.zeros_like(energy_change, dtype="int32") + count
        accept_prob = ops.exp(-ops.maximum(energy_change, 0.0))
        return moved, StepInfo(accept_prob, ops.astype(steps, "int32"), energy_change > MAX_ENERGY_CHANGE)

    return step


def _count(step_size: Any, trajectory_length: float | None, num_steps: int | None) -> Any:
    if num_steps is not None:
        return num_steps
    steps = ops.clip(ops.ceil(trajectory_length / step_size), min=1.0, max=float(MAX_LEAPFROG_STEPS))
    return ops.astype(steps, "int32")
