"""Derivatives. Functions are pure; the differentiated argument is an array or a tree (dict, list, tuple) of arrays.
Results are detached: nothing the caller does later extends their graph, except where calls nest.
"""

from ppl.ops.dispatch import dispatched


@dispatched("autodiff")
def value_and_grad(fn, argnums=0, has_aux=False):
    """Return a function giving ``(value, gradient)`` of a scalar ``fn``, or ``((value, aux), gradient)``."""


@dispatched("autodiff")
def grad(fn, argnums=0):
    """Return a function giving the gradient of a scalar ``fn``."""


@dispatched("autodiff")
def jvp(fn, primals, tangents):
    """Return ``(fn(*primals), directional derivative along tangents)``."""


@dispatched("autodiff")
def vjp(fn, *primals):
    """Return ``(fn(*primals), pullback)`` where ``pullback(cotangent)`` is a tuple of gradients."""


@dispatched("autodiff")
def jacobian(fn):
    """Return a function giving the Jacobian of an array-valued ``fn`` of one array, shape ``out.shape + in.shape``."""


@dispatched("autodiff")
def hessian(fn):
    """Return a function giving the Hessian of a scalar ``fn`` of one array, shape ``in.shape + in.shape``."""


@dispatched("autodiff")
def stop_gradient(x):
    """Return ``x`` as a constant of differentiation (a tree is mapped)."""


@dispatched("autodiff")
def vmap(fn, in_axes=0, out_axes=0):
    """Map ``fn`` over a leading axis of its arguments; ``in_axes`` is an int, ``None`` or a tuple of them.

    Native on jax and torch (draws differ along the axis); on numpy a loop that stacks the results."""


@dispatched("autodiff")
def is_tracing():
    """Return whether the caller runs inside a trace whose values are abstract (``jit``, ``vmap``, ``make_fx``, a recording)."""
