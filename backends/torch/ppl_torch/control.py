"""Control flow as plain Python (see the declarations in :mod:`ppl.ops.control`).

A recording unrolls these loops, which it can do as long as their length and branches do not depend on array values.
"""

import torch

from ppl import tree
from ppl.errors import ShapeError
from ppl_torch.convert import tensor


def while_loop(cond_fn, body_fn, state):
    while cond_fn(state):
        state = body_fn(state)
    return state


def fori_loop(lower, upper, body_fn, state):
    for i in range(int(lower), int(upper)):
        state = body_fn(i, state)
    return state


def scan(fn, init, xs, length=None):
    columns = [tensor(column) for column in tree.leaves(xs)]
    sizes = {column.shape[0] for column in columns} | ({length} if length is not None else set())
    if len(sizes) != 1:
        raise ShapeError(f"scan needs one length: the leading axes of xs and length give {sorted(sizes)}; expected them equal")
    size = sizes.pop()
    carry, outputs = init, []
    for i in range(size):
        carry, output = fn(carry, tree.unflatten(xs, [column[i] for column in columns]))
        outputs.append(output)
    if size == 0:
        # Shapes of the outputs come from one step on zeros, whose result is dropped.
        _, output = fn(init, tree.unflatten(xs, [column.new_zeros(column.shape[1:]) for column in columns]))
        return init, tree.map(lambda leaf: tensor(leaf).unsqueeze(0)[:0], output)
    return carry, tree.map(lambda *rows: torch.stack([tensor(row) for row in rows]), *outputs)


def cond(pred, true_fn, false_fn, *operands):
    return true_fn(*operands) if pred else false_fn(*operands)
