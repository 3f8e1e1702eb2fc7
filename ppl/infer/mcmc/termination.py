"""When a trajectory turns back on itself, decided with O(log n) memory.

The leaves of a subtree are built one after another; a subtree of ``2**k`` leaves is a balanced binary tree, and each of its
inner nodes must not turn. Checkpoints keep the first momentum of the inner nodes still open, its velocity, and the sum of momenta
up to it: an even leaf opens one, an odd leaf closes those that it is the last leaf of. The bookkeeping follows the iterative
formulation of Phan, Pradhan and Jankowiak (2019, "Composable effects for flexible and accelerated probabilistic programming in
NumPyro", app. A). All checkpoints are looked at with one operation and the open ones are masked, so that compiled code needs no
loop; the place after the last one takes what need not be kept.
"""

from __future__ import annotations

from typing import Any

from ppl import ops


def checkpoint_tables(max_tree_depth: int) -> tuple[list[int], list[int]]:
    """Return, for each leaf number, the first and the last checkpoint that it closes (odd leaves) or where it is kept (even)."""
    first, last = [], []
    for leaf in range(2 ** max(max_tree_depth - 1, 0)):
        open_nodes = (leaf >> 1).bit_count()
        closed = (~leaf & (leaf + 1)).bit_length() - 1
        last.append(open_nodes)
        first.append(open_nodes - closed + 1)
    return first, last


def count(max_tree_depth: int) -> int:
    """Return how many checkpoints a trajectory may need."""
    return max(max_tree_depth - 1, 1)


def places(max_tree_depth: int) -> list[tuple[int, int, int]]:
    """Return for each leaf number where it is kept and which checkpoints it closes, from the second to the third inclusive."""
    nowhere = count(max_tree_depth)
    return [
        (last, nowhere + 1, nowhere) if leaf % 2 == 0 else (nowhere, first, last)
        for leaf, (first, last) in enumerate(zip(*checkpoint_tables(max_tree_depth), strict=True))
    ]


def is_turning(first_momentum: Any, first_velocity: Any, last_momentum: Any, last_velocity: Any, momentum_sum: Any) -> Any:
    """Return whether the span from first to last momentum turns (Betancourt 2017, app. A.4.2), over the last axis.

    The end momenta count half, which makes the sum a trapezoidal estimate of the displacement.
    """
    displacement = momentum_sum - 0.5 * (first_momentum + last_momentum)
    return (ops.sum(first_velocity * displacement, axis=-1) <= 0.0) | (ops.sum(last_velocity * displacement, axis=-1) <= 0.0)


def turn(end_momenta: Any, end_velocities: Any, momentum_sum: Any) -> Any:
    """Return :func:`is_turning` of ends ``(2, C, D)`` stacked along the first axis."""
    displacement = momentum_sum - 0.5 * ops.sum(end_momenta, axis=0)
    return ops.any(ops.sum(end_velocities * displacement, axis=-1) <= 0.0, axis=0)


def keep(checkpoints: Any, place: Any, momentum: Any, velocity: Any, momentum_sum: Any) -> Any:
    """Return ``checkpoints (K + 1, 3, C, D)`` with the leaf kept where ``place`` says."""
    return ops.index_update(checkpoints, place[0], ops.stack([momentum, velocity, momentum_sum]))


def closed_nodes_turn(checkpoints: Any, place: Any, momentum: Any, velocity: Any, momentum_sum: Any) -> Any:
    """Return for each chain whether any node that this leaf closes turns."""
    starts = checkpoints[:-1]
    first = starts[:, 0]
    turns = is_turning(first, starts[:, 1], momentum, velocity, momentum_sum - starts[:, 2] + first)
    numbers = ops.arange(ops.shape(starts)[0])
    closed = (numbers >= place[1]) & (numbers <= place[2])
    return ops.any(turns & closed[:, None], axis=0)
