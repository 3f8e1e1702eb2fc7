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
from ppl_numpy import program, random, signatures
from ppl_numpy.recording import Recorded, RecordingError, active_tape, recording, unwrap


def compile(fn, *example, horizon=None, beside=None):
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
        described, leaves = signatures.signature(args, kwargs)
        replay = self._programs.get(described)
        if replay is not None:
            return self._fn(*args, **kwargs) if replay is self._fn else replay(leaves)
        if any(isinstance(leaf, Box) for leaf in leaves):
            return self._fn(*args, **kwargs)
        return self._first_call(described, leaves, args, kwargs)

    def _first_call(self, described, leaves, args, kwargs):
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
            self._programs[described] = replay
            return replay(leaves)
        result = self._fn(*args, **kwargs)
        self._programs[described] = self._fn
        self._warn(reason)
        return result

    def _warn(self, reason):
        if not self._warned:
            self._warned = True
            name = getattr(self._fn, "__name__", repr(self._fn))
            warnings.warn(f"{name!r} is not compiled and runs as it is: {reason}", PplWarning, stacklevel=4)


def _record(fn, leaves, args, kwargs):
    before = _foreign_states()
    with recording() as tape, np.errstate(all="ignore"):
        inputs = [Recorded(leaf, None) if signatures.changes(leaf) else leaf for leaf in leaves]
        new_args, new_kwargs = tree.unflatten((args, kwargs), inputs)
        output = fn(*new_args, **new_kwargs)
    if _foreign_states() != before:
        raise RecordingError("it draws from numpy's or Python's global generator; try ppl.ops.random")
    run = program.build(tape, inputs, tree.leaves(output))
    skeleton = tree.map(unwrap, output)
    single, flat = type(output) is Recorded, type(output) is tuple and not any(map(_is_container, output))

    def replay(leaves):
        with np.errstate(all="ignore"):
            results = run(leaves)
        if single:
            return results[0]
        return tuple(results) if flat else tree.unflatten(skeleton, results)

    return replay


def _is_container(part):
    return part is None or isinstance(part, (dict, list, tuple))


def _foreign_states():
    """Return the states of the generators that a recording cannot see."""
    kind, keys, position, *rest = np.random.get_state()
    return kind, keys.tobytes(), position, rest, python_random.getstate()
