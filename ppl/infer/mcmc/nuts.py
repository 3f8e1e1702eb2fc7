"""The no-U-turn sampler with multinomial sampling, built iteratively (Hoffman and Gelman 2014; Betancourt 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ppl import ops
from ppl.infer.mcmc import termination, trajectory
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import ChainState, Mass, StepInfo, Transition, Tuning
from ppl.infer.mcmc.trajectory import Subtree, Tree
from ppl.ops import control, random

LEAVES_A_BLOCK = 16

# A key and the block of log uniforms drawn before it.
Randomness: TypeAlias = tuple[Any, Any]
# Step size, metric, initial energy, data.
Constants: TypeAlias = tuple[Any, Mass, Any, Any]
# Subtree, checkpoints, number of the leaf, randomness.
Growth: TypeAlias = tuple[Subtree, Any, Any, Randomness]
# Tree, depth, randomness.
Doubling: TypeAlias = tuple[Tree, Any, Randomness]


def make_step(metric: Metric, leaf: Callable[..., Subtree], max_tree_depth: int) -> Transition:
    """Return the transition ``step(key, state, tuning, mass, data) -> (state, info)`` of all chains.

    :param leaf: what :func:`ppl.infer.mcmc.trajectory.make_leaf` returns, compiled or not.
    :param max_tree_depth: a trajectory has at most ``2**max_tree_depth - 1`` leapfrog steps.
    """
    tables = termination.checkpoint_tables(max_tree_depth)
    traced_tables = [ops.array(table, dtype="int64") for table in tables]

    def checkpoints_of(number: Any) -> Any:
        return [table[number] for table in (tables if isinstance(number, int) else traced_tables)]

    def grow(
        tree: Tree, depth: Any, going_right: Any, randomness: Randomness, constants: Constants
    ) -> tuple[Subtree, Randomness]:
        """Build ``2**depth`` leaves on one side of each trajectory."""
        step_size, mass, initial_energy, data = constants
        signed_step = ops.where(going_right, step_size, -step_size)[:, None]
        num_leaves = 1 << depth
        shape = ops.shape(tree.momentum_sum)
        checkpoints = ops.zeros((max(max_tree_depth - 1, 1), 2, *shape), dtype=ops.dtype_name(tree.momentum_sum))

        def unfinished(state: Growth) -> Any:
            subtree, _, number, _ = state
            return (number < num_leaves) & ops.any(tree.active & ~(subtree.turning | subtree.divergent))

        def add_leaf(state: Growth) -> Growth:
            subtree, checkpoints, number, (key, block) = state
            total = num_leaves - 1 + number
            key, block = control.cond((total % LEAVES_A_BLOCK == 0) & (total > 0), refill, lambda *same: same, key, block)
            log_uniform = block[total % LEAVES_A_BLOCK]
            subtree = leaf(subtree, tree.active, signed_step, mass, initial_energy, log_uniform, data)
            momentum = subtree.edge[1]

            first, last = checkpoints_of(number)

            def open_node(checkpoints: Any, turning: Any) -> tuple[Any, Any]:
                return termination.keep_checkpoint(checkpoints, last, momentum, subtree.momentum_sum), turning

            def close_nodes(checkpoints: Any, turning: Any) -> tuple[Any, Any]:
                turned = termination.any_turning(metric, mass, checkpoints, first, last, momentum, subtree.momentum_sum)
                return checkpoints, turning | turned

            checkpoints, turning = control.cond(number % 2 == 0, open_node, close_nodes, checkpoints, subtree.turning)
            return subtree._replace(turning=turning), checkpoints, number + 1, (key, block)

        start = (trajectory.start_subtree(tree, going_right), checkpoints, 0, randomness)
        subtree, _, _, randomness = control.while_loop(unfinished, add_leaf, start)
        return subtree, randomness

    def refill(key: Any, block: Any) -> Randomness:
        key, key_block = random.split(key)
        return key, _log_uniforms(key_block, ops.shape(block))

    def step(key: Any, state: ChainState, tuning: Tuning, mass: Mass, data: Any) -> tuple[ChainState, StepInfo]:
        """One transition of every chain."""
        step_size = tuning.step_size + ops.zeros_like(state.potential_energy)
        key_momentum, key_tree, key_leaves, key_refill = random.split(key, 4)
        num_chains = ops.shape(state.position)[0]
        momentum = metric.draw(key_momentum, mass, ops.shape(state.position))
        initial_energy = state.potential_energy + metric.kinetic_energy(mass, momentum)
        uniforms = random.open_uniform(key_tree, (max_tree_depth, num_chains))
        rights = uniforms < 0.5
        numbers = _log_uniforms(key_leaves, (max_tree_depth + LEAVES_A_BLOCK, num_chains))
        merges, block = numbers[:max_tree_depth], numbers[max_tree_depth:]
        constants = (step_size, mass, initial_energy, data)

        def turning_of(left: Any, right: Any, momentum_sum: Any) -> Any:
            return termination.is_turning(metric, mass, left, right, momentum_sum)

        def unfinished(carry: Doubling) -> Any:
            tree, depth, _ = carry
            return (depth < max_tree_depth) & ops.any(tree.active)

        def double(carry: Doubling) -> Doubling:
            tree, depth, randomness = carry
            subtree, randomness = grow(tree, depth, rights[depth], randomness, constants)
            return trajectory.merge(tree, subtree, rights[depth], merges[depth], turning_of), depth + 1, randomness

        tree = trajectory.start_tree(state.position, momentum, state.potential_energy, state.gradient)
        tree, _, _ = control.while_loop(unfinished, double, (tree, 0, (key_refill, block)))
        info = StepInfo(tree.sum_accept / tree.num_leapfrog_steps, tree.num_leapfrog_steps, tree.divergent)
        return ChainState(tree.proposal[0], tree.proposal_energy, tree.proposal[1]), info

    return step


def _log_uniforms(key: Any, shape: tuple[int, ...]) -> Any:
    return ops.log(random.open_uniform(key, shape))
