r"""One Newton step on a batch of small problems, kept within a trust region.

Sources: Yuan (2000), "A review of trust region algorithms for optimization"; Christianson (1994), "Reverse accumulation and
attractive fixed points", for the derivative of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import registry
from ppl.errors import ShapeError
from ppl.ops import autodiff, elementwise, linalg, reduce, shaping

SMALLEST_REGULARIZER = 1e-8
"""Keeps the regularized Hessian invertible where the region does not bind."""


def newton_step(loss: Any, x: Any, trust_radius: float | None = None) -> tuple[Any, Any]:
    r"""Return ``(mode, cov)`` after one Newton step to lower a loss over a batch of variables.

    .. math::
        \mathrm{mode} = x - (H + \lambda I)^{-1} g, \quad \mathrm{cov} = (H + \lambda I)^{-1}, \quad
        \lambda = \max(\|g\| / r - \lambda_{\min}(H), 10^{-8})

    with the gradient :math:`g`, the Hessian :math:`H` and its least eigenvalue :math:`\lambda_{\min}` of each member of the
    batch; without radius :math:`\lambda = 0`.

    :param loss: a scalar-valued function of ``x`` in which no member of the batch depends on another; on torch also its value, a
        scalar tensor computed from ``x``.
    :param x: shape ``(..., D)`` with a small ``D``, the other dimensions being the batch; it requires gradients if ``loss`` is a
        tensor.
    :param trust_radius: :math:`r`, how far each member may move; ``None`` for any distance.
    :raises ShapeError: if ``x`` has no dimension or the radius is not positive.
    :raises GapError: for an array as loss on numpy and jax.

    ``mode`` has the shape of ``x``, ``cov`` that of ``x`` and another ``D``. Both are differentiable by all that the loss is made
    of but ``x``, which is taken as a constant: at a minimum the derivative of the step is that of the minimizer.

    >>> from ppl import ops
    >>> target = ops.array([[1.0, 2.0], [3.0, 4.0]])
    >>> mode, cov = ops.newton.newton_step(lambda x: ops.sum((x - target) ** 2), ops.zeros((2, 2)))
    >>> ops.to_numpy(mode).round(3).tolist(), round(float(cov[0, 1, 1]), 3)
    ([[1.0, 2.0], [3.0, 4.0]], 0.5)
    """
    if shaping.ndim(x) < 1:
        raise ShapeError("newton_step needs x of shape (..., D), received a scalar; try x[..., None]")
    if trust_radius is not None and not trust_radius > 0:
        raise ShapeError(f"newton_step needs a trust radius above zero, received {trust_radius!r}")
    gradient, hessian = _derivatives(loss, x)
    if trust_radius is not None:
        hessian = hessian + _regularizer(gradient, hessian, trust_radius)[..., None, None] * _identity(x)
    cov = _inverse(hessian)
    return autodiff.stop_gradient(x) - reduce.sum(cov * gradient[..., None, :], axis=-1), cov


def newton_step_1d(loss: Any, x: Any, trust_radius: float | None = None) -> tuple[Any, Any]:
    """Return :func:`newton_step` for ``x`` of shape ``(..., 1)``.

    :param loss: as there.
    :param x: as there, its last dimension of size 1.
    :param trust_radius: as there.
    :raises ShapeError: for another size.
    """
    return newton_step(loss, _of_size(x, 1), trust_radius)


def newton_step_2d(loss: Any, x: Any, trust_radius: float | None = None) -> tuple[Any, Any]:
    """Return :func:`newton_step` for ``x`` of shape ``(..., 2)``.

    :param loss: as there.
    :param x: as there, its last dimension of size 2.
    :param trust_radius: as there.
    :raises ShapeError: for another size.
    """
    return newton_step(loss, _of_size(x, 2), trust_radius)


def newton_step_3d(loss: Any, x: Any, trust_radius: float | None = None) -> tuple[Any, Any]:
    """Return :func:`newton_step` for ``x`` of shape ``(..., 3)``.

    :param loss: as there.
    :param x: as there, its last dimension of size 3.
    :param trust_radius: as there.
    :raises ShapeError: for another size.
    """
    return newton_step(loss, _of_size(x, 3), trust_radius)


def _of_size(x: Any, size: int) -> Any:
    if shaping.ndim(x) < 1 or shaping.shape(x)[-1] != size:
        raise ShapeError(f"newton_step_{size}d needs x of shape (..., {size}), received {shaping.shape(x)}; try newton_step")
    return x


def _derivatives(loss: Any, x: Any) -> tuple[Any, Any]:
    """Return gradient and Hessian of each member of the batch."""
    size = shaping.shape(x)[-1]
    if callable(loss):
        point = autodiff.stop_gradient(x)
        gradient = autodiff.grad(loss)
        rows = [autodiff.grad(_sum_of_column(gradient, column))(point) for column in range(size)]
        return gradient(point), shaping.stack(rows, axis=-1)
    gap = registry.gap("derivatives of an array")
    if gap is not None:
        raise gap
    gradients_of = registry.active().optim.gradients_of
    (slope,) = gradients_of(loss, [x], True)
    # The gradient of a loss that is linear in x does not depend on it.
    rows = [gradients_of(reduce.sum(slope[..., column]) + 0.0 * reduce.sum(x), [x], True)[0] for column in range(size)]
    return slope, shaping.stack(rows, axis=-1)


def _sum_of_column(gradient: Callable[[Any], Any], column: int) -> Callable[[Any], Any]:
    return lambda x: reduce.sum(gradient(x)[..., column])


def _identity(x: Any) -> Any:
    return shaping.eye(shaping.shape(x)[-1], dtype=shaping.dtype_name(x))


def _safe_root(square: Any) -> Any:
    """Return the square root, with the derivative zero at zero."""
    positive = square > 0
    return elementwise.where(
        positive, elementwise.sqrt(elementwise.where(positive, square, shaping.ones_like(square))), shaping.zeros_like(square)
    )


def _regularizer(gradient: Any, hessian: Any, trust_radius: float) -> Any:
    norm = _safe_root(reduce.sum(gradient * gradient, axis=-1))
    needed = norm / trust_radius - _least_eigenvalue(hessian)
    return elementwise.maximum(needed, SMALLEST_REGULARIZER * shaping.ones_like(needed))


def _least_eigenvalue(matrix: Any) -> Any:
    size = shaping.shape(matrix)[-1]
    if size == 1:
        return matrix[..., 0, 0]
    if size == 2:
        mean, half = 0.5 * (matrix[..., 0, 0] + matrix[..., 1, 1]), 0.5 * (matrix[..., 0, 0] - matrix[..., 1, 1])
        return mean - _safe_root(half * half + matrix[..., 0, 1] * matrix[..., 1, 0])
    # The Rayleigh quotient has the first derivative of the eigenvalue and, unlike eigenvectors, one where two of them meet.
    direction = linalg.eigh(autodiff.stop_gradient(matrix))[1][..., :, 0]
    return reduce.sum(direction * reduce.sum(matrix * direction[..., None, :], axis=-1), axis=-1)


def _inverse(matrix: Any) -> Any:
    size = shaping.shape(matrix)[-1]
    if size == 1:
        return 1.0 / matrix
    if size > 2:
        return linalg.inv(matrix)
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = shaping.stack([shaping.stack([d, -b], axis=-1), shaping.stack([-c, a], axis=-1)], axis=-2)
    return adjugate / (a * d - b * c)[..., None, None]
