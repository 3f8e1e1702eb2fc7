"""Derivatives by jax's transformations."""

import jax
import jax.numpy as jnp

from ppl_jax import tracing


def _like(value, reference):
    return jax.tree.map(lambda leaf, other: jnp.asarray(leaf, dtype=jnp.result_type(other)), value, reference)


def value_and_grad(fn, argnums=0, has_aux=False):
    """Return a function giving value and gradient."""
    return jax.value_and_grad(fn, argnums=argnums, has_aux=has_aux)


def grad(fn, argnums=0):
    """Return a function giving the gradient."""
    return jax.grad(fn, argnums=argnums)


def jvp(fn, primals, tangents):
    """Return the value and the directional derivative."""
    primals = jax.tree.map(jnp.asarray, tuple(primals))
    return jax.jvp(fn, primals, _like(tuple(tangents), primals))


def vjp(fn, *primals):
    """Return the value and the pullback."""
    value, pullback = jax.vjp(fn, *primals)
    return value, lambda cotangent: pullback(_like(cotangent, value))


def jacobian(fn):
    """Return a function giving the Jacobian."""
    return jax.jacrev(fn)


def hessian(fn):
    """Return a function giving the Hessian."""
    return jax.hessian(fn)


def stop_gradient(x):
    """Return ``x`` as a constant of differentiation."""
    return jax.lax.stop_gradient(x)


def vmap(fn, in_axes=0, out_axes=0):
    """Map ``fn`` over a leading axis."""
    return jax.vmap(fn, in_axes=in_axes, out_axes=out_axes)


def is_tracing():
    """Return whether values are abstract here; under ``grad`` alone they are not."""
    return tracing.is_tracing()
