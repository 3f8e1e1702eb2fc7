"""Random keys of a light kind, for long chains: one hash of a counter gives their bits.

The hash is pcg4d (Jarzynski and Olano 2020, Hash Functions for GPU Rendering, Journal of Computer Graphics Techniques 9(3)): four
words in, four words out, by some thirty operations that a compiler fuses into one loop. On a loop of many small steps it takes a
third of the time of the library's own kinds to compile. It is no cipher.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl

NAME = "pcg4d"
"""How ``jax.random.key_impl`` calls this kind."""

# Told apart by what they are for, the same key and counter give unrelated words.
_BITS, _SPLIT, _FOLD, _SEED = (np.uint32(word) for word in (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F))


def hash_words(first, second, third, fourth):
    """Return four arrays of 32 random bits from four arrays of unsigned words."""
    words = [word * np.uint32(1664525) + np.uint32(1013904223) for word in (first, second, third, fourth)]
    return _mix(*(word ^ (word >> np.uint32(16)) for word in _mix(*words)))


def _mix(first, second, third, fourth):
    first = first + second * fourth
    second = second + third * first
    third = third + first * second
    return first, second, third, fourth + second * third


def _words(key, purpose, count):
    """Return ``count`` words that belong to ``key``."""
    counter = lax.iota(jnp.uint32, -(-count // 4))
    nothing = jnp.zeros_like(counter)
    # The counter is in each of the first words, so that neighbours differ in many bits from the start.
    hashed = hash_words(key[0] + counter, key[1] ^ counter, key[2] + nothing, (key[3] ^ purpose) + nothing)
    return jnp.concatenate(hashed)[:count]


def _random_bits(key, width, shape):
    count = math.prod(shape)
    if width == 64:
        words = _words(key, _BITS, 2 * count).astype(jnp.uint64)
        return ((words[:count] << np.uint64(32)) | words[count:]).reshape(shape)
    words = _words(key, _BITS, count) >> np.uint32(32 - width)
    return words.astype(f"uint{width}").reshape(shape)


def _split(key, shape):
    return _words(key, _SPLIT, 4 * math.prod(shape)).reshape(4, *shape).transpose(*range(1, len(shape) + 1), 0)


def _fold_in(key, data):
    word = jnp.asarray(data).astype(jnp.uint32)
    return jnp.stack(hash_words(key[0] ^ word, key[1] + word, key[2], key[3] ^ _FOLD))


def _seed(seed):
    low = jnp.asarray(seed).astype(jnp.uint32)
    high = (jnp.asarray(seed) >> 32).astype(jnp.uint32) if jnp.asarray(seed).dtype.itemsize == 8 else jnp.zeros_like(low)
    return jnp.stack(hash_words(low, high, low ^ _SEED, high ^ _BITS))


IMPLEMENTATION = define_prng_impl(
    key_shape=(4,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name=NAME, tag=NAME
)
"""What ``impl=`` of ``jax.random.key`` and ``jax.random.wrap_key_data`` takes."""
