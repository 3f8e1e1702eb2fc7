"""From a recording to one generated Python function: equal calls merged, unused ones dropped, constants bound once.

Every rewrite below keeps the value of the recorded call; each avoids the overhead of a call on small arrays.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from ppl_numpy.recording import Recorded, astype, getitem, is_whole, joined, stacked

# Operators on arrays and numpy scalars cost less than the ufunc of the same meaning.
_OPERATORS = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.matmul: "@", np.power: "**",
    np.greater: ">", np.greater_equal: ">=", np.less: "<", np.less_equal: "<=", np.equal: "==", np.not_equal: "!=",
}  # fmt: skip
_REDUCTIONS = {np.sum: np.add.reduce, np.max: np.maximum.reduce, np.min: np.minimum.reduce}
_TESTS = {np.any: np.logical_or.reduce, np.all: np.logical_and.reduce}
_RESHAPES = {np.expand_dims, np.squeeze}
_NUMPY_VALUES = (np.ndarray, np.generic)
_SMALL = 10_000


def build(tape, inputs, outputs):
    """Return ``run(leaves) -> list`` that recomputes ``outputs`` from new values of the recorded ``inputs``.

    :param inputs: the leaves of the arguments, :class:`Recorded` where they change from call to call.
    :param outputs: the leaves of the result; a plain one is a constant and comes back as a copy.
    """
    outputs, freed = simplify(tape, outputs)
    return _Writer(inputs, freed).write(tape.calls, outputs)


def simplify(tape, outputs):
    """Merge equal calls and drop those that ``outputs`` do not need.

    :return: the outputs, and for each call that is left the keys of the values that nobody reads after it.
    """
    replaced = _merge(tape.calls)
    outputs = [_rebuilt(leaf, replaced) for leaf in outputs]
    for call in tape.calls:
        _skip_broadcasts(call)
        _skip_axes(call)
    return outputs, _last_uses(tape.calls, outputs)


def _children(tree):
    """Return the parts of a container of arguments, or ``None`` for a leaf."""
    kind = type(tree)
    if kind is dict:
        return list(tree.values())
    if kind is slice:
        return [tree.start, tree.stop, tree.step]
    return list(tree) if isinstance(tree, (tuple, list)) else None


def _mentioned(tree):
    """Return the :class:`Recorded` values in an argument."""
    if type(tree) is Recorded:
        return [tree]
    return [found for part in _children(tree) or () for found in _mentioned(part)]


def key(value):
    """Return what identifies a recorded value: the call that made it, or the argument that it is."""
    return id(value) if value.call is None else id(value.call)


# ---- merging equal calls ----


def _merge(calls):
    """Drop calls that repeat an earlier one from the list; return the map from the dropped call to the kept one."""
    replaced, seen, kept = {}, {}, []
    for call in calls:
        call.args, call.kwargs = _rebuilt(call.args, replaced), _rebuilt(call.kwargs, replaced)
        identity = (id(call.function), _identity(call.args), _identity(call.kwargs))
        if not call.effect and identity in seen:
            replaced[id(call)] = seen[identity]
        else:
            seen[identity] = call
            kept.append(call)
    dropped = list(calls)
    calls[:] = kept
    replaced["alive"] = dropped  # identities are addresses: nothing may be freed while they are compared
    return replaced


def _rebuilt(tree, replaced):
    kind = type(tree)
    if kind is Recorded:
        call = replaced.get(id(tree.call))
        return tree if call is None else Recorded(tree.value, call)
    if kind is slice:
        return slice(*(_rebuilt(part, replaced) for part in (tree.start, tree.stop, tree.step)))
    if kind is dict:
        return {key: _rebuilt(part, replaced) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [_rebuilt(part, replaced) for part in tree]
        return kind(*parts) if hasattr(tree, "_fields") else kind(parts)
    return tree


def _identity(tree):
    """Return a hashable description of an argument: equal ones give equal results of a pure function."""
    kind = type(tree)
    if kind is Recorded:
        return (Recorded, key(tree))
    if kind is dict:
        return (dict, tuple((key, _identity(tree[key])) for key in sorted(tree)))
    parts = _children(tree)
    if parts is not None:
        return (kind, tuple(map(_identity, parts)))
    if kind in (int, float, bool, str, type(None), np.float64):
        return (kind, repr(tree))
    return (kind, id(tree))


# ---- broadcasts that the next call does anyway ----


def _skip_broadcasts(call):
    """Let an elementwise call read the source of a ``broadcast_to`` where its own broadcasting gives the same shape."""
    if not isinstance(call.function, np.ufunc) or call.function.signature is not None or call.kwargs:
        return
    shapes = [_shape(arg) for arg in call.args]
    for i, arg in enumerate(call.args):
        if type(arg) is Recorded and arg.call is not None and arg.call.function is np.broadcast_to:
            source = arg.call.args[0]
            if type(source) is Recorded and isinstance(source.value, _NUMPY_VALUES):
                narrower = [*shapes[:i], source.shape, *shapes[i + 1 :]]
                if np.broadcast_shapes(*narrower) == np.broadcast_shapes(*shapes):
                    call.args = (*call.args[:i], source, *call.args[i + 1 :])
                    shapes = narrower


def _skip_axes(call):
    """Let arrays be stacked where each is given a first axis and then joined to the others: one call that makes no views."""
    if call.function is not joined or call.args[0] != 0:
        return
    sources = [_without_first_axis(arg) for arg in call.args[1:]]
    if all(source is not None for source in sources) and len({(source.shape, source.dtype) for source in sources}) == 1:
        call.function, call.args = stacked, tuple(sources)


def _without_first_axis(arg):
    """Return the recorded array that ``arg`` shows with an axis of length one in front, or ``None``."""
    if type(arg) is not Recorded or arg.call is None or arg.call.function is not np.expand_dims:
        return None
    source = arg.call.args[0]
    added = arg.call.kwargs.get("axis", arg.call.args[1] if len(arg.call.args) == 2 else None)
    return source if type(source) is Recorded and type(source.value) is np.ndarray and added == 0 else None


def _shape(arg):
    return np.shape(arg.value if type(arg) is Recorded else arg)


# ---- liveness ----


def _last_uses(calls, outputs):
    """Drop unused calls from the list; return for each the values that nobody reads after it."""
    needed = {key(leaf) for leaf in _mentioned(list(outputs))}
    kept, freed = [], []
    for call in reversed(calls):
        if call.effect or id(call) in needed:
            read = {key(value) for value in _mentioned((call.args, call.kwargs))}
            freed.append(read - needed)
            needed |= read
            kept.append(call)
    calls[:] = kept[::-1]
    return freed[::-1]


# ---- writing ----


def _taken(index):
    """Return the axis and the places of an index that takes places along one axis, which a method does faster; or ``None``s."""
    parts = index if type(index) is tuple else (index,)
    places = parts[-1].value if parts and type(parts[-1]) is Recorded else parts[-1] if parts else None
    several = type(places) is np.ndarray and places.dtype.kind in "iu" and places.ndim
    return (len(parts) - 1, parts[-1]) if several and all(map(is_whole, parts[:-1])) else (None, None)


class _Writer:
    """Writes the source of the function, line by line; a variable is reused once its value is no longer needed."""

    def __init__(self, inputs, freed):
        self.names, self.constants, self.bound = {}, {}, {}
        self.free, self.count, self.freed = [], itertools.count(), freed
        self.lines = []
        for i, leaf in enumerate(inputs):
            if type(leaf) is Recorded:
                self.names[id(leaf)] = f"a{i}"
                self.lines.append(f"a{i} = leaves[{i}]")

    def write(self, calls, outputs):
        used = {name for name in self.names.values()}
        for call, dead in zip(calls, self.freed, strict=True):
            expression = self.expression(call)
            for value in dead:
                name = self.names.get(value)
                if name is not None and name not in used:
                    self.free.append(name)
            name = self.free.pop() if self.free else f"v{next(self.count)}"
            self.names[id(call)] = name
            self.lines.append(f"{name} = {expression}")
        results = ", ".join(self.atom(leaf) if type(leaf) is Recorded else self.copied(leaf) for leaf in outputs)
        source = "def run(leaves):\n    " + "\n    ".join([*self.lines, f"return [{results}]"])
        namespace = dict(self.constants)
        exec(compile(source, "<recording>", "exec"), namespace)  # the source is written above, from no user's text
        return namespace["run"]

    def copied(self, leaf):
        return f"{self.bind(leaf)}.copy()" if type(leaf) is np.ndarray else self.bind(leaf)

    def bind(self, value):
        """Return the name of a constant."""
        name = self.bound.get(id(value))
        if name is None:
            name = f"c{len(self.constants)}"
            self.constants[name], self.bound[id(value)] = value, name
        return name

    def atom(self, tree):
        """Return the expression of an argument."""
        kind = type(tree)
        if kind is Recorded:
            return self.names[key(tree)]
        if kind in (int, bool, type(None)) or (kind is float and math.isfinite(tree)):
            return f"({tree!r})"
        if not _mentioned(tree):
            return self.bind(tree)
        if kind is dict:
            return "{" + ", ".join(f"{self.bind(key)}: {self.atom(part)}" for key, part in tree.items()) + "}"
        parts = ", ".join(self.atom(part) for part in _children(tree))
        if kind is slice:
            return f"slice({parts})"
        if kind is list:
            return f"[{parts}]"
        return f"{self.bind(kind)}({parts})" if hasattr(tree, "_fields") else f"({parts},)"

    def expression(self, call):
        """Return the expression of a call: the cheapest that has its value."""
        function, args, kwargs = call.function, call.args, call.kwargs
        first = args[0] if args else None
        is_array = type(first) is Recorded and type(first.value) is np.ndarray
        floating = is_array and first.value.dtype.kind == "f"
        if function in _OPERATORS and len(args) == 2 and not kwargs and self._on_numpy(args):
            return f"{self.atom(first)} {_OPERATORS[function]} {self.atom(args[1])}"
        if function is getitem:
            axis, places = _taken(args[1]) if is_array else (None, None)
            return f"{self.atom(first)}" + (
                f"[{self.atom(args[1])}]" if places is None else f".take({self.atom(places)}, {axis})"
            )
        if function is np.negative and len(args) == 1 and not kwargs and isinstance(first.value, _NUMPY_VALUES):
            return f"-{self.atom(first)}"
        if function is np.power and floating and len(args) == 2 and not kwargs and type(args[1]) is float and args[1] == 1.0:
            return self.atom(first)
        if function is np.reshape and is_array and len(args) == 2 and not kwargs:
            return f"{self.atom(first)}.reshape({self.atom(args[1])})"
        if function in _RESHAPES and is_array and not _mentioned((args[1:], kwargs)):
            return f"{self.atom(first)}.reshape({self.atom(function(first.value, *args[1:], **kwargs).shape)})"
        if function is astype and is_array and len(args) == 2 and not kwargs:
            same = first.dtype == np.dtype(args[1])
            return self.atom(first) if same else f"{self.atom(first)}.astype({self.atom(args[1])})"
        reduce = _REDUCTIONS.get(function) if floating else None
        reduce = reduce or (_TESTS.get(function) if is_array and first.dtype == bool else None)
        if reduce and len(args) <= 2 and set(kwargs) <= {"axis", "keepdims"}:
            axis, keepdims = args[1] if len(args) == 2 else kwargs.get("axis"), kwargs.get("keepdims", False)
            return f"{self.bind(reduce)}({self.atom(first)}, {self.atom(axis)}, None, None, {self.atom(keepdims)})"
        if function is np.broadcast_to and floating and len(args) == 2 and not kwargs and math.prod(args[1]) <= _SMALL:
            return f"{self.atom(first)} * {self.bind(np.ones(args[1], first.dtype))}"
        positional = [self.atom(arg) for arg in args]
        named = [f"{name}={self.atom(value)}" for name, value in kwargs.items()]
        return f"{self.bind(function)}({', '.join(positional + named)})"

    def _on_numpy(self, args):
        """Return whether the operator means what the ufunc means: one operand is numpy's, the other numpy's or a number."""
        values = [arg.value if type(arg) is Recorded else arg for arg in args]
        return any(isinstance(v, _NUMPY_VALUES) for v in values) and all(
            isinstance(v, (*_NUMPY_VALUES, int, float)) for v in values
        )
