"""Optimizer rules on numpy arrays. A rule is a pair of pure functions of one array; none of them changes its input.

The state of a parameter is a dict whose keys are torch.optim's words, so that a saved state is readable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ppl.errors import InferenceError

STEP = "values"
"""A step asks ``autodiff`` for gradients by value; nothing is compiled."""


class Rule(NamedTuple):
    """``init(param) -> state`` and ``update(gradient, state, param) -> (param, state)``."""

    init: Callable[[Any], dict[str, Any]]
    update: Callable[[Any, dict[str, Any], Any], tuple[Any, dict[str, Any]]]


def adam(lr, betas, eps, weight_decay, amsgrad):
    """Return Adam (Kingma and Ba 2015, algorithm 1; AMSGrad of Reddi et al. 2018) with an L2 penalty."""
    beta1, beta2 = betas

    def init(param):
        state = {"step": 0, "exp_avg": numpy.zeros_like(param), "exp_avg_sq": numpy.zeros_like(param)}
        return {**state, "max_exp_avg_sq": numpy.zeros_like(param)} if amsgrad else state

    def update(gradient, state, param):
        gradient = gradient + weight_decay * param if weight_decay else gradient
        step = state["step"] + 1
        first = beta1 * state["exp_avg"] + (1.0 - beta1) * gradient
        second = beta2 * state["exp_avg_sq"] + (1.0 - beta2) * gradient * gradient
        new_state = {"step": step, "exp_avg": first, "exp_avg_sq": second}
        if amsgrad:
            second = numpy.maximum(state["max_exp_avg_sq"], second)
            new_state["max_exp_avg_sq"] = second
        scale = numpy.sqrt(second) / (1.0 - beta2**step) ** 0.5 + eps
        return param - lr / (1.0 - beta1**step) * first / scale, new_state

    return Rule(init, update)


def sgd(lr, momentum, dampening, weight_decay, nesterov):
    """Return gradient descent with momentum (Sutskever et al. 2013, as torch.optim.SGD defines it)."""

    def init(param):
        return {"step": 0, "momentum_buffer": numpy.zeros_like(param)} if momentum else {"step": 0}

    def update(gradient, state, param):
        gradient = gradient + weight_decay * param if weight_decay else gradient
        new_state = {"step": state["step"] + 1}
        if momentum:
            fresh = gradient if state["step"] == 0 else (1.0 - dampening) * gradient
            buffer = momentum * state["momentum_buffer"] + fresh
            new_state["momentum_buffer"] = buffer
            gradient = gradient + momentum * buffer if nesterov else buffer
        return param - lr * gradient, new_state

    return Rule(init, update)


RULES = {"adam": adam, "sgd": sgd}


def adopt(value):
    """Return ``value`` if it is an optimizer of the array library, else ``None``; numpy has none."""
    return None


def _rule(rule, arguments):
    arguments = dict(arguments)
    sign = -1.0 if arguments.pop("maximize", False) else 1.0
    return RULES[rule](**arguments), sign


def init(rule, params, arguments):
    """Return the state of each parameter by name."""
    return {name: _rule(rule, arguments[name])[0].init(param) for name, param in params.items()}


def update(rule, gradients, state, params, arguments):
    """Return new params and state; a name absent from ``state`` begins fresh, one without gradient stays."""
    new_params, new_state = dict(params), dict(state)
    for name, gradient in gradients.items():
        chosen, sign = _rule(rule, arguments[name])
        own = state[name] if name in state else chosen.init(params[name])
        new_params[name], new_state[name] = chosen.update(sign * gradient, own, params[name])
    return new_params, new_state


def export(state):
    """Return the state as ``{param: {entry: number or numpy array}}``."""
    return {name: dict(own) for name, own in state.items()}


def restore(rule, exported, params, arguments):
    """Return the state that :func:`export` described, for ``params``.

    :raises InferenceError: if an entry is missing or its shape does not fit the parameter.
    """
    state = {}
    for name, fresh in init(rule, params, arguments).items():
        own = exported.get(name, fresh)
        wrong = [key for key in fresh if key not in own or numpy.shape(own[key]) != numpy.shape(fresh[key])]
        if wrong:
            raise InferenceError(
                f"optimizer state of param {name!r} does not fit: expected entries {sorted(fresh)} for shape "
                f"{numpy.shape(params[name])}, received {sorted(own)}; try the optimizer and model that saved it"
            )
        state[name] = {key: type(value)(own[key]) if key == "step" else numpy.asarray(own[key]) for key, value in fresh.items()}
    return state
