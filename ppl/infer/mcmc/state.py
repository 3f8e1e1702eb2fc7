"""What kernels hand to each other. Every array has a leading chain axis; shapes are for ``C`` chains in ``D`` dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias


class ChainState(NamedTuple):
    """Where the chains are: ``position (C, D)``, ``potential_energy (C,)`` and its ``gradient (C, D)``."""

    position: Any
    potential_energy: Any
    gradient: Any


class StepInfo(NamedTuple):
    """What one transition did, each of shape ``(C,)``.

    ``accept_prob``: mean Metropolis probability over the trajectory; ``num_leapfrog_steps``: gradient evaluations;
    ``divergent``: the energy error passed :data:`ppl.infer.mcmc.trajectory.MAX_ENERGY_CHANGE`; ``for_adaptation``: a tuple of
    whatever else the kernel's own adaptation reads.
    """

    accept_prob: Any
    num_leapfrog_steps: Any
    divergent: Any
    for_adaptation: tuple[Any, ...] = ()


class Tuning(NamedTuple):
    """The numbers of a transition that adaptation finds: scalars shared by the chains."""

    step_size: Any
    trajectory_length: Any


class Mass(NamedTuple):
    """A Euclidean metric: ``inverse`` is the inverse mass (variances, a covariance, or variances above directions), ``factor``
    what draws momenta."""

    inverse: Any
    factor: Any


# ``step(key, state, tuning, mass, data)`` of all chains.
Transition: TypeAlias = Callable[[Any, ChainState, Tuning, Mass, Any], tuple[ChainState, StepInfo]]
