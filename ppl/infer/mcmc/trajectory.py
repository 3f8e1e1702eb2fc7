"""The pieces of a no-U-turn trajectory: one leaf, one doubling, all chains in lockstep.

All chains build the same doubling at the same time, so the depth and the number of the leaf are shared by the chains, and only
what differs between chains carries a chain axis. Chains that stopped are masked where their results are read. What belongs
together lies in one array, because compiled code is called the faster, the fewer arrays it takes; ``C`` chains, ``D`` dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ppl import ops
from ppl.infer.mcmc import termination
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import ChainState, Mass

MAX_ENERGY_CHANGE = 1000.0
# Which condition says that a row of ``Tree.points`` is replaced: grown to the left, to the right, chosen, or grown at all.
REPLACED = (0, 0, 0, 1, 1, 1, 2, 2, 3)


class Subtree(NamedTuple):
    """The doubling under construction.

    ``points (6, C, D)``: position, momentum and gradient at the newest leaf, position and gradient of the leaf chosen so far, sum
    of the momenta; ``numbers (6, C)``: potential energy of the chosen leaf, log of the summed weights, sum of acceptance
    probabilities, number of leapfrog steps, whether it turned, whether it diverged (0 or 1); ``checkpoints``: see
    :func:`ppl.infer.mcmc.termination.no_checkpoints`; ``growing ()``: whether any chain goes on.
    """

    points: Any
    numbers: Any
    checkpoints: Any
    growing: Any


class Tree(NamedTuple):
    """The whole trajectory.

    ``points (9, C, D)``: position, momentum and gradient at the left and at the right end, position and gradient of the chosen
    state, sum of the momenta; ``numbers (6, C)``: potential energy of the chosen state, log of the summed weights, sum of
    acceptance probabilities, number of leapfrog steps, whether it still grows, whether it diverged.
    """

    points: Any
    numbers: Any


class Course(NamedTuple):
    """What is fixed while a subtree grows: ``numbers (4, C)``, namely whether the chain takes part, the signed step size, the
    energy at the start of the trajectory and the log of the slice below which its states must lie.
    """

    numbers: Any


def start(
    metric: Metric, state: ChainState, momentum: Any, step_size: Any, mass: Mass, log_slice: Any, going_right: Any
) -> tuple[Tree, Subtree, Course]:
    """Return the trajectory of a single point for each chain and the subtree that will be its first doubling."""
    nothing = ops.zeros_like(state.potential_energy)
    end = [state.position, momentum, state.gradient]
    points = ops.stack([*end, *end, state.position, state.gradient, momentum])
    tree = Tree(points, ops.stack([state.potential_energy, nothing, nothing, nothing, nothing + 1.0, nothing]))
    energy = state.potential_energy + metric.kinetic_energy(mass, momentum)
    course = Course(ops.stack([nothing + 1.0, nothing + step_size, energy, log_slice]))
    return tree, *_open(tree, course, going_right)


def _open(tree: Tree, course: Course, going_right: Any) -> tuple[Subtree, Course]:
    """Return an empty subtree at the right or left end of each chain's trajectory, and its course."""
    energy, _, sum_accept, num_steps, active, _ = (tree.numbers[row] for row in range(6))
    end = ops.where(going_right[:, None], tree.points[3:6], tree.points[:3])
    points = ops.concat([end, tree.points[6:8], ops.zeros_like(tree.points[:1])], axis=0)
    nothing = ops.zeros_like(energy)
    numbers = ops.stack([energy, nothing - float("inf"), sum_accept, num_steps, nothing, nothing])
    _, step, initial_energy, log_slice = (course.numbers[row] for row in range(4))
    signed_step = ops.where(going_right, ops.abs(step), -ops.abs(step))
    subtree = Subtree(points, numbers, None, ops.any(active > 0.0))
    return subtree, Course(ops.stack([active, signed_step, initial_energy, log_slice]))


def make_leaf(energy_and_gradient: Callable[..., Any], metric: Metric, multinomial: bool) -> Callable[..., Subtree]:
    """Return the pure function that adds one leaf to a subtree: the part of the sampler worth compiling.

    :param multinomial: whether a leaf weighs as its density (Betancourt 2017, app. A.2), or 1 within the slice and 0 outside it
        (Hoffman and Gelman 2014, sec. 3.1).
    """

    def leaf(subtree: Subtree, course: Course, place: Any, log_uniform: Any, mass: Mass, data: Any) -> Subtree:
        active, step, initial_energy, log_slice = (course.numbers[row] for row in range(4))
        chosen_energy, log_weight, sum_accept, num_steps, turning, divergent = (subtree.numbers[row] for row in range(6))
        running = active * (1.0 - turning) * (1.0 - divergent)
        phase = Phase(subtree.points[0], subtree.points[1], None, subtree.points[2])
        phase = leapfrog(energy_and_gradient, metric, phase, step[:, None], mass, data)
        velocity = metric.velocity(mass, phase.momentum)
        energy = phase.potential_energy + 0.5 * ops.sum(phase.momentum * velocity, axis=-1)
        change = energy - initial_energy
        change = ops.where(ops.isnan(change), ops.full_like(change, float("inf")), change)
        weight = -change if multinomial else ops.where(log_slice <= -change, 0.0 * step, 0.0 * step - float("inf"))
        log_weight = ops.logaddexp(log_weight, weight)
        chosen = log_uniform < weight - log_weight
        momentum_sum = subtree.points[5] + phase.momentum
        turned, checkpoints = termination.visit(subtree.checkpoints, place, phase.momentum, velocity, momentum_sum)
        turning = ops.maximum(turning, ops.astype(turned, turning.dtype))
        divergent = ops.maximum(divergent, running * ops.astype(change > MAX_ENERGY_CHANGE, turning.dtype))
        proposal = ops.where(chosen[:, None], ops.stack([phase.position, phase.gradient]), subtree.points[3:5])
        newest = ops.stack([phase.position, phase.momentum, phase.gradient])
        return Subtree(
            ops.concat([newest, proposal, momentum_sum[None]], axis=0),
            ops.stack([
                ops.where(chosen, phase.potential_energy, chosen_energy),
                log_weight,
                sum_accept + running * ops.exp(-ops.maximum(change, 0.0)),
                num_steps + running,
                turning,
                divergent,
            ]),
            checkpoints,
            ops.any(active * (1.0 - turning) * (1.0 - divergent) > 0.0),
        )  # fmt: skip

    return leaf


def close(
    metric: Metric, tree: Tree, subtree: Subtree, course: Course, mass: Mass, log_uniform: Any, going_right: Any
) -> tuple[Tree, Subtree, Course]:
    """Join a finished subtree to the trajectory by biased progressive sampling and open the next.

    The new half's state is taken with the probability that its weight bears to the old half's (Betancourt 2017, app. A.3.2).

    :param going_right: where the next subtree goes.
    """
    active, step, _, _ = (course.numbers[row] for row in range(4))
    energy, new_weight, sum_accept, num_steps, turning, divergent = (subtree.numbers[row] for row in range(6))
    old_energy, log_weight, _, _, _, diverged = (tree.numbers[row] for row in range(6))
    grown = active > ops.maximum(turning, divergent)
    gain = new_weight - log_weight
    chosen, right = grown & (log_uniform < gain), step > 0.0
    replaced = ops.stack([grown & ~right, grown & right, chosen, grown])[ops.array(REPLACED)]
    candidates = [subtree.points[:3], subtree.points[:3], subtree.points[3:5], tree.points[8:] + subtree.points[5:]]
    points = ops.where(replaced[..., None], ops.concat(candidates, axis=0), tree.points)
    growing = grown & ~_turns(metric, tree, subtree, mass, right)
    numbers = ops.stack([
        ops.where(chosen, energy, old_energy),
        ops.where(grown, log_weight + ops.softplus(gain), log_weight),
        sum_accept,
        num_steps,
        ops.astype(growing, step.dtype),
        ops.maximum(diverged, divergent),
    ])  # fmt: skip
    tree = Tree(points, numbers)
    return tree, *_open(tree, course, going_right)


def _turns(metric: Metric, tree: Tree, subtree: Subtree, mass: Mass, on_right: Any) -> Any:
    """Return whether a trajectory turns that consists of this tree and its new half.

    It is asked of the whole, of the tree with the new half's first leaf and of the new half with the tree's leaf next to it.

    :param on_right: of each chain, whether the new half is the right one.
    """
    left, right, on_right = tree.points[1], tree.points[4], on_right[:, None]
    far, near = ops.where(on_right, left, right), ops.where(on_right, right, left)
    first, newest = termination.first_momentum(subtree.checkpoints), subtree.points[1]
    old_sum, new_sum = tree.points[8], subtree.points[5]
    ends = ops.reshape(ops.stack([far, newest, far, first, near, newest]), (3, 2, *ops.shape(far)))
    return termination.turn(ends, metric.velocity(mass, ends), ops.stack([old_sum + new_sum, old_sum + first, new_sum + near]))
