"""Derivatives through HIPS autograd's boxes, for arguments that are trees of arrays.

The trace is autograd's; the bookkeeping is our own because autograd has one differentiated array a trace and a level counter that
threads would share.
"""

import threading

import autograd.numpy as anp
import numpy as np
from autograd.core import add_outgrads
from autograd.extend import VJPNode, vspace
from autograd.tracer import Box, getval, new_box, toposort, trace_stack

from ppl import tree
from ppl.errors import ConcreteValueError, PplError
from ppl_numpy import ops
from ppl_numpy.recording import Recorded, active_tape

_level_lock = threading.Lock()


def _new_level():
    """Return a trace level above all earlier ones; never lowered again, so that threads cannot meet on one."""
    with _level_lock:
        trace_stack.top += 1
        return trace_stack.top


def _differentiable(leaf):
    kind = type(leaf)
    if kind is np.ndarray:
        return leaf if leaf.dtype.kind in "fc" else leaf.astype(ops.default_dtype())
    if isinstance(leaf, Box) or kind is Recorded or isinstance(leaf, np.floating):
        return leaf
    if isinstance(leaf, (bool, int, float, np.generic)):
        return np.asarray(leaf, ops.default_dtype())
    raise PplError(f"expected an array or a tree of arrays to differentiate in, got a leaf of type {type(leaf).__name__}")


def _fitted(gradient, leaf):
    """Return the gradient in the dtype of its leaf, zeros where the output does not depend on it."""
    if gradient is None:
        return vspace(leaf).zeros()
    return gradient if ops.dtype_name(gradient) == ops.dtype_name(leaf) else ops.astype(gradient, ops.dtype_name(leaf))


class _Trace:
    """The differentiation of one call: roots for the leaves, and what remains of the graph afterwards."""

    def __init__(self, leaves):
        self.leaves = [_differentiable(leaf) for leaf in leaves]
        self.level = _new_level()
        self.roots = [VJPNode.new_root() for _ in self.leaves]
        self.boxes = [new_box(leaf, self.level, root) for leaf, root in zip(self.leaves, self.roots, strict=True)]

    def open(self, value):
        """Return the plain value and the node (``None`` for a constant) of an output."""
        if isinstance(value, Box) and value._trace == self.level:
            return value._value, value._node
        return value, None

    def pull(self, pairs):
        """Return the gradients of all leaves for ``(node, cotangent)`` pairs of outputs."""
        collected = [None] * len(self.roots)
        for node, cotangent in pairs:
            if node is not None:
                for i, gradient in enumerate(self._pull_one(node, cotangent)):
                    if gradient is not None:
                        collected[i] = gradient if collected[i] is None else anp.add(collected[i], gradient)
        return [_fitted(found, leaf) for found, leaf in zip(collected, self.leaves, strict=True)]

    def _pull_one(self, end, cotangent):
        found, pending = {}, {end: (cotangent, False)}
        for node in toposort(end):
            gradient = pending.pop(node)
            if not node.parents:
                found[node] = gradient[0]
                continue
            for parent, part in zip(node.parents, node.vjp(gradient[0]), strict=True):
                pending[parent] = add_outgrads(pending.get(parent), part)
        return [found.get(root) for root in self.roots]


def _scalar(fn, value):
    if ops.shape(value) != ():
        name = getattr(fn, "__name__", repr(fn))
        raise PplError(f"the gradient of {name!r} needs a scalar result, got shape {ops.shape(value)}; try ops.sum or jacobian")


def _run(fn, args, kwargs):
    """Return ``fn(*args, **kwargs)``; what cannot be differentiated because Python took a number out of it says so."""
    try:
        return fn(*args, **kwargs)
    except TypeError as error:
        if "ArrayBox" not in str(error):
            raise
        told = ConcreteValueError(
            f"a value that is being differentiated was turned into a Python number or a plain array ({error}); expected "
            "operations on arrays alone; try ops.array and ops.stack in the place of float() and numpy, or "
            "ops.autodiff.stop_gradient on what needs no derivative"
        )
        # The way through the model stays with the error, for those who look for the site.
        raise told.with_traceback(error.__traceback__) from error


def value_and_grad(fn, argnums=0, has_aux=False):
    positions = argnums if isinstance(argnums, tuple) else (argnums,)

    def differentiated(*args, **kwargs):
        chosen = tuple(args[i] for i in positions)
        with np.errstate(all="ignore"):
            trace = _Trace(tree.leaves(chosen))
            swapped = list(args)
            for i, argument in zip(positions, tree.unflatten(chosen, trace.boxes), strict=True):
                swapped[i] = argument
            output = _run(fn, swapped, kwargs)
            if has_aux:
                output, aux = output
            value, node = trace.open(output)
            _scalar(fn, value)
            one = 1.0 if not hasattr(value, "dtype") else np.ones((), value.dtype)[()]
            gradients = tree.unflatten(chosen, trace.pull([(node, one)]))
        if has_aux:
            value = (value, tree.map(lambda leaf: trace.open(leaf)[0], aux))
        return value, gradients if isinstance(argnums, tuple) else gradients[0]

    return differentiated


def grad(fn, argnums=0):
    both = value_and_grad(fn, argnums)

    def gradient(*args, **kwargs):
        return both(*args, **kwargs)[1]

    return gradient


def _traced(fn, primals):
    """Run ``fn`` on boxes; return the trace, the output tree of plain values and the nodes of its leaves."""
    trace = _Trace(tree.leaves(primals))
    output = _run(fn, tree.unflatten(primals, trace.boxes), {})
    opened = [trace.open(leaf) for leaf in tree.leaves(output)]
    return trace, tree.unflatten(output, [value for value, _ in opened]), [node for _, node in opened]


def vjp(fn, *primals):
    with np.errstate(all="ignore"):
        trace, value, nodes = _traced(fn, primals)

    def pullback(cotangent):
        with np.errstate(all="ignore"):
            return tree.unflatten(primals, trace.pull(list(zip(nodes, tree.leaves(cotangent), strict=True))))

    return value, pullback


def jvp(fn, primals, tangents):
    """The pullback is linear in its cotangent: its own pullback is the directional derivative."""
    value, pullback = vjp(fn, *primals)
    flat = [ops.zeros_like(leaf) for leaf in tree.leaves(value)]
    _, push = vjp(lambda *cotangents: pullback(tree.unflatten(value, list(cotangents))), *flat)
    return value, tree.unflatten(value, list(push(tuple(tangents))))


def _stack_rows(rows, size, like):
    return ops.reshape(ops.stack(rows), (*size, *like)) if rows else np.zeros((*size, *like))


def _basis(size, dtype):
    for index in np.ndindex(*size):
        unit = np.zeros(size, dtype)
        unit[index] = 1.0
        yield unit if size else unit[()]


def jacobian(fn):
    def rows(x):
        value, pullback = vjp(fn, x)
        size = ops.shape(value)
        dtype = ops.dtype_name(value)
        return _stack_rows([pullback(unit)[0] for unit in _basis(size, dtype)], size, ops.shape(x))

    return rows


def hessian(fn):
    return jacobian(grad(fn))


def stop_gradient(x):
    return tree.map(getval, x)


def is_tracing():
    return active_tape() is not None


def vmap(fn, in_axes=0, out_axes=0):
    def mapped(*args):
        axes = tuple(in_axes) if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
        if len(axes) != len(args):
            raise PplError(f"vmap got {len(args)} arguments but in_axes of length {len(axes)}")
        size = _mapped_size(args, axes)
        outputs = [fn(*(_row(arg, axis, i) for arg, axis in zip(args, axes, strict=True))) for i in range(size)]
        if not outputs:
            raise PplError("vmap over an axis of size zero: the shape of the result is unknown on numpy")
        if isinstance(out_axes, (tuple, list)):
            columns = zip(*outputs, strict=True)
            return tuple(_restack(list(column), axis) for column, axis in zip(columns, out_axes, strict=True))
        return _restack(outputs, out_axes)

    return mapped


def _mapped_size(args, axes):
    sizes = {}
    for position, (arg, axis) in enumerate(zip(args, axes, strict=True)):
        if axis is not None:
            for leaf in tree.leaves(arg):
                size = ops.shape(leaf)
                if not size:
                    raise PplError(f"vmap cannot map argument {position}: it holds a scalar; try in_axes with None there")
                sizes.setdefault(size[axis], position)
    if len(sizes) != 1:
        raise PplError(f"vmap needs one common size of the mapped axes, got {sorted(sizes) or 'none'}")
    return next(iter(sizes))


def _row(arg, axis, i):
    if axis is None:
        return arg
    return tree.map(lambda leaf: leaf[(slice(None),) * (axis % ops.ndim(leaf)) + (i,)], arg)


def _restack(outputs, axis):
    if axis is None:
        return outputs[0]
    return tree.map(lambda *rows: ops.stack(list(rows), axis), *outputs)
