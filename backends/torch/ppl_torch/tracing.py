"""Whether a recording or a ``vmap`` is under way, and what must hold meanwhile."""

import threading
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch.distributions import Distribution, Poisson

_depth: ContextVar[int] = ContextVar("ppl_torch_tracing", default=0)
_recording: ContextVar[bool] = ContextVar("ppl_torch_recording", default=False)
_nested: ContextVar[bool] = ContextVar("ppl_torch_nested", default=False)
_validation_lock = threading.Lock()
_validation_users = 0
_validation_before = True


def is_tracing():
    """Return whether values are abstract here: inside a recording, a ``vmap`` or ``torch.compile``."""
    return _depth.get() > 0 or torch.compiler.is_compiling()


def depth():
    """Return how many recordings and ``vmap`` are under way inside each other."""
    return _depth.get()


@contextmanager
def tracing():
    """Mark a block as traced, and keep torch.distributions from validating in it: a check branches on values.

    The switch of torch.distributions is process-wide: while any thread traces, distributions that other threads build natively
    are not validated by torch's own default either. The last one out restores what the first one found.
    """
    token = _depth.set(_depth.get() + 1)
    outermost = token.old_value is token.MISSING or token.old_value == 0
    if outermost:
        _suspend_validation()
    try:
        yield
    finally:
        if outermost:
            _restore_validation()
        _depth.reset(token)


@contextmanager
def transform():
    """Mark a block as inside a derivative, so that what it calls nests instead of detaching."""
    token = _nested.set(True)
    try:
        yield
    finally:
        _nested.reset(token)


def inside_transform():
    """Return whether a derivative of this module, a vmap or a recording is under way, so that levels must nest."""
    return _nested.get() or is_tracing()


def is_recording():
    """Return whether a graph is being recorded, in which a value that left for numpy would silently become a constant."""
    return _recording.get()


@contextmanager
def recording():
    """Mark a block as recorded (and so traced)."""
    token = _recording.set(True)
    try:
        with tracing():
            yield
    finally:
        _recording.reset(token)


def _suspend_validation():
    global _validation_users, _validation_before
    with _validation_lock:
        if _validation_users == 0:
            _validation_before = _validates()
            Distribution.set_default_validate_args(False)
        _validation_users += 1


def _restore_validation():
    global _validation_users
    with _validation_lock:
        _validation_users -= 1
        if _validation_users == 0:
            Distribution.set_default_validate_args(_validation_before)


def _validates():
    """Find torch's default by its effect, since torch has a public setter but no public getter."""
    try:
        Poisson(-1.0)
    except ValueError:
        return True
    return False
