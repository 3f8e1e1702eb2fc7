"""A function whose equal operations are done once, before it is differentiated and compiled.

The compiler would find them too, but not among the derivatives, and only after it was given them all.
"""

import functools

import jax
import numpy
from jax.extend import core

from ppl_jax import tracing

LARGEST_CONSTANT = 1024
"""Constants of up to so many elements are compared by their elements."""
_PLAIN = (int, float, str, bool, tuple, type(None))


def merged(fn):
    """Return ``fn`` such that, where it is traced, operations of the same kind on the same values become one."""

    @functools.wraps(fn)
    def call(*args):
        if not tracing.is_tracing():
            return fn(*args)
        closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shapes), _evaluate(closed, jax.tree.leaves(args)))

    return call


def _evaluate(closed, args):
    jaxpr, known = closed.jaxpr, {}
    values = dict(zip(jaxpr.invars, args, strict=True))
    for variable, constant in zip(jaxpr.constvars, closed.consts, strict=True):
        values[variable] = known.setdefault(_constant(constant), constant)

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    def name(atom):
        return _literal(atom) if isinstance(atom, core.Literal) else id(values[atom])

    for equation in _needed(jaxpr):
        key = _key(equation, name)
        results = known.get(key)
        if results is None:
            results = _bind(equation, [read(atom) for atom in equation.invars])
            if key is not None:
                known[key] = results
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _needed(jaxpr):
    """Return the equations that the results need, in order."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    equations = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            equations.append(equation)
            needed.update(atom for atom in equation.invars if not isinstance(atom, core.Literal))
    return equations[::-1]


def _key(equation, name):
    """Return what equal operations have in common, ``None`` for one that does more than to compute."""
    if equation.effects:
        return None
    # What cannot be compared, such as the program of a call, is equal to itself alone.
    params = tuple((key, value if isinstance(value, _PLAIN) else id(value)) for key, value in sorted(equation.params.items()))
    key = equation.primitive, tuple(name(atom) for atom in equation.invars), params
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _bind(equation, inputs):
    # Until jax 0.7 functions among the parameters came apart from them.
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = ((), bound) if isinstance(bound, dict) else bound
    results = equation.primitive.bind(*functions, *inputs, **params)
    return results if equation.primitive.multiple_results else [results]


def _constant(value):
    if isinstance(value, jax.core.Tracer) or getattr(value, "size", LARGEST_CONSTANT + 1) > LARGEST_CONSTANT:
        return id(value)
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return id(value)
    host = numpy.asarray(value)
    return "constant", str(host.dtype), host.shape, host.tobytes(), getattr(value, "weak_type", False)


def _literal(atom):
    return "literal", str(atom.aval), numpy.asarray(atom.val).tobytes()
