"""Convergence diagnostics of Markov chains on the host: rank-normalised split R-hat, bulk and tail effective sample size.

Source: Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), "Rank-normalization, folding, and localization: an improved R-hat
for assessing convergence of MCMC", Bayesian Analysis 16(2). Each function takes one quantity, ``draws`` of shape
``(num_chains, num_draws)``, on any backend or as a numpy array.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from ppl import ops, registry

STATISTICS = ("mean", "sd", "median", "low", "high", "ess_bulk", "ess_tail", "r_hat")


def split_chains(draws: Any) -> Any:
    """Return the halves of each chain as chains of their own: shape ``(2 num_chains, num_draws // 2)``.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> diagnostics.split_chains(ops.array([[1.0, 2.0, 3.0, 4.0]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    half = draws.shape[1] // 2
    return ops.concat([draws[:, :half], draws[:, draws.shape[1] - half :]])


def rank_normalize(draws: Any) -> Any:
    """Return normal scores of the ranks of all draws together, ties averaged (eq. 14).

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> [round(float(score), 4) for score in diagnostics.rank_normalize(ops.array([[10.0, 30.0, 20.0]]))[0]]
    [-0.8694, 0.8694, 0.0]
    """
    flat = draws.reshape(-1)
    ordered = ops.sort(flat)
    ranks = 0.5 * (ops.searchsorted(ordered, flat, side="left") + ops.searchsorted(ordered, flat, side="right") + 1)
    return ops.ndtri((ranks - 0.375) / (flat.shape[0] + 0.25)).reshape(draws.shape)


def quantile(values: Any, probability: float) -> Any:
    """Return the quantile along the first axis, with linear interpolation between order statistics.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> float(diagnostics.quantile(ops.array([4.0, 1.0, 3.0, 2.0]), 0.5))
    2.5
    """
    ordered = ops.sort(values, axis=0)
    position = probability * (ordered.shape[0] - 1)
    below = min(int(position), ordered.shape[0] - 1)
    above = min(below + 1, ordered.shape[0] - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def potential_scale_reduction(chains: Any) -> float:
    """Return the plain R-hat of chains as they are (eq. 3).

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> round(diagnostics.potential_scale_reduction(ops.array([[1.0, 2.0, 3.0, 2.0], [2.0, 4.0, 3.0, 4.0]])), 4)
    1.3179
    """
    length = chains.shape[1]
    within = float(ops.mean(ops.var(chains, axis=1, correction=1)))
    between = length * float(ops.var(ops.mean(chains, axis=1), correction=1))
    if within == 0.0:
        return math.nan
    return math.sqrt((between / within + length - 1) / length)


def r_hat(draws: Any) -> float:
    """Return the larger of the R-hats of rank-normalised and of folded draws, chains split (sec. 4.1); NaN for constant draws.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.r_hat(draws), 4)
    1.6705
    """
    draws = _host(draws)
    with registry.using("numpy"):
        if draws.shape[1] < 4 or not bool(ops.all(ops.isfinite(draws))):
            return math.nan
        halves = split_chains(draws)
        folded = ops.abs(halves - quantile(halves.reshape(-1), 0.5))
        return max(potential_scale_reduction(rank_normalize(halves)), potential_scale_reduction(rank_normalize(folded)))


def ess_bulk(draws: Any) -> float:
    """Return the effective sample size of rank-normalised split chains (sec. 4.3).

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.ess_bulk(draws), 4)
    4.7826
    """
    return _smallest_size(draws, lambda draws: [rank_normalize(split_chains(draws))])


def ess_tail(draws: Any) -> float:
    """Return the smaller effective sample size of the 5% and 95% quantiles (sec. 4.3).

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.ess_tail(draws), 4)
    22.4439
    """
    return _smallest_size(draws, _tail_indicators)


def ess_mean(draws: Any) -> float:
    """Return the effective sample size for the mean: split chains, no ranks.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.ess_mean(draws), 4)
    4.3096
    """
    return _smallest_size(draws, lambda draws: [split_chains(draws)])


def mcse_mean(draws: Any) -> float:
    """Return the Monte Carlo standard error of the mean: the standard deviation over the root of :func:`ess_mean`.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.mcse_mean(draws), 4)
    0.3379
    """
    with registry.using("numpy"):
        deviation = float(ops.std(_host(draws).reshape(-1), correction=1))
    return deviation / math.sqrt(ess_mean(draws))


def _tail_indicators(draws: Any) -> list[Any]:
    flat = draws.reshape(-1)
    indicators = [ops.astype(draws <= quantile(flat, probability), "float64") for probability in (0.05, 0.95)]
    return [split_chains(indicator) for indicator in indicators]


def _smallest_size(draws: Any, quantities: Callable[[Any], list[Any]]) -> float:
    draws = _host(draws)
    with registry.using("numpy"):
        if draws.shape[1] < 4 or not bool(ops.all(ops.isfinite(draws))):
            return math.nan
        return min(effective_sample_size(chains) for chains in quantities(draws))


def effective_sample_size(chains: Any) -> float:
    """Return the effective sample size of chains as they are, by Geyer's initial monotone sequence (eqs. 10 to 13).

    Autocovariances are taken lag by lag and only as far as the sequence of pairs stays positive.
    """
    num_chains, length = chains.shape
    total = num_chains * length
    if float(ops.max(chains)) == float(ops.min(chains)):
        return float(total)
    means = ops.mean(chains, axis=1, keepdims=True)
    centred = chains - means

    def autocovariance(lag: int) -> float:
        return float(ops.sum(centred[:, : length - lag] * centred[:, lag:])) / (length * num_chains)

    within = autocovariance(0) * length / (length - 1)
    variance = within * (length - 1) / length
    if num_chains > 1:
        variance += float(ops.var(means, correction=1))

    def correlation(lag: int) -> float:
        return 1.0 - (within - autocovariance(lag)) / variance

    pairs, lag = [(1.0, correlation(1))], 1
    while lag < length - 3 and sum(pairs[-1]) > 0.0:
        even, odd = correlation(lag + 1), correlation(lag + 2)
        pairs.append((even, odd) if even + odd >= 0.0 else (max(even, 0.0), -math.inf))
        lag += 2
    return total / max(_autocorrelation_time(pairs), 1.0 / math.log10(total))


def _autocorrelation_time(pairs: list[tuple[float, float]]) -> float:
    """Return the integrated time from pairs of correlations: all but the last made monotone, plus half the last one's first."""
    smallest, time = math.inf, -1.0
    for pair in pairs[:-1]:
        smallest = min(smallest, sum(pair))
        time += 2.0 * smallest
    return time + pairs[-1][0]


def summarize(samples: Mapping[str, Any], prob: float = 0.9) -> Summary:
    """Return the statistics of each site.

    :param samples: site to array of shape ``(num_chains, num_draws, *site shape)``.
    :param prob: probability between the ends ``low`` and ``high`` of the central interval.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> print(diagnostics.summarize({"x": ops.array([[1.0, 2.0, 3.0]])})["x"]["mean"])
    2.0
    """
    tails = (0.5 * (1.0 - prob), 0.5 * (1.0 + prob))
    return Summary({name: _site_statistics(_host(values), tails) for name, values in samples.items()}, tails)


def _site_statistics(values: Any, tails: tuple[float, float]) -> dict[str, Any]:
    with registry.using("numpy"):
        values = ops.astype(values, "float64")
        shape = values.shape[2:]
        columns = values.reshape(*values.shape[:2], -1)
        flat = columns.reshape(-1, columns.shape[2])
        row = {"mean": ops.mean(flat, axis=0), "sd": ops.std(flat, axis=0, correction=1), "median": quantile(flat, 0.5)}
        row["low"], row["high"] = (quantile(flat, tail) for tail in tails)
        for name, statistic in (("ess_bulk", ess_bulk), ("ess_tail", ess_tail), ("r_hat", r_hat)):
            row[name] = ops.array([statistic(columns[:, :, index]) for index in range(columns.shape[2])])
        return {name: numbers.reshape(shape) for name, numbers in row.items()}


class Summary(dict):
    """Site to statistic to array; ``print(summary.table())`` shows one line an element."""

    def __init__(self, rows: Mapping[str, dict[str, Any]], tails: tuple[float, float]) -> None:
        super().__init__(rows)
        self.tails = tails

    def table(self) -> str:
        """Return the summary as text, one line for each element of each site."""
        low, high = (f"{100 * tail:g}%" for tail in self.tails)
        lines: list[tuple[str, ...]] = [("", "mean", "sd", "median", low, high, "ess_bulk", "ess_tail", "r_hat")]
        for name, row in self.items():
            shape = row["mean"].shape
            for index in itertools.product(*map(range, shape)):
                label = f"{name}[{','.join(map(str, index))}]" if shape else name
                numbers = [float(row[statistic][index]) for statistic in STATISTICS]
                body = [f"{number:.2f}" for number in numbers[:5]] + [f"{number:.0f}" for number in numbers[5:7]]
                lines.append((label, *body, f"{numbers[7]:.3f}"))
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join(
            line[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
            for line in lines
        )

    def __repr__(self) -> str:
        return self.table()


def _host(values: Any) -> Any:
    return ops.to_numpy(values) if not hasattr(values, "__array_interface__") else values
