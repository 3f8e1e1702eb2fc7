"""Linear algebra on ``jax.numpy.linalg``."""

import jax.numpy as jnp
from jax.lax import linalg as lax_linalg

from ppl_jax.dtypes import promote


def matmul(x1, x2):
    """Return the matrix product."""
    return jnp.matmul(x1, x2)


def einsum(equation, *operands):
    """Return the Einstein summation."""
    return jnp.einsum(equation, *operands)


def vecdot(x1, x2):
    """Return the inner product along the last axis."""
    return jnp.einsum("...i,...i->...", x1, x2)


def outer(x1, x2):
    """Return the outer product along a new last axis."""
    return jnp.expand_dims(x1, -1) * jnp.expand_dims(x2, -2)


def trace(x):
    """Return the sum of the diagonal."""
    return jnp.trace(x, axis1=-2, axis2=-1)


def cholesky(x):
    """Return the lower Cholesky factor; NaN where ``x`` is not positive definite."""
    return jnp.linalg.cholesky(x)


def solve(a, b):
    """Solve ``a @ x = b``."""
    return jnp.linalg.solve(a, b)


def solve_triangular(a, b, lower=True, transpose=False):
    """Solve a triangular system."""
    a, b = promote(a, b)
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(a, (*batch, *a.shape[-2:]))
    b = jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    return lax_linalg.triangular_solve(a, b, left_side=True, lower=lower, transpose_a=transpose)


def cholesky_solve(factor, b):
    """Solve ``(factor @ factor.T) @ x = b``."""
    return solve_triangular(factor, solve_triangular(factor, b), transpose=True)


def inv(x):
    """Return the inverse."""
    return jnp.linalg.inv(x)


def det(x):
    """Return the determinant."""
    return jnp.linalg.det(x)


def slogdet(x):
    """Return sign and logarithm of the absolute determinant."""
    sign, logdet = jnp.linalg.slogdet(x)
    return sign, logdet


def eigh(x):
    """Return ascending eigenvalues and eigenvectors."""
    values, vectors = jnp.linalg.eigh(x)
    return values, vectors


def qr(x):
    """Return the reduced QR factors."""
    q, r = jnp.linalg.qr(x)
    return q, r


def svd(x):
    """Return the reduced singular value decomposition."""
    u, s, vh = jnp.linalg.svd(x, full_matrices=False)
    return u, s, vh
