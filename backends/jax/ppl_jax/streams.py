"""Where keys come from when the caller passes none: one stream for the process, others for the blocks of ``scope``.

Key number ``i`` of a stream is entry ``i % BLOCK`` of the split of ``fold_in(base, i // BLOCK)``: a whole block costs little more
than one key.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import threading
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
import numpy as np

from ppl.errors import RandomKeyError
from ppl_jax import jit, tracing

BLOCK = 32


def is_key(value):
    """Return whether ``value`` is a typed key, or a legacy one (``jax.random.PRNGKey``: two words of uint32)."""
    if not isinstance(value, jax.Array):
        return False
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return True
    return value.dtype == jnp.uint32 and value.shape == (2,)


def make_key(seed):
    """Return a typed key from an int, or the key that ``seed`` is; 64 bits of the int count, whether x64 is on or not."""
    if is_key(seed):
        return seed
    if isinstance(seed, jax.core.Tracer):
        return jax.random.key(seed)
    high, low = divmod(operator.index(seed) & 0xFFFFFFFFFFFFFFFF, 1 << 32)
    key = jax.random.key(np.uint32(low))
    return fold_word(key, np.uint32(high)) if high else key


@functools.lru_cache(maxsize=4096)
def hash_words(name):
    """Return 64 bits of a stable hash of ``name`` as two words; 32 bits would collide among some thousands of sites."""
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], dtype="<u4").copy()


def fold_word(key, word):
    """Fold one unsigned word into ``key``."""
    return _compiled(jax.random.fold_in)(key, word)


def fold_words(key, words):
    """Fold two unsigned words into ``key``."""
    return _compiled(_fold_twice)(key, words)


def _fold_twice(key, words):
    return jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1])


@functools.cache
def _compiled(fold):
    return jit.jit_on_cpu(fold, jit.UNOPTIMIZED)


def split_tuple(key, num):
    """Return a tuple of ``num`` independent keys."""
    return _splitter(num)(key)


@functools.cache
def _splitter(num):
    return jit.jit_on_cpu(lambda key: tuple(jax.random.split(key, num)), jit.UNOPTIMIZED)


class Stream:
    """Keys one after the other from a base key.

    :param base: a key, which may be a tracer when the stream serves a block inside a trace.
    :param count: how many keys were handed out already.
    """

    def __init__(self, base, count=0):
        self.base = base
        self.count = count
        self._block = ()
        self._block_number = -1
        self._lock = threading.Lock()
        self._born_in_trace = isinstance(base, jax.core.Tracer) or tracing.is_tracing()

    def next(self, site):
        """Return the next key; :raises RandomKeyError: inside a trace that this stream was not made in."""
        if self._born_in_trace:
            with self._lock:
                count, self.count = self.count, self.count + 1
            return fold_word(self.base, np.uint32(count))
        if tracing.is_tracing():
            raise RandomKeyError(_no_key(site))
        with self._lock:
            count, self.count = self.count, self.count + 1
            number, offset = divmod(count, BLOCK)
            if number != self._block_number:
                self._block = split_tuple(fold_word(self.base, np.uint32(number)), BLOCK)
                self._block_number = number
            return self._block[offset]


def _no_key(site):
    where = f"site {site!r}" if site is not None else "a draw"
    return (
        f"{where} needs a random key inside a jax trace (jit, vmap or a lax loop), expected one from a seed handler or an "
        "argument, received none; try ppl.handlers.seed(model, rng_seed) around the model or pass rng_key"
    )


_lock = threading.Lock()
_process: Stream | None = None
_scoped: ContextVar[Stream | None] = ContextVar("ppl_jax_stream", default=None)


def current(site=None):
    """Return the stream of the innermost scope, else the process's, seeded by the operating system at first use."""
    stream = _scoped.get() or _process
    return stream or _start_process(site)


def _start_process(site):
    global _process
    if tracing.is_tracing():
        raise RandomKeyError(_no_key(site))
    with _lock:
        if _process is None:
            _process = Stream(jax.random.key(int.from_bytes(os.urandom(4), "little")))
    return _process


def replace(stream):
    """Put ``stream`` in the place of the current one."""
    global _process
    if _scoped.get() is None:
        _process = stream
    else:
        _scoped.set(stream)


@contextmanager
def scoped(stream):
    """Make ``stream`` the current one for a block."""
    token = _scoped.set(stream)
    try:
        yield
    finally:
        _scoped.reset(token)
