"""Compilation of functions that read parameters.

Array functions know no param store, so that the layer of the primitives installs what finds and replaces parameters.
"""

from typing import Any

_implementation: list[Any] = []


def install(implementation):
    """Set the function behind :func:`trace`."""
    _implementation[:] = [implementation]


def trace(fn=None, ignore_warnings=False, jit_options=None):
    """Return ``fn`` compiled on first use, its parameters passed as inputs, once for each set of keyword arguments.

    :param fn: a function of arrays; its keyword arguments are static. Without it ``trace`` is a decorator with options.
    :param ignore_warnings: accepted for programs written for torch's tracer, as is ``jit_options``; nothing reads them.
    """
    if fn is None:
        return lambda function: trace(function, ignore_warnings, jit_options)
    return _implementation[0](fn)
