"""What a recorded program hangs on: structure, shapes and dtypes of its arguments, and values that are no data."""

import numpy as np

from ppl import tree
from ppl_numpy.shaping import default_dtype


def changes(leaf):
    """Return whether a leaf of the arguments is data, which may change from call to call."""
    return isinstance(leaf, (np.ndarray, np.generic, bool, int, float, np.random.Generator))


def signature(args, kwargs):
    """Return a hashable description of the arguments and their leaves; values that are no data are part of it."""
    if not kwargs and all(type(arg) is np.ndarray for arg in args):
        return (default_dtype(), *[(arg.shape, arg.dtype) for arg in args]), args
    leaves = tree.leaves((args, kwargs))
    return (default_dtype(), tree.structure((args, kwargs)), *map(_kind, leaves)), leaves


def _kind(leaf):
    if type(leaf) is np.ndarray:
        return leaf.shape, leaf.dtype
    if changes(leaf):
        return type(leaf)
    try:
        hash(leaf)
    except TypeError:
        return type(leaf), id(leaf)
    return type(leaf), leaf
