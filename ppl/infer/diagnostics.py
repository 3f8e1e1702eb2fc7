"""Convergence of Markov chains, on the host: rank-normalised split R-hat, effective sizes, Monte Carlo standard errors.

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
from ppl.distributions import Beta
from ppl.ops.stats import effective_sample_size, gelman_rubin, quantile, split_chains

# The probabilities of a standard normal up to one standard deviation below and above its mean.
ONE_SIGMA = (0.1586553, 0.8413447)
STATISTICS = ("mean", "sd", "median", "low", "high", "ess_bulk", "ess_tail", "r_hat")


def rank_normalize(draws: Any) -> Any:
    """Return normal scores of the ranks of all draws together, ties averaged (eq. 14).

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> [round(float(score), 4) for score in diagnostics.rank_normalize(ops.array([[10.0, 30.0, 20.0]]))[0]]
    [-0.8694, 0.8694, 0.0]
    """
    flat = draws.reshape(-1)
    order = ops.argsort(flat)
    ordered = flat[order]
    ranks = ops.arange(1.0, len(flat) + 1.0)
    if bool(ops.any(ordered[1:] == ordered[:-1])):
        ranks = 0.5 * (ops.searchsorted(ordered, ordered, side="left") + ops.searchsorted(ordered, ordered, side="right") + 1)
    scores = ops.ndtri((ranks - 0.375) / (len(flat) + 0.25))
    return ops.index_update(scores, order, scores).reshape(draws.shape)


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
        if not _usable(draws):
            return math.nan
        halves = split_chains(draws)
        return _larger_reduction(halves, rank_normalize(halves))


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


def ess_sd(draws: Any) -> float:
    """Return the effective sample size for the standard deviation: that of the squared distances from the mean of all draws.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.ess_sd(draws), 4)
    5.7709
    """
    return _smallest_size(draws, lambda draws: [split_chains(ops.square(draws - ops.mean(draws)))])


def ess_quantile(draws: Any, prob: float) -> float:
    """Return the effective sample size for the quantile at ``prob``: that of the indicator of the draws up to it.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> diagnostics.ess_quantile(draws, 0.05) >= diagnostics.ess_tail(draws)
    True
    """
    return _smallest_size(draws, lambda draws: [_up_to_quantile(draws, prob)])


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


def mcse_sd(draws: Any) -> float:
    """Return the Monte Carlo standard error of the standard deviation, by the delta method from that of the variance.

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.mcse_sd(draws), 4)
    0.1153
    """
    size = ess_sd(draws)
    with registry.using("numpy"):
        draws = _host(draws)
        squares = ops.square(draws - ops.mean(draws))
        variance = float(ops.mean(squares))
        of_variance = (float(ops.mean(ops.square(squares))) - variance**2) / size
    return math.sqrt(of_variance / variance) / 2.0 if variance > 0.0 else math.nan


def mcse_quantile(draws: Any, prob: float) -> float:
    """Return the Monte Carlo standard error of the quantile at ``prob``: half the width of its one-sigma interval.

    The ends are order statistics at the quantiles of a beta distribution (Vehtari et al. 2021, sec. 4.4).

    >>> from ppl import ops
    >>> from ppl.infer import diagnostics
    >>> draws = ops.reshape(ops.sin(0.2 * ops.arange(0, 40)), (2, 20))
    >>> round(diagnostics.mcse_quantile(draws, 0.5), 4)
    0.4682
    """
    size = ess_quantile(draws, prob)
    if math.isnan(size):
        return math.nan
    with registry.using("numpy"):
        ordered = ops.sort(_host(draws).reshape(-1))
        last = len(ordered) - 1
        ends = Beta(ops.array(size * prob + 1.0), ops.array(size * (1.0 - prob) + 1.0)).icdf(ops.array(ONE_SIGMA))
        low, high = (float(end) * len(ordered) - 1.0 for end in ends)
        return float(ordered[min(math.ceil(high), last)] - ordered[max(math.floor(low), 0)]) / 2.0


def _usable(draws: Any) -> bool:
    return draws.shape[1] >= 4 and bool(ops.all(ops.isfinite(draws)))


def _larger_reduction(halves: Any, scores: Any) -> float:
    """Return the larger R-hat of the normal ``scores`` of split chains and of those of their distances from the median."""
    folded = ops.abs(halves - quantile(halves.reshape(-1), 0.5))
    return max(float(gelman_rubin(part)) for part in (scores, rank_normalize(folded)))


def _up_to_quantile(draws: Any, prob: float) -> Any:
    return split_chains(ops.astype(draws <= quantile(draws.reshape(-1), prob), "float64"))


def _tail_indicators(draws: Any) -> list[Any]:
    return [_up_to_quantile(draws, prob) for prob in (0.05, 0.95)]


def _smallest_size(draws: Any, quantities: Callable[[Any], list[Any]]) -> float:
    draws = _host(draws)
    with registry.using("numpy"):
        if not _usable(draws):
            return math.nan
        return float(ops.min(effective_sample_size(ops.stack(quantities(draws), axis=2))))


def _convergence(draws: Any) -> tuple[float, float, float]:
    """Return :func:`ess_bulk`, :func:`ess_tail` and :func:`r_hat` of host draws: what they have in common is computed once."""
    if not _usable(draws):
        return math.nan, math.nan, math.nan
    halves = split_chains(draws)
    scores = rank_normalize(halves)
    sizes = effective_sample_size(ops.stack([scores, *_tail_indicators(draws)], axis=2))
    return float(sizes[0]), float(ops.min(sizes[1:])), _larger_reduction(halves, scores)


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
        columns = values.reshape(*values.shape[:2], math.prod(shape))
        flat = columns.reshape(columns.shape[0] * columns.shape[1], columns.shape[2])
        row = {"mean": ops.mean(flat, axis=0), "sd": ops.std(flat, axis=0, correction=1), "median": quantile(flat, 0.5)}
        row["low"], row["high"] = (quantile(flat, tail) for tail in tails)
        found = ops.array([_convergence(columns[:, :, index]) for index in range(columns.shape[2])]).reshape(-1, 3)
        row["ess_bulk"], row["ess_tail"], row["r_hat"] = found[:, 0], found[:, 1], found[:, 2]
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
