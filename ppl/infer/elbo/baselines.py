"""Baselines: control variates of score functions, known before the draw that they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl import ops
from ppl.errors import InferenceError, ShapeError
from ppl.infer.objective import AVERAGE
from ppl.infer.particles import PARTICLE_PLATE
from ppl.ops import autodiff
from ppl.primitives import param
from ppl.typing import Message

DECAY = 0.9
"""Weight of the past in a decaying average."""

_OPTIONS = ("use_decaying_avg_baseline", "baseline_beta", "baseline_value", "nn_baseline", "nn_baseline_input")


class Options(NamedTuple):
    """What ``infer={"baseline": ...}`` of a site asks for.

    :param decay: weight of the past in a decaying average of the cost, ``None`` for no average.
    :param value: a baseline of the user's own, ``None`` for none.
    :param network: a function of ``network_input`` that is trained to predict the cost, ``None`` for none.
    :param network_input: its argument, constant for the derivatives.
    """

    decay: float | None
    value: Any
    network: Any
    network_input: Any


def options_of(name: str, site: Message) -> Options | None:
    """Return the baseline that a site asks for.

    :raises InferenceError: if an option is unknown, a network lacks its input, or the decay is no number in [0, 1).
    """
    asked = site["infer"].get("baseline")
    if not asked:
        return None
    unknown = sorted(set(asked) - set(_OPTIONS)) if isinstance(asked, Mapping) else [repr(asked)]
    if unknown:
        raise InferenceError(f"the baseline of site {name!r} has no option {unknown[0]!r}; expected some of {list(_OPTIONS)}")
    network, value, decay = asked.get("nn_baseline"), asked.get("baseline_value"), asked.get("baseline_beta", DECAY)
    if network is not None and (not callable(network) or asked.get("nn_baseline_input") is None):
        raise InferenceError(
            f"the baseline of site {name!r} needs a callable nn_baseline and its nn_baseline_input; received "
            f"{type(network).__name__} and {type(asked.get('nn_baseline_input')).__name__}"
        )
    if not 0.0 <= decay < 1.0:
        raise InferenceError(f"the baseline of site {name!r} needs a baseline_beta in [0, 1), received {decay!r}; try {DECAY}")
    return Options(decay if asked.get("use_decaying_avg_baseline") else None, value, network, asked.get("nn_baseline_input"))


def declare_average(name: str, site: Message) -> None:
    """Meet the param that holds the decaying average of a site's cost, if the site asks for one."""
    options = options_of(name, site)
    if options is not None and options.decay is not None:
        _average(name, site)


def baseline(name: str, site: Message, cost: Any) -> tuple[Any, Any]:
    r"""Return the baseline of a site, constant, and the loss that trains it; 0 and 0 if there is none.

    :param cost: constant, broadcast with the batch shape of the site.
    :raises ShapeError: if the baseline does not broadcast to the batch shape.

    The loss of a trained baseline :math:`b` is :math:`\sum (\text{cost} - b)^2` (Mnih and Gregor 2014, sec. 2.3). That of an
    average is such that its gradient is the distance from the new average to the present one.
    """
    options = options_of(name, site)
    if options is None:
        return 0.0, 0.0
    shape = tuple(site["fn"].batch_shape)
    total, trained, loss = ops.zeros(()), False, ops.zeros(())
    if options.network is not None:
        total, trained = total + options.network(autodiff.stop_gradient(options.network_input)), True
    if options.value is not None:
        total, trained = total + options.value, True
    if options.decay is not None:
        average = _average(name, site)
        total = total + autodiff.stop_gradient(average)
        distance = ops.broadcast_to(average - cost, shape)
        loss = loss + 0.5 * (1.0 - options.decay) / _elements_of_minibatches(site) * ops.sum(distance * distance)
    if not _fits(ops.shape(total), shape):
        raise ShapeError(
            f"the baseline of site {name!r} has shape {ops.shape(total)}, which does not broadcast to the batch shape {shape} of "
            "the site; expected one number for each element of the batch, or one for all"
        )
    if trained:
        error = ops.broadcast_to(cost - total, shape)
        loss = loss + ops.sum(error * error)
    return autodiff.stop_gradient(total), loss


def _average(name: str, site: Message) -> Any:
    """Return the decaying average, one for each element of the batch; particles and minibatches share theirs."""
    sizes = list(site["fn"].batch_shape)
    for frame in site["cond_indep_stack"]:
        if frame.dim is not None and (frame.name == PARTICLE_PLATE or frame.size != frame.full_size):
            sizes[frame.dim] = 1
    while sizes and sizes[0] == 1:
        del sizes[0]
    return param(f"{AVERAGE}downstream_cost_{name}", ops.zeros(tuple(sizes)))


def _elements_of_minibatches(site: Message) -> int:
    frames = [frame for frame in site["cond_indep_stack"] if frame.dim is not None and frame.name != PARTICLE_PLATE]
    return math.prod(frame.size for frame in frames if frame.size != frame.full_size)


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return tuple(ops.broadcast_shapes(shape, target)) == target
    except (ValueError, RuntimeError):
        return False
