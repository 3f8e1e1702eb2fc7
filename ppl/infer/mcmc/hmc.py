"""Hamiltonian Monte Carlo with trajectories of a fixed or jittered length (Neal 2011)."""

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
# A length that is a multiple of the step size but for rounding keeps all its steps, in single precision too.
ROUNDING = 1e-3


def make_leapfrog(energy_and_gradient: Callable[..., Any], metric: Metric) -> Callable[..., Phase]:
    """Return the pure function of one leapfrog step: the part of the sampler worth compiling."""

    def one_step(phase: Phase, step_size: Any, mass: Mass, data: Any) -> Phase:
        return leapfrog(energy_and_gradient, metric, phase, step_size, mass, data)

    return one_step


def make_step(
    metric: Metric,
    one_step: Callable[..., Phase],
    trajectory_length: float | None,
    num_steps: int | None,
    jitter: bool = False,
) -> Transition:
    """Return the transition ``step(key, state, tuning, mass, data) -> (state, info)`` of all chains.

    :param one_step: what :func:`make_leapfrog` returns, compiled or not.
    :param trajectory_length: integration time; the number of steps follows from the step size.
    :param num_steps: the number of steps, if fixed instead.
    :param jitter: whether each trajectory is shortened to a uniform fraction of that, the same for all chains. The fraction does
        not depend on the state, so that each transition stays reversible; it breaks the periods that a fixed length can meet
        (Neal 2011, sec. 3.2).
    """

    def step(key: Any, state: ChainState, tuning: Tuning, mass: Mass, data: Any) -> tuple[ChainState, StepInfo]:
        """One transition: fresh momentum, leapfrogs, Metropolis correction (Neal 2011, sec. 3.2)."""
        key_momentum, key_accept, key_fraction = random.split(key, 3)
        momentum = metric.draw(key_momentum, mass, ops.shape(state.position))
        ratio = trajectory_length / tuning.step_size if num_steps is None else num_steps
        count: Any = num_steps if num_steps is not None else steps_of_whole(ratio)
        if jitter:
            count = steps_of_part(random.open_uniform(key_fraction, ()) * ratio)
        end, energy_change = integrate(metric, one_step, state, momentum, tuning.step_size, count, mass, data)
        return metropolis(key_accept, state, end, energy_change, count)

    return step


def steps_of_whole(ratio: Any) -> Any:
    """Return the number of leapfrog steps that fit into a trajectory, at least one, from length over step size."""
    return _whole_number(ops.floor(ratio + ROUNDING))


def steps_of_part(ratio: Any) -> Any:
    """Return the number of leapfrog steps of a jittered trajectory: length over step size, rounded up."""
    return _whole_number(ops.ceil(ratio))


def _whole_number(steps: Any) -> Any:
    return ops.astype(ops.clip(steps, min=1.0, max=float(MAX_LEAPFROG_STEPS)), "int32")


def integrate(
    metric: Metric,
    one_step: Callable[..., Phase],
    state: ChainState,
    momentum: Any,
    step_size: Any,
    count: Any,
    mass: Mass,
    data: Any,
) -> tuple[Phase, Any]:
    """Return where ``count`` leapfrogs lead and the change of total energy ``(C,)`` on the way, infinite where it is NaN."""
    start = Phase(state.position, momentum, state.potential_energy, state.gradient)
    end = control.fori_loop(0, count, lambda _, phase: one_step(phase, step_size, mass, data), start)
    initial_energy = state.potential_energy + metric.kinetic_energy(mass, momentum)
    energy_change = end.potential_energy + metric.kinetic_energy(mass, end.momentum) - initial_energy
    return end, ops.where(ops.isnan(energy_change), ops.full_like(energy_change, float("inf")), energy_change)


def metropolis(key: Any, state: ChainState, end: Phase, energy_change: Any, count: Any) -> tuple[ChainState, StepInfo]:
    """Return the end of the trajectory where it is accepted, else the start, and what has been done."""
    accepted = ops.log(random.open_uniform(key, ops.shape(energy_change))) < -energy_change
    moved = ChainState(
        ops.where(accepted[:, None], end.position, state.position),
        ops.where(accepted, end.potential_energy, state.potential_energy),
        ops.where(accepted[:, None], end.gradient, state.gradient),
    )
    steps = ops.astype(ops.zeros_like(energy_change, dtype="int32") + count, "int32")
    return moved, StepInfo(ops.exp(-ops.maximum(energy_change, 0.0)), steps, energy_change > MAX_ENERGY_CHANGE)
