"""The no-U-turn sampler, built iteratively (Hoffman and Gelman 2014; Betancourt 2017)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from ppl import ops
from ppl.infer.mcmc import termination, trajectory
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import ChainState, Mass, StepInfo, Transition, Tuning
from ppl.infer.mcmc.trajectory import Course, Subtree, Tree
from ppl.ops import control, random

LEAVES_A_BLOCK = 16

# Subtree, number of the leaf, a key and the block of log uniforms drawn before it.
Growth: TypeAlias = tuple[Subtree, Any, Any, Any]
# Tree, subtree, course, depth, a key and its block.
Doubling: TypeAlias = tuple[Tree, Subtree, Course, Any, Any, Any]


def make_step(
    metric: Metric,
    energy_and_gradient: Callable[..., Any],
    max_tree_depth: int,
    multinomial: bool,
    compiled: Callable[..., Any],
) -> Transition:
    """Return the transition ``step(key, state, tuning, mass, data) -> (state, info)`` of all chains.

    :param energy_and_gradient: ``(position (C, D), data) -> (energy (C,), gradient (C, D))``.
    :param max_tree_depth: a trajectory has at most ``2**max_tree_depth - 1`` leapfrog steps.
    :param multinomial: whether a state is drawn from the trajectory by its weight, or uniformly from a slice.
    :param compiled: ``(function, calls a transition[, a compiled one beside it]) -> function``, compiled if that pays.
    """
    table = termination.places(max_tree_depth)
    traced = ops.array(table, dtype="int64")
    leaf_of_arrays = compiled(_flat_leaf(trajectory.make_leaf(energy_and_gradient, metric, multinomial)), 8)
    start_of_arrays = compiled(_flat_start(metric), 1)
    close_of_arrays = compiled(_flat_close(metric), 3, leaf_of_arrays)

    @cache
    def row(number: int) -> Any:
        return ops.array(table[number], dtype="int64")

    def place(number: Any) -> Any:
        return row(number) if isinstance(number, int) else traced[number]

    def grow(subtree: Subtree, depth: Any, course: Course, key: Any, block: Any, mass: Mass, data: Any) -> Growth:
        """Build ``2**depth`` leaves on one side of each trajectory."""
        num_leaves = 1 << depth

        def unfinished(state: Growth) -> Any:
            subtree, number, _, _ = state
            return (number < num_leaves) & subtree.growing

        def add_leaf(state: Growth) -> Growth:
            subtree, number, key, block = state
            total = num_leaves - 1 + number
            key, block = control.cond((total % LEAVES_A_BLOCK == 0) & (total > 0), refill, lambda *same: same, key, block)
            arrays = leaf_of_arrays(*subtree[:3], *course, place(number), block[total % LEAVES_A_BLOCK], *mass, *data)
            return Subtree(*arrays), number + 1, key, block

        subtree = subtree._replace(checkpoints=termination.no_checkpoints(max_tree_depth, subtree.points))
        return control.while_loop(unfinished, add_leaf, (subtree, 0, key, block))

    def refill(key: Any, block: Any) -> tuple[Any, Any]:
        key, key_block = random.split(key)
        return key, ops.log(random.open_uniform(key_block, ops.shape(block)))

    def step(key: Any, state: ChainState, tuning: Tuning, mass: Mass, data: Any) -> tuple[ChainState, StepInfo]:
        """One transition of every chain."""
        key_momentum, key_numbers, key_refill = random.split(key, 3)
        num_chains, most = ops.shape(state.position)[0], max_tree_depth + 1
        momentum = metric.draw(key_momentum, mass, ops.shape(state.position))
        # Random bits drawn at once compile and run faster than the same bits drawn in parts.
        numbers = random.open_uniform(key_numbers, (2 * most + LEAVES_A_BLOCK, num_chains))
        rights, logs = numbers[:most] < 0.5, ops.log(numbers[most:])
        merges, block = logs[:most], logs[most:]

        def unfinished(carry: Doubling) -> Any:
            _, subtree, _, depth, _, _ = carry
            return (depth < max_tree_depth) & subtree.growing

        def double(carry: Doubling) -> Doubling:
            tree, subtree, course, depth, key, block = carry
            subtree, _, key, block = grow(subtree, depth, course, key, block, mass, data)
            arrays = close_of_arrays(*tree, *subtree[:3], *course, *mass, merges[depth], rights[depth + 1])
            return *_structured(arrays), depth + 1, key, block

        arrays = start_of_arrays(*state, momentum, tuning.step_size, *mass, merges[-1], rights[0])
        tree, *_ = control.while_loop(unfinished, double, (*_structured(arrays), 0, key_refill, block))
        energy, _, sum_accept, num_steps, _, divergent = (tree.numbers[row] for row in range(6))
        info = StepInfo(sum_accept / num_steps, ops.astype(num_steps, "int32"), divergent > 0.0)
        return ChainState(tree.points[6], energy, tree.points[7]), info

    return step


# Compiled code is called fastest with arrays alone as arguments and results.


def _flat_leaf(leaf: Callable[..., Subtree]) -> Callable[..., tuple[Any, ...]]:
    def leaf_of_arrays(points: Any, numbers: Any, checkpoints: Any, course: Any, place: Any, log_uniform: Any, *rest: Any) -> Any:
        inverse, factor, *data = rest
        subtree = Subtree(points, numbers, checkpoints, None)
        return tuple(leaf(subtree, Course(course), place, log_uniform, Mass(inverse, factor), data))

    return leaf_of_arrays


def _flat_start(metric: Metric) -> Callable[..., tuple[Any, ...]]:
    def start_of_arrays(position: Any, energy: Any, gradient: Any, momentum: Any, step_size: Any, *rest: Any) -> Any:
        inverse, factor, log_slice, going_right = rest
        state, mass = ChainState(position, energy, gradient), Mass(inverse, factor)
        return _arrays(*trajectory.start(metric, state, momentum, step_size, mass, log_slice, going_right))

    return start_of_arrays


def _flat_close(metric: Metric) -> Callable[..., tuple[Any, ...]]:
    def close_of_arrays(points: Any, numbers: Any, new_points: Any, new_numbers: Any, *rest: Any) -> Any:
        checkpoints, course, inverse, factor, log_uniform, going_right = rest
        tree, subtree = Tree(points, numbers), Subtree(new_points, new_numbers, checkpoints, None)
        mass = Mass(inverse, factor)
        return _arrays(*trajectory.close(metric, tree, subtree, Course(course), mass, log_uniform, going_right))

    return close_of_arrays


def _arrays(tree: Tree, subtree: Subtree, course: Course) -> tuple[Any, ...]:
    return *tree, subtree.points, subtree.numbers, subtree.growing, *course


def _structured(arrays: tuple[Any, ...]) -> tuple[Tree, Subtree, Course]:
    points, numbers, new_points, new_numbers, growing, course = arrays
    return Tree(points, numbers), Subtree(new_points, new_numbers, None, growing), Course(course)
