"""The pieces of a no-U-turn trajectory: one leaf, one doubling, all chains in lockstep.

All chains build the same doubling at the same time, so the depth, the number of the leaf and the checkpoints are numbers shared
by the chains, and only what differs between chains carries a chain axis. Chains that stopped are masked where their results are
read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ppl import ops
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import Mass

MAX_ENERGY_CHANGE = 1000.0


class Subtree(NamedTuple):
    """The doubling under construction.

    ``edge (3, C, D)``: position, momentum and gradient at the newest leaf; ``proposal (2, C, D)``: position and gradient of the
    leaf chosen so far, with ``proposal_energy (C,)``; ``log_weight (C,)``: log of the summed weights of its leaves.
    """

    edge: Any
    proposal: Any
    proposal_energy: Any
    momentum_sum: Any
    log_weight: Any
    turning: Any
    divergent: Any
    sum_accept: Any
    num_leapfrog_steps: Any


class Tree(NamedTuple):
    """The whole trajectory: its two ends, its chosen state and what has been counted."""

    left: Any
    right: Any
    proposal: Any
    proposal_energy: Any
    momentum_sum: Any
    log_weight: Any
    active: Any
    divergent: Any
    sum_accept: Any
    num_leapfrog_steps: Any


def make_leaf(energy_and_gradient: Callable[..., Any], metric: Metric) -> Callable[..., Subtree]:
    """Return the pure function that adds one leaf to a subtree: the part of the sampler worth compiling."""

    def leaf(
        subtree: Subtree, active: Any, signed_step: Any, mass: Mass, initial_energy: Any, log_uniform: Any, data: Any
    ) -> Subtree:
        running = active & ~(subtree.turning | subtree.divergent)
        phase = Phase(subtree.edge[0], subtree.edge[1], None, subtree.edge[2])
        phase = leapfrog(energy_and_gradient, metric, phase, signed_step, mass, data)
        energy = phase.potential_energy + metric.kinetic_energy(mass, phase.momentum)
        energy_change = energy - initial_energy
        energy_change = ops.where(ops.isnan(energy_change), ops.full_like(energy_change, float("inf")), energy_change)
        log_weight = ops.logaddexp(subtree.log_weight, -energy_change)
        chosen = log_uniform < -energy_change - log_weight
        accept = ops.exp(-ops.maximum(energy_change, 0.0))
        return Subtree(
            edge=ops.stack([phase.position, phase.momentum, phase.gradient]),
            proposal=ops.where(chosen[:, None], ops.stack([phase.position, phase.gradient]), subtree.proposal),
            proposal_energy=ops.where(chosen, phase.potential_energy, subtree.proposal_energy),
            momentum_sum=subtree.momentum_sum + phase.momentum,
            log_weight=log_weight,
            turning=subtree.turning,
            divergent=subtree.divergent | (running & (energy_change > MAX_ENERGY_CHANGE)),
            sum_accept=subtree.sum_accept + ops.where(running, accept, ops.zeros_like(accept)),
            num_leapfrog_steps=subtree.num_leapfrog_steps + ops.astype(running, "int32"),
        )

    return leaf


def flat_leaf(leaf: Callable[..., Subtree]) -> Callable[..., tuple[Any, ...]]:
    """Return ``leaf`` with arrays alone as arguments and results: compiled code is called fastest so."""

    def call(
        active: Any, signed_step: Any, inverse: Any, factor: Any, initial_energy: Any, log_uniform: Any, *rest: Any
    ) -> tuple[Any, ...]:
        subtree, data = Subtree(*rest[: len(Subtree._fields)]), list(rest[len(Subtree._fields) :])
        return tuple(leaf(subtree, active, signed_step, Mass(inverse, factor), initial_energy, log_uniform, data))

    return call


def structured_leaf(call: Callable[..., tuple[Any, ...]]) -> Callable[..., Subtree]:
    """Return the leaf whose flat form is ``call``: the inverse of :func:`flat_leaf`."""

    def leaf(
        subtree: Subtree, active: Any, signed_step: Any, mass: Mass, initial_energy: Any, log_uniform: Any, data: Any
    ) -> Subtree:
        return Subtree(*call(active, signed_step, *mass, initial_energy, log_uniform, *subtree, *data))

    return leaf


def start_tree(position: Any, momentum: Any, potential_energy: Any, gradient: Any) -> Tree:
    """Return the trajectory of a single point for each chain."""
    edge = ops.stack([position, momentum, gradient])
    nothing = ops.zeros_like(potential_energy)
    false = ops.zeros_like(potential_energy, dtype="bool")
    return Tree(
        left=edge,
        right=edge,
        proposal=ops.stack([position, gradient]),
        proposal_energy=potential_energy,
        momentum_sum=momentum,
        log_weight=nothing,
        active=~false,
        divergent=false,
        sum_accept=nothing,
        num_leapfrog_steps=ops.zeros_like(potential_energy, dtype="int32"),
    )


def start_subtree(tree: Tree, going_right: Any) -> Subtree:
    """Return an empty subtree that grows from the right or left end of each chain's trajectory."""
    false = ops.zeros_like(tree.active)
    return Subtree(
        edge=ops.where(going_right[:, None], tree.right, tree.left),
        proposal=tree.proposal,
        proposal_energy=tree.proposal_energy,
        momentum_sum=ops.zeros_like(tree.momentum_sum),
        log_weight=ops.full_like(tree.log_weight, -float("inf")),
        turning=false,
        divergent=false,
        sum_accept=tree.sum_accept,
        num_leapfrog_steps=tree.num_leapfrog_steps,
    )


def merge(tree: Tree, subtree: Subtree, going_right: Any, log_uniform: Any, turning_of: Callable[..., Any]) -> Tree:
    """Join a finished subtree to the trajectory by biased progressive sampling (Betancourt 2017, app. A.3.2).

    :param turning_of: ``(left momentum, right momentum, momentum sum) -> (C,)``.
    """
    grown = tree.active & ~(subtree.turning | subtree.divergent)
    chosen = grown & (log_uniform < subtree.log_weight - tree.log_weight)
    to_right = (grown & going_right)[:, None]
    to_left = (grown & ~going_right)[:, None]
    left = ops.where(to_left, subtree.edge, tree.left)
    right = ops.where(to_right, subtree.edge, tree.right)
    momentum_sum = ops.where(grown[:, None], tree.momentum_sum + subtree.momentum_sum, tree.momentum_sum)
    return Tree(
        left=left,
        right=right,
        proposal=ops.where(chosen[:, None], subtree.proposal, tree.proposal),
        proposal_energy=ops.where(chosen, subtree.proposal_energy, tree.proposal_energy),
        momentum_sum=momentum_sum,
        log_weight=ops.where(grown, ops.logaddexp(tree.log_weight, subtree.log_weight), tree.log_weight),
        active=grown & ~turning_of(left[1], right[1], momentum_sum),
        divergent=tree.divergent | subtree.divergent,
        sum_accept=subtree.sum_accept,
        num_leapfrog_steps=subtree.num_leapfrog_steps,
    )
