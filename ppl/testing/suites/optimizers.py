"""Optimizers against a few lines of numpy for each rule, on fixed gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl import ops, optim, registry
from ppl.testing.numeric import assert_close
from ppl.testing.suites.check import Check, asked, checks_of

STEPS = 20
START = {"a": np.array([1.0, -2.0, 0.5]), "b": np.arange(4.0).reshape(2, 2)}
GRADIENTS = [
    {"a": np.cos(np.arange(3.0) + step), "b": np.sin(np.arange(4.0).reshape(2, 2) - step) + 0.3} for step in range(STEPS)
]
Rule = Callable[[Any, Any, dict[str, Any], int], Any]


def _sgd(param: Any, gradient: Any, state: dict[str, Any], step: int) -> Any:
    return param - 0.05 * gradient


def _momentum(param: Any, gradient: Any, state: dict[str, Any], step: int) -> Any:
    state["velocity"] = gradient if step == 1 else 0.9 * state["velocity"] + gradient
    return param - 0.05 * state["velocity"]


def _adam(param: Any, gradient: Any, state: dict[str, Any], step: int) -> Any:
    """Kingma and Ba 2015, algorithm 1."""
    first = state["first"] = 0.9 * state.get("first", 0.0) + 0.1 * gradient
    second = state["second"] = 0.999 * state.get("second", 0.0) + 0.001 * gradient**2
    return param - 0.05 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)


def _adamw(param: Any, gradient: Any, state: dict[str, Any], step: int) -> Any:
    """Loshchilov and Hutter 2019, algorithm 2, the decay times the learning rate."""
    return _adam(param * (1 - 0.05 * 0.1), gradient, state, step)


def _adagrad(param: Any, gradient: Any, state: dict[str, Any], step: int) -> Any:
    """Duchi, Hazan and Singer 2011, diagonal."""
    total = state["total"] = state.get("total", 0.0) + gradient**2
    return param - 0.05 * gradient / (np.sqrt(total) + 1e-10)


def _rmsprop(param: Any, gradient: Any, state: dict[str, Any], step: int) -> Any:
    square = state["square"] = 0.99 * state.get("square", 0.0) + 0.01 * gradient**2
    return param - 0.05 * gradient / (np.sqrt(square) + 1e-8)


# label: (optimizer, its arguments, the rule)
RULES: dict[str, tuple[str, dict[str, Any], Rule]] = {
    "plain": ("SGD", {"lr": 0.05}, _sgd),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}, _momentum),
    "defaults": ("Adam", {"lr": 0.05}, _adam),
    "decay": ("AdamW", {"lr": 0.05, "weight_decay": 0.1}, _adamw),
    "sum of squares": ("Adagrad", {"lr": 0.05}, _adagrad),
    "mean of squares": ("RMSprop", {"lr": 0.05}, _rmsprop),
}


def check_trajectory(label: str) -> None:
    """Twenty steps on fixed gradients end where the rule written in numpy ends."""
    name, arguments, rule = RULES[label]
    optimizer = getattr(optim, name)(arguments)
    params = {key: ops.array(value) for key, value in START.items()}
    state, update = optimizer.init(params), optimizer.update
    if registry.active().optim.STEP == "compiled":
        update = ops.compile.compile(update)
    expected = dict(START)
    memory: dict[str, dict[str, Any]] = {key: {} for key in START}
    for step, gradients in enumerate(GRADIENTS, start=1):
        params, state = update({key: ops.array(value) for key, value in gradients.items()}, state, params)
        expected = {key: rule(value, gradients[key], memory[key], step) for key, value in expected.items()}
    for key, value in expected.items():
        assert_close(params[key], value, rtol=1e-7, atol=1e-9)


@asked("SGD", given="params {'a': [1, 2]}, gradient [1, 1]")
def _the_caller_keeps_its_arrays() -> None:
    params = {"a": ops.array([1.0, 2.0])}
    optimizer = optim.SGD({"lr": 0.1})
    new, _ = optimizer.update({"a": ops.array([1.0, 1.0])}, optimizer.init(params), params)
    assert_close(params["a"], np.array([1.0, 2.0]))
    assert_close(new["a"], np.array([0.9, 1.9]))


TRAJECTORIES = tuple(
    Check(name, f"{STEPS} steps: {label}", str(arguments), functools.partial(check_trajectory, label))
    for label, (name, arguments, _) in RULES.items()
)
CHECKS = (*TRAJECTORIES, *checks_of(globals()))
