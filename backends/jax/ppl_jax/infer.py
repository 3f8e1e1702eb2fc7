"""Drivers of inference: repeated steps in one compiled loop, structure found without running anything."""

import functools
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy
from jax import lax

from ppl_jax import random

ROWS_A_BLOCK = 4096
_QUICK_OPTIONS = {"xla_cpu_use_fusion_emitters": False}


def loop(step, capacity=256):
    """Return ``run(state, num_steps, *arguments) -> (state, outputs)`` that repeats ``step(state, *arguments)``.

    One program is compiled for each set of shapes: the number of steps is traced, outputs fill a buffer of ``capacity`` rows
    that is moved to the host when full. The outputs are numpy trees stacked along a new first axis.
    """

    def chunk(state, num_steps, arguments):
        rows = jax.eval_shape(step, state, *arguments)[1]
        buffer = jax.tree.map(lambda row: jnp.zeros((capacity, *row.shape), row.dtype), rows)

        def body(index, carry):
            state, buffer = carry
            state, output = step(state, *arguments)
            # As an update of a slice: a scatter, which indexing gives, compiles and runs slower.
            return state, jax.tree.map(lambda rows, row: lax.dynamic_update_index_in_dim(rows, row, index, 0), buffer, output)

        return lax.fori_loop(0, num_steps, body, (state, buffer))

    chunk = _quick_jit(chunk)

    def run(state, num_steps, *arguments):
        pieces = []
        for start in range(0, num_steps, capacity):
            count = min(capacity, num_steps - start)
            state, buffer = chunk(state, count, arguments)
            pieces.append(jax.tree.map(lambda rows, count=count: numpy.asarray(rows)[:count], buffer))
        return state, jax.tree.map(lambda *parts: numpy.concatenate(parts) if len(parts) > 1 else parts[0], *pieces)

    run.compiled = chunk
    return run


def _quick_jit(fn):
    """Return ``jax.jit(fn)``, on a CPU with the compiler's older way to emit fused loops.

    Measured on the loop of NUTS: 0.6 of the time to compile, and programs as fast. A compiler that does not know the option
    compiles in its own way. Neither derivatives nor other compiled functions may pass through the result: jax takes options
    at the outermost level alone.
    """
    if jax.default_backend() != "cpu":
        return jax.jit(fn)
    usual, chosen = jax.jit(fn), [jax.jit(fn, compiler_options=_QUICK_OPTIONS)]

    @functools.wraps(fn)
    def call(*args, **kwargs):
        try:
            return chosen[-1](*args, **kwargs)
        except jax.errors.JaxRuntimeError as error:
            if chosen[-1] is usual or "No such compile option" not in str(error):
                raise
            chosen.append(usual)
            return usual(*args, **kwargs)

    call.num_programs = lambda: chosen[-1]._cache_size()
    return call


def evaluate_shapes(fn, *arguments):
    """Run ``fn`` for its side effects on Python objects; values are abstract, nothing is computed."""

    def effects_only(*arguments):
        fn(*arguments)
        return ()

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
        count, results = len(block), mapped(jnp.asarray(padded), *arguments)
        blocks.append(jax.tree.map(lambda leaf, count=count: numpy.asarray(leaf)[:count], results))
    return jax.tree.map(lambda *leaves: numpy.concatenate(leaves), *blocks)


def entropy(key):
    """Return an int that depends on ``key``, or on the next key of the current stream for ``None``."""
    words = numpy.asarray(jax.random.key_data(random.next_key() if key is None else random.key(key))).ravel()
    return sum(int(word) << 32 * place for place, word in enumerate(words))


def sampling_key(seed):
    """Return a key for long chains from an int: of the "rbg" kind, which compiles and draws faster than the default kind."""
    words = numpy.random.default_rng(seed).integers(0, 2**32, 4, dtype=numpy.uint32)
    return jax.random.wrap_key_data(jnp.asarray(words), impl="rbg")
