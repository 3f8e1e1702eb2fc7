"""Random draws by ``jax.random`` with typed keys.

A draw with ``key=None`` takes the next key of the current stream (:mod:`ppl_jax.streams`). A stream made outside a trace
refuses to serve inside one: the compiled code would repeat the same numbers at each call. A stream made inside a trace by
``scope`` serves there; the body of a ``lax`` loop needs keys of its own, since it is traced once.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ppl.errors import ShapeError
from ppl_jax import dtypes, jit, pcg, streams
from ppl_jax import poisson as _poisson
from ppl_jax.dtypes import floating, promote


def key(seed):
    """Return a typed key from an int seed, or ``seed`` if it is a key."""
    return streams.make_key(seed)


def is_key(value):
    """Return whether ``value`` is a key; legacy ``PRNGKey`` arrays count."""
    return streams.is_key(value)


def split(key, num=2):
    """Return a list of ``num`` independent keys."""
    key = _given(key)
    # One compiled call hands out a few keys fastest, but compiling thousands of outputs would take minutes.
    return list(streams.split_tuple(key, num) if num <= streams.BLOCK else jax.random.split(key, num))


def fold_in(key, data):
    """Return a key that depends on ``key`` and ``data``."""
    key = _given(key)
    if isinstance(data, str):
        return streams.fold_words(key, streams.hash_words(data))
    if isinstance(data, int):
        data = np.uint32(data & 0xFFFFFFFF)
    return streams.fold_word(key, data)


def next_key(site=None):
    """Return the next key of the current stream; :raises RandomKeyError: inside a trace."""
    return streams.current(site).next(site)


def _given(key):
    return next_key() if key is None else key


def set_rng_seed(seed):
    """Start the current stream anew from ``seed``."""
    streams.replace(streams.Stream(key(seed)))


def scope(seed):
    """Return a context manager whose draws come from ``seed``: an int, a key (traced ones too) or a state."""
    return streams.scoped(_stream_from(seed) if isinstance(seed, dict) else streams.Stream(key(seed)))


def get_state(key=None):
    """Return a key, or the current stream, as a dict of a numpy array, strings and ints."""
    if key is not None:
        return _describe(key)
    stream = streams.current()
    return {**_describe(stream.base), "count": stream.count}


def _describe(key):
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return {"impl": "", "data": np.asarray(key)}
    return {"impl": str(jax.random.key_impl(key)), "data": np.asarray(jax.random.key_data(key))}


def from_state(state):
    """Return the key that :func:`get_state` described; of a stream, its base."""
    data = jnp.asarray(np.asarray(state["data"], dtype=np.uint32))
    kind = str(state["impl"])
    if not kind:
        return data
    return jax.random.wrap_key_data(data, impl=pcg.IMPLEMENTATION if kind == pcg.NAME else kind)


def _stream_from(state):
    return streams.Stream(from_state(state), int(state.get("count", 0)))


def set_state(state):
    """Restore the current stream."""
    streams.replace(_stream_from(state))


def _dtype(dtype):
    return dtypes.default() if dtype is None else dtypes.resolve(dtype)


# Up to so many numbers a draw outside compiled code is not worth an optimized program, one for each shape.
_FEW = 400
_FEW_OF_LOOPS = 2000


def normal(key, shape, dtype=None):
    """Draw standard normals."""
    key, dtype = _given(key), _dtype(dtype)
    shape = tuple(shape)
    return _few_normals(shape, dtype)(key) if math.prod(shape) <= _FEW else jax.random.normal(key, shape, dtype)


@functools.cache
def _few_normals(shape, dtype):
    return jit.jit_on_cpu(lambda key: jax.random.normal(key, shape, dtype), jit.UNOPTIMIZED)


def uniform(key, shape, dtype=None):
    """Draw uniforms on [0, 1)."""
    return jax.random.uniform(_given(key), shape, _dtype(dtype))


def open_uniform(key, shape, dtype=None):
    """Draw uniforms on (0, 1)."""
    dtype = _dtype(dtype)
    return jax.random.uniform(_given(key), shape, dtype, minval=jnp.finfo(dtype).tiny)


def exponential(key, shape, dtype=None):
    """Draw standard exponentials."""
    return jax.random.exponential(_given(key), shape, _dtype(dtype))


def randint(key, shape, low, high):
    """Draw integers in ``[low, high)``."""
    return jax.random.randint(_given(key), shape, low, high, dtype=dtypes.resolve("int64"))


def bernoulli(key, probs, shape):
    """Draw 0.0 or 1.0."""
    probs = floating(probs)
    return jax.random.bernoulli(_given(key), probs, shape).astype(probs.dtype)


def _by_size(draw):
    """Return ``draw(key, *parameters, shape)`` compiled, without optimization for few numbers: its loops compile slowly."""

    @functools.cache
    def program(shape):
        options = jit.UNOPTIMIZED if math.prod(shape) <= _FEW_OF_LOOPS else None
        return jit.jit_on_cpu(lambda key, *parameters: draw(key, *parameters, shape), options)

    return lambda key, *parameters, shape: program(tuple(shape))(key, *parameters)


def gamma(key, concentration, shape):
    """Draw gammas of rate one; a draw below the smallest normal number is raised to it, so that its logarithm is finite."""
    return _gamma(_given(key), floating(concentration), shape=shape)


@_by_size
def _gamma(key, concentration, shape):
    draw = jax.random.gamma(key, concentration, shape, concentration.dtype)
    tiny = jnp.finfo(draw.dtype).tiny
    return jnp.where(draw < tiny, tiny, draw)


def beta(key, concentration1, concentration0, shape):
    """Draw betas, kept off 0 and 1."""
    return _beta(_given(key), *promote(concentration1, concentration0), shape=shape)


@_by_size
def _beta(key, concentration1, concentration0, shape):
    draw = jax.random.beta(key, concentration1, concentration0, shape, concentration1.dtype)
    limits = jnp.finfo(draw.dtype)
    draw = jnp.where(draw < limits.tiny, limits.tiny, draw)
    return jnp.where(draw > 1.0 - limits.epsneg, 1.0 - limits.epsneg, draw)


def dirichlet(key, concentration, shape):
    """Draw points of the simplex."""
    return _dirichlet(_given(key), floating(concentration), shape=shape)


@_by_size
def _dirichlet(key, concentration, shape):
    return jax.random.dirichlet(key, jnp.broadcast_to(concentration, shape), shape[:-1], concentration.dtype)


def standard_t(key, df, shape):
    """Draw Student's t."""
    df = floating(df)
    return jax.random.t(_given(key), df, shape, df.dtype)


def poisson(key, rate, shape):
    """Draw Poisson counts."""
    return _poisson.draw(_given(key), floating(rate), tuple(shape))


def binomial(key, total_count, probs, shape):
    """Draw binomial counts."""
    probs = floating(probs)
    return jax.random.binomial(_given(key), jnp.asarray(total_count, probs.dtype), probs, shape, probs.dtype)


def categorical(key, logits, shape):
    """Draw indices along the last axis of ``logits``."""
    return _categorical(_given(key), floating(logits), shape=shape)


@_by_size
def _categorical(key, logits, shape):
    return jax.random.categorical(key, logits, axis=-1, shape=shape)


def permutation(key, n):
    """Return a random permutation of ``range(n)``."""
    return jax.random.permutation(_given(key), n)


def choice(key, n, size):
    """Draw ``size`` distinct indices of ``range(n)`` in random order, in O(size log size) work.

    The first ``size`` swaps of a Fisher-Yates shuffle, made without the array that they shuffle: swap ``i`` exchanges places
    ``i`` and ``draws[i] >= i``, so that what stands at a place follows from the latest swap before that named it. Every ordered
    choice is equally likely. For larger ``size`` the head of a permutation is as cheap.

    :raises ShapeError: if ``size`` is above ``n`` or negative.
    """
    if not 0 <= size <= n:
        raise ShapeError(f"choice draws distinct indices, expected 0 <= size <= n = {n}, got size = {size}")
    return _choice(_given(key), n, size)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _choice(key, n, size):
    if 2 * size > n:
        return jax.random.permutation(key, n)[:size]
    dtype = dtypes.resolve("int64")
    slots = jnp.arange(size, dtype=dtype)
    draws = jax.random.randint(key, (size,), slots, n, dtype)
    if n * size <= jnp.iinfo(dtype).max:
        # One array of pairs: sorting two arrays together takes three times as long.
        pairs = jnp.sort(draws * size + slots)
        ranked, order = pairs // size, pairs % size
    else:
        ranked, order = jax.lax.sort((draws, slots), num_keys=2)
    again = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] == ranked[:-1]])
    latest = jnp.where(again, jnp.roll(order, 1), -1)
    same = jnp.zeros_like(slots).at[order].set(latest, unique_indices=True)
    # The latest swap before swap i that named place i: what it left there was what stood at its own place.
    named = jnp.full_like(slots, -1).at[jnp.where(draws == slots, size, draws)].max(slots, mode="drop")
    origin = jnp.where(named < 0, slots, named)
    origin = jax.lax.while_loop(lambda place: jnp.any(place[place] != place), lambda place: place[place], origin)
    return jnp.where(same < 0, draws, origin[same])
