"""The recorder under :mod:`ppl_numpy.compile`: a duck array that notes each NumPy call made on it.

A :class:`Recorded` value answers NumPy's two dispatch protocols (NEP 13 and NEP 18), so comparisons, rounding, ``argmax`` and
every other function without a derivative are noted like the rest. HIPS autograd sees it as one more array type, so nested
gradients are noted too. What cannot be noted, a conversion to a Python number or a change in place, raises
:class:`RecordingError`.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from contextvars import ContextVar

import autograd.numpy  # noqa: F401  registers the ufuncs that boxes answer to
import numpy as np
from autograd.extend import Box, VSpace
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from numpy.lib.mixins import NDArrayOperatorsMixin

from ppl.errors import BackendError


class RecordingError(BackendError):
    """A function does something that a recording cannot hold."""


class Call:
    """One noted call: ``function(*args, **kwargs)``, whose arguments may hold :class:`Recorded` values."""

    __slots__ = ("args", "effect", "function", "kwargs")

    def __init__(self, function, args, kwargs, effect):
        self.function, self.args, self.kwargs, self.effect = function, args, kwargs, effect


class Tape:
    """The calls of one recording in order, and the constants they captured."""

    def __init__(self):
        self.calls: list[Call] = []
        self._copies: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def capture(self, array):
        """Return a copy of a writeable array, which the caller might change after the call; equal captures share one."""
        original, copy = self._copies.get(id(array), (None, None))
        if original is not array or not np.array_equal(original, copy, equal_nan=original.dtype.kind in "fc"):
            copy = array.copy()
            self._copies[id(array)] = (array, copy)
        return copy


_tape: ContextVar[Tape | None] = ContextVar("ppl_numpy_tape", default=None)
active_tape = _tape.get


@contextmanager
def recording():
    """Note the calls made on :class:`Recorded` values inside the block, in this thread only."""
    token = _tape.set(Tape())
    try:
        yield active_tape()
    finally:
        _tape.reset(token)


class Recorded(NDArrayOperatorsMixin):
    """A value of the example run together with the call that made it (``None`` for an argument)."""

    __slots__ = ("call", "value")
    __array_priority__ = 50.0

    def __init__(self, value, call):
        self.value, self.call = value, call

    shape = property(lambda self: np.shape(self.value))
    ndim = property(lambda self: np.ndim(self.value))
    size = property(lambda self: np.size(self.value))
    dtype = property(lambda self: np.result_type(self.value))
    T = property(lambda self: record(np.transpose, (self,), {}))
    mT = property(lambda self: record(np.swapaxes, (self, -1, -2), {}))
    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if any(isinstance(value, Box) for value in inputs):
            return NotImplemented
        if method == "at" or kwargs.get("out") is not None:
            raise RecordingError(f"{ufunc.__name__} writes into an array in place; try ops.index_update or ops.index_add")
        return record(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        if function in _STATIC:
            return function(*unwrap(args), **unwrap(kwargs))
        if function in _IN_PLACE or kwargs.get("out") is not None:
            raise RecordingError(f"{function.__name__} writes into an array in place; try ops.index_update")
        if function in _SHAPED_BY_DATA or (function is np.where and len(args) + len(kwargs) < 3):
            raise RecordingError(f"the shape of {function.__name__}'s result depends on array values; try ops.where")
        return record(function, args, kwargs)

    def __array__(self, *args, **kwargs):
        raise RecordingError("an array that changes from call to call was converted to a plain numpy array")

    def _refuse(kind):
        def convert(self, *args):
            raise RecordingError(
                f"an array value that changes from call to call was used as a Python {kind} (a branch or a loop bound); "
                "try ops.where, or keep the loop outside"
            )

        return convert

    __bool__, __float__, __int__, __index__, __complex__ = map(_refuse, ("bool", "float", "int", "index", "complex"))
    item, tolist = _refuse("number"), _refuse("list")
    del _refuse

    def __setitem__(self, index, value):
        raise RecordingError("an array was changed in place; try ops.index_update or ops.index_add")

    def __getitem__(self, index):
        if any(isinstance(part, Recorded) and part.dtype == bool for part in (index if isinstance(index, tuple) else (index,))):
            raise RecordingError("indexing by a condition gives a shape that depends on array values; try ops.where")
        return record(getitem, (self, index), {})

    def __len__(self):
        return len(self.value)

    def __iter__(self):
        return (self[i] for i in range(len(self.value)))

    def __repr__(self):
        return f"Recorded({self.value!r})"

    def astype(self, dtype, **kwargs):
        return record(astype, (self, dtype), {})

    def reshape(self, *shape, **kwargs):
        return record(np.reshape, (self, shape[0] if len(shape) == 1 else shape), kwargs)

    def transpose(self, *axes):
        return record(np.transpose, (self, axes[0] if len(axes) == 1 else axes or None), {})

    def view(self, kind):
        """Return ``self``: autograd's ``concatenate`` asks for a view of the base class."""
        if kind is not np.ndarray:
            raise RecordingError(f"a view as {kind} cannot be recorded")
        return self


def astype(x, dtype):
    """Return ``x`` in another dtype: a function of its own so that a program can leave it out where it changes nothing."""
    return np.asarray(x).astype(dtype)


def _out_of_place(operator):
    """Return the meaning of ``x += y`` that autograd gives it: ``x = x + y``."""

    def method(self, other):
        return getattr(self, operator)(other)

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "matmul", "and", "or", "xor"):
    setattr(Recorded, f"__i{_name}__", _out_of_place(f"__{_name}__"))


def _as_method(function):
    def method(self, *args, **kwargs):
        return record(function, (self, *args), kwargs)

    return method


_METHODS = """all any argmax argmin argsort clip copy cumprod cumsum diagonal max mean min prod ravel repeat round searchsorted
squeeze std sum swapaxes take trace var"""
for _name in _METHODS.split():
    setattr(Recorded, _name, _as_method(getattr(np, _name)))
Recorded.flatten = Recorded.ravel
Recorded.conj = _as_method(np.conjugate)

# answered from the example's shapes and dtypes, which the signature of the program fixes
_OF_SHAPE = "zeros_like ones_like empty_like shape ndim size result_type iscomplexobj isrealobj"
_STATIC = {getattr(np, name) for name in _OF_SHAPE.split()}
_IN_PLACE = {getattr(np, name) for name in "copyto put put_along_axis place putmask fill_diagonal".split()}
_SHAPED_BY_DATA = {
    getattr(np, name)
    for name in """nonzero flatnonzero argwhere unique unique_all unique_counts unique_inverse unique_values extract compress
    delete union1d intersect1d setdiff1d setxor1d trim_zeros bincount histogram_bin_edges""".split()
    if hasattr(np, name)
}


def getitem(x, index):
    """Return ``x[index]``: a function of its own so that a program can write it as a subscript."""
    return x[index]


def joined(axis, *arrays):
    """Return arrays joined along an axis."""
    return np.concatenate(arrays, axis)


def stacked(*arrays):
    """Return arrays of one shape and dtype stacked along a new first axis."""
    return np.array(arrays)


def is_whole(part):
    """Return whether a part of an index is the slice of a whole axis."""
    return type(part) is slice and part.start is part.stop is part.step is None


def unwrap(tree):
    """Return ``tree`` with each :class:`Recorded` value replaced by the plain one."""
    kind = type(tree)
    if kind is Recorded:
        return tree.value
    if kind is tuple or kind is list:
        return kind([unwrap(part) for part in tree])
    if kind is dict:
        return {key: unwrap(part) for key, part in tree.items()}
    if kind is slice:
        return slice(unwrap(tree.start), unwrap(tree.stop), unwrap(tree.step))
    if isinstance(tree, tuple):
        return kind(*map(unwrap, tree))
    return tree


def mentions_recorded(tree):
    """Return whether a nested argument holds a :class:`Recorded` value."""
    kind = type(tree)
    if kind is Recorded:
        return True
    if kind is dict:
        return any(map(mentions_recorded, tree.values()))
    if isinstance(tree, (tuple, list)):
        return any(map(mentions_recorded, tree))
    return False


def record(function, args, kwargs, effect=False):
    """Call ``function`` on the plain values and note the call; tuples and lists come back with their parts noted."""
    tape = active_tape()
    if tape is None:
        raise RecordingError("a value escaped from a recording that has ended")
    value = function(*unwrap(args), **unwrap(kwargs))
    if value is None:
        raise RecordingError(f"{getattr(function, '__name__', function)} returns nothing: it changes an argument in place")
    call = Call(function, _frozen(args, tape), _frozen(kwargs, tape), effect)
    tape.calls.append(call)
    return _wrapped(value, call, tape)


def _frozen(tree, tape):
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind([_frozen(part, tape) for part in tree])
    if kind is dict:
        return {key: _frozen(part, tape) for key, part in tree.items()}
    if kind is np.ndarray and tree.flags.writeable:
        return tape.capture(tree)
    return tree


def _wrapped(value, call, tape):
    if not isinstance(value, (tuple, list)):
        return Recorded(value, call)
    parts = []
    for i, part in enumerate(value):
        child = Call(getitem, (Recorded(value, call), i), {}, False)
        tape.calls.append(child)
        parts.append(_wrapped(part, child, tape))
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def recordable(function, effect=False):
    """Make a Python function one noted call instead of the calls inside it.

    :param effect: whether it must run on each replay even if it has no recorded argument (a random draw).
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        if active_tape() is None or not (effect or mentions_recorded(args) or mentions_recorded(kwargs)):
            return function(*args, **kwargs)
        return record(function, args, kwargs, effect)

    return call


class _RecordedSpace(ArrayVSpace):
    """The vector space of recorded arrays: as that of arrays, with sums out of place."""

    def __init__(self, value):
        self.shape, self.dtype = value.shape, value.dtype

    def _mut_add(self, x_prev, x_new):
        return self.zeros() + x_new if x_prev is None else x_prev + x_new


ArrayBox.register(Recorded)
VSpace.register(Recorded, _RecordedSpace)
