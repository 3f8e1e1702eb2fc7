"""``optax`` behind the functional face ``init``/``update``: pure, so that a whole fit compiles.

The built-in rules act on one parameter at a time; a user's own gradient transformation acts on all of them at once,
because it may couple them (clipping by the global norm). A learning rate or a momentum may be traced: a schedule gives them.
Optax's rule is used where it takes torch.optim's path; the rules written out here say where it does not.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy

from ppl.errors import InferenceError

if TYPE_CHECKING:
    import optax
else:

    class _OnFirstUse:
        """optax, whose import takes longer than that of the rest of this backend; sampling needs none of it."""

        def __getattr__(self, name):
            return getattr(importlib.import_module("optax"), name)

    optax = _OnFirstUse()
    if importlib.util.find_spec("optax") is None:
        raise ModuleNotFoundError("No module named 'optax'", name="optax")

STEP = "compiled"
"""A step is one pure function of (params, optimizer state, key, data), compiled whole."""

JOINT = "*"


class Momentum(NamedTuple):
    """Step count and velocity of :func:`sgd`."""

    step: jax.Array
    buffer: optax.Updates


class MaximumOfSquares(NamedTuple):
    """State of :func:`amsgrad`."""

    step: jax.Array
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates
    max_exp_avg_sq: optax.Updates


def _given(number):
    """Return whether an argument is in use; a traced one is."""
    return not isinstance(number, (bool, int, float)) or bool(number)


def _penalty(weight_decay):
    return [optax.add_decayed_weights(weight_decay)] if _given(weight_decay) else []


def _moments(betas, eps, amsgrad):
    return _amsgrad(*betas, eps) if amsgrad else optax.scale_by_adam(*betas, eps=eps)


def adam(lr, betas, eps, weight_decay, amsgrad):
    """Return Adam with an L2 penalty, as torch.optim.Adam defines it."""
    return optax.chain(*_penalty(weight_decay), _moments(betas, eps, amsgrad), optax.scale(-lr))


def adamw(lr, betas, eps, weight_decay, amsgrad):
    """Return Adam with decoupled weight decay, as torch.optim.AdamW defines it."""
    return optax.chain(_moments(betas, eps, amsgrad), *_penalty(weight_decay), optax.scale(-lr))


def _amsgrad(beta1, beta2, eps):
    """Optax's AMSGrad takes the maximum of the corrected second moments; torch's takes that of the raw ones."""

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return MaximumOfSquares(jnp.zeros((), jnp.int32), zeros, zeros, zeros)

    def update(updates, state, params=None):
        step = state.step + 1
        first = jax.tree.map(lambda m, g: beta1 * m + (1.0 - beta1) * g, state.exp_avg, updates)
        second = jax.tree.map(lambda v, g: beta2 * v + (1.0 - beta2) * g * g, state.exp_avg_sq, updates)
        largest = jax.tree.map(jnp.maximum, state.max_exp_avg_sq, second)
        scaled = jax.tree.map(
            lambda m, v: _corrected(m, beta1, step) / (jnp.sqrt(_corrected(v, beta2, step)) + eps), first, largest
        )
        return scaled, MaximumOfSquares(step, first, second, largest)

    return optax.GradientTransformation(init, update)


def _corrected(moment, decay, step):
    return moment / (1.0 - jnp.asarray(decay, moment.dtype) ** step)


def _by_array(init, update):
    """Return the transformation of ``init(param) -> dict`` and ``update(gradient, state, param) -> (move, dict)``.

    The state counts the steps; ``update`` gets the number of its step, from 1, in the dtype of the parameter.
    """

    def start(param):
        return {"step": jnp.zeros((), jnp.int32), **init(param)}

    def advance(gradient, state, param=None):
        step = state["step"] + 1
        move, new = update(gradient, {**state, "step": step.astype(gradient.dtype)}, param)
        return move, {**new, "step": step}

    return optax.GradientTransformation(start, advance)


def _zeros(*names):
    return lambda param: {name: jnp.zeros_like(param) for name in names}


def _averages(gradient, state, betas):
    first = betas[0] * state["exp_avg"] + (1.0 - betas[0]) * gradient
    second = betas[1] * state["exp_avg_sq"] + (1.0 - betas[1]) * gradient * gradient
    return first, second


def _rate(lr, betas, step):
    """Return the step size of an Adam whose ``eps`` stands beside the uncorrected second moment."""
    return lr * jnp.sqrt(1.0 - betas[1] ** step) / (1.0 - betas[0] ** step)


def clipped_adam(lr, betas, eps, weight_decay, clip_norm, lrd):
    """Return Adam on gradients clipped to ``[-clip_norm, clip_norm]`` with a learning rate that decays by ``lrd`` a step."""

    def update(gradient, state, param):
        gradient = jnp.clip(gradient, -clip_norm, clip_norm) + weight_decay * param
        first, second = _averages(gradient, state, betas)
        rate = _rate(lr * lrd ** state["step"], betas, state["step"])
        return -rate * first / (jnp.sqrt(second) + eps), {"exp_avg": first, "exp_avg_sq": second}

    return _by_array(_zeros("exp_avg", "exp_avg_sq"), update)


def sparse_adam(lr, betas, eps):
    """Return Adam that leaves the elements of zero gradient, and their moments, as they are."""

    def update(gradient, state, param):
        met = gradient != 0
        first, second = _averages(gradient, state, betas)
        first, second = jnp.where(met, first, state["exp_avg"]), jnp.where(met, second, state["exp_avg_sq"])
        move = -_rate(lr, betas, state["step"]) * first / (jnp.sqrt(second) + eps)
        return jnp.where(met, move, 0.0), {"exp_avg": first, "exp_avg_sq": second}

    return _by_array(_zeros("exp_avg", "exp_avg_sq"), update)


def adamax(lr, betas, eps, weight_decay):
    """Return Adamax, as torch.optim.Adamax defines it."""
    return optax.chain(*_penalty(weight_decay), optax.scale_by_adamax(*betas, eps=eps), optax.scale(-lr))


def adagrad(lr, lr_decay, weight_decay, initial_accumulator_value, eps):
    """Return Adagrad; optax adds ``eps`` under the root, torch beside it."""

    def update(gradient, state, param):
        gradient = gradient + weight_decay * param
        total = state["sum"] + gradient * gradient
        rate = lr / (1.0 + (state["step"] - 1.0) * lr_decay)
        return -rate * gradient / (jnp.sqrt(total) + eps), {"sum": total}

    return _by_array(lambda param: {"sum": jnp.full_like(param, initial_accumulator_value)}, update)


def adagrad_rmsprop(eta, delta, t):
    """Return the step sizes of Kucukelbir et al. 2017, equation 10."""

    def update(gradient, state, param):
        squares = gradient * gradient
        total = jnp.where(state["step"] == 1, squares, t * squares + (1.0 - t) * state["sum"])
        return -eta * state["step"] ** (delta - 0.5) * gradient / (1.0 + jnp.sqrt(total)), {"sum": total}

    return _by_array(_zeros("sum"), update)


def adadelta(lr, rho, eps, weight_decay):
    """Return Adadelta, as torch.optim.Adadelta defines it."""
    return optax.chain(*_penalty(weight_decay), optax.scale_by_adadelta(rho, eps), optax.scale(-lr))


def rmsprop(lr, alpha, eps, weight_decay, momentum, centered):
    """Return RMSprop, as torch.optim.RMSprop defines it; optax's centred form adds ``eps`` under the root."""
    scaled = _centred(alpha, eps) if centered else optax.scale_by_rms(alpha, eps, eps_in_sqrt=False)
    velocity = [optax.trace(momentum)] if _given(momentum) else []
    return optax.chain(*_penalty(weight_decay), scaled, *velocity, optax.scale(-lr))


def _centred(alpha, eps):
    def update(gradient, state, param):
        squares = alpha * state["square_avg"] + (1.0 - alpha) * gradient * gradient
        mean = alpha * state["grad_avg"] + (1.0 - alpha) * gradient
        return gradient / (jnp.sqrt(squares - mean * mean) + eps), {"square_avg": squares, "grad_avg": mean}

    return _by_array(_zeros("square_avg", "grad_avg"), update)


def rprop(lr, etas, step_sizes):
    """Return resilient backpropagation; optax's moves by the step before, torch's by the present one."""

    def init(param):
        return {"prev": jnp.zeros_like(param), "step_size": jnp.full_like(param, lr)}

    def update(gradient, state, param):
        agreement = gradient * state["prev"]
        factor = jnp.where(agreement > 0, etas[1], jnp.where(agreement < 0, etas[0], 1.0))
        size = jnp.clip(state["step_size"] * factor.astype(gradient.dtype), *step_sizes)
        gradient = jnp.where(agreement < 0, 0.0, gradient)
        return -jnp.sign(gradient) * size, {"prev": gradient, "step_size": size}

    return _by_array(init, update)


def sgd(lr, momentum, dampening, weight_decay, nesterov):
    """Return gradient descent with momentum, as torch.optim.SGD defines it."""
    velocity = []
    if _given(momentum):
        velocity = [_damped(momentum, dampening)] if _given(dampening) else [optax.trace(momentum, nesterov)]
    return optax.chain(*_penalty(weight_decay), *velocity, optax.scale(-lr))


def _damped(momentum, dampening):
    """Optax's momentum has no dampening; the first gradient is not damped."""

    def init(params):
        return Momentum(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        factor = jnp.where(state.step == 0, 1.0, 1.0 - dampening)
        buffer = jax.tree.map(lambda b, g: momentum * b + factor.astype(g.dtype) * g, state.buffer, updates)
        return buffer, Momentum(state.step + 1, buffer)

    return optax.GradientTransformation(init, update)


def asgd(lr, lambd, alpha, t0, weight_decay):
    """Return averaged gradient descent, as torch.optim.ASGD defines it; optax has none."""

    def init(param):
        return {"ax": jnp.zeros_like(param), "eta": jnp.asarray(lr, param.dtype), "mu": jnp.ones((), param.dtype)}

    def update(gradient, state, param):
        step, eta = state["step"], state["eta"]
        move = -lambd * eta * param - eta * (gradient + weight_decay * param)
        average = state["ax"] + state["mu"] * (param + move - state["ax"])
        eta = (lr / (1.0 + lambd * lr * step) ** alpha).astype(param.dtype)
        return move, {"ax": average, "eta": eta, "mu": 1.0 / jnp.maximum(1.0, step - t0)}

    return _by_array(init, update)


def lbfgs(lr, history_size, tolerance_grad, tolerance_change):
    """Return one L-BFGS iteration a step on one vector, as torch.optim.LBFGS defines it; optax's needs the loss function.

    Rows of the history that are not filled yet are zero and change nothing.
    """

    def init(param):
        history = jnp.zeros((history_size, param.size), param.dtype)
        scale = jnp.ones((), param.dtype)
        vectors = {name: jnp.zeros_like(param) for name in ("move", "prev_flat_grad")}
        return {
            "step": jnp.zeros((), jnp.int32),
            "old_dirs": history,
            "old_stps": history,
            "ro": history[:, 0],
            "H_diag": scale,
            **vectors,
        }

    def update(gradient, state, param=None):
        first = state["step"] == 0
        change, move = gradient - state["prev_flat_grad"], state["move"]
        curvature = change @ move
        extended = {
            "old_dirs": jnp.concatenate([state["old_dirs"][1:], change[None]]),
            "old_stps": jnp.concatenate([state["old_stps"][1:], move[None]]),
            "ro": jnp.append(state["ro"][1:], 1.0 / curvature),
            "H_diag": curvature / (change @ change),
        }
        learned = jnp.logical_and(jnp.logical_not(first), curvature > 1e-10)
        new = {name: jnp.where(learned, value, state[name]) for name, value in extended.items()}
        direction = _two_loops(-gradient, new)
        length = lr * jnp.where(first, jnp.minimum(1.0, 1.0 / jnp.sum(jnp.abs(gradient))), 1.0)
        new = {**new, "step": state["step"] + 1, "prev_flat_grad": gradient, "move": (length * direction).astype(param.dtype)}
        moved = jnp.where(gradient @ direction > -tolerance_change, 0.0, new["move"])
        done = jnp.max(jnp.abs(gradient)) <= tolerance_grad
        return jnp.where(done, 0.0, moved), jax.tree.map(lambda old, fresh: jnp.where(done, old, fresh), state, new)

    return optax.GradientTransformation(init, update)


@jax.jit
def _two_loops(vector, state):
    rows = (state["old_dirs"], state["old_stps"], state["ro"])

    def backward(vector, row):
        change, move, inverse_curvature = row
        weight = inverse_curvature * (move @ vector)
        return vector - weight * change, weight

    def forward(vector, row):
        (change, move, inverse_curvature), weight = row
        return vector + (weight - inverse_curvature * (change @ vector)) * move, None

    vector, weights = jax.lax.scan(backward, vector, rows, reverse=True)
    return jax.lax.scan(forward, state["H_diag"] * vector, (rows, weights))[0]


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
    """Return ``value`` if it is an optax gradient transformation, else ``None``."""
    return value if isinstance(value, optax.GradientTransformation) else None


def adopt_schedule(value):
    """Return the name of ``value`` if it is a learning-rate schedule of the array library, else ``None``; optax's are functions
    that its transformations take themselves.
    """
    return None


def _transformation(rule, arguments, dtype=None):
    if isinstance(rule, optax.GradientTransformation):
        return rule
    arguments = {name: _fitted(value, dtype) for name, value in arguments.items()}
    flip = [optax.scale(-1.0)] if arguments.pop("maximize", False) else []
    transformation = RULES[rule](**arguments)
    return optax.chain(*flip, transformation) if flip else transformation


def _fitted(value, dtype):
    """Return a traced argument in the dtype of its parameter, which it must not promote."""
    if isinstance(value, tuple):
        return tuple(_fitted(part, dtype) for part in value)
    return value.astype(dtype) if isinstance(value, jax.Array) else value


def _vector(arrays):
    return jnp.concatenate([jnp.ravel(arrays[name]) for name in sorted(arrays)])


def _parts(vector, like):
    parts, start = {}, 0
    for name in sorted(like):
        size = jnp.size(like[name])
        parts[name] = jnp.reshape(vector[start : start + size], jnp.shape(like[name])).astype(like[name].dtype)
        start += size
    return parts


def init(rule, params, arguments):
    """Return the state of each parameter by name (of all under one name for a user's transformation)."""
    if not isinstance(rule, str):
        return {JOINT: rule.init(dict(params))}
    if rule in TOGETHER:
        return {JOINT: _transformation(rule, next(iter(arguments.values()))).init(_vector(params))}
    return {name: _transformation(rule, arguments[name], param.dtype).init(param) for name, param in params.items()}


def update(rule, gradients, state, params, arguments):
    """Return new params and state; a name absent from ``state`` begins fresh, one without gradient stays."""
    if not isinstance(rule, str) or rule in TOGETHER:
        return _update_together(rule, gradients, state, params, arguments)
    new_params, new_state = dict(params), dict(state)
    for name, gradient in gradients.items():
        transformation = _transformation(rule, arguments[name], params[name].dtype)
        own = state[name] if name in state else transformation.init(params[name])
        updates, new_state[name] = transformation.update(gradient, own, params[name])
        new_params[name] = optax.apply_updates(params[name], updates)
    return new_params, new_state


def _update_together(rule, gradients, state, params, arguments):
    gradients = {name: gradients.get(name, jnp.zeros_like(param)) for name, param in params.items()}
    if not isinstance(rule, str):
        updates, own = rule.update(gradients, state[JOINT], dict(params))
        return optax.apply_updates(dict(params), updates), {JOINT: own}
    vector = _vector(params)
    transformation = _transformation(rule, next(iter(arguments.values())), vector.dtype)
    own = state[JOINT] if state[JOINT]["prev_flat_grad"].shape == vector.shape else transformation.init(vector)
    updates, own = transformation.update(_vector(gradients), own, vector)
    return _parts(vector + updates, params), {JOINT: own}


def export(state):
    """Return the state as ``{param: {position: numpy array}}``, positions counting the leaves of optax's state."""
    return {name: {str(i): numpy.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(own))} for name, own in state.items()}


def restore(rule, exported, params, arguments):
    """Return the state that :func:`export` described, for ``params``.

    :raises InferenceError: if the entries are not those of this rule and these shapes.
    """
    state = {}
    for name, fresh in init(rule, params, arguments).items():
        if name not in exported:
            state[name] = fresh
            continue
        old, structure = jax.tree.flatten(fresh)
        new = [exported[name].get(str(i)) for i in range(len(old))]
        fits = len(exported[name]) == len(old) and all(
            b is not None and numpy.shape(a) == numpy.shape(b) for a, b in zip(old, new, strict=True)
        )
        if not fits:
            raise InferenceError(
                f"optimizer state of param {name!r} does not fit: expected {len(old)} arrays of shapes "
                f"{[numpy.shape(a) for a in old]}, received entries {sorted(exported[name])}; "
                "try the optimizer and model that saved it"
            )
        state[name] = jax.tree.unflatten(structure, [jnp.asarray(b, a.dtype) for a, b in zip(old, new, strict=True)])
    return state


def merge(state, more):
    """Return ``state`` with the parameters of ``more``, a state of others."""
    return {**state, **more}


def assign(params, values):
    """Return the new values of ``params``; arrays of this library are not moved in place."""
    return dict(values)
