"""Compilation by ``jax.jit``."""

import functools
import warnings

import jax

from ppl.errors import PplWarning, RandomKeyError
from ppl_jax import jit, random

_FEW_CALLS = 50


def compile(fn, *example, horizon=None, beside=None):
    """Return ``jit(fn)``; a function that branches on array values runs as it is, after one warning.

    For a few calls nothing is optimized.
    """
    compiled = jax.jit(fn) if horizon is None or horizon > _FEW_CALLS else jit.jit_on_cpu(fn, jit.UNOPTIMIZED)
    fallback = False

    @functools.wraps(fn)
    def call(*args, **kwargs):
        nonlocal fallback
        if fallback:
            return fn(*args, **kwargs)
        try:
            return compiled(*args, **kwargs)
        except jax.errors.ConcretizationTypeError as error:
            reason = str(error).split("\n", 1)[0]
        except jax.errors.TracerArrayConversionError as error:
            reason = str(error).split("\n", 1)[0]
        fallback = True
        name = getattr(fn, "__name__", type(fn).__name__)
        warnings.warn(f"{name} runs uncompiled on jax: {reason}", PplWarning, stacklevel=2)
        return fn(*args, **kwargs)

    return call


def differentiable(fn):
    """Return the compiled function; one that draws without a key gets one as a hidden argument."""
    draws = False

    def keyed(key, *args):
        with random.scope(key):
            return fn(*args)

    keyed.__name__ = getattr(fn, "__name__", type(fn).__name__)
    plain, drawing = compile(fn), compile(keyed)

    @functools.wraps(fn)
    def call(*args):
        nonlocal draws
        if not draws:
            try:
                return plain(*args)
            except RandomKeyError:
                draws = True
        return drawing(random.next_key(), *args)

    return call
