"""Products along chains in logarithmic depth: of matrices in log space, and of the steps of linear Gaussian state spaces.

A product of ``T`` matrices is associative, so neighbours can be multiplied in pairs, then the products in pairs, and so on: about
``log2(T)`` batched operations in place of ``T`` small ones (Blelloch 1990, "Prefix sums and their applications").
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ppl.errors import ShapeError
from ppl.ops import derived, elementwise, linalg, random, reduce, shaping, special
from ppl.ops.semiring import LOG_SUM_PRODUCT, MAX_PRODUCT, Semiring
from ppl.registry import active


def _pairs(array: Any, axis: int) -> tuple[Any, Any, Any]:
    """Return the elements at even places, those at odd places, and the last one if it has no partner, along ``axis``."""
    length = shaping.shape(array)[axis]
    end = length - length % 2
    behind = (slice(None),) * (-1 - axis)
    return (
        array[(..., slice(0, end, 2), *behind)],
        array[(..., slice(1, end, 2), *behind)],
        array[(..., slice(end, None), *behind)] if end < length else None,
    )


def products(log_factors: Any, semiring: Semiring = LOG_SUM_PRODUCT) -> list[Any]:
    """Return the levels of the tree of products of a chain: the factors, the products of pairs, and so on up to the whole.

    :param log_factors: shape ``(..., T, K, K)`` with ``T`` at least 1, element ``[t, i, j]`` the logarithm of the weight of going
        from state ``i`` to state ``j`` in step ``t``; ``-inf`` for what cannot be.
    :param semiring: what a sum over the state between two steps is.
    :raises ShapeError: if the last two axes differ, or there is no step.
    """
    _check(log_factors)
    levels = [log_factors]
    while shaping.shape(levels[-1])[-3] > 1:
        left, right, rest = _pairs(levels[-1], -3)
        if semiring is LOG_SUM_PRODUCT:
            product = derived.log_matmul(left, right)
        else:
            # Axes: from, between, to.
            joined = semiring.times(shaping.expand_dims(left, -1), shaping.expand_dims(right, -3))
            product = semiring.plus(joined, -2)
        levels.append(product if rest is None else shaping.concat([product, rest], axis=-3))
    return levels


def _check(log_factors: Any) -> None:
    shape = tuple(shaping.shape(log_factors))
    if len(shape) < 3 or shape[-1] != shape[-2] or shape[-3] == 0:
        raise ShapeError(
            f"a chain of factors has shape {shape}; expected (..., T, K, K) with one step at least; try to give states that have "
            "no successor the log weight -inf, so that both axes are the states"
        )


def sequential_log_sum_product(log_factors: Any) -> Any:
    """Return the product of the matrices of a chain in log space, in ``O(log T)`` depth.

    :param log_factors: shape ``(..., T, K, K)``, logarithms; ``-inf`` is safe, also for gradients.
    :returns: shape ``(..., K, K)``: the log weight of all paths from the state before the first step to that after the last.
    :raises ShapeError: if the last two axes differ, or there is no step.

    >>> from ppl import ops
    >>> from ppl.ops import chain
    >>> steps = ops.log(ops.array([[[0.5, 0.5], [0.0, 1.0]]] * 3))
    >>> ops.to_numpy(ops.exp(chain.sequential_log_sum_product(steps))).round(4).tolist()
    [[0.125, 0.875], [0.0, 1.0]]
    """
    return products(log_factors)[-1][..., 0, :, :]


def log_forward(start: Any, log_factors: Any) -> Any:
    """Return the log weight of each state after the last step of a chain, over all paths to it.

    :param start: the log weights of the states before the first step, shape ``(..., K)``.
    :param log_factors: shape ``(..., T, K, K)``, logarithms; batches broadcast.
    :returns: shape ``(..., K)``.
    :raises ShapeError: if the last two axes differ, or there is no step.

    In ``O(log T)`` depth, or one step after the other where that is faster.

    >>> from ppl import ops
    >>> from ppl.ops import chain
    >>> steps = ops.log(ops.array([[[0.5, 0.5], [0.0, 1.0]]] * 3))
    >>> ops.to_numpy(ops.exp(chain.log_forward(ops.log(ops.array([1.0, 0.0])), steps))).round(4).tolist()
    [0.125, 0.875]
    """
    _check(log_factors)
    if loops_win(log_factors):
        return derived.log_recursion(start, log_factors)
    return special.logsumexp(shaping.expand_dims(start, -1) + sequential_log_sum_product(log_factors), axis=-2)


def loops_win(array: Any) -> bool:
    """Return whether a loop that carries a vector beats products of matrices in parallel: compiled, on few cores."""
    return bool(active().optim.STEP == "compiled" and shaping.device(array) == "cpu")


def sequential_max_sum(log_factors: Any) -> Any:
    """Return the log weight of the best path between any two states of a chain, in ``O(log T)`` depth.

    :param log_factors: shape ``(..., T, K, K)``, logarithms.
    :returns: shape ``(..., K, K)``.
    :raises ShapeError: if the last two axes differ, or there is no step.

    >>> from ppl import ops
    >>> from ppl.ops import chain
    >>> steps = ops.log(ops.array([[[0.5, 0.5], [0.25, 0.75]]] * 2))
    >>> ops.to_numpy(ops.exp(chain.sequential_max_sum(steps))).round(4).tolist()
    [[0.25, 0.375], [0.1875, 0.5625]]
    """
    return products(log_factors, MAX_PRODUCT)[-1][..., 0, :, :]


def path(log_factors: Any, last: Any, first: Any = None, temperature: int = 1, key: Any = None) -> Any:
    """Return the states of a chain between given ends: an exact joint draw, or the most probable path.

    :param log_factors: shape ``(..., T, K, K)``, logarithms.
    :param last: the state after the last step, integers of shape ``(...)``.
    :param first: the state before the first step, integers of shape ``(...)``; drawn in proportion to the paths that lead from it
        if ``None``.
    :param temperature: 1 for a draw, 0 for the best path.
    :param key: source of randomness of the draw; ``None`` for the ambient one.
    :returns: integers of shape ``(..., T + 1)``.

    Down the tree of products each state between two known ones is independent of the rest, so that a level is one draw.

    >>> from ppl import ops
    >>> from ppl.ops import chain
    >>> steps = ops.log(ops.array([[[0.4, 0.6], [0.1, 0.9]]] * 2))
    >>> ops.to_numpy(chain.path(steps, ops.array(0), first=ops.array(0), temperature=0)).tolist()
    [0, 0, 0]
    """
    levels = products(log_factors, LOG_SUM_PRODUCT if temperature else MAX_PRODUCT)
    if temperature and key is None:
        key = random.next_key()
    keys = random.split(key, len(levels)) if temperature and key is not None else [None] * len(levels)
    batch = tuple(shaping.shape(log_factors))[:-3]
    last = shaping.broadcast_to(last, batch)
    if first is None:
        first = choose(column(levels[-1][..., 0, :, :], last), temperature, keys[-1])
    states = shaping.stack([shaping.broadcast_to(first, batch), last], axis=-1)
    for below, own in zip(reversed(levels[:-1]), keys, strict=False):
        left, right, _ = _pairs(below, -3)
        count = shaping.shape(left)[-3]
        weights = _row(left, states[..., :count]) + column(right, states[..., 1 : count + 1])
        between = choose(weights, temperature, own)
        woven = shaping.stack([states[..., :count], between], axis=-1)
        woven = shaping.reshape(woven, (*batch, 2 * count))
        states = shaping.concat([woven, states[..., count:]], axis=-1)
    return states


def choose(log_weights: Any, temperature: int, key: Any) -> Any:
    """Return an index along the last axis: drawn in proportion to the weights at temperature 1, the best one at 0.

    >>> from ppl import ops
    >>> from ppl.ops import chain
    >>> int(chain.choose(ops.array([-1.0, 0.5, -3.0]), 0, None))
    1
    """
    if not temperature:
        return reduce.argmax(log_weights, axis=-1)
    uniform = random.open_uniform(key, tuple(shaping.shape(log_weights)), shaping.dtype_name(log_weights))
    # The largest of the weights with standard Gumbel noise is a draw (Gumbel 1954).
    return reduce.argmax(log_weights - elementwise.log(-elementwise.log(uniform)), axis=-1)


def _row(matrices: Any, index: Any) -> Any:
    """Return row ``index`` of each matrix."""
    shape = tuple(shaping.shape(matrices))
    index = shaping.broadcast_to(index[..., None, None], (*shape[:-2], 1, shape[-1]))
    return shaping.take_along_axis(matrices, index, axis=-2)[..., 0, :]


def column(matrices: Any, index: Any) -> Any:
    """Return column ``index`` of each matrix.

    :param matrices: shape ``(..., n, m)``.
    :param index: integers of shape ``(...)``.

    >>> from ppl import ops
    >>> from ppl.ops import chain
    >>> ops.to_numpy(chain.column(ops.array([[1.0, 2.0], [3.0, 4.0]]), ops.array(1))).tolist()
    [2.0, 4.0]
    """
    return _row(shaping.moveaxis(matrices, -1, -2), index)


class GaussianStep(NamedTuple):
    r"""What one or more steps of a linear Gaussian state space say of the state before, the state after and the data between.

    .. math:: p(y, x' \mid x) = N(x';\, A x + b,\, C)\, \exp(c + \eta^\top x - \tfrac12 x^\top J x)

    The parameters follow Särkkä and García-Fernández 2021, "Temporal parallelization of Bayesian smoothers", IEEE Transactions on
    Automatic Control 66(1), section IV, who leave out :math:`c`.

    :param transition: :math:`A`, shape ``(..., D, D)``.
    :param offset: :math:`b`, shape ``(..., D)``.
    :param covariance: :math:`C`, shape ``(..., D, D)``; it may be singular.
    :param information_vector: :math:`\eta`, shape ``(..., D)``.
    :param precision: :math:`J`, shape ``(..., D, D)``.
    :param log_scale: :math:`c`, shape ``(...)``.
    """

    transition: Any
    offset: Any
    covariance: Any
    information_vector: Any
    precision: Any
    log_scale: Any


def gaussian_step(matrix: Any, noise: tuple[Any, Any], observation: Any, error: tuple[Any, Any], value: Any) -> GaussianStep:
    r"""Return the step :math:`x' = F x + u + q`, :math:`y = H x' + d + r` given :math:`y`; leading axes broadcast.

    :param matrix: :math:`F`, shape ``(..., D, D)``.
    :param noise: mean :math:`u`, shape ``(..., D)``, and covariance of :math:`q`, which may be singular.
    :param observation: :math:`H`, shape ``(..., E, D)``.
    :param error: mean :math:`d`, shape ``(..., E)``, and covariance of :math:`r`, positive definite.
    :param value: :math:`y`, shape ``(..., E)``.
    """
    (offset, covariance), (shift, error_covariance) = noise, error
    spread = linalg.matmul(observation, covariance)
    innovation = linalg.matmul(spread, shaping.matrix_transpose(observation)) + error_covariance
    residual = value - _apply(observation, offset) - shift
    predicted = linalg.matmul(observation, matrix)
    factor = linalg.cholesky(innovation)
    batch = shaping.broadcast_shapes(
        *(tuple(shaping.shape(array))[:-2] for array in (predicted, spread, factor, residual[..., None]))
    )
    factor, predicted, spread, residual = (_expand(array, batch) for array in (factor, predicted, spread, residual[..., None]))
    dim = shaping.shape(predicted)[-1]
    white = linalg.solve_triangular(factor, shaping.concat([predicted, spread, residual], axis=-1))
    predicted, spread, residual = white[..., :dim], white[..., dim : 2 * dim], white[..., 2 * dim]
    # With all three whitened by the innovations' covariance, the gain is the transpose of ``spread``.
    gain = shaping.matrix_transpose(spread)
    pull = shaping.matrix_transpose(predicted)
    log_det = reduce.sum(elementwise.log(shaping.diagonal(factor)), axis=-1)
    size = shaping.shape(factor)[-1]
    return GaussianStep(
        matrix - linalg.matmul(gain, predicted),
        offset + _apply(gain, residual),
        covariance - linalg.matmul(gain, spread),
        _apply(pull, residual),
        linalg.matmul(pull, predicted),
        -0.5 * (reduce.sum(residual * residual, axis=-1) + size * math.log(2.0 * math.pi)) - log_det,
    )


def join(first: GaussianStep, second: GaussianStep) -> GaussianStep:
    """Return two steps as one, the state between them integrated out; all arrays of one batch shape.

    The constant is that of the Gaussian integral over the state between; the other five are formulas 15 to 19 of the paper that
    :class:`GaussianStep` names.
    """
    identity = shaping.eye(shaping.shape(first.transition)[-1], dtype=shaping.dtype_name(first.transition))
    mixed = identity + linalg.matmul(first.covariance, second.precision)
    error = second.information_vector - _apply(second.precision, first.offset)
    columns = [
        first.transition,
        first.covariance,
        (first.offset + _apply(first.covariance, second.information_vector))[..., None],
        _apply(first.covariance, error)[..., None],
    ]
    solved = linalg.solve(mixed, shaping.concat(columns, axis=-1))
    dim = shaping.shape(identity)[0]
    transition, covariance = solved[..., :dim], solved[..., dim : 2 * dim]
    offset, correction = solved[..., 2 * dim], solved[..., 2 * dim + 1]
    pull = shaping.matrix_transpose(transition)
    _, log_det = linalg.slogdet(mixed)
    scale = reduce.sum(
        first.offset * (second.information_vector - 0.5 * _apply(second.precision, first.offset)) + 0.5 * error * correction,
        axis=-1,
    )
    after = shaping.matrix_transpose(second.transition)
    return GaussianStep(
        linalg.matmul(second.transition, transition),
        _apply(second.transition, offset) + second.offset,
        _symmetric(linalg.matmul(linalg.matmul(second.transition, covariance), after)) + second.covariance,
        _apply(pull, error) + first.information_vector,
        _symmetric(linalg.matmul(linalg.matmul(pull, second.precision), first.transition)) + first.precision,
        first.log_scale + second.log_scale + scale - 0.5 * log_det,
    )


def sequential_gaussian_product(steps: GaussianStep) -> GaussianStep:
    """Return all steps of a linear Gaussian chain as one, in ``O(log T)`` depth.

    :param steps: arrays with the axis of the steps after the batch, at least one step: ``transition`` of shape
        ``(..., T, D, D)``, ``offset`` of shape ``(..., T, D)``, and so on; all of one batch shape.
    :raises ShapeError: if there is no step.
    """
    axes = (-3, -2, -3, -2, -3, -1)
    if shaping.shape(steps.log_scale)[-1] == 0:
        raise ShapeError("a Gaussian chain has no step; expected one at least")
    while shaping.shape(steps.log_scale)[-1] > 1:
        parts = [_pairs(array, axis) for array, axis in zip(steps, axes, strict=True)]
        joined = join(GaussianStep(*(part[0] for part in parts)), GaussianStep(*(part[1] for part in parts)))
        steps = GaussianStep(
            *(
                array if part[2] is None else shaping.concat([array, part[2]], axis=axis)
                for array, part, axis in zip(joined, parts, axes, strict=True)
            )
        )
    return GaussianStep(*(array[(..., 0, *(slice(None),) * (-1 - axis))] for array, axis in zip(steps, axes, strict=True)))


def _apply(matrix: Any, vector: Any) -> Any:
    return linalg.matmul(matrix, vector[..., None])[..., 0]


def _expand(array: Any, batch: tuple[int, ...]) -> Any:
    return shaping.broadcast_to(array, (*batch, *tuple(shaping.shape(array))[-2:]))


def _symmetric(matrix: Any) -> Any:
    return 0.5 * (matrix + shaping.matrix_transpose(matrix))
