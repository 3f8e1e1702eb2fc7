"""Compilation: a function is recorded once for each signature of its arguments and replayed as straight-line code.

The recording is made by :mod:`ppl_numpy.recording`, the generated function by :mod:`ppl_numpy.program`. What cannot be
recorded runs as it is.
"""

from __future__ import annotations

import functools
import random as python_random
import warnings

import numpy as np
from autograd.extend import Box

from ppl import tree
from ppl.errors import PplWarning
from ppl_numpy import program, random
from ppl_numpy.recording import Recorded, RecordingError, active_tape, recording, unwrap
from ppl_numpy.shaping import default_dtype


def compile(fn, *example, horizon=None):
    return fn if isinstance(fn, _Compiled) else _Compiled(fn)


def differentiable(fn):
    """Return the compiled function: what is being differentiated passes through ``fn`` itself."""
    return compile(fn)


class _Compiled:
    """``fn`` with one replayable program for each signature. Threads may race to record; each records the same."""

    def __init__(self, fn):
        functools.update_wrapper(self, fn, updated=())
        self._fn, self._programs, self._warned = fn, {}, False

    def __call__(self, *args, **kwargs):
        if active_tape() is not None:
            return self._fn(*args, **kwargs)
        signature, leaves = _signature(args, kwargs)
        replay = self._programs.get(signature)
        if replay is not None:
            return self._fn(*args, **kwargs) if replay is self._fn else replay(leaves)
        if any(isinstance(leaf, Box) for leaf in leaves):
            return self._fn(*args, **kwargs)
        return self._first_call(signature, leaves, args, kwargs)

    def _first_call(self, signature, leaves, args, kwargs):
        """Record and replay; where that fails run ``fn``, whose own errors come first, and warn."""
        stream = random.get_state()
        states = [(leaf, random.get_state(leaf)) for leaf in leaves if isinstance(leaf, np.random.Generator)]
        reason = None
        try:
            replay = _record(self._fn, leaves, args, kwargs)
        except Exception as error:
            reason = str(error) if isinstance(error, RecordingError) else f"{type(error).__name__}: {error}"
        random.set_state(stream)
        for generator, state in states:
            generator.bit_generator.state = state
        if reason is None:
            self._programs[signature] = replay
            return replay(leaves)
        result = self._fn(*args, **kwargs)
        self._programs[signature] = self._fn
        self._warn(reason)
        return result

    def _warn(self, reason):
        if not self._warned:
            self._warned = True
            name = getattr(self._fn, "__name__", repr(self._fn))
            warnings.warn(f"{name!r} is not compiled and runs as it is: {reason}", PplWarning, stacklevel=4)


def _changes(leaf):
    return isinstance(leaf, (np.ndarray, np.generic, bool, int, float, np.random.Generator))


def _signature(args, kwargs):
    """Return a hashable description of the arguments and their leaves; values that are no data are part of it."""
    if not kwargs and all(type(arg) is np.ndarray for arg in args):
        return (default_dtype(), *[(arg.shape, arg.dtype) for arg in args]), args
    leaves = tree.leaves((args, kwargs))
    return (default_dtype(), tree.structure((args, kwargs)), *map(_kind, leaves)), leaves


def _kind(leaf):
    if type(leaf) is np.ndarray:
        return leaf.shape, leaf.dtype
    if _changes(leaf):
        return type(leaf)
    try:
        hash(leaf)
    except TypeError:
        return type(leaf), id(leaf)
    return type(leaf), leaf


def _record(fn, leaves, args, kwargs):
    before = _foreign_states()
    with recording() as tape, np.errstate(all="ignore"):
        inputs = [Recorded(leaf, None) if _changes(leaf) else leaf for leaf in leaves]
        new_args, new_kwargs = tree.unflatten((args, kwargs), inputs)
        output = fn(*new_args, **new_kwargs)
    if _foreign_states() != before:
        raise RecordingError("it draws from numpy's or Python's global generator; try ppl.ops.random")
    run = program.build(tape, inputs, tree.leaves(output))
    skeleton = tree.map(unwrap, output)
    single = type(output) is Recorded

    def replay(leaves):
        with np.errstate(all="ignore"):
            results = run(leaves)
        return results[0] if single else tree.unflatten(skeleton, results)

    return replay


def _foreign_states():
    """Return the states of the generators that a recording cannot see."""
    kind, keys, position, *rest = np.random.get_state()
    return kind, keys.tobytes(), position, rest, python_random.getstate()
