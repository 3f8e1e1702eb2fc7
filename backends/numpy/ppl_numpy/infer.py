"""Drivers of inference: repeated steps as a Python loop, structure found by running."""

import warnings

import numpy

from ppl import tree
from ppl.errors import PplWarning
from ppl_numpy import batching, compile, random

COMPILES_AHEAD = False
"""Whether a loop can be compiled in a thread beside other work."""


def loop(step, quick=True):
    """Return ``run(state, num_steps, *arguments) -> (state, outputs)`` that repeats ``step(state, *arguments)``.

    The outputs of the steps are numpy trees stacked along a new first axis.

    :param quick: has no effect here; see the backend of jax.
    """

    def run(state, num_steps, *arguments):
        outputs = []
        with numpy.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            for _ in range(num_steps):
                state, output = step(state, *arguments)
                outputs.append(output)
        return state, tree.map(lambda *leaves: numpy.stack([numpy.asarray(leaf) for leaf in leaves]), *outputs)

    return run


def merged(fn):
    """Return ``fn``: nothing is compiled."""
    return fn


def evaluate_shapes(fn, *arguments):
    """Run ``fn`` for its side effects on Python objects; here values are concrete."""
    with numpy.errstate(all="ignore"):
        fn(*arguments)


def quiet():
    """Return a context in which overflow and invalid operations give infinities and NaN without a warning."""
    return numpy.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")


def over_chains(fn, example, *arguments):
    """Return ``fn``, which takes one vector first, over the rows of a matrix: ``(rows, *arguments) -> stacked results``.

    :param example: rows to try it on, with ``arguments``: a function that cannot be recorded is looped, with a warning if there
        are several.
    """
    mapped = batching.OverRows(fn)
    reason = mapped.reason(example, *arguments) if len(example) > 1 else None
    if reason:
        warnings.warn(f"chains run one after another because numpy cannot batch this model: {reason}", PplWarning, stacklevel=2)
    return mapped


def map_rows(fn, rows, *arguments):
    """Return the results of ``fn(row, *arguments)`` for each row of a host matrix, as a tree of stacked numpy arrays."""
    with quiet():
        compiled = compile.compile(fn, rows[0], *arguments)
        results = [compiled(row, *arguments) for row in rows]
    return tree.map(lambda *leaves: numpy.stack(leaves), *results)


def entropy(key):
    """Return an int drawn from ``key``, or from the current scope's generator for ``None``."""
    return int(random.randint(key, (), 0, 2**62))


def sampling_key(seed):
    """Return a key for long chains from an int."""
    return random.key(seed)
