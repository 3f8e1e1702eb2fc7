"""``optax`` behind the functional face ``init``/``update``: pure, so that a whole fit compiles.

The built-in rules act on one parameter at a time; a user's own gradient transformation acts on all of them at once,
because it may couple them (clipping by the global norm).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy
import optax

from ppl.errors import InferenceError

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


def _penalty(weight_decay):
    return [optax.add_decayed_weights(weight_decay)] if weight_decay else []


def adam(lr, betas, eps, weight_decay, amsgrad):
    """Return Adam with an L2 penalty, as torch.optim.Adam defines it."""
    moments = _amsgrad(*betas, eps) if amsgrad else optax.scale_by_adam(*betas, eps=eps)
    return optax.chain(*_penalty(weight_decay), moments, optax.scale(-lr))


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


def sgd(lr, momentum, dampening, weight_decay, nesterov):
    """Return gradient descent with momentum, as torch.optim.SGD defines it."""
    velocity = []
    if momentum:
        velocity = [_damped(momentum, dampening)] if dampening else [optax.trace(momentum, nesterov)]
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


RULES = {"adam": adam, "sgd": sgd}


def adopt(value):
    """Return ``value`` if it is an optax gradient transformation, else ``None``."""
    return value if isinstance(value, optax.GradientTransformation) else None


def _transformation(rule, arguments):
    if isinstance(rule, optax.GradientTransformation):
        return rule
    arguments = dict(arguments)
    flip = [optax.scale(-1.0)] if arguments.pop("maximize", False) else []
    transformation = RULES[rule](**arguments) if isinstance(rule, str) else rule(**arguments)
    return optax.chain(*flip, transformation) if flip else transformation


def init(rule, params, arguments):
    """Return the state of each parameter by name (of all under one name for a user's transformation)."""
    if not isinstance(rule, str):
        return {JOINT: _transformation(rule, {}).init(dict(params))}
    return {name: _transformation(rule, arguments[name]).init(param) for name, param in params.items()}


def update(rule, gradients, state, params, arguments):
    """Return new params and state; a name absent from ``state`` begins fresh, one without gradient stays."""
    if not isinstance(rule, str):
        gradients = {name: gradients.get(name, jnp.zeros_like(param)) for name, param in params.items()}
        updates, own = _transformation(rule, {}).update(gradients, state[JOINT], dict(params))
        return optax.apply_updates(dict(params), updates), {JOINT: own}
    new_params, new_state = dict(params), dict(state)
    for name, gradient in gradients.items():
        transformation = _transformation(rule, arguments[name])
        own = state[name] if name in state else transformation.init(params[name])
        updates, new_state[name] = transformation.update(gradient, own, params[name])
        new_params[name] = optax.apply_updates(params[name], updates)
    return new_params, new_state


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
