"""Creation, conversion, shape and indexing.

``dtype`` is ``None`` (the default floating dtype, or the input's) or a name such as ``"float64"``, ``"int64"``, ``"bool"``; the
library's own dtypes are accepted too. Functions never modify their input.

>>> from ppl import ops
>>> ops.to_numpy(ops.reshape(ops.arange(0, 4), (2, 2))).tolist()
[[0, 1], [2, 3]]
"""

from ppl.ops.dispatch import dispatched


@dispatched("ops")
def array(x, dtype=None):
    """Return ``x`` (array of any installed library's numpy-compatible kind, scalar, nested list) as an array of the active
    backend. Python floats get the default floating dtype, ints the library's integer dtype, arrays keep theirs."""


@dispatched("ops")
def zeros(shape, dtype=None):
    """Return zeros. ``shape`` is an int or a tuple."""


@dispatched("ops")
def ones(shape, dtype=None):
    """Return ones. ``shape`` is an int or a tuple."""


@dispatched("ops")
def full(shape, fill_value, dtype=None):
    """Return an array filled with ``fill_value``."""


@dispatched("ops")
def eye(n, m=None, dtype=None):
    """Return the ``(n, m)`` matrix with ones on the diagonal."""


@dispatched("ops")
def arange(start, stop=None, step=1, dtype=None):
    """Return evenly spaced values in ``[start, stop)``; integers where the arguments are."""


@dispatched("ops")
def linspace(start, stop, num):
    """Return ``num`` evenly spaced values, both ends included."""


@dispatched("ops")
def zeros_like(x, dtype=None):
    """Return zeros of the shape, dtype and device of ``x``."""


@dispatched("ops")
def ones_like(x, dtype=None):
    """Return ones of the shape, dtype and device of ``x``."""


@dispatched("ops")
def full_like(x, fill_value, dtype=None):
    """Return an array like ``x`` filled with ``fill_value``."""


@dispatched("ops")
def shape(x):
    """Return the shape of an array or Python scalar as a tuple of ints."""


@dispatched("ops")
def ndim(x):
    """Return the number of dimensions."""


@dispatched("ops")
def reshape(x, shape):
    """Return ``x`` with another shape; one entry may be -1."""


@dispatched("ops")
def permute_dims(x, axes):
    """Return ``x`` with its axes reordered."""


@dispatched("ops")
def matrix_transpose(x):
    """Return ``x`` with its last two axes swapped."""


@dispatched("ops")
def moveaxis(x, source, destination):
    """Return ``x`` with one axis moved."""


@dispatched("ops")
def expand_dims(x, axis):
    """Insert an axis of size one at ``axis``."""


@dispatched("ops")
def squeeze(x, axis):
    """Remove an axis of size one."""


@dispatched("ops")
def broadcast_to(x, shape):
    """Broadcast ``x`` to ``shape``; new leading dimensions are allowed."""


@dispatched("ops")
def broadcast_arrays(*arrays):
    """Return the arrays broadcast against each other, as a list; Python scalars become arrays."""


@dispatched("ops")
def broadcast_shapes(*shapes):
    """Return the shape that ``shapes`` broadcast to.

    :raises ShapeError: if they do not."""


@dispatched("ops")
def concat(arrays, axis=0):
    """Join arrays along an existing axis."""


@dispatched("ops")
def stack(arrays, axis=0):
    """Join arrays along a new axis."""


@dispatched("ops")
def flip(x, axis):
    """Reverse the order along ``axis``."""


@dispatched("ops")
def roll(x, shift, axis):
    """Shift elements cyclically along ``axis``."""


@dispatched("ops")
def tile(x, repetitions):
    """Repeat the whole array, ``repetitions`` a tuple."""


@dispatched("ops")
def repeat(x, repeats, axis):
    """Repeat each element ``repeats`` times along ``axis``."""


@dispatched("ops")
def take(x, indices, axis):
    """Choose slices by an integer array along ``axis``; the result's axis is replaced by the shape of ``indices``."""


@dispatched("ops")
def take_along_axis(x, indices, axis):
    """Choose elements by an integer array of the same rank; other axes broadcast."""


@dispatched("ops")
def index_update(x, index, value):
    """Return a copy of ``x`` with ``x[index] = value``; gradients flow to both."""


@dispatched("ops")
def index_add(x, index, value):
    """Return a copy of ``x`` with ``value`` added at ``index``; repeated indices accumulate."""


@dispatched("ops")
def tril(x, k=0):
    """Return the lower triangle of the last two axes, zeros above the ``k``-th diagonal."""


@dispatched("ops")
def triu(x, k=0):
    """Return the upper triangle of the last two axes, zeros below the ``k``-th diagonal."""


@dispatched("ops")
def diagonal(x):
    """Return the diagonal of the last two axes."""


@dispatched("ops")
def diag_embed(x):
    """Return matrices with the last axis of ``x`` on their diagonal."""


@dispatched("ops")
def one_hot(indices, num_classes, dtype=None):
    """Return ones at ``indices`` along a new last axis."""


@dispatched("ops")
def meshgrid(*arrays):
    """Return coordinate arrays of 1-d inputs, matrix (``ij``) indexing, as a list."""


@dispatched("ops")
def astype(x, dtype):
    """Return ``x`` converted to ``dtype``."""


@dispatched("ops")
def dtype_name(x):
    """Return the dtype of an array as a plain name, such as ``"float64"``."""


@dispatched("ops")
def result_dtype(*values):
    """Return the name of the floating dtype that ``values`` (arrays, scalars) promote to; scalars: at least the default one."""


@dispatched("ops")
def is_floating(x):
    """Return whether ``x`` is an array of floating dtype or a Python float."""


@dispatched("ops")
def is_array(x):
    """Return whether ``x`` is this backend's own array type (a tracer of it included)."""


@dispatched("ops")
def to_numpy(x):
    """Return a ``numpy.ndarray`` on the host, detached from any gradient."""


@dispatched("ops")
def device(x):
    """Return the device of ``x`` as a string, ``"cpu"`` or ``"cuda:0"``."""


@dispatched("ops")
def to_device(x, device):
    """Return ``x`` on another device."""


@dispatched("ops")
def finfo(x):
    """Return an object with ``eps``, ``max``, ``min`` and ``tiny`` of the dtype of ``x`` (an array or a dtype name)."""


@dispatched("ops")
def default_dtype():
    """Return the name of the default floating dtype."""


@dispatched("ops")
def set_default_dtype(dtype):
    """Set the default floating dtype, ``"float32"`` or ``"float64"`` (on jax this switches x64)."""
