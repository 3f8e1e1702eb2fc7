r"""Expected log predictive density of new observations, estimated from the log likelihood of each observation at each draw.

With :math:`\ell_{si}` the log likelihood of observation :math:`i` at draw :math:`s` and :math:`\text{lpd}_i` the logarithm of
the average of :math:`e^{\ell_{si}}`, the widely applicable criterion is :math:`\text{lpd}_i - \text{Var}_s \ell_{si}`, and
leave-one-out cross-validation is :math:`\log \sum_s w_{si} e^{\ell_{si}}` with smoothed weights
:math:`w_{si} \propto e^{-\ell_{si}}`.

Source: Vehtari, Gelman and Gabry (2017), "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC",
Statistics and Computing 27. The variance is that of the draws as a population, as in arviz.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl import ops, registry
from ppl.errors import InferenceError, PplWarning
from ppl.infer import pareto
from ppl.infer.draws import on_host
from ppl.ops import stats

METHODS = ("waic", "loo")
LARGEST_VARIANCE = 0.4


class PredictiveAccuracy(NamedTuple):
    """An estimate of the expected log predictive density; host arrays and numbers.

    :param elpd: the estimate, larger is better.
    :param standard_error: its standard error over observations.
    :param num_parameters: the effective number of parameters.
    :param pointwise: the estimate for each observation, of their shape; flat if there are several sites.
    :param pointwise_parameters: the effective number of parameters due to each.
    :param pareto_k: tail shape of each observation's weights (leave-one-out only).
    """

    elpd: float
    standard_error: float
    num_parameters: float
    pointwise: Any
    pointwise_parameters: Any
    pareto_k: Any = None


def waic(log_likelihood: Any, log_weights: Any = None, batch_ndims: int = 1) -> PredictiveAccuracy:
    """Return the widely applicable information criterion as an expected log predictive density.

    The variance of a log likelihood is that of the draws as a population, its squares divided by the number of draws, as in
    arviz; :func:`ppl.ops.stats.waic` divides by one less. So their effective numbers of parameters differ by the factor
    ``n / (n - 1)``.

    :param log_likelihood: an array of shape ``draws + observations``, or a dict of them such as that of
        :func:`ppl.infer.log_likelihood`.
    :param log_weights: logarithms of the draws' weights, of shape ``draws``; equal if left out.
    :param batch_ndims: how many leading dimensions count draws.
    :raises InferenceError: if the shapes do not fit, a log likelihood is NaN, or one draw has all the weight.

    A :class:`~ppl.errors.PplWarning` says so if an observation's variance exceeds 0.4, where the estimate is unreliable.

    >>> import numpy
    >>> from ppl import infer
    >>> log_likelihood = numpy.log(numpy.array([[0.2, 0.5], [0.3, 0.5], [0.25, 0.5]]))
    >>> result = infer.waic(log_likelihood)
    >>> round(result.elpd, 4), round(result.num_parameters, 4)
    (-2.1069, 0.0275)
    """
    log_likelihood, log_weights = _on_host(log_likelihood), _on_host(log_weights)
    with registry.using("numpy"):
        table, shape = _table(log_likelihood, batch_ndims)
        weights = _normalized(log_weights, table.shape[0])
        if bool(ops.max(weights) == 0.0):
            raise InferenceError("a variance needs at least two draws that weigh something, received one; try more draws")
        criterion, sample_variance = stats.waic(table, weights, pointwise=True)
        variance = sample_variance * (1.0 - ops.sum(ops.exp(2.0 * weights)))
        log_predictive = sample_variance - 0.5 * criterion
        suspicious = int(ops.sum(variance > LARGEST_VARIANCE))
        if suspicious:
            message = (
                f"the log likelihood of {suspicious} of {len(variance)} observations has a posterior variance above "
                f"{LARGEST_VARIANCE}, where WAIC is unreliable; try loo"
            )
            warnings.warn(message, PplWarning, stacklevel=2)
        return _accuracy(log_predictive - variance, variance, shape)


def loo(
    log_likelihood: Any, log_weights: Any = None, batch_ndims: int = 1, relative_efficiency: float = 1.0
) -> PredictiveAccuracy:
    """Return leave-one-out cross-validation by Pareto smoothed importance sampling.

    :param log_likelihood: an array of shape ``draws + observations``, or a dict of them such as that of
        :func:`ppl.infer.log_likelihood`.
    :param log_weights: logarithms of the draws' weights, of shape ``draws``; equal if left out.
    :param batch_ndims: how many leading dimensions count draws.
    :param relative_efficiency: effective sample size of the draws over their number.
    :raises InferenceError: if the shapes do not fit, or a log likelihood is NaN.

    A :class:`~ppl.errors.PplWarning` counts the observations whose tail is too heavy for the estimate to be trusted.

    >>> import numpy
    >>> from ppl import infer
    >>> result = infer.loo(numpy.log(numpy.linspace(0.2, 0.3, 100))[:, None])
    >>> round(result.elpd, 3), bool(result.pareto_k[0] < 0.7)
    (-1.4, True)
    """
    log_likelihood, weights_given = _on_host(log_likelihood), _on_host(log_weights)
    with registry.using("numpy"):
        table, shape = _table(log_likelihood, batch_ndims)
        weights = _normalized(weights_given, table.shape[0])
        importance = -table if log_weights is None else weights[:, None] - table
        smoothed, pareto_k = pareto.smooth(importance, relative_efficiency)
        elpd = ops.logsumexp(smoothed + table, axis=0)
        largest = min(1.0 - 1.0 / math.log10(max(len(table), 2)), 0.7)
        heavy = int(ops.sum(pareto_k > largest))
        if heavy:
            message = (
                f"the tail shape of {heavy} of {len(pareto_k)} observations is above {largest:.2f}, so that leaving them out is "
                "not estimated reliably; try more draws, a model with heavier tails, or refit without these observations"
            )
            warnings.warn(message, PplWarning, stacklevel=2)
        parameters = ops.logsumexp(table + weights[:, None], axis=0) - elpd
        return _accuracy(elpd, parameters, shape)._replace(pareto_k=pareto_k.reshape(shape))


def information_criterion(
    log_likelihood: Mapping[str, Any], method: str, pointwise: bool, log_weights: Any, relative_efficiency: float
) -> OrderedDict[str, Any]:
    """Return criterion and effective number of parameters by name, the former on the scale of the deviance.

    :raises InferenceError: if there is no such method.
    """
    if method not in METHODS:
        raise InferenceError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if method == "waic":
        result = waic(log_likelihood, log_weights)
    else:
        result = loo(log_likelihood, log_weights, relative_efficiency=relative_efficiency)
    values = (result.pointwise, result.pointwise_parameters) if pointwise else (result.elpd, result.num_parameters)
    named = OrderedDict([(method, -2.0 * values[0]), (f"p_{method}", values[1])])
    if method == "loo":
        named["pareto_k"] = result.pareto_k
    return named


def _accuracy(pointwise: Any, parameters: Any, shape: tuple[int, ...]) -> PredictiveAccuracy:
    error = math.sqrt(len(pointwise) * float(ops.var(pointwise)))
    total, num_parameters = float(ops.sum(pointwise)), float(ops.sum(parameters))
    return PredictiveAccuracy(total, error, num_parameters, pointwise.reshape(shape), parameters.reshape(shape))


def _on_host(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: on_host(value) for name, value in values.items()}
    return None if values is None else on_host(values)


def _table(log_likelihood: Any, batch_ndims: int) -> tuple[Any, tuple[int, ...]]:
    """Return a table of draws and observations, and the shape of the latter."""
    arrays = log_likelihood if isinstance(log_likelihood, Mapping) else {"": log_likelihood}
    pieces: list[Any] = []
    shapes: list[tuple[int, ...]] = []
    for name, values in arrays.items():
        host = ops.astype(values, "float64")
        if host.ndim < batch_ndims or (shapes and host.shape[:batch_ndims] != shapes[0][:batch_ndims]):
            raise InferenceError(
                f"the log likelihood of {name!r} has shape {host.shape}; expected draws along the first {batch_ndims} "
                f"dimensions, as many for each site"
            )
        if bool(ops.any(ops.isnan(host))):
            raise InferenceError(f"the log likelihood of {name!r} has elements that are NaN; expected numbers")
        shapes.append(host.shape)
        pieces.append(host.reshape(math.prod(host.shape[:batch_ndims]), math.prod(host.shape[batch_ndims:])))
    if not pieces or pieces[0].shape[0] == 0:
        raise InferenceError("there is no log likelihood: expected at least one observed site and one draw")
    table = ops.concat(pieces, axis=1)
    return table, shapes[0][batch_ndims:] if len(shapes) == 1 else (table.shape[1],)


def _normalized(log_weights: Any, count: int) -> Any:
    if log_weights is None:
        return ops.full((count,), -math.log(count))
    log_weights = ops.astype(log_weights, "float64").reshape(-1)
    if len(log_weights) != count:
        raise InferenceError(f"log_weights has {len(log_weights)} elements for {count} draws; expected one for each draw")
    return log_weights - ops.logsumexp(log_weights)
