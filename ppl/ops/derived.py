"""Functions written once over the others; a backend's ``ops`` may override one by name where it measurably wins."""

from ppl.ops import control, elementwise, reduce, shaping, special
from ppl.ops.dispatch import derived


@derived
def sum_rightmost(x, num_dims):
    """Return ``x`` summed over its last ``num_dims`` axes.

    >>> from ppl import ops
    >>> [float(x) for x in ops.sum_rightmost(ops.array([[1.0, 2.0], [3.0, 4.0]]), 1)]
    [3.0, 7.0]
    """
    ndim = shaping.ndim(x)
    if num_dims == 0 or ndim == 0:
        return x
    return reduce.sum(x) if num_dims == ndim else reduce.sum(x, axis=tuple(range(-num_dims, 0)))


@derived
def safe_log(x):
    """Return ``log(x)`` with the gradient of the smallest normal number below it, so that ``x = 0`` gives no NaN.

    >>> from ppl import ops
    >>> float(ops.safe_log(ops.array(1.0))), bool(ops.isfinite(ops.safe_log(ops.array(0.0))))
    (0.0, True)
    """
    return elementwise.log(elementwise.clip(x, min=shaping.finfo(x).tiny))


@derived
def clip_probs(probs):
    """Return probabilities moved off 0 and 1 by one machine epsilon.

    >>> from ppl import ops
    >>> bool(ops.clip_probs(ops.array(1.0)) < 1.0)
    True
    """
    eps = shaping.finfo(probs).eps
    return elementwise.clip(probs, min=eps, max=1.0 - eps)


@derived
def vector_to_tril(vector, diagonal=-1):
    """Return lower triangular matrices whose entries, row by row up to the ``diagonal``-th diagonal, are ``vector``.

    :param vector: shape ``(..., m)`` with ``m`` the number of entries of the triangle.

    >>> from ppl import ops
    >>> ops.to_numpy(ops.vector_to_tril(ops.array([1.0, 2.0, 3.0]), diagonal=0)).tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """
    size = shaping.shape(vector)[-1]
    n = _side_of_triangle(size, diagonal)
    order = {(i, j): k for k, (i, j) in enumerate((i, j) for i in range(n) for j in range(i + diagonal + 1))}
    positions = [[order.get((i, j), size) for j in range(n)] for i in range(n)]
    padded = shaping.concat([vector, shaping.zeros_like(vector[..., :1])], axis=-1)
    return shaping.take(padded, shaping.array(positions, dtype="int64"), axis=-1)


def _side_of_triangle(size, diagonal):
    """Return the side ``n`` of the matrix whose triangle up to ``diagonal`` (0 or -1) has ``size`` entries."""
    side = ((8 * size + 1) ** 0.5 - 1) / 2
    return round(side) - diagonal


@derived
def tril_to_vector(matrix, diagonal=-1):
    """Return the entries of the lower triangle of ``matrix``, row by row up to the ``diagonal``-th diagonal.

    >>> from ppl import ops
    >>> ops.to_numpy(ops.tril_to_vector(ops.array([[1.0, 0.0], [2.0, 3.0]]), diagonal=0)).tolist()
    [1.0, 2.0, 3.0]
    """
    n = shaping.shape(matrix)[-1]
    flat = shaping.reshape(matrix, (*shaping.shape(matrix)[:-2], n * n))
    positions = [i * n + j for i in range(n) for j in range(i + diagonal + 1)]
    return shaping.take(flat, shaping.array(positions, dtype="int64"), axis=-1)


@derived
def log_matmul(x, y):
    r"""Return the product of matrices that are given and returned as logarithms, :math:`\log(e^x e^y)`.

    :param x: shape ``(..., n, k)``; ``-inf`` is safe, also for gradients.
    :param y: shape ``(..., k, m)``; batches broadcast.

    No element underflows, however far apart the terms of it and of the others lie.

    >>> from ppl import ops
    >>> x, y = ops.array([[0.0, -900.0]]), ops.array([[-2000.0, 0.0], [0.0, -5000.0]])
    >>> ops.to_numpy(ops.log_matmul(x, y)).tolist()
    [[-900.0, 0.0]]
    """
    # Axes: row, summed, column.
    return special.logsumexp(shaping.expand_dims(x, -1) + shaping.expand_dims(y, -3), axis=-2)


@derived
def log_recursion(start, log_factors):
    r"""Return the row ``start`` times a chain of matrices, all as logarithms, one matrix after the other.

    :param start: shape ``(..., K)``.
    :param log_factors: shape ``(..., T, K, K)`` with ``T`` at least 1; batches broadcast.
    :returns: shape ``(..., K)``.

    >>> from ppl import ops
    >>> steps = ops.log(ops.array([[[0.5, 0.5], [0.0, 1.0]]] * 3))
    >>> ops.to_numpy(ops.exp(ops.log_recursion(ops.log(ops.array([1.0, 0.0])), steps))).round(4).tolist()
    [0.125, 0.875]
    """
    shape = tuple(shaping.shape(log_factors))
    batch = shaping.broadcast_shapes(tuple(shaping.shape(start))[:-1], shape[:-3])

    def step(weights, factor):
        return special.logsumexp(shaping.expand_dims(weights, -1) + factor, axis=-2), None

    start = shaping.broadcast_to(start, (*batch, shape[-1]))
    return control.scan(step, start, shaping.moveaxis(log_factors, -3, 0))[0]
