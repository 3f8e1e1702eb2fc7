"""Derivatives. Functions are pure; the differentiated argument is an array or a tree (dict, list, tuple) of arrays.
Results are detached: nothing the caller does later extends their graph, except where calls nest.
"""

from ppl.ops.dispatch import dispatched


@dispatched("autodiff")
def value_and_grad(fn, argnums=0, has_aux=False):
    """Return a function giving ``(value, gradient)`` of a scalar ``fn``, or ``((value, aux), gradient)``.

    >>> from ppl import ops
    >>> value, gradient = ops.autodiff.value_and_grad(lambda x: x**3)(ops.array(2.0))
    >>> float(value), float(gradient)
    (8.0, 12.0)
    """


@dispatched("autodiff")
def grad(fn, argnums=0):
    """Return a function giving the gradient of a scalar ``fn``.

    >>> from ppl import ops
    >>> float(ops.autodiff.grad(lambda x: x**3)(ops.array(2.0)))
    12.0
    """


@dispatched("autodiff")
def jvp(fn, primals, tangents):
    """Return ``(fn(*primals), directional derivative along tangents)``.

    >>> from ppl import ops
    >>> value, slope = ops.autodiff.jvp(lambda x: x**3, (ops.array(2.0),), (ops.array(0.5),))
    >>> float(value), float(slope)
    (8.0, 6.0)
    """


@dispatched("autodiff")
def vjp(fn, *primals):
    """Return ``(fn(*primals), pullback)`` where ``pullback(cotangent)`` is a tuple of gradients.

    >>> from ppl import ops
    >>> value, pullback = ops.autodiff.vjp(lambda x, y: x * y, ops.array(2.0), ops.array(3.0))
    >>> [float(gradient) for gradient in pullback(ops.array(1.0))]
    [3.0, 2.0]
    """


@dispatched("autodiff")
def jacobian(fn):
    """Return a function giving the Jacobian of an array-valued ``fn`` of one array, shape ``out.shape + in.shape``.

    >>> from ppl import ops
    >>> ops.to_numpy(ops.autodiff.jacobian(lambda x: x * x)(ops.array([1.0, 2.0]))).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """


@dispatched("autodiff")
def hessian(fn):
    """Return a function giving the Hessian of a scalar ``fn`` of one array, shape ``in.shape + in.shape``.

    >>> from ppl import ops
    >>> ops.to_numpy(ops.autodiff.hessian(lambda x: x[0] * x[1])(ops.array([1.0, 2.0]))).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """


@dispatched("autodiff")
def stop_gradient(x):
    """Return ``x`` as a constant of differentiation (a tree is mapped).

    >>> from ppl import ops
    >>> float(ops.autodiff.grad(lambda x: x * ops.autodiff.stop_gradient(x))(ops.array(2.0)))
    2.0
    """


@dispatched("autodiff")
def vmap(fn, in_axes=0, out_axes=0):
    """Map ``fn`` over a leading axis of its arguments; ``in_axes`` is an int, ``None`` or a tuple of them.

    Native on jax and torch (draws differ along the axis); on numpy a loop that stacks the results.

    >>> from ppl import ops
    >>> [float(x) for x in ops.autodiff.vmap(lambda x: x * x)(ops.array([1.0, 2.0, 3.0]))]
    [1.0, 4.0, 9.0]
    """


@dispatched("autodiff")
def is_tracing():
    """Return whether the caller runs inside a trace whose values are abstract (``jit``, ``vmap``, ``make_fx``, a recording)."""
