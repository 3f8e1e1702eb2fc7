"""Control flow that compiled code can hold. On jax these are ``lax``'s when a value is traced; elsewhere plain Python, so Python
ints and bools in the state stay what they are.
"""

from ppl.ops.dispatch import dispatched


@dispatched("control")
def while_loop(cond_fn, body_fn, state):
    """Return the first state for which ``cond_fn(state)`` is false, repeating ``state = body_fn(state)``."""


@dispatched("control")
def fori_loop(lower, upper, body_fn, state):
    """Return ``state`` after ``state = body_fn(i, state)`` for ``i`` in ``range(lower, upper)``."""


@dispatched("control")
def scan(fn, init, xs, length=None):
    """Return ``(carry, ys)``: ``carry, y = fn(carry, x)`` over the leading axis of the tree ``xs``, outputs stacked."""


@dispatched("control")
def cond(pred, true_fn, false_fn, *operands):
    """Return ``true_fn(*operands)`` if ``pred`` else ``false_fn(*operands)``; both give trees of equal shapes."""
