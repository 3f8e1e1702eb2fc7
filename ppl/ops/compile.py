"""Compilation of pure functions of arrays.

A compiled function may not branch on array values nor draw random numbers without a key; everything that changes from
call to call is an argument.
"""

from ppl.ops.dispatch import dispatched


@dispatched("compile")
def compile(fn, *example, horizon=None):
    """Return a faster ``fn`` with the same signature (trees of arrays in, tree of arrays out).

    :param example: arguments of the shapes and dtypes to come; a call with others compiles anew.
    :param horizon: about how many calls will follow, or ``None``; a backend whose compiler is slow compiles only when
        the calls repay it.

    jax: ``jit``. torch: the ``make_fx`` graph, then ``torch.compile``. numpy: the recorded calls replayed. A function that cannot
    be compiled runs as it is, with one warning that names the reason.

    >>> from ppl import ops
    >>> cube = ops.compile.compile(lambda x: x**3, ops.array(2.0))
    >>> float(cube(ops.array(3.0)))
    27.0
    """
