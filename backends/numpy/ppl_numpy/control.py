"""Control flow in plain Python: values are concrete here."""

from ppl import tree
from ppl.errors import PplError
from ppl_numpy import ops


def while_loop(cond_fn, body_fn, state):
    while cond_fn(state):
        state = body_fn(state)
    return state


def fori_loop(lower, upper, body_fn, state):
    for i in range(lower, upper):
        state = body_fn(i, state)
    return state


def scan(fn, init, xs, length=None):
    sizes = {ops.shape(leaf)[0] for leaf in tree.leaves(xs)} | ({length} if length is not None else set())
    if len(sizes) != 1:
        raise PplError(f"scan needs one length, got {sorted(sizes) or 'none'}; try length=, or leaves of equal leading size")
    carry, outputs = init, []
    for i in range(sizes.pop()):
        carry, output = fn(carry, tree.map(lambda leaf, i=i: leaf[i], xs))
        outputs.append(output)
    if not outputs:
        raise PplError("scan of length zero: the shape of the outputs is unknown on numpy")
    return carry, tree.map(lambda *rows: ops.stack(list(rows)), *outputs)


def cond(pred, true_fn, false_fn, *operands):
    return true_fn(*operands) if pred else false_fn(*operands)
