"""Linear algebra on the last one or two axes; leading axes are batches and broadcast.

>>> from ppl import ops
>>> ops.to_numpy(ops.cholesky(ops.array([[4.0, 2.0], [2.0, 10.0]]))).tolist()
[[2.0, 0.0], [1.0, 3.0]]
"""

from ppl.ops.dispatch import dispatched


@dispatched("linalg")
def matmul(x1, x2):
    """Return the matrix product, as the operator ``@`` does."""


@dispatched("linalg")
def einsum(equation, *operands):
    """Return the Einstein summation of ``operands``."""


@dispatched("linalg")
def vecdot(x1, x2):
    """Return the inner product along the last axis."""


@dispatched("linalg")
def outer(x1, x2):
    """Return the outer product along a new last axis; leading axes broadcast."""


@dispatched("linalg")
def trace(x):
    """Return the sum of the diagonal of the last two axes."""


@dispatched("linalg")
def cholesky(x):
    """Return the lower Cholesky factor of a positive definite matrix.

    On jax a matrix that is not positive definite gives NaN, elsewhere the library's error."""


@dispatched("linalg")
def solve(a, b):
    """Solve ``a @ x = b`` for square ``a``; ``b`` has shape ``(..., n, k)``."""


@dispatched("linalg")
def solve_triangular(a, b, lower=True, transpose=False):
    """Solve ``a @ x = b`` (or ``a.T @ x = b``) for triangular ``a``; ``b`` has shape ``(..., n, k)``; batches broadcast."""


@dispatched("linalg")
def cholesky_solve(factor, b):
    """Solve ``(factor @ factor.T) @ x = b`` for a lower factor."""


@dispatched("linalg")
def inv(x):
    """Return the inverse of square matrices."""


@dispatched("linalg")
def det(x):
    """Return the determinant."""


@dispatched("linalg")
def slogdet(x):
    """Return the sign and the logarithm of the absolute determinant, as a tuple."""


@dispatched("linalg")
def eigh(x):
    """Return eigenvalues in ascending order and eigenvectors (columns) of symmetric matrices, as a tuple."""


@dispatched("linalg")
def qr(x):
    """Return the reduced QR factors, as a tuple."""


@dispatched("linalg")
def svd(x):
    """Return ``u, s, vh`` of the reduced singular value decomposition, ``s`` descending."""
