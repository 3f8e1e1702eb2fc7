"""Reductions, cumulative operations and ordering. ``axis`` is an int, a tuple of ints or ``None`` for all.

>>> from ppl import ops
>>> [float(x) for x in ops.sum(ops.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)]
[4.0, 6.0]
"""

from ppl.ops.dispatch import dispatched


@dispatched("ops")
def sum(x, axis=None, keepdims=False):
    """Return the sum; booleans are counted."""


@dispatched("ops")
def prod(x, axis=None, keepdims=False):
    """Return the product."""


@dispatched("ops")
def mean(x, axis=None, keepdims=False):
    """Return the arithmetic mean."""


@dispatched("ops")
def var(x, axis=None, correction=0, keepdims=False):
    """Return the variance with divisor ``n - correction``."""


@dispatched("ops")
def std(x, axis=None, correction=0, keepdims=False):
    """Return the standard deviation with divisor ``n - correction``."""


@dispatched("ops")
def max(x, axis=None, keepdims=False):
    """Return the largest element."""


@dispatched("ops")
def min(x, axis=None, keepdims=False):
    """Return the smallest element."""


@dispatched("ops")
def argmax(x, axis=None):
    """Return the index of the first largest element (into the flattened array for ``axis=None``)."""


@dispatched("ops")
def argmin(x, axis=None):
    """Return the index of the first smallest element (into the flattened array for ``axis=None``)."""


@dispatched("ops")
def any(x, axis=None, keepdims=False):
    """Return whether any element is true."""


@dispatched("ops")
def all(x, axis=None, keepdims=False):
    """Return whether all elements are true."""


@dispatched("ops")
def cumsum(x, axis=-1):
    """Return cumulative sums along ``axis``."""


@dispatched("ops")
def cumprod(x, axis=-1):
    """Return cumulative products along ``axis``; the gradient is right at zeros too."""


@dispatched("ops")
def autocorrelate(x):
    """Return the sums of products ``sum_i x[..., i] x[..., i + k]`` for each lag ``k`` along the last axis, in O(n log n)."""


@dispatched("ops")
def sort(x, axis=-1):
    """Return the elements in ascending order along ``axis``."""


@dispatched("ops")
def argsort(x, axis=-1):
    """Return the indices that sort along ``axis``, stable."""


@dispatched("ops")
def searchsorted(sorted_sequence, values, side="left"):
    """Return insertion indices into a sorted 1-d array."""
