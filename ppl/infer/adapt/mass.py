"""Estimates of an inverse mass from what the chains visited, as host arithmetic on arrays of shape ``(n, D)``.

Two kinds: from the draws alone, shrunk as Stan does (reference manual, sec. 15.2), and from the draws and the gradients there.
The second minimizes the Fisher divergence between the target and a normal distribution (Seyboldt, Carlson and Carpenter 2026,
arXiv 2603.18845): in one dimension the variance is
``sd(draws) / sd(gradients)``, in many the covariance is the geometric mean of the draws' covariance and the inverse of the
gradients' covariance. On a normal target both are exact as soon as the draws span the space, wherever they lie, which is why
they need fewer draws.

Where draws are too few for a matrix, or dimensions too many, the covariance is a diagonal one, corrected along few directions:
:func:`low_rank`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ppl import ops
from ppl.ops.welford import shrink

# Rounding of the estimates in the unit of the diagonal scale.
RIDGE = 1e-9
# Squares of singular values below this part of the largest one are rounding.
RANK_TOLERANCE = 1e-12
# Draws for each dimension before correlations are believed.
DRAWS_A_DIMENSION = 1.5
# Ratio of the largest to the least variance, after scaling, from which correlations are worth a matrix.
WORTHWHILE = 4.0
# Draws for each direction of the subspace that is searched for correlations: with fewer, heavy tails look like correlations.
DRAWS_A_DIRECTION = 4
# A direction is corrected if its variance, after scaling, differs from 1 by this factor, as the paper has it.
NOTABLE = 2.0
# Bounds of that variance, which single precision can bear.
LEAST_STRETCH, MOST_STRETCH = 1e-5, 1e8
# How often scales and directions are found in turns, and the relative change of scales below which that ends.
ROUNDS, SETTLED = 10, 0.01
# Up to twice as many draws are looked at.
MANY_DRAWS = 400


class LowRank(NamedTuple):
    """The covariance ``diag(variances) + directions.T @ diag(stretches - 1) @ directions``.

    ``variances (D,)``; ``directions (K, D)``, orthonormal after division by the roots of the variances, or zero; ``stretches
    (K,)``: the variance along each, in the unit of the scales.
    """

    variances: Any
    directions: Any
    stretches: Any


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
    """Return the covariance where correlations are known and strong, :data:`WORTHWHILE`, otherwise the variances.

    Draws that are not :func:`enough` tell it along few directions.
    """
    if not enough(draws):
        found = low_rank(draws, gradients, ops.shape(draws)[1])
        notable = ops.max(found.stretches) > WORTHWHILE * ops.min(found.stretches)
        return assemble(*found) if notable else variances_by_gradients(draws, gradients)
    variances = variances_by_gradients(draws, gradients)
    scale = ops.sqrt(variances)
    mean = _scaled_covariance(draws, gradients, scale)
    spread, _ = ops.eigh(mean)
    if not (spread[0] > 0.0 and spread[-1] > WORTHWHILE * spread[0]):
        return variances
    return mean * scale[:, None] * scale


def low_rank(draws: Any, gradients: Any, rank: int) -> LowRank:
    r"""Return the covariance :math:`\sigma (I + U (\Lambda - I) U^T) \sigma` of Seyboldt, Carlson and Carpenter (2026, sec. 4).

    On draws :math:`x / \sigma` and gradients :math:`\sigma g` the Fisher divergence from the unit normal is
    :math:`E |x - g|^2`; the directions that add most to it span a subspace of dimension ``n / DRAWS_A_DIRECTION``, in which the
    geometric mean of the covariances is well determined. Its eigenvectors whose eigenvalues are the farthest from 1 become
    :math:`U`. What these directions explain no longer belongs into :math:`\sigma`, so that the scales are estimated anew from
    draws and gradients without it, and the directions with them, until they settle.

    :param rank: the number of directions; those that are not needed are zero, of stretch 1.
    """
    thin = max(ops.shape(draws)[0] // MANY_DRAWS, 1)
    draws, gradients = (rows[::thin] - ops.mean(rows[::thin], axis=0) for rows in (draws, gradients))
    scale = ops.sqrt(variances_by_gradients(draws, gradients))
    for turn in range(ROUNDS):
        scaled, scaled_gradients = draws / scale, gradients * scale
        directions, stretches = _notable_directions(scaled, scaled_gradients, rank)
        if turn == ROUNDS - 1:
            break
        rest = _stretched(scaled, directions, stretches**-0.5), _stretched(scaled_gradients, directions, stretches**0.5)
        change = ops.sqrt(variances_by_gradients(*rest))
        if ops.max(ops.abs(change - 1.0)) < SETTLED:
            break
        scale = scale * change
    missing = rank - ops.shape(stretches)[0]
    directions = ops.concat([directions * scale, ops.zeros((missing, ops.shape(scale)[0]), dtype="float64")])
    return LowRank(scale * scale, directions, ops.concat([stretches, ops.ones(missing, dtype="float64")]))


def assemble(variances: Any, directions: Any, stretches: Any) -> Any:
    """Return the covariance of a :class:`LowRank` as a matrix ``(D, D)``."""
    size, dtype = ops.shape(variances)[0], ops.dtype_name(variances)
    return variances * ops.eye(size, dtype=dtype) + (ops.matrix_transpose(directions) * (stretches - 1.0)) @ directions


def _notable_directions(draws: Any, gradients: Any, rank: int) -> tuple[Any, Any]:
    """Return at most ``rank`` orthonormal rows and the variances along them that differ notably from 1."""
    basis = _leading_directions(draws - gradients, ops.shape(draws)[0] // DRAWS_A_DIRECTION)
    ridge = RIDGE * ops.eye(ops.shape(basis)[1], dtype="float64")
    of_draws, of_gradients = (_second_moment(rows @ basis) + ridge for rows in (draws, gradients))
    values, vectors = ops.eigh(geometric_mean(of_draws, of_gradients))
    stretches = ops.clip(values, min=LEAST_STRETCH, max=MOST_STRETCH)
    distance = ops.abs(ops.log(stretches))
    chosen = ops.flip(ops.argsort(distance), axis=0)[:rank]
    chosen = chosen[distance[chosen] > math.log(NOTABLE)]
    return ops.matrix_transpose(basis @ vectors[:, chosen]), stretches[chosen]


def _leading_directions(rows: Any, count: int) -> Any:
    """Return the first principal axes of ``rows (n, D)`` as orthonormal columns, at most ``count``."""
    few = ops.shape(rows)[0] < ops.shape(rows)[1]
    across = ops.matrix_transpose(rows)
    values, vectors = ops.eigh(rows @ across if few else across @ rows)
    values, vectors = ops.flip(values, axis=0)[:count], ops.flip(vectors, axis=1)[:, :count]
    if not few:
        return vectors
    known = values > RANK_TOLERANCE * values[0]
    # Rounding spoils the axes of small values, so that they are made orthogonal once more.
    axes, _ = ops.qr((across @ vectors[:, known]) / ops.sqrt(values[known]))
    return axes


def _stretched(rows: Any, directions: Any, factors: Any) -> Any:
    return rows + ((rows @ ops.matrix_transpose(directions)) * (factors - 1.0)) @ directions


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
