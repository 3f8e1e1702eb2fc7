"""Log densities of sites that are alike, taken at once: the steps of a chain differ in numbers, not in kind."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ppl import ops
from ppl.distributions.dispatch import blank
from ppl.errors import PplError
from ppl.ops import autodiff
from ppl.ops.elimination.rows import Row
from ppl.runtime import is_distribution, is_validation_enabled
from ppl.typing import Message

FEWEST = 3
"""So many sites are worth a batch."""

SHAPES = "_batch_shape"
_STATIC = (int, float, str, tuple, type(None))


class _Kind(NamedTuple):
    """What sites have in common whose densities one operation gives.

    :param family: the class of the distributions.
    :param names: the attributes that are arrays.
    :param shapes: their shapes and dtypes, then those of the value.
    :param static: the other attributes.
    """

    family: type
    names: tuple[str, ...]
    shapes: tuple[Any, ...]
    static: tuple[Any, ...]


def log_densities(trace: Any) -> dict[str, Row]:
    """Return the log densities, not scaled, of those sample sites of a trace that are alike, as rows of common stacks.

    Sites with a mask, sites of families that are not plain functions of their parameters, and sites whose density is not a
    number, or is refused, are left to be computed one by one, which says what is wrong with them.
    """
    groups: dict[_Kind, list[Message]] = {}
    found: dict[str, Row] = {}
    for site in trace.nodes.values():
        if site["type"] == "sample" and "log_prob" not in site and site["mask"] is None:
            kind = _kind(site)
            if kind is not None:
                groups.setdefault(kind, []).append(site)
    for kind, sites in groups.items():
        stack = _log_probs(kind, sites) if len(sites) >= FEWEST else None
        if stack is not None:
            found.update((site["name"], Row(stack, index)) for index, site in enumerate(sites))
    return found


def _kind(site: Message) -> _Kind | None:
    fn, value = site["fn"], site["value"]
    if not is_distribution(fn) or not ops.is_array(value):
        return None
    constraints, batch, state = fn.arg_constraints, fn.batch_shape, fn.__dict__
    if not isinstance(constraints, dict):
        return None
    names, shapes, static = [], [], []
    for name, attribute in state.items():
        if name == SHAPES:
            continue
        if isinstance(attribute, _STATIC):
            static.append(attribute)
        elif ops.is_array(attribute):
            shape = attribute.shape
            if name in constraints:
                event_dim = getattr(constraints[name], "event_dim", None)
                if event_dim is None or tuple(shape[: len(shape) - event_dim]) != tuple(batch):
                    return None
            else:
                # Another name of a parameter, or something of which nothing is known.
                same = next((parameter for parameter in constraints if state.get(parameter) is attribute), None)
                if same is None:
                    return None
                static.append(same)
            names.append(name)
            shapes += [shape, attribute.dtype]
        else:
            return None
    return _Kind(type(fn), tuple(names), (*shapes, value.shape, value.dtype), tuple(static))


def _log_probs(kind: _Kind, sites: list[Message]) -> Any:
    """Return the log densities of sites along a first axis, ``None`` if the batch does not work out."""
    first = sites[0]["fn"]
    batch, event_dim = tuple(first.batch_shape), len(first.event_shape)
    value_shape = tuple(sites[0]["value"].shape)
    rank = max(len(batch), len(value_shape) - event_dim)
    padding = (1,) * (rank - len(batch))
    stacked: dict[int, Any] = {}
    state = dict(first.__dict__)
    for name in kind.names:
        arrays = [site["fn"].__dict__[name] for site in sites]
        if id(arrays[0]) not in stacked:
            stacked[id(arrays[0])] = _stack(arrays, padding)
        state[name] = stacked[id(arrays[0])]
    state[SHAPES] = (len(sites), *padding, *batch)
    try:
        log_prob = _of_all_values(blank(kind.family, state), sites, rank)
        if log_prob is None:
            value = _stack([site["value"] for site in sites], (1,) * (rank - (len(value_shape) - event_dim)))
            log_prob = blank(kind.family, state).log_prob(value)
    except (PplError, ValueError, IndexError, RuntimeError):
        return None
    if len(log_prob.shape) != rank + 1 or log_prob.shape[0] != len(sites):
        return None
    if is_validation_enabled() and not autodiff.is_tracing():
        total = ops.sum(log_prob)
        if total != total:
            return None
    return log_prob


def _of_all_values(stacked: Any, sites: list[Message], rank: int) -> Any:
    """Return the log densities of sites that have all their values in order, ``None`` if they must be looked up one by one."""
    table = getattr(stacked, "_log_table", None)
    value, batch = sites[0]["value"], tuple(stacked.batch_shape)
    place = 1 + rank - len(value.shape)
    if table is None or rank < 1 or math.prod(value.shape) != value.shape[0] or batch[place] != 1:
        return None
    if any(site["value"] is not site["infer"].get("_all_values") for site in sites):
        return None
    rows = table()
    rows = ops.reshape(rows, (*batch[:place], *batch[place + 1 :], rows.shape[-1]))
    return ops.moveaxis(rows, -1, place)


def _stack(arrays: list[Any], padding: tuple[int, ...]) -> Any:
    """Return arrays of one shape along a new first axis, some axes of length one behind it."""
    shape = tuple(arrays[0].shape)
    if all(array is arrays[0] for array in arrays):
        stack = ops.broadcast_to(arrays[0], (len(arrays), *shape))
    else:
        stack = ops.stack(arrays, axis=0)
    return ops.reshape(stack, (len(arrays), *padding, *shape)) if padding else stack
