"""Learning-rate schedules as functions of a count of epochs, which may be a Python int or a traced array.

Each gives the values that torch.optim.lr_scheduler reaches step by step, in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppl import ops
from ppl.errors import InferenceError

Arguments = Mapping[str, Any]

POSITIVE = {"step_size", "T_max", "T_0", "T_mult", "step_size_up", "step_size_down"}
FUNCTIONS = {"lr_lambda", "scale_fn"}
MODES = {"CyclicLR": ("triangular", "triangular2", "exp_range"), "ReduceLROnPlateau": ("min", "max")}
CHOICES = {"scale_mode": ("cycle", "iterations"), "threshold_mode": ("rel", "abs")}


@dataclass(frozen=True)
class Schedule:
    """The declaration of a learning-rate schedule.

    :param name: as in torch.optim.lr_scheduler.
    :param values: ``values(epoch, base, arguments)`` gives the optimizer's arguments that hold in an epoch, as a dict that has
        ``lr``; ``base`` are the optimizer's own.
    :param required: names of the arguments without default.
    :param defaults: the other arguments.
    :param react: for a schedule that follows a metric, ``react(memory, metric, arguments)`` gives the next memory.
    :param memory: what ``react`` keeps besides ``lr``, at the start.
    """

    name: str
    values: Callable[[Any, Arguments, Arguments], dict[str, Any]]
    required: tuple[str, ...] = ()
    defaults: Arguments = field(default_factory=dict)
    react: Callable[[dict[str, Any], float, Arguments], dict[str, Any]] | None = None
    memory: Callable[[Arguments], dict[str, Any]] = lambda arguments: {}

    def complete(self, given: Arguments) -> dict[str, Any]:
        """Return all arguments, ``given`` over the defaults.

        :raises InferenceError: for an argument that is unknown or missing.
        """
        known = {*self.required, *self.defaults}
        unknown, missing = sorted(set(given) - known), sorted(set(self.required) - set(given))
        if unknown:
            raise InferenceError(f"schedule {self.name} has no argument {unknown[0]!r}; expected some of {sorted(known)}")
        if missing:
            raise InferenceError(f"schedule {self.name} needs the argument {missing[0]!r}; received {sorted(given)}")
        arguments = {**self.defaults, **given}
        for key, value in arguments.items():
            if key in POSITIVE and value is not None and not value > 0:
                raise InferenceError(f"schedule {self.name} needs {key} above zero, received {key}={value!r}")
            if key == "mode" and value not in MODES[self.name]:
                raise InferenceError(f"schedule {self.name} has no mode {value!r}; expected one of {MODES[self.name]}")
            if key in CHOICES and value not in CHOICES[key]:
                raise InferenceError(f"schedule {self.name} has no {key} {value!r}; expected one of {CHOICES[key]}")
            if key in FUNCTIONS and value is not None and not callable(value):
                raise InferenceError(f"schedule {self.name} needs a function as {key}, received {value!r}")
        return arguments


def _cosine(angle: Any) -> Any:
    return math.cos(angle) if isinstance(angle, (int, float)) else ops.cos(angle)


def _choose(condition: Any, chosen: Any, other: Any) -> Any:
    if isinstance(condition, bool):
        return chosen if condition else other
    return ops.where(condition, chosen, other)


def _count_reached(epoch: Any, milestones: Any) -> Any:
    """Return how many milestones lie at or before ``epoch``."""
    return sum(_choose(epoch >= milestone, 1, 0) for milestone in milestones)


def _lambda(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    return {"lr": base["lr"] * arguments["lr_lambda"](epoch)}


def _step(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    return {"lr": base["lr"] * arguments["gamma"] ** (epoch // arguments["step_size"])}


def _multi_step(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    return {"lr": base["lr"] * arguments["gamma"] ** _count_reached(epoch, arguments["milestones"])}


def _exponential(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    return {"lr": base["lr"] * arguments["gamma"] ** epoch}


def _cosine_between(low: float, high: float, part: Any) -> Any:
    return low + (high - low) * (1.0 + _cosine(math.pi * part)) / 2.0


def _cosine_annealing(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    return {"lr": _cosine_between(arguments["eta_min"], base["lr"], epoch / arguments["T_max"])}


def _warm_restarts(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    first, factor = arguments["T_0"], arguments["T_mult"]
    if factor == 1:
        part = (epoch % first) / first
    else:
        starts = [0]
        while starts[-1] < 2**31:
            starts.append(first + factor * starts[-1])
        restarts = _count_reached(epoch, starts[1:])
        length = first * factor**restarts
        part = (epoch - (length - first) // (factor - 1)) / length
    return {"lr": _cosine_between(arguments["eta_min"], base["lr"], part)}


def _cyclic(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    up, down = arguments["step_size_up"], arguments["step_size_down"]
    down = up if down is None else down
    cycle = 1 + epoch // (up + down)
    place = epoch - (cycle - 1) * (up + down)
    height = _choose(place <= up, place / up, (up + down - place) / down)
    scaled = height * _amplitude(epoch, cycle, arguments)
    low, high = arguments["base_lr"], arguments["max_lr"]
    values = {"lr": low + (high - low) * scaled}
    if arguments["cycle_momentum"]:
        momentum = arguments["max_momentum"] - (arguments["max_momentum"] - arguments["base_momentum"]) * scaled
        values.update({"betas": (momentum, *base["betas"][1:])} if "betas" in base else {"momentum": momentum})
    return values


def _amplitude(epoch: Any, cycle: Any, arguments: Arguments) -> Any:
    scale, mode = arguments["scale_fn"], arguments["mode"]
    if scale is not None:
        return scale(cycle if arguments["scale_mode"] == "cycle" else epoch)
    if mode == "triangular":
        return 1.0
    return 0.5 ** (cycle - 1) if mode == "triangular2" else arguments["gamma"] ** epoch


def _constant(epoch: Any, base: Arguments, arguments: Arguments) -> dict[str, Any]:
    return {"lr": base["lr"]}


def _plateau_memory(arguments: Arguments) -> dict[str, Any]:
    return {"best": math.inf if arguments["mode"] == "min" else -math.inf, "num_bad_epochs": 0, "cooldown_counter": 0}


def _improves(metric: float, best: float, arguments: Arguments) -> bool:
    sign = 1.0 if arguments["mode"] == "min" else -1.0
    threshold = arguments["threshold"]
    if arguments["threshold_mode"] == "abs":
        return sign * metric < sign * best - threshold
    return sign * metric < sign * best * (1.0 - sign * threshold)


def _react_to_plateau(memory: dict[str, Any], metric: float, arguments: Arguments) -> dict[str, Any]:
    best, bad, cooldown, rate = (memory[key] for key in ("best", "num_bad_epochs", "cooldown_counter", "lr"))
    better = _improves(metric, best, arguments)
    best, bad = (metric, 0) if better else (best, bad + 1)
    if cooldown > 0:
        cooldown, bad = cooldown - 1, 0
    if bad > arguments["patience"]:
        lower = max(rate * arguments["factor"], arguments["min_lr"])
        rate = lower if rate - lower > arguments["eps"] else rate
        cooldown, bad = arguments["cooldown"], 0
    return {"best": best, "num_bad_epochs": bad, "cooldown_counter": cooldown, "lr": rate}


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("LambdaLR", _lambda, ("lr_lambda",)),
        Schedule("StepLR", _step, ("step_size",), {"gamma": 0.1}),
        Schedule("MultiStepLR", _multi_step, ("milestones",), {"gamma": 0.1}),
        Schedule("ExponentialLR", _exponential, ("gamma",)),
        Schedule("CosineAnnealingLR", _cosine_annealing, ("T_max",), {"eta_min": 0.0}),
        Schedule("CosineAnnealingWarmRestarts", _warm_restarts, ("T_0",), {"T_mult": 1, "eta_min": 0.0}),
        Schedule(
            "CyclicLR",
            _cyclic,
            ("base_lr", "max_lr"),
            {
                "step_size_up": 2000,
                "step_size_down": None,
                "mode": "triangular",
                "gamma": 1.0,
                "scale_fn": None,
                "scale_mode": "cycle",
                "cycle_momentum": True,
                "base_momentum": 0.8,
                "max_momentum": 0.9,
            },
        ),
        Schedule(
            "ReduceLROnPlateau",
            _constant,
            (),
            {
                "mode": "min",
                "factor": 0.1,
                "patience": 10,
                "threshold": 1e-4,
                "threshold_mode": "rel",
                "cooldown": 0,
                "min_lr": 0.0,
                "eps": 1e-8,
            },
            _react_to_plateau,
            _plateau_memory,
        ),
    )
}
"""All schedules by name."""
