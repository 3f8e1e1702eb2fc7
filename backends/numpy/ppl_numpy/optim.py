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

JOINT = "*"
"""The name under which a rule that sees all parameters together keeps its state."""


class Rule(NamedTuple):
    """``init(param) -> state`` and ``update(gradient, state, param) -> (param, state)``."""

    init: Callable[[Any], dict[str, Any]]
    update: Callable[[Any, dict[str, Any], Any], tuple[Any, dict[str, Any]]]


def _zeros(*names):
    """Return an ``init`` that counts steps and keeps an array of zeros under each name."""
    return lambda param: {"step": 0, **{name: numpy.zeros_like(param) for name in names}}


def _penalized(gradient, param, weight_decay):
    return gradient + weight_decay * param if weight_decay else gradient


def adam(lr, betas, eps, weight_decay, amsgrad):
    """Return Adam (Kingma and Ba 2015, algorithm 1; AMSGrad of Reddi et al. 2018) with an L2 penalty."""
    beta1, beta2 = betas

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        step = state["step"] + 1
        first = beta1 * state["exp_avg"] + (1.0 - beta1) * gradient
        second = beta2 * state["exp_avg_sq"] + (1.0 - beta2) * gradient * gradient
        new_state = {"step": step, "exp_avg": first, "exp_avg_sq": second}
        if amsgrad:
            second = numpy.maximum(state["max_exp_avg_sq"], second)
            new_state["max_exp_avg_sq"] = second
        scale = numpy.sqrt(second) / (1.0 - beta2**step) ** 0.5 + eps
        return param - lr / (1.0 - beta1**step) * first / scale, new_state

    return Rule(_zeros("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])), update)


def adamw(lr, betas, eps, weight_decay, amsgrad):
    """Return Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    plain = adam(lr, betas, eps, 0.0, amsgrad)
    return Rule(plain.init, lambda gradient, state, param: plain.update(gradient, state, param * (1.0 - lr * weight_decay)))


def clipped_adam(lr, betas, eps, weight_decay, clip_norm, lrd):
    """Return Adam on gradients clipped to ``[-clip_norm, clip_norm]`` with a learning rate that decays by ``lrd`` a step."""
    beta1, beta2 = betas

    def update(gradient, state, param):
        gradient = _penalized(numpy.clip(gradient, -clip_norm, clip_norm), param, weight_decay)
        step = state["step"] + 1
        first = beta1 * state["exp_avg"] + (1.0 - beta1) * gradient
        second = beta2 * state["exp_avg_sq"] + (1.0 - beta2) * gradient * gradient
        rate = lr * lrd**step * (1.0 - beta2**step) ** 0.5 / (1.0 - beta1**step)
        new_param = param - rate * first / (numpy.sqrt(second) + eps)
        return new_param, {"step": step, "exp_avg": first, "exp_avg_sq": second}

    return Rule(_zeros("exp_avg", "exp_avg_sq"), update)


def sparse_adam(lr, betas, eps):
    """Return Adam that leaves the elements of zero gradient, and their moments, as they are."""
    beta1, beta2 = betas

    def update(gradient, state, param):
        step, met = state["step"] + 1, gradient != 0
        first = numpy.where(met, beta1 * state["exp_avg"] + (1.0 - beta1) * gradient, state["exp_avg"])
        second = numpy.where(met, beta2 * state["exp_avg_sq"] + (1.0 - beta2) * gradient * gradient, state["exp_avg_sq"])
        rate = lr * (1.0 - beta2**step) ** 0.5 / (1.0 - beta1**step)
        new_param = numpy.where(met, param - rate * first / (numpy.sqrt(second) + eps), param)
        return new_param, {"step": step, "exp_avg": first, "exp_avg_sq": second}

    return Rule(_zeros("exp_avg", "exp_avg_sq"), update)


def adamax(lr, betas, eps, weight_decay):
    """Return Adamax (Kingma and Ba 2015, algorithm 2)."""
    beta1, beta2 = betas

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        step = state["step"] + 1
        first = beta1 * state["exp_avg"] + (1.0 - beta1) * gradient
        largest = numpy.maximum(beta2 * state["exp_inf"], numpy.abs(gradient) + eps)
        return param - lr / (1.0 - beta1**step) * first / largest, {"step": step, "exp_avg": first, "exp_inf": largest}

    return Rule(_zeros("exp_avg", "exp_inf"), update)


def adagrad(lr, lr_decay, weight_decay, initial_accumulator_value, eps):
    """Return Adagrad (Duchi, Hazan and Singer 2011)."""

    def init(param):
        return {"step": 0, "sum": numpy.full_like(param, initial_accumulator_value)}

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        total = state["sum"] + gradient * gradient
        rate = lr / (1.0 + state["step"] * lr_decay)
        return param - rate * gradient / (numpy.sqrt(total) + eps), {"step": state["step"] + 1, "sum": total}

    return Rule(init, update)


def adagrad_rmsprop(eta, delta, t):
    """Return the step sizes of Kucukelbir et al. 2017, equation 10."""

    def update(gradient, state, param):
        step, squares = state["step"] + 1, gradient * gradient
        total = squares if step == 1 else t * squares + (1.0 - t) * state["sum"]
        return param - eta * step ** (delta - 0.5) * gradient / (1.0 + numpy.sqrt(total)), {"step": step, "sum": total}

    return Rule(_zeros("sum"), update)


def adadelta(lr, rho, eps, weight_decay):
    """Return Adadelta (Zeiler 2012)."""

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        squares = rho * state["square_avg"] + (1.0 - rho) * gradient * gradient
        move = numpy.sqrt(state["acc_delta"] + eps) / numpy.sqrt(squares + eps) * gradient
        moves = rho * state["acc_delta"] + (1.0 - rho) * move * move
        return param - lr * move, {"step": state["step"] + 1, "square_avg": squares, "acc_delta": moves}

    return Rule(_zeros("square_avg", "acc_delta"), update)


def rmsprop(lr, alpha, eps, weight_decay, momentum, centered):
    """Return RMSprop (Tieleman and Hinton 2012; the centred form of Graves 2013, as torch.optim.RMSprop defines it)."""

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        squares = alpha * state["square_avg"] + (1.0 - alpha) * gradient * gradient
        new_state = {**state, "step": state["step"] + 1, "square_avg": squares}
        if centered:
            mean = new_state["grad_avg"] = alpha * state["grad_avg"] + (1.0 - alpha) * gradient
            squares = squares - mean * mean
        move = gradient / (numpy.sqrt(squares) + eps)
        if momentum:
            move = new_state["momentum_buffer"] = momentum * state["momentum_buffer"] + move
        return param - lr * move, new_state

    kept = ["square_avg", *(["grad_avg"] if centered else []), *(["momentum_buffer"] if momentum else [])]
    return Rule(_zeros(*kept), update)


def rprop(lr, etas, step_sizes):
    """Return resilient backpropagation (Riedmiller and Braun 1993); after a change of sign an element rests for a step."""

    def init(param):
        return {"step": 0, "prev": numpy.zeros_like(param), "step_size": numpy.full_like(param, lr)}

    def update(gradient, state, param):
        agreement = gradient * state["prev"]
        factor = numpy.where(agreement > 0, etas[1], numpy.where(agreement < 0, etas[0], 1.0)).astype(param.dtype)
        size = numpy.clip(state["step_size"] * factor, *step_sizes)
        gradient = numpy.where(agreement < 0, numpy.zeros_like(gradient), gradient)
        return param - numpy.sign(gradient) * size, {"step": state["step"] + 1, "prev": gradient, "step_size": size}

    return Rule(init, update)


def sgd(lr, momentum, dampening, weight_decay, nesterov):
    """Return gradient descent with momentum (Sutskever et al. 2013, as torch.optim.SGD defines it)."""

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        new_state = {**state, "step": state["step"] + 1}
        if momentum:
            fresh = gradient if state["step"] == 0 else (1.0 - dampening) * gradient
            buffer = new_state["momentum_buffer"] = momentum * state["momentum_buffer"] + fresh
            gradient = gradient + momentum * buffer if nesterov else buffer
        return param - lr * gradient, new_state

    return Rule(_zeros(*(["momentum_buffer"] if momentum else [])), update)


def asgd(lr, lambd, alpha, t0, weight_decay):
    """Return averaged gradient descent (Polyak and Juditsky 1992, as torch.optim.ASGD defines it); the average is ``ax``."""

    def init(param):
        return {"step": 0, "ax": numpy.zeros_like(param), "eta": float(lr), "mu": 1.0}

    def update(gradient, state, param):
        gradient = _penalized(gradient, param, weight_decay)
        step, eta = state["step"] + 1, state["eta"]
        param = param * (1.0 - lambd * eta) - eta * gradient
        average = state["ax"] + state["mu"] * (param - state["ax"])
        eta = lr / (1.0 + lambd * lr * step) ** alpha
        return param, {"step": step, "ax": average, "eta": eta, "mu": 1.0 / max(1.0, step - t0)}

    return Rule(init, update)


def lbfgs(lr, history_size, tolerance_grad, tolerance_change):
    """Return one L-BFGS iteration a step on one vector (Nocedal and Wright 2006, algorithm 7.4, as torch.optim.LBFGS defines it).

    Rows of the history that are not filled yet are zero and change nothing.
    """

    def init(param):
        history = numpy.zeros((history_size, param.size), param.dtype)
        vectors = {name: numpy.zeros_like(param) for name in ("move", "prev_flat_grad")}
        return {"step": 0, "old_dirs": history, "old_stps": history, "ro": history[:, 0], "H_diag": 1.0, **vectors}

    def update(gradient, state, param):
        if numpy.max(numpy.abs(gradient)) <= tolerance_grad:
            return param, state
        new = {**state, "step": state["step"] + 1, "prev_flat_grad": gradient}
        length = lr
        if state["step"] == 0:
            length = lr * min(1.0, 1.0 / float(numpy.sum(numpy.abs(gradient))))
        else:
            change, move = gradient - state["prev_flat_grad"], state["move"]
            curvature = float(change @ move)
            if curvature > 1e-10:
                new["old_dirs"] = numpy.concatenate([state["old_dirs"][1:], change[None]])
                new["old_stps"] = numpy.concatenate([state["old_stps"][1:], move[None]])
                new["ro"] = numpy.append(state["ro"][1:], numpy.asarray(1.0 / curvature, param.dtype))
                new["H_diag"] = curvature / float(change @ change)
        direction = _two_loops(-gradient, new["old_dirs"], new["old_stps"], new["ro"], new["H_diag"])
        new["move"] = length * direction
        return (param if gradient @ direction > -tolerance_change else param + new["move"]), new

    return Rule(init, update)


def _two_loops(vector, changes, moves, inverse_curvatures, scale):
    filled = [i for i in range(len(changes)) if inverse_curvatures[i] != 0]
    weights = {}
    for i in reversed(filled):
        weights[i] = inverse_curvatures[i] * (moves[i] @ vector)
        vector = vector - weights[i] * changes[i]
    vector = scale * vector
    for i in filled:
        vector = vector + (weights[i] - inverse_curvatures[i] * (changes[i] @ vector)) * moves[i]
    return vector


RULES = {
    "adadelta": adadelta,
    "adagrad": adagrad,
    "adagrad_rmsprop": adagrad_rmsprop,
    "adam": adam,
    "adamax": adamax,
    "adamw": adamw,
    "asgd": asgd,
    "clipped_adam": clipped_adam,
    "lbfgs": lbfgs,
    "rmsprop": rmsprop,
    "rprop": rprop,
    "sgd": sgd,
    "sparse_adam": sparse_adam,
}
TOGETHER = {"lbfgs"}
"""Rules that see all parameters as one vector."""


def adopt(value):
    """Return ``value`` if it is an optimizer of the array library, else ``None``; numpy has none."""
    return None


def adopt_schedule(value):
    """Return the name of ``value`` if it is a learning-rate schedule of the array library, else ``None``; numpy has none."""
    return None


def _rule(rule, arguments):
    arguments = dict(arguments)
    sign = -1.0 if arguments.pop("maximize", False) else 1.0
    return RULES[rule](**arguments), sign


def _vector(arrays):
    return numpy.concatenate([numpy.ravel(arrays[name]) for name in sorted(arrays)])


def _parts(vector, like):
    parts, start = {}, 0
    for name in sorted(like):
        size = numpy.size(like[name])
        parts[name] = numpy.reshape(vector[start : start + size], numpy.shape(like[name]))
        start += size
    return parts


def init(rule, params, arguments):
    """Return the state of each parameter by name (of all under one name if the rule sees them together)."""
    if rule in TOGETHER:
        return {JOINT: _rule(rule, next(iter(arguments.values())))[0].init(_vector(params))}
    return {name: _rule(rule, arguments[name])[0].init(param) for name, param in params.items()}


def update(rule, gradients, state, params, arguments):
    """Return new params and state; a name absent from ``state`` begins fresh, one without gradient stays."""
    if rule in TOGETHER:
        return _update_together(rule, gradients, state, params, arguments)
    new_params, new_state = dict(params), dict(state)
    for name, gradient in gradients.items():
        chosen, sign = _rule(rule, arguments[name])
        own = state[name] if name in state else chosen.init(params[name])
        new_params[name], new_state[name] = chosen.update(sign * gradient, own, params[name])
    return new_params, new_state


def _update_together(rule, gradients, state, params, arguments):
    gradients = {name: gradients.get(name, numpy.zeros_like(param)) for name, param in params.items()}
    chosen, sign = _rule(rule, next(iter(arguments.values())))
    vector = _vector(params)
    own = state[JOINT] if state[JOINT]["prev_flat_grad"].shape == vector.shape else chosen.init(vector)
    vector, own = chosen.update(sign * _vector(gradients), own, vector)
    return _parts(vector, params), {JOINT: own}


def export(state):
    """Return the state as ``{param: {entry: number or numpy array}}``."""
    return {
        name: {key: numpy.asarray(value) if hasattr(value, "shape") else value for key, value in own.items()}
        for name, own in state.items()
    }


def restore(rule, exported, params, arguments):
    """Return the state that :func:`export` described, for ``params``.

    :raises InferenceError: if an entry is missing or its shape does not fit the parameter.
    """
    state = {}
    for name, fresh in init(rule, params, arguments).items():
        own = exported.get(name, fresh)
        wrong = [key for key in fresh if key not in own or numpy.shape(own[key]) != numpy.shape(fresh[key])]
        if wrong or len(own) != len(fresh):
            raise InferenceError(
                f"optimizer state of param {name!r} does not fit: expected entries {sorted(fresh)} for shape "
                f"{numpy.shape(params.get(name, ()))}, received {sorted(own)}; try the optimizer and model that saved it"
            )
        state[name] = {
            key: numpy.asarray(own[key]) if hasattr(value, "shape") else type(value)(own[key]) for key, value in fresh.items()
        }
    return state


def merge(state, more):
    """Return ``state`` with the parameters of ``more``, a state of others."""
    return {**state, **more}


def assign(params, values):
    """Return the new values of ``params``; arrays of this library are not moved in place."""
    return dict(values)
