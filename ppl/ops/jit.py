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
    :raises InferenceError: at a call with a keyword argument that is an array or cannot be hashed.

    The first call runs ``fn`` as it is. Derivatives reach arguments and parameters through later ones too, see
    :func:`ppl.ops.compile.differentiable`. Handlers around a call see its param sites and may change their values; a function
    that shows them other sites as well runs as it is under handlers, so that they can act on these. Programs by keyword
    arguments are in the attribute ``compiled``.

    >>> import ppl
    >>> from ppl import ops
    >>> @ppl.ops.jit.trace
    ... def scaled(x):
    ...     return ppl.param("scale", 3.0) * x**2
    >>> [float(ops.to_numpy(scaled(ops.array(2.0)))) for _ in range(2)]
    [12.0, 12.0]
    >>> ppl.get_param_store()["scale"] = ops.array(5.0)
    >>> float(ops.to_numpy(scaled(ops.array(2.0))))
    20.0
    >>> with ppl.handlers.substitute(data={"scale": ops.array(10.0)}):
    ...     float(ops.to_numpy(scaled(ops.array(2.0))))
    40.0
    """
    if fn is None:
        return lambda function: trace(function, ignore_warnings, jit_options)
    return _implementation[0](fn)
