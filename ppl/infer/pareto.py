r"""Importance weights whose largest values are replaced by quantiles of a fitted generalised Pareto distribution.

The density of an excess :math:`x > 0` over the threshold is :math:`\sigma^{-1} (1 + k x / \sigma)^{-1 / k - 1}`. Its shape
:math:`k` says how trustworthy averages over the weights are: below 0.7 they are, above 1 their mean does not exist.

Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling", JMLR 25(72), called PSIS below.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from ppl import ops, registry
from ppl.errors import InferenceError
from ppl.infer.draws import on_host
from ppl.ops.stats import fit_generalized_pareto

# A tail of fewer excesses tells nothing about its shape (PSIS, sec. 2.3).
SMALLEST_TAIL = 5
LOG_TINY = math.log(sys.float_info.min)


def generalized_pareto_quantile(probability: Any, shape: float, scale: float) -> Any:
    """Return the excess below which a fraction ``probability`` lies, strictly between 0 and 1.

    >>> import numpy
    >>> from ppl.infer import pareto
    >>> float(pareto.generalized_pareto_quantile(numpy.array(0.75), 0.5, 1.0))
    2.0
    """
    with registry.using("numpy"):
        exponential = -ops.log1p(-probability)
        if abs(shape) < sys.float_info.epsilon:
            return scale * exponential
        return scale * ops.expm1(shape * exponential) / shape


def smooth(log_weights: Any, relative_efficiency: float = 1.0) -> tuple[Any, Any]:
    """Return smoothed log weights that sum to one over the draws, and the shape of the tail of each column.

    :param log_weights: unnormalised, of shape ``(num_draws, *rest)``, on any backend.
    :param relative_efficiency: effective sample size of the draws over their number; dependent draws make a longer tail.
    :returns: host arrays of shapes ``(num_draws, *rest)`` and ``rest``. The shape is infinite where the tail holds fewer than
        five excesses or a weight is not finite; such weights are normalised only.
    :raises InferenceError: without draws, or for an efficiency that is not positive.

    >>> import numpy
    >>> from ppl.infer import pareto
    >>> log_weights, shape = pareto.smooth(numpy.log(numpy.arange(1.0, 401.0)))
    >>> round(float(numpy.exp(log_weights).sum()), 6), bool(shape < 0.5)
    (1.0, True)
    """
    if not relative_efficiency > 0.0:
        raise InferenceError(f"relative_efficiency must be positive, got {relative_efficiency}; try 1.0 for independent draws")
    host = on_host(log_weights)
    with registry.using("numpy"):
        table = ops.astype(host, "float64")
        if table.ndim == 0 or table.shape[0] == 0:
            raise InferenceError(f"log_weights needs its draws along the first axis, got shape {table.shape}; expected some")
        columns = table.reshape(table.shape[0], -1)
        smoothed = [smooth_column(columns[:, index], relative_efficiency) for index in range(columns.shape[1])]
        shapes = ops.array([shape for _, shape in smoothed]).reshape(table.shape[1:])
        return ops.stack([column for column, _ in smoothed], axis=1).reshape(table.shape), shapes


def smooth_column(log_weights: Any, relative_efficiency: float) -> tuple[Any, float]:
    """Return normalised log weights of shape ``(num_draws,)`` and the shape of their tail (PSIS, algorithm 1)."""
    count = log_weights.shape[0]
    relative = log_weights - ops.max(log_weights)
    order = ops.argsort(relative)
    length = math.ceil(min(0.2 * count, 3.0 * math.sqrt(count / relative_efficiency)))
    threshold = max(float(relative[order[-length - 1]]), LOG_TINY) if length < count else LOG_TINY
    tail = order[int(ops.sum(relative <= threshold)) :]
    if len(tail) < SMALLEST_TAIL or not bool(ops.isfinite(relative[order[-1]])):
        return relative - ops.logsumexp(relative), math.inf
    shape, scale = fit_generalized_pareto(ops.exp(relative[tail]) - math.exp(threshold))
    if math.isfinite(shape):
        probability = (ops.arange(0, len(tail)) + 0.5) / len(tail)
        smoothed = ops.log(generalized_pareto_quantile(probability, shape, scale) + math.exp(threshold))
        # No smoothed weight exceeds the largest raw one.
        relative[tail] = ops.minimum(smoothed, 0.0)
    return relative - ops.logsumexp(relative), shape
