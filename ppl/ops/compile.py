"""Compilation of pure functions of arrays.

A compiled function may not branch on array values nor draw random numbers without a key; everything that changes from
call to call is an argument.
"""

from ppl.ops.dispatch import dispatched


@dispatched("compile")
def compile(fn, *example, horizon=None, beside=None):
    """Return a faster ``fn`` with the same signature (trees of arrays in, tree of arrays out).

    :param example: arguments of the shapes and dtypes to come; a call with others compiles anew.
    :param horizon: about how many calls will follow, or ``None``; a backend whose compiler is slow compiles only when
        the calls repay it.
    :param beside: a compiled function that is called in turns with this one: where its calls repay the compiler's start, this one
        has only its own share to repay.

    jax: ``jit``. torch: the ``make_fx`` graph, then ``torch.compile``. numpy: the recorded calls replayed. A function that cannot
    be compiled runs as it is, with one warning that names the reason.

    >>> from ppl import ops
    >>> cube = ops.compile.compile(lambda x: x**3, ops.array(2.0))
    >>> float(cube(ops.array(3.0)))
    27.0
    """


@dispatched("compile")
def differentiable(fn):
    """Return ``fn`` compiled as by :func:`compile`, such that derivatives pass through the compiled function.

    On torch ``backward`` reaches the arguments that require gradients, through a recorded program of their gradient. A function
    that draws random numbers uses the same draws for value and gradient; on torch it runs uncompiled if its result is no scalar,
    and has no second derivatives by ``backward`` if it is one. On jax each call of such a function takes a key of the stream.

    >>> from ppl import ops
    >>> cube = ops.compile.differentiable(lambda x: x**3)
    >>> float(cube(ops.array(2.0))), float(ops.autodiff.grad(cube)(ops.array(2.0)))
    (8.0, 12.0)
    """
