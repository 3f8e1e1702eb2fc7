"""When a trajectory turns back on itself, decided with O(log n) memory.

The leaves of a subtree are built one after another; a subtree of ``2**k`` leaves is a balanced binary tree, and each of its
inner nodes must not turn. Checkpoints keep the first momentum, and the sum of momenta up to it, of the inner nodes still open:
an even leaf opens one, an odd leaf closes those that it is the last leaf of. The bookkeeping follows the iterative formulation
of Phan, Pradhan and Jankowiak (2019, "Composable effects for flexible and accelerated probabilistic programming in NumPyro",
app. A).
"""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import Mass
from ppl.ops import control


def checkpoint_tables(max_tree_depth: int) -> tuple[list[int], list[int]]:
    """Return, for each leaf number, the first and the last checkpoint that it closes (odd leaves) or where it is kept (even)."""
    first, last = [], []
    for leaf in range(2 ** max(max_tree_depth - 1, 0)):
        open_nodes = (leaf >> 1).bit_count()
        closed = (~leaf & (leaf + 1)).bit_length() - 1
        last.append(open_nodes)
        first.append(open_nodes - closed + 1)
    return first, last


def is_turning(metric: Metric, mass: Mass, first_momentum: Any, last_momentum: Any, momentum_sum: Any) -> Any:
    """Return for each chain whether the span from first to last momentum turns (Betancourt 2017, app. A.4.2).

    The end momenta count half, which makes the sum a trapezoidal estimate of the displacement.
    """
    displacement = momentum_sum - 0.5 * (first_momentum + last_momentum)
    direction = metric.velocity(mass, displacement)
    return (ops.sum(first_momentum * direction, axis=-1) <= 0.0) | (ops.sum(last_momentum * direction, axis=-1) <= 0.0)


def keep_checkpoint(checkpoints: Any, place: Any, momentum: Any, momentum_sum: Any) -> Any:
    """Return ``checkpoints (depth, 2, C, D)`` with the pair stored at ``place``."""
    return ops.index_update(checkpoints, place, ops.stack([momentum, momentum_sum]))


def any_turning(metric: Metric, mass: Mass, checkpoints: Any, first: Any, last: Any, momentum: Any, momentum_sum: Any) -> Any:
    """Return for each chain whether any node closed by this leaf turns: checkpoints ``first`` to ``last`` are looked at."""

    def look(place: Any, turning: Any) -> Any:
        start, sum_at_start = checkpoints[place][0], checkpoints[place][1]
        return turning | is_turning(metric, mass, start, momentum, momentum_sum - sum_at_start + start)

    nothing = ops.zeros(ops.shape(momentum)[:-1], dtype="bool")
    return control.fori_loop(first, last + 1, look, nothing)
