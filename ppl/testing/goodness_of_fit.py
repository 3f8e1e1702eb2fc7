"""Do these draws come from that distribution?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import scipy.stats

from ppl.testing.numeric import to_host

# with a few thousand such tests a false alarm is expected about once in ten full runs
LEAST_PVALUE = 2e-5
LEAST_EXPECTED_COUNT = 10.0


def goodness_of_fit(samples: Any, cdf: Callable[[Any], Any], discrete: bool = False) -> float:
    """Return the p-value of the hypothesis that ``samples`` are independent draws from ``cdf``.

    :param samples: draws of one variable, any shape (flattened).
    :param cdf: the distribution function, as ``scipy.stats.norm(0, 1).cdf``.
    :param discrete: ``True`` for integers: Pearson's chi-square over bins of at least ten expected counts; otherwise the
        Kolmogorov-Smirnov test.
    """
    samples = to_host(samples).reshape(-1)
    if not numpy.all(numpy.isfinite(samples)):
        return 0.0
    if not discrete:
        return float(scipy.stats.kstest(samples, cdf).pvalue)
    if not numpy.array_equal(samples, numpy.round(samples)):
        return 0.0
    values = numpy.arange(samples.min() - 1, samples.max() + 1)
    # one cell below, one each value, one above: the cells' probabilities add up to one whatever the support
    edges = numpy.concatenate([[0.0], numpy.asarray(cdf(values), dtype="float64"), [1.0]])
    expected = numpy.diff(edges) * samples.size
    observed = numpy.concatenate([[0.0], [numpy.sum(samples == v) for v in values[1:]], [0.0]])
    return _chi_square(observed, expected)


def _chi_square(observed: Any, expected: Any) -> float:
    """Return the p-value of Pearson's test, neighbouring cells merged until each expects enough counts."""
    merged: list[list[float]] = [[0.0, 0.0]]
    for count, mean in zip(observed, expected, strict=True):
        if merged[-1][1] >= LEAST_EXPECTED_COUNT:
            merged.append([0.0, 0.0])
        merged[-1][0] += count
        merged[-1][1] += mean
    if len(merged) > 1 and merged[-1][1] < LEAST_EXPECTED_COUNT:
        last = merged.pop()
        merged[-1][0] += last[0]
        merged[-1][1] += last[1]
    impossible = any(mean <= 0 < count for count, mean in zip(observed, expected, strict=True))
    if impossible:
        return 0.0
    if len(merged) == 1:
        return 1.0
    statistic = sum((count - mean) ** 2 / mean for count, mean in merged)
    return float(scipy.stats.chi2.sf(statistic, len(merged) - 1))


def assert_samples_match_cdf(
    samples: Any, cdf: Callable[[Any], Any], discrete: bool = False, least_pvalue: float = LEAST_PVALUE
) -> None:
    """Check that ``samples`` are plausible draws from ``cdf``; see :func:`goodness_of_fit`.

    :raises AssertionError: if the p-value is ``least_pvalue`` or less.
    """
    pvalue = goodness_of_fit(samples, cdf, discrete)
    if not pvalue > least_pvalue:
        size = to_host(samples).size
        raise AssertionError(f"{size} draws do not match the distribution: p = {pvalue:.3g}, expected above {least_pvalue:.3g}")


def monte_carlo_z(samples: Any, expected: Any, axis: int = 0) -> Any:
    """Return how many standard errors the mean of independent draws lies from ``expected``.

    :param samples: draws along ``axis``; the result has the other axes. A coordinate that never varies and is what is expected
        lies at zero.
    """
    samples = to_host(samples).astype("float64")
    standard_error = samples.std(axis=axis, ddof=1) / numpy.sqrt(samples.shape[axis])
    distance = samples.mean(axis=axis) - to_host(expected)
    return distance / numpy.where((standard_error == 0) & (distance == 0), 1.0, standard_error)
