"""Control flow that compiled code can hold. On jax these are ``lax``'s when a value is traced; elsewhere plain Python, so Python
ints and bools in the state stay what they are.
"""

from ppl.ops.dispatch import dispatched


@dispatched("control")
def while_loop(cond_fn, body_fn, state):
    """Return the first state for which ``cond_fn(state)`` is false, repeating ``state = body_fn(state)``.

    >>> from ppl import ops
    >>> ops.control.while_loop(lambda state: state < 100, lambda state: 2 * state, 3)
    192
    """


@dispatched("control")
def fori_loop(lower, upper, body_fn, state):
    """Return ``state`` after ``state = body_fn(i, state)`` for ``i`` in ``range(lower, upper)``.

    >>> from ppl import ops
    >>> ops.control.fori_loop(0, 4, lambda i, total: total + i, 0)
    6
    """


@dispatched("control")
def scan(fn, init, xs, length=None):
    """Return ``(carry, ys)``: ``carry, y = fn(carry, x)`` over the leading axis of the tree ``xs``, outputs stacked.

    >>> from ppl import ops
    >>> total, sums = ops.control.scan(lambda carry, x: (carry + x, carry + x), ops.array(0.0), ops.array([1.0, 2.0, 3.0]))
    >>> float(total), [float(value) for value in sums]
    (6.0, [1.0, 3.0, 6.0])
    """


@dispatched("control")
def cond(pred, true_fn, false_fn, *operands):
    """Return ``true_fn(*operands)`` if ``pred`` else ``false_fn(*operands)``; both give trees of equal shapes.

    >>> from ppl import ops
    >>> float(ops.control.cond(True, lambda x: x + 1.0, lambda x: x - 1.0, ops.array(2.0)))
    3.0
    """
