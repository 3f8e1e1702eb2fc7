"""Drivers of inference: repeated steps in one compiled loop, structure found without running anything."""

from contextlib import contextmanager, nullcontext

import jax
import jax.numpy as jnp
import numpy
from jax import lax

from ppl.errors import ConcreteValueError
from ppl.user_code import failing_line
from ppl_jax import columns, jit, merging, pcg, random

ROWS_A_BLOCK = 4096

COMPILES_AHEAD = True
"""Whether a loop can be compiled in a thread beside other work, by its ``prepare``."""


# What Python may ask of an array whose value is not known; the first is a kind of the last.
_ASKED = {
    jax.errors.TracerBoolConversionError: "a Python bool",
    jax.errors.TracerIntegerConversionError: "a Python int",
    jax.errors.TracerArrayConversionError: "a numpy array",
    jax.errors.NonConcreteBooleanIndexError: "a mask that picks elements",
    jax.errors.ConcretizationTypeError: "a Python number",
}


@contextmanager
def _without_values():
    """Say of a function that is traced in a block, and needs the value of an array, where it does and what to write instead."""
    try:
        yield
    except tuple(_ASKED) as error:
        kind = next(kind for known, kind in _ASKED.items() if isinstance(error, known))
        line = failing_line(error)
        told = ConcreteValueError(
            f"{line or 'the model'} uses the value of an array as {kind}, but jax compiles the model before it knows any; "
            "expected operations on arrays alone; try ops.where for a choice, ops.control.cond for a branch, ops.array in the "
            "place of float() and numpy, or the backends numpy and torch, which run branches uncompiled"
        )
        # The way through the model stays with the error, for those who look for the site.
        raise told.with_traceback(error.__traceback__) from error


def loop(step, quick=True, capacity=256):
    """Return ``run(state, num_steps, *arguments) -> (state, outputs)`` that repeats ``step(state, *arguments)``.

    One program is compiled for each set of shapes: the number of steps is traced, outputs fill a buffer of ``capacity`` rows
    that is moved to the host when full. The outputs are numpy trees stacked along a new first axis.

    :param quick: whether time to compile matters more than the last part of speed, as it does for a step of many small
        operations; a step of few large ones may take half again as long by it.
    """
    # Traced once, though it is looked at twice.
    step = jax.jit(step, inline=True)

    def chunk(state, num_steps, arguments):
        rows = jax.eval_shape(step, state, *arguments)[1]
        advance, fixed = (step, arguments) if quick else columns.by_columns(step, state, arguments)
        buffer = jax.tree.map(lambda row: jnp.zeros((capacity, *row.shape), row.dtype), rows)

        def body(index, carry):
            state, buffer = carry
            state, output = advance(state, *fixed)
            # As an update of a slice: a scatter, which indexing gives, compiles and runs slower.
            return state, jax.tree.map(lambda rows, row: lax.dynamic_update_index_in_dim(rows, row, index, 0), buffer, output)

        return lax.fori_loop(0, num_steps, body, (state, buffer))

    chunk = jit.jit_on_cpu(chunk, jit.QUICK if quick else None)

    def run(state, num_steps, *arguments):
        pieces = []
        for start in range(0, num_steps, capacity):
            count = min(capacity, num_steps - start)
            with _without_values():
                state, buffer = chunk(state, count, arguments)
            pieces.append(jax.tree.map(lambda rows, count=count: numpy.asarray(rows)[:count], buffer))
        return state, jax.tree.map(lambda *parts: numpy.concatenate(parts) if len(parts) > 1 else parts[0], *pieces)

    def prepare(make):
        """Begin to compile the loop for what ``make()`` returns: a state and a tuple of arguments; it is only traced."""

        def arguments():
            state, rest = make()
            return state, 1, tuple(rest)

        chunk.prepare(arguments)

    run.compiled, run.prepare = chunk, prepare
    return run


def merged(fn):
    """Return ``fn`` such that, where it is traced, operations of the same kind on the same values become one."""
    return merging.merged(fn)


def evaluate_shapes(fn, *arguments):
    """Run ``fn`` for its side effects on Python objects; values are abstract, nothing is computed."""

    def effects_only(*arguments):
        fn(*arguments)
        return ()

    with _without_values():
        jax.eval_shape(effects_only, *arguments)


def quiet():
    """Return a context in which overflow gives infinities without a warning: jax never warns."""
    return nullcontext()


def over_chains(fn, example, *arguments):
    """Return ``fn``, which takes one vector first, over the rows of a matrix: ``(rows, *arguments) -> stacked results``.

    :param example: rows to try it on, with ``arguments``.
    """
    return jax.vmap(fn, in_axes=(0, *(None for _ in arguments)))


def map_rows(fn, rows, *arguments):
    """Return the results of ``fn(row, *arguments)`` for each row of a host matrix, as a tree of stacked numpy arrays."""
    size = min(ROWS_A_BLOCK, len(rows))
    mapped = jax.jit(over_chains(fn, rows, *arguments))
    blocks = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        padded = numpy.concatenate([block, numpy.repeat(block[-1:], size - len(block), axis=0)])
        with _without_values():
            count, results = len(block), mapped(jnp.asarray(padded), *arguments)
        blocks.append(jax.tree.map(lambda leaf, count=count: numpy.asarray(leaf)[:count], results))
    return jax.tree.map(lambda *leaves: numpy.concatenate(leaves), *blocks)


def entropy(key):
    """Return an int that depends on ``key``, or on the next key of the current stream for ``None``."""
    words = numpy.asarray(jax.random.key_data(random.next_key() if key is None else random.key(key))).ravel()
    return sum(int(word) << 32 * place for place, word in enumerate(words))


def sampling_key(seed):
    """Return a key for long chains from an int: of the light kind of :mod:`ppl_jax.pcg`."""
    words = numpy.random.default_rng(seed).integers(0, 2**32, 4, dtype=numpy.uint32)
    return jax.random.wrap_key_data(jax.device_put(words), impl=pcg.IMPLEMENTATION)
