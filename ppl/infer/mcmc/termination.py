"""When a trajectory turns back on itself, decided with O(log n) memory.

The leaves of a subtree are built one after another; a subtree of ``2**k`` leaves is a balanced binary tree, and each of its
inner nodes must not turn: neither from its first leaf to its last, nor from its first leaf to the first one of its second half,
nor from the last leaf of its first half to its last. The two shorter spans see the turn of a trajectory that comes round a whole
period between its ends (Betancourt 2017, "A conceptual introduction to Hamiltonian Monte Carlo", app. A.4.2, for the whole
span; for the shorter ones the Stan forum's "NUTS misses U-turns, runs in circles until max treedepth", 2019, topic 9727).

A span turns where the velocity at one of its ends points against the displacement, the sum of its momenta of which those at the
ends count half, as in the trapezoidal rule. That is a difference of sums up to the middle of a leaf, so that where a span
begins only a velocity and such a sum are kept. A checkpoint holds them for the first leaf of an inner node still open and for
the leaf before it, where the second of the shorter spans of the node around it begins. An even leaf opens a node, and there is
the first of the shorter spans of the node around it decided; an odd leaf closes those that it is the last leaf of. The
bookkeeping follows the iterative formulation of Phan, Pradhan and Jankowiak (2019, "Composable effects for flexible and
accelerated probabilistic programming in NumPyro", app. A). All checkpoints are looked at with one operation and the open ones
are masked, so that compiled code needs no loop; the place after the last one takes the odd leaves, each for the next even one.
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
    """Return for each leaf number where it is kept and which spans end there, from the second to the third inclusive.

    Spans are numbered by where they begin: ``2 k`` before the first leaf of checkpoint ``k``, ``2 k + 1`` at it. An odd leaf ends
    the spans of the nodes that it closes and those of their second halves, an even one that from the start of the node around.
    """
    nowhere = count(max_tree_depth)
    return [
        (last, 2 * last - 1, 2 * last - 1) if leaf % 2 == 0 else (nowhere, 2 * first + 1, 2 * last + 1)
        for leaf, (first, last) in enumerate(zip(*checkpoint_tables(max_tree_depth), strict=True))
    ]


def no_checkpoints(max_tree_depth: int, like: Any) -> Any:
    """Return empty checkpoints ``(K + 1, 2, 2, C, D)`` for points ``(..., C, D)``.

    Each holds the leaf before and the first leaf, of both the velocity and the sum of momenta up to the middle of the leaf.
    """
    return ops.zeros((count(max_tree_depth) + 1, 2, 2, *ops.shape(like)[-2:]), dtype=ops.dtype_name(like))


def turn(end_momenta: Any, end_velocities: Any, momentum_sums: Any) -> Any:
    """Return for each chain whether any of ``S`` spans turns, of ends ``(S, 2, C, D)`` and summed momenta ``(S, C, D)``."""
    displacement = momentum_sums - 0.5 * ops.sum(end_momenta, axis=1)
    return ops.any(ops.sum(end_velocities * displacement[:, None], axis=-1) <= 0.0, axis=(0, 1))


def visit(checkpoints: Any, place: Any, momentum: Any, velocity: Any, momentum_sum: Any) -> tuple[Any, Any]:
    """Return for each chain whether any span that ends at this leaf turns, and checkpoints with the leaf kept.

    :param place: the leaf's row of :func:`places`.
    :param momentum_sum: of the subtree's momenta up to and with this leaf.
    """
    middle = momentum_sum - 0.5 * momentum
    starts = ops.reshape(checkpoints[:-1], (-1, 2, *ops.shape(middle)))
    displacement = middle - starts[:, 1]
    back = (ops.sum(starts[:, 0] * displacement, axis=-1) <= 0.0) | (ops.sum(velocity * displacement, axis=-1) <= 0.0)
    numbers = ops.arange(ops.shape(starts)[0])
    ended = (numbers >= place[1]) & (numbers <= place[2])
    turns = ops.any(back & ended[:, None], axis=0)
    kept = ops.stack([checkpoints[-1, 1], ops.stack([velocity, middle])])
    return turns, ops.index_update(checkpoints, place[0], kept)


def first_momentum(checkpoints: Any) -> Any:
    """Return the momentum of a subtree's first leaf: twice the sum up to its middle."""
    return 2.0 * checkpoints[0, 1, 1]
