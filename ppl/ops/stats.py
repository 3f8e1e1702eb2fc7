"""Statistics of samples: convergence of chains, autocorrelation, quantiles and intervals, information criteria, Pareto tails.

Samples lie along one axis of an array, chains along another; the other axes are batched over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ppl import registry
from ppl.errors import ConstraintError, ShapeError
from ppl.ops import elementwise, random, reduce, shaping, special

# Grid size and spread of the prior of Zhang and Stephens (2009), and the pull of the shape to 1/2 of Vehtari et al. (2024).
LEAST_GRID = 30
PRIOR_SPREAD = 3.0
PRIOR_COUNT = 10.0


def gelman_rubin(input: Any, chain_dim: int = 0, sample_dim: int = 1) -> Any:
    r"""Return the plain R-hat of chains as they are (Gelman and Rubin 1992).

    .. math:: \hat R = \sqrt{\frac{n - 1}{n} + \frac{B}{n W}}

    with :math:`W` the mean variance within the chains and :math:`B / n` the variance of their means. It is NaN for constants.

    :param input: at least two chains of at least two samples.
    :param chain_dim: the axis of the chains.
    :param sample_dim: the axis of the samples; the result has the other axes.
    :raises ShapeError: if there are fewer.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> round(float(stats.gelman_rubin(ops.array([[1.0, 2.0, 3.0, 2.0], [2.0, 4.0, 3.0, 4.0]]))), 4)
    1.3179
    """
    return _potential_scale_reduction(_chains_first("gelman_rubin", input, chain_dim, sample_dim, 2, 2))


def split_gelman_rubin(input: Any, chain_dim: int = 0, sample_dim: int = 1) -> Any:
    """Return the R-hat of the halves of the chains, which sees a trend within one (Gelman et al. 2013, sec. 11.4).

    :param input: at least one chain of at least four samples.
    :param chain_dim: the axis of the chains.
    :param sample_dim: the axis of the samples; the result has the other axes.
    :raises ShapeError: if there are fewer.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> round(float(stats.split_gelman_rubin(ops.array([[1.0, 2.0, 3.0, 2.0], [2.0, 4.0, 3.0, 4.0]]))), 4)
    1.1547
    """
    return _potential_scale_reduction(split_chains(_chains_first("split_gelman_rubin", input, chain_dim, sample_dim, 1, 4)))


def split_chains(draws: Any) -> Any:
    """Return the halves of each chain as chains of their own, a middle draw left out.

    :param draws: shape ``(num_chains, num_draws, ...)``; the result's is ``(2 num_chains, num_draws // 2, ...)``.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> ops.to_numpy(stats.split_chains(ops.array([[1.0, 2.0, 3.0, 4.0]]))).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    length = shaping.shape(draws)[1]
    half = length // 2
    return shaping.concat([draws[:, :half], draws[:, length - half :]])


def _potential_scale_reduction(chains: Any) -> Any:
    length = shaping.shape(chains)[1]
    within = reduce.mean(reduce.var(chains, axis=1, correction=1), axis=0)
    between = reduce.var(reduce.mean(chains, axis=1), axis=0, correction=1)
    return elementwise.sqrt(elementwise.divide(between, within) + (length - 1) / length)


def autocovariance(input: Any, dim: int = 0, bias: bool = False) -> Any:
    """Return the autocovariance at each lag, by Fourier transforms.

    :param input: samples along ``dim``; the result has the same shape, lags along ``dim``.
    :param bias: whether to divide by the number of samples at each lag, not by the number of products.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> [round(float(x), 4) + 0.0 for x in stats.autocovariance(ops.array([1.0, 3.0, 2.0, 2.0]))]
    [0.5, -0.3333, 0.0, 0.0]
    """
    samples = shaping.moveaxis(input, dim, -1)
    length = shaping.shape(samples)[-1]
    sums = reduce.autocorrelate(samples - reduce.mean(samples, axis=-1, keepdims=True))
    counts = length if bias else shaping.arange(length, 0, -1, dtype=shaping.dtype_name(samples))
    return shaping.moveaxis(sums / counts, -1, dim)


def autocorrelation(input: Any, dim: int = 0, bias: bool = False) -> Any:
    """Return the autocorrelation at each lag: the :func:`autocovariance` over the variance; NaN for constants.

    :param input: samples along ``dim``; the result has the same shape, lags along ``dim``.
    :param bias: whether to divide by the number of samples at each lag, not by the number of products.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> [round(float(x), 4) + 0.0 for x in stats.autocorrelation(ops.array([1.0, 3.0, 2.0, 2.0]))]
    [1.0, -0.6667, 0.0, 0.0]
    """
    covariance = shaping.moveaxis(autocovariance(input, dim, bias), dim, 0)
    return shaping.moveaxis(elementwise.divide(covariance, covariance[:1]), 0, dim)


def effective_sample_size(input: Any, chain_dim: int = 0, sample_dim: int = 1) -> Any:
    """Return the effective sample size of the mean of chains as they are, by Geyer's initial monotone sequence.

    The correlations are those of all chains together (Vehtari et al. 2021, eqs. 10 to 13). Constants count in full. The host
    computes it, and no gradient flows.

    :param input: at least one chain of at least two samples.
    :param chain_dim: the axis of the chains.
    :param sample_dim: the axis of the samples; the result has the other axes.
    :raises ShapeError: if there are fewer.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(float(stats.effective_sample_size(draws)), 4)
    4.4064
    """
    chains = _chains_first("effective_sample_size", input, chain_dim, sample_dim, 1, 2)
    dtype = shaping.dtype_name(chains)
    host = shaping.to_numpy(chains)
    with registry.using("numpy"):
        host = shaping.astype(host, "float64")
        sizes = _effective_sizes(host.reshape(*host.shape[:2], -1)).reshape(host.shape[2:])
    return shaping.array(sizes, dtype=dtype)


def _effective_sizes(chains: Any) -> Any:
    """Return sizes of shape ``(M,)`` from host arrays of shape ``(num_chains, num_draws, M)``."""
    num_chains, length, _ = chains.shape
    total = num_chains * length
    covariance = reduce.mean(autocovariance(chains, dim=1, bias=True), axis=0)
    within = covariance[0] * length / (length - 1)
    variance = covariance[0]
    if num_chains > 1:
        variance = variance + reduce.var(reduce.mean(chains, axis=1), axis=0, correction=1)
    constant = reduce.max(chains, axis=(0, 1)) == reduce.min(chains, axis=(0, 1))
    usable = elementwise.isfinite(variance) & (variance > 0.0) & ~constant
    correlation = 1.0 - (within - covariance) / elementwise.where(usable, variance, 1.0)
    time = _autocorrelation_time(elementwise.where(usable, correlation, 0.0), length)
    sizes = total / elementwise.maximum(time, 1.0 / math.log10(total))
    sizes = elementwise.where(constant, float(total), sizes)
    return elementwise.where(elementwise.isfinite(variance), sizes, math.nan)


def _autocorrelation_time(correlation: Any, length: int) -> Any:
    """Return the integrated time: pairs of lags as long as their sums are positive, made monotone, plus half of the last pair."""
    num_pairs = 1 + max(length - 3, 0) // 2
    even, odd = correlation[0 : 2 * num_pairs : 2], correlation[1 : 2 * num_pairs : 2]
    even = shaping.concat([shaping.ones_like(even[:1]), even[1:]])
    sums = even + odd
    ended = ~(sums > 0.0)
    last = elementwise.where(reduce.any(ended, axis=0), reduce.argmax(ended, axis=0), num_pairs - 1)
    smallest, time = sums[0], shaping.full_like(sums[0], -1.0)
    for pair in range(int(reduce.max(last))):
        smallest = elementwise.minimum(smallest, sums[pair])
        time = time + elementwise.where(pair < last, 2.0 * smallest, 0.0)
    final_even, final_sum = (shaping.take_along_axis(x, last[None], axis=0)[0] for x in (even, sums))
    return time + elementwise.where(final_sum >= 0.0, final_even, elementwise.maximum(final_even, 0.0))


def resample(input: Any, num_samples: int, dim: int = 0, replacement: bool = False, rng_key: Any = None) -> Any:
    """Return ``num_samples`` slices of ``input`` along ``dim``, drawn uniformly.

    :param num_samples: how many; without ``replacement`` at most the size of that axis.
    :param replacement: whether a slice may be drawn twice.
    :param rng_key: a key of the backend; default: the backend's own stream.
    :raises ShapeError: if there are too few slices.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> sorted(float(x) for x in stats.resample(ops.array([1.0, 2.0, 3.0]), 3))
    [1.0, 2.0, 3.0]
    """
    size = shaping.shape(input)[dim]
    if not replacement and num_samples > size:
        raise ShapeError(
            f"resample cannot draw {num_samples} of {size} slices without replacement; expected at most {size}; "
            "try replacement=True"
        )
    key = random.next_key() if rng_key is None else rng_key
    chosen = random.randint(key, (num_samples,), 0, size) if replacement else random.choice(key, size, num_samples)
    return shaping.take(input, chosen, axis=dim)


def quantile(input: Any, probs: Any, dim: int = 0) -> Any:
    """Return quantiles along ``dim``, with linear interpolation between order statistics.

    :param probs: probabilities in [0, 1]; for a list the quantiles lie along ``dim``, for a number that axis is gone.
    :raises ConstraintError: if a probability lies outside.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> float(stats.quantile(ops.array([4.0, 1.0, 3.0, 2.0]), 0.5))
    2.5
    """
    ordered = shaping.moveaxis(reduce.sort(input, axis=dim), dim, 0)
    numbers = probs if isinstance(probs, (int, float, list, tuple)) else shaping.to_numpy(probs).tolist()
    if not isinstance(numbers, Sequence):
        return _between(ordered, numbers)
    return shaping.moveaxis(shaping.stack([_between(ordered, number) for number in numbers]), 0, dim)


def _between(ordered: Any, probability: float) -> Any:
    if not 0.0 <= probability <= 1.0:
        raise ConstraintError(f"the probability of a quantile must lie in [0, 1], got {probability}; try probs=[0.05, 0.5, 0.95]")
    last = shaping.shape(ordered)[0] - 1
    position = probability * last
    below = min(int(position), last)
    above = min(below + 1, last)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def pi(input: Any, prob: float, dim: int = 0) -> Any:
    """Return the central interval of mass ``prob``: the two ends lie along ``dim``.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> [float(x) for x in stats.pi(ops.arange(0.0, 5.0), 0.5)]
    [1.0, 3.0]
    """
    return quantile(input, [0.5 * (1.0 - prob), 0.5 * (1.0 + prob)], dim)


def hpdi(input: Any, prob: float, dim: int = 0) -> Any:
    """Return the narrowest interval of mass ``prob``, the "highest posterior density interval": the two ends lie along ``dim``.

    :raises ConstraintError: if ``prob`` does not lie in [0, 1).

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> [float(x) for x in stats.hpdi(ops.array([9.0, 1.0, 2.0, 3.0, 4.0]), 0.5)]
    [1.0, 3.0]
    """
    if not 0.0 <= prob < 1.0:
        raise ConstraintError(f"the mass of hpdi must lie in [0, 1), got {prob}; try prob=0.9")
    ordered = shaping.moveaxis(reduce.sort(input, axis=dim), dim, 0)
    size = shaping.shape(ordered)[0]
    steps = int(prob * size)
    left, right = ordered[: size - steps], ordered[steps:]
    narrowest = shaping.expand_dims(reduce.argmin(right - left, axis=0), 0)
    ends = [shaping.take_along_axis(side, narrowest, axis=0) for side in (left, right)]
    return shaping.moveaxis(shaping.concat(ends), 0, dim)


def waic(input: Any, log_weights: Any = None, pointwise: bool = False, dim: int = 0) -> tuple[Any, Any]:
    r"""Return the widely applicable information criterion, on the deviance scale, and its effective number of parameters.

    .. math:: -2 \sum_i \left(\log \sum_s w_s p(y_i | \theta_s) - \mathrm{var}_s \log p(y_i | \theta_s)\right)

    with the sample variance, its squares divided by :math:`n - 1` (Gelman, Hwang and Vehtari 2014, eqs. 5 and 13).
    :func:`ppl.infer.waic` and ``information_criterion`` of a posterior divide by :math:`n`, as arviz does.

    :param input: log likelihoods, draws along ``dim``, observations along the other axes.
    :param log_weights: logarithms of the draws' weights, normalised here, shape ``(num_draws,)``; default: all equal.
    :param pointwise: whether to return the terms of the observations instead of their sums.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> [round(float(x), 4) + 0.0 for x in stats.waic(ops.array([[-1.0, -2.0], [-1.5, -1.0], [-2.0, -1.2]]))]
    [6.5292, 0.53]
    """
    log_likelihood = shaping.moveaxis(input, dim, 0)
    count = shaping.shape(log_likelihood)[0]
    if log_weights is None:
        log_weights = shaping.full((count,), -math.log(count), dtype=shaping.dtype_name(log_likelihood))
    log_weights = special.log_softmax(log_weights, axis=0)
    log_weights = shaping.reshape(log_weights, (count,) + (1,) * (shaping.ndim(log_likelihood) - 1))
    weights = elementwise.exp(log_weights)
    log_density = special.logsumexp(log_likelihood + log_weights, axis=0)
    centred = log_likelihood - reduce.sum(weights * log_likelihood, axis=0)
    # The factor is n / (n - 1) for equal weights; without bias for weights that say how reliable a draw is.
    spread = reduce.sum(weights * elementwise.square(centred), axis=0)
    effective = spread / (1.0 - reduce.sum(elementwise.square(weights), axis=0))
    criterion = -2.0 * (log_density - effective)
    return (criterion, effective) if pointwise else (reduce.sum(criterion), reduce.sum(effective))


def fit_generalized_pareto(X: Any) -> tuple[float, float]:
    """Return shape ``k`` and scale ``sigma`` of a generalised Pareto distribution from data.

    The estimate is the empirical Bayes one of Zhang and Stephens (2009), its shape drawn towards 1/2 as if ten more data had
    said so (Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling").

    :param X: positive data, shape ``(n,)``, in any order.
    :raises ShapeError: if there are fewer than two, or more than one axis.

    >>> from ppl import ops
    >>> from ppl.ops import stats
    >>> [round(number, 4) for number in stats.fit_generalized_pareto(ops.square(ops.linspace(0.1, 3.0, 40)))]
    [-0.0547, 3.7334]
    """
    if shaping.ndim(X) != 1 or shaping.shape(X)[0] < 2:
        raise ShapeError(f"fit_generalized_pareto needs data of shape (n,), n at least 2, got shape {shaping.shape(X)}")
    host = shaping.to_numpy(X)
    with registry.using("numpy"):
        ordered = reduce.sort(shaping.astype(host, "float64"))
        count = ordered.shape[0]
        grid_size = LEAST_GRID + int(math.sqrt(count))
        quartile = ordered[int(count / 4 + 0.5) - 1]
        points = shaping.arange(0, grid_size) + 0.5
        grid = 1.0 / ordered[-1] + (1.0 - elementwise.sqrt(grid_size / points)) / (PRIOR_SPREAD * quartile)
        shapes = reduce.mean(elementwise.log1p(-grid[:, None] * ordered), axis=1)
        profile = count * (elementwise.log(-grid / shapes) - shapes - 1.0)
        rate = float(reduce.sum(special.softmax(profile, axis=0) * grid))
        shape = float(reduce.mean(elementwise.log1p(-rate * ordered)))
    return (count * shape + PRIOR_COUNT * 0.5) / (count + PRIOR_COUNT), -shape / rate


def _chains_first(name: str, input: Any, chain_dim: int, sample_dim: int, least_chains: int, least_samples: int) -> Any:
    """Return ``input`` with the chains along its first axis and the samples along its second.

    :raises ShapeError: if there are too few, or the axes are not two.
    """
    count = shaping.ndim(input)
    if count < 2 or chain_dim % count == sample_dim % count:
        raise ShapeError(
            f"{name} needs an axis of chains and another of samples, got shape {shaping.shape(input)} with "
            f"chain_dim={chain_dim} and sample_dim={sample_dim}; try x[None] for a single chain"
        )
    chain_dim, sample_dim = chain_dim % count, sample_dim % count
    rest = [axis for axis in range(count) if axis not in (chain_dim, sample_dim)]
    chains = shaping.permute_dims(input, (chain_dim, sample_dim, *rest))
    num_chains, num_samples = shaping.shape(chains)[:2]
    if num_chains < least_chains or num_samples < least_samples:
        raise ShapeError(
            f"{name} needs at least {least_chains} chain(s) of {least_samples} samples, got {num_chains} of {num_samples}; "
            "try more samples, or check chain_dim and sample_dim"
        )
    return chains
