"""Estimates of an inverse mass from what the chains visited, as host arithmetic on arrays of shape ``(n, D)``.

Two kinds: from the draws alone, shrunk as Stan does (reference manual, sec. 15.2), and from the draws and the gradients there.
The second minimizes the Fisher divergence between the target and a normal distribution (Seyboldt, Carlson and Carpenter 2026,
arXiv 2603.18845): in one dimension the variance is
``sd(draws) / sd(gradients)``, in many the covariance is the geometric mean of the draws' covariance and the inverse of the
gradients' covariance. On a normal target both are exact as soon as the draws span the space, wherever they lie, which is why
they need fewer draws.
"""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.ops.welford import shrink

# Rounding of the estimates in the unit of the diagonal scale.
RIDGE = 1e-9
# Draws for each dimension before correlations are believed.
DRAWS_A_DIMENSION = 1.5
# Ratio of the largest to the least variance, after scaling, from which correlations are worth a matrix.
WORTHWHILE = 4.0


def variances(draws: Any) -> Any:
    """Return shrunken sample variances, shape ``(D,)``."""
    return shrink(ops.var(draws, axis=0, correction=1), ops.shape(draws)[0])


def covariance(draws: Any) -> Any:
    """Return the shrunken sample covariance, shape ``(D, D)``."""
    return shrink(_second_moment(draws), ops.shape(draws)[0])


def variances_by_gradients(draws: Any, gradients: Any, otherwise: Any = 1.0) -> Any:
    """Return ``sd(draws) / sd(gradients)`` for each dimension; ``otherwise`` where one of them does not vary."""
    of_draws, of_gradients = ops.var(draws, axis=0), ops.var(gradients, axis=0)
    known = (of_draws > 0.0) & (of_gradients > 0.0) & ops.isfinite(of_gradients)
    ratio = ops.where(known, of_draws, 1.0) / ops.where(known, of_gradients, 1.0)
    return ops.where(known, ops.sqrt(ratio), otherwise)


def first_variances(positions: Any, gradients: Any) -> Any:
    """Return a guess at the scales from the starts of the chains: as above, or ``1 / |gradient|`` from fewer than three.

    A far-fetched start has a gradient of any size, so that the guess is kept within a factor of a thousand of 1.
    """
    guess = 1.0 / ops.maximum(ops.mean(ops.abs(gradients), axis=0), 1e-30)
    if ops.shape(positions)[0] > 2:
        guess = variances_by_gradients(positions, gradients, guess)
    return ops.clip(guess, min=1e-6, max=1e3)


def enough(draws: Any) -> bool:
    """Return whether ``draws`` are enough for correlations: :data:`DRAWS_A_DIMENSION`."""
    count, size = ops.shape(draws)
    return count >= DRAWS_A_DIMENSION * size + 5


def covariance_by_gradients(draws: Any, gradients: Any) -> Any:
    """Return the geometric mean of the draws' covariance and the inverse of the gradients', shape ``(D, D)``."""
    scale = ops.sqrt(variances_by_gradients(draws, gradients))
    return _scaled_covariance(draws, gradients, scale) * scale[:, None] * scale


def worthwhile(draws: Any, gradients: Any) -> Any:
    """Return the covariance where correlations are known and strong, :data:`WORTHWHILE`, otherwise the variances."""
    variances = variances_by_gradients(draws, gradients)
    if not enough(draws):
        return variances
    scale = ops.sqrt(variances)
    mean = _scaled_covariance(draws, gradients, scale)
    spread, _ = ops.eigh(mean)
    if not (spread[0] > 0.0 and spread[-1] > WORTHWHILE * spread[0]):
        return variances
    return mean * scale[:, None] * scale


def _scaled_covariance(draws: Any, gradients: Any, scale: Any) -> Any:
    ridge = RIDGE * ops.eye(ops.shape(draws)[1])
    return geometric_mean(_second_moment(draws / scale) + ridge, _second_moment(gradients * scale) + ridge)


def geometric_mean(covariance: Any, precision: Any) -> Any:
    """Return the matrix ``S`` with ``S @ precision @ S == covariance``, both symmetric and positive definite."""
    root = _power(covariance, 0.5)
    middle = _power(root @ precision @ root, -0.5)
    mean = root @ middle @ root
    return 0.5 * (mean + ops.matrix_transpose(mean))


def _power(matrix: Any, exponent: float) -> Any:
    values, vectors = ops.eigh(matrix)
    return (vectors * ops.maximum(values, 1e-30) ** exponent) @ ops.matrix_transpose(vectors)


def _second_moment(rows: Any) -> Any:
    centred = rows - ops.mean(rows, axis=0)
    return ops.matmul(ops.matrix_transpose(centred), centred) / (ops.shape(rows)[0] - 1)
