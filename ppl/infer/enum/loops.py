"""Sites inside of loops that summed their steps out by themselves, such as those of ``contrib.control_flow.scan``.

One node of a trace stands for such a loop: it has the weight of all ways to each last value of its site. Its
``infer["_scan"]`` draws the values of all steps once the last ones are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl import ops
from ppl.errors import InferenceError
from ppl.ops import random


def loops_of(trace: Any) -> dict[str, Any]:
    """Return the loops of a trace by the name of the node that stands for each."""
    found: dict[str, Any] = {}
    for name, node in trace.nodes.items():
        states = (node.get("infer") or {}).get("_scan")
        if hasattr(states, "draw") and all(states is not other for other in found.values()):
            found[name] = states
    return found


def at_best(trace: Any) -> Any:
    """Return a trace whose loops have the weight of the best way to each last value, in the place of the sum over all."""
    loops = loops_of(trace)
    if not loops:
        return trace
    best = trace.copy()
    for name, states in loops.items():
        node = dict(best.nodes[name])
        weights = states.best()
        shape = ops.broadcast_shapes(tuple(ops.shape(weights)), tuple(node["fn"].batch_shape))
        node["unscaled_log_prob"] = ops.broadcast_to(weights, shape)
        node["log_prob"] = node["unscaled_log_prob"] * node["scale"]
        best.nodes[name] = node
    return best


def drawn(trace: Any, indices: Mapping[str, Any], temperature: int, key: Any) -> dict[str, Any]:
    """Return the values of the enumerated sites of all loops by name, time as leading axis.

    :param indices: the indices of the enumerated sites of the trace over the dimensions of their plates.
    :param temperature: 1 for a draw, 0 for the mode.
    :param key: source of randomness; ``None`` for the ambient one.
    """
    values: dict[str, Any] = {}
    for name, states in loops_of(trace).items():
        own = key if key is None else random.fold_in(key, f"loop {name}")
        values.update(states.draw(indices, temperature, own))
    return values


def refuse(trace: Any, what: str) -> None:
    """Raise if a trace has loops.

    :param what: what cannot be had of them.
    :raises InferenceError: naming the sites.
    """
    loops = loops_of(trace)
    if loops:
        raise InferenceError(
            f"{what} is not defined where site {next(iter(loops))!r} stands for all steps of a scan, of which only the last is "
            "in "
            "the trace; expected enumerated sites outside of scan; try infer_discrete, which draws all of its steps, or a Python "
            "loop under ppl.markov"
        )
