"""Drivers of inference: repeated steps as a Python loop, structure found by running."""

import warnings
from contextlib import contextmanager

import numpy
import torch

from ppl import tree
from ppl.errors import PplWarning
from ppl_torch import autodiff, linalg, merging, random
from ppl_torch.compile import LARGEST_FOR_ONE_THREAD

ROWS_A_BLOCK = 1024
# From this size on, outputs of a step on the processor are copied into one array as they come.
SMALLEST_TO_COPY = 1024


def _host(leaves):
    if isinstance(leaves[0], torch.Tensor):
        return torch.stack([leaf.detach() for leaf in leaves]).cpu().numpy()
    return numpy.asarray(leaves)


def _is_copied(leaf):
    return isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" and leaf.numel() >= SMALLEST_TO_COPY


COMPILES_AHEAD = False
"""Whether a loop can be compiled in a thread beside other work."""


def loop(step, quick=True):
    """Return ``run(state, num_steps, *arguments) -> (state, outputs)`` that repeats ``step(state, *arguments)``.

    The outputs of the steps are numpy trees stacked along a new first axis.

    :param quick: has no effect here; see the backend of jax.
    """

    def run(state, num_steps, *arguments):
        rows, copies = [], {}
        with threads_that_pay((state, arguments)):
            for index in range(num_steps):
                state, output = step(state, *arguments)
                leaves = tree.leaves(output)
                if index == 0:
                    copies = {
                        place: torch.empty((num_steps, *leaf.shape), dtype=leaf.dtype)
                        for place, leaf in enumerate(leaves)
                        if _is_copied(leaf)
                    }
                # Hundreds of large outputs, each kept by itself, would leave the memory between them in pieces.
                for place, copy in copies.items():
                    copy[index] = leaves[place].detach()
                    leaves[place] = None
                rows.append(leaves)
        columns = enumerate(zip(*rows, strict=True))
        return state, tree.unflatten(
            output, [copies[place].numpy() if place in copies else _host(column) for place, column in columns]
        )

    return run


@contextmanager
def threads_that_pay(arrays):
    """Let torch use one thread in a block whose arrays are small.

    Threads that wait for work keep their cores busy: eight schools took twice the processor time and no less of the clock, and
    where other programs used the machine, ten times the clock.
    """
    before = torch.get_num_threads()
    tensors = () if before == 1 else (leaf for leaf in tree.leaves(arrays) if isinstance(leaf, torch.Tensor))
    if before == 1 or any(tensor.numel() > LARGEST_FOR_ONE_THREAD for tensor in tensors):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def merged(fn):
    """Return ``fn`` such that, where it is recorded, operations of the same kind on the same tensors become one."""
    return merging.merged(fn)


def evaluate_shapes(fn, *arguments):
    """Run ``fn`` for its side effects on Python objects; here values are concrete."""
    with torch.no_grad(), quiet():
        fn(*arguments)


@contextmanager
def quiet():
    """Return a context in which invalid operations give infinities and NaN without a warning or an error."""
    token = linalg.lenient.set(True)
    try:
        yield
    finally:
        linalg.lenient.reset(token)


def over_chains(fn, example, *arguments):
    """Return ``fn``, which takes one vector first, over the rows of a matrix: ``(rows, *arguments) -> stacked results``.

    :param example: rows to try it on, with ``arguments``: a function that ``torch.func.vmap`` cannot batch is looped, with a
        warning.
    """
    mapped = autodiff.vmap(fn, in_axes=(0, *(None for _ in arguments)))

    def looped(rows, *arguments):
        results = [fn(row, *arguments) for row in rows]
        return tree.map(lambda *leaves: torch.stack(leaves), *results)

    try:
        mapped(example, *arguments)
    except RuntimeError as error:
        looped(example, *arguments)
        reason = str(error).split("\n")[0]
        warnings.warn(f"chains run one after another because torch cannot batch this model: {reason}", PplWarning, stacklevel=2)
        return looped
    return mapped


def map_rows(fn, rows, *arguments):
    """Return the results of ``fn(row, *arguments)`` for each row of a host matrix, as a tree of stacked numpy arrays."""
    rows = torch.as_tensor(rows, dtype=torch.get_default_dtype(), device=torch.get_default_device())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", PplWarning)
        mapped = over_chains(fn, rows[:1], *arguments)
        blocks = [mapped(block, *arguments) for block in rows.split(ROWS_A_BLOCK)]
    return tree.map(lambda *leaves: torch.cat(leaves).cpu().numpy(), *blocks)


def entropy(key):
    """Return an int drawn from ``key``, or from the global generator for ``None``."""
    device = None if key is None else key.device
    return int(torch.randint(2**62, (), generator=key, device=device))


def sampling_key(seed):
    """Return a key for long chains from an int."""
    return random.key(seed % 2**63)
