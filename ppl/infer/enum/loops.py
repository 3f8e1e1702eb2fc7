"""Sites inside of loops that summed their steps out by themselves, such as those of ``contrib.control_flow.scan``.

One node of a trace stands for such a loop: it has the weight of all ways to each last value of its site. Its
``infer["_scan"]`` draws the values of all steps once the last ones are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ppl import ops
from ppl.errors import InferenceError
from ppl.infer.enum.assignment import Series
from ppl.ops import autodiff, random


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
    return _weighed(trace, {name: states.best() for name, states in loops.items()})


def _weighed(trace: Any, weights: Mapping[str, Any]) -> Any:
    """Return a trace whose loops have other weights, by the name of the node that stands for each."""
    other = trace.copy()
    for name, array in weights.items():
        node = dict(other.nodes[name])
        shape = ops.broadcast_shapes(tuple(ops.shape(array)), tuple(node["fn"].batch_shape))
        node["unscaled_log_prob"] = ops.broadcast_to(array, shape)
        node["log_prob"] = node["unscaled_log_prob"] * node["scale"]
        other.nodes[name] = node
    return other


def series_of(trace: Any) -> dict[str, Series]:
    """Return the enumerated sites of all loops of a trace by name."""
    return {name: series for states in loops_of(trace).values() for name, series in states.series().items()}


def marginals(trace: Any, log_evidence: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the probabilities of each value of the sites of all loops: host arrays of shape steps + plates + ``(values,)``.

    :param log_evidence: of a trace like this one, differentiable.

    The derivative of the log evidence by the log density of a value is the posterior probability of the value.
    """
    loops = loops_of(trace)
    if not loops:
        return {}
    slots = [(name, site, shape) for name, states in loops.items() for site, shapes in states.slots().items() for shape in shapes]

    def moved(changes: Any) -> Any:
        extra: dict[str, dict[str, list[Any]]] = {name: {} for name in loops}
        start = 0
        for name, site, shape in slots:
            stop = start + prod(shape)
            extra[name].setdefault(site, []).append(ops.reshape(changes[start:stop], shape))
            start = stop
        return log_evidence(_weighed(trace, {name: states.weights(extra[name]) for name, states in loops.items()}))

    slopes = ops.to_numpy(autodiff.grad(moved)(ops.zeros((sum(prod(shape) for _, _, shape in slots),))))
    found: dict[str, list[Any]] = {}
    start = 0
    for name, site, shape in slots:
        stop = start + prod(shape)
        found.setdefault(site, []).extend(loops[name].in_front(site, slopes[start:stop].reshape(shape)))
        start = stop
    series = series_of(trace)
    return {
        site: ops.to_numpy(ops.stack([ops.array(row) for row in (reversed(rows) if series[site].reverse else rows)], axis=0))
        for site, rows in found.items()
    }


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
            "in the trace; expected enumerated sites outside of scan; try infer_discrete, which draws all of its steps, or a "
            "Python loop under ppl.markov"
        )
