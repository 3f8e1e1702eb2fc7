"""A function whose equal operations are done once, before it is differentiated and compiled.

The compiler would find them too, but not among the derivatives, and only after it was given them all.
"""

import functools

import jax
import numpy
from jax import lax
from jax.extend import core

from ppl_jax import tracing

LARGEST_CONSTANT = 1024
"""Constants of up to so many elements are compared by their elements."""
FEWEST = 3
"""So many arrays side by side are worth a look."""
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
    jaxpr, known, slices, rows = closed.jaxpr, {}, {}, {}
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
            inputs = [read(atom) for atom in equation.invars]
            joined = _joined(equation, inputs, rows)
            results = _bind(equation, inputs) if joined is None else [joined]
            _note_row(equation, inputs, results, slices, rows)
            if key is not None:
                known[key] = results
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _note_row(equation, inputs, results, slices, rows):
    """Note of a result that it is one entry of an array along its first axis: a slice of length one, then without that axis."""
    name, params = equation.primitive.name, equation.params
    if name == "slice":
        array, starts, stops = inputs[0], params["start_indices"], params["limit_indices"]
        if stops[0] - starts[0] == 1 and starts[1:] == (0,) * (array.ndim - 1) and stops[1:] == array.shape[1:]:
            slices[id(results[0])] = array, starts[0]
    elif name == "squeeze" and tuple(params["dimensions"]) == (0,) and id(inputs[0]) in slices:
        rows[id(results[0])] = slices[id(inputs[0])]


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


def _joined(equation, inputs, rows):
    """Return arrays side by side, by few operations where many of them are one array or entries of one; ``None`` elsewhere.

    :param rows: of each array that is an entry of another one along its first axis, by identity: the other one and the place.

    The derivative of a plain stack is a sum for each entry.
    """
    name, params = equation.primitive.name, equation.params
    if name not in ("stack", "concatenate") or len(inputs) < FEWEST:
        return None
    if jax.dtypes.issubdtype(equation.outvars[0].aval.dtype, jax.dtypes.extended):
        return None
    axis = params["axis"] if name == "stack" else params["dimension"]
    pieces, start = [], 0
    while start < len(inputs):
        stop, step = _alike(inputs, start, rows)
        pieces.append(_piece(inputs, start, stop, step, axis, rows))
        start = stop
    if 2 * len(pieces) > len(inputs):
        return None
    joined = pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, axis)
    return lax.reshape(joined, equation.outvars[0].aval.shape)


def _alike(inputs, start, rows):
    """Return the end of the run of equal arrays, or of entries at equal distances, and that distance: 0 for equal ones."""
    source, place = rows.get(id(inputs[start]), (None, 0))
    stop, step = start + 1, 0
    if stop < len(inputs) and inputs[stop] is not inputs[start] and source is not None:
        other, following = rows.get(id(inputs[stop]), (None, 0))
        step = following - place if other is source and following > place else 0
    while stop < len(inputs):
        known = rows.get(id(inputs[stop]), (None, 0)) if step else None
        if not (inputs[stop] is inputs[start] if step == 0 else known[0] is source and known[1] == place + (stop - start) * step):
            break
        stop += 1
    return stop, step


def _piece(inputs, start, stop, step, axis, rows):
    """Return a run of arrays along a new axis of their number."""
    value, count = inputs[start], stop - start
    shape = numpy.shape(value)
    if step == 0:
        others = [dim for dim in range(len(shape) + 1) if dim != axis]
        return lax.broadcast_in_dim(value, (*shape[:axis], count, *shape[axis:]), others)
    source, place = rows[id(value)]
    entries = lax.slice_in_dim(source, place, place + (count - 1) * step + 1, step)
    return lax.transpose(entries, (*range(1, axis + 1), 0, *range(axis + 1, len(shape) + 1))) if axis else entries


def _constant(value):
    if isinstance(value, jax.core.Tracer) or getattr(value, "size", LARGEST_CONSTANT + 1) > LARGEST_CONSTANT:
        return id(value)
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return id(value)
    host = numpy.asarray(value)
    return "constant", str(host.dtype), host.shape, host.tobytes(), getattr(value, "weak_type", False)


def _literal(atom):
    return "literal", str(atom.aval), numpy.asarray(atom.val).tobytes()
