"""Control flow by ``jax.lax``.

Loops whose state holds an array use ``lax`` even outside a trace, so that a loop means the same eagerly and compiled: the
state keeps its shapes and dtypes. A loop over Python values alone, and a ``cond`` whose predicate is known, are plain Python.
"""

import jax

from ppl_jax import jit, tracing

FEW_STEPS = 2000
"""A loop of so many steps that is outside of compiled code, where it is compiled for one call, is not worth to be optimized."""


def _holds_array(*trees):
    return any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(trees))


def while_loop(cond_fn, body_fn, state):
    """Repeat ``body_fn`` while ``cond_fn`` holds; from the first array on, in the state or under a trace, ``lax`` goes on."""
    while not _holds_array(state):
        unfinished = cond_fn(state)
        if isinstance(unfinished, jax.core.Tracer):
            break
        if not unfinished:
            return state
        state = body_fn(state)
    return jax.lax.while_loop(cond_fn, body_fn, state)


def fori_loop(lower, upper, body_fn, state):
    """Repeat ``body_fn`` for each index; from the first array on, ``lax`` goes on."""
    if _holds_array(lower, upper):
        return jax.lax.fori_loop(lower, upper, body_fn, state)
    for i in range(lower, upper):
        if _holds_array(state):
            return jax.lax.fori_loop(i, upper, body_fn, state)
        state = body_fn(i, state)
    return state


def scan(fn, init, xs, length=None):
    """Carry a state along the leading axis of ``xs``."""
    steps = length if length is not None else next((len(leaf) for leaf in jax.tree.leaves(xs)), FEW_STEPS + 1)
    if steps > FEW_STEPS or tracing.is_tracing():
        return jax.lax.scan(fn, init, xs, length=length)
    return jit.jit_on_cpu(lambda init, xs: jax.lax.scan(fn, init, xs, length=length), jit.UNOPTIMIZED)(init, xs)


def cond(pred, true_fn, false_fn, *operands):
    """Choose one of two functions."""
    if isinstance(pred, jax.core.Tracer):
        return jax.lax.cond(pred, true_fn, false_fn, *operands)
    return true_fn(*operands) if pred else false_fn(*operands)
