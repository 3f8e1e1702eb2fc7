"""Are these draws those of that posterior? Means and standard deviations, in Monte Carlo standard errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from ppl.infer.diagnostics import mcse_mean, mcse_sd
from ppl.testing.numeric import to_host


def assert_posterior_close(samples: Any, expected: Mapping[str, Any], *, most_z: float = 4.9, most_error: float = 0.1) -> None:
    """Check that the means, and the standard deviations if given, of draws are the expected ones.

    :param samples: an object with ``get_samples(group_by_chain=True)``, such as ``MCMC``, or a dict from site name to draws with
        axes of chains and of draws before those of the site. Draws without chains take one axis more: ``draws[None]``.
    :param expected: from site name to the mean, or to a pair of the mean and the standard deviation.
    :param most_z: how many standard errors a number may lie from the expected one. Correlation within chains counts.
    :param most_error: the largest standard error of a mean, in standard deviations, that lets a comparison mean anything.
    :raises AssertionError: with a line for each fault.

    >>> from ppl import ops
    >>> from ppl.testing import assert_posterior_close
    >>> draws = ops.random.normal(ops.random.key(0), (4, 500))
    >>> assert_posterior_close({"x": draws}, {"x": (0.0, 1.0)})
    >>> assert_posterior_close({"x": draws}, {"x": (0.5, 1.0)})
    Traceback (most recent call last):
        ...
    AssertionError: the draws are not those of the posterior:
      - the mean of 'x' is ..., expected 0.5: ... standard errors away, at most 4.9 are allowed
    """
    faults = posterior_faults(samples, expected, most_z=most_z, most_error=most_error)
    if faults:
        raise AssertionError("the draws are not those of the posterior:" + "".join(f"\n  - {fault}" for fault in faults))


def posterior_faults(samples: Any, expected: Mapping[str, Any], *, most_z: float = 4.9, most_error: float = 0.1) -> list[str]:
    """Return the faults that :func:`assert_posterior_close` would show, one sentence each."""
    draws = samples.get_samples(group_by_chain=True) if hasattr(samples, "get_samples") else samples
    faults: list[str] = []
    for name, truth in expected.items():
        if name not in draws:
            faults.append(f"there are no draws of {name!r}; there are some of {sorted(draws)}")
            continue
        mean, deviation = truth if isinstance(truth, tuple) else (truth, None)
        faults += _site_faults(name, to_host(draws[name]), mean, deviation, most_z, most_error)
    return faults


def _site_faults(name: str, draws: Any, mean: Any, deviation: Any, most_z: float, most_error: float) -> list[str]:
    if draws.ndim < 2:
        return [f"the draws of {name!r} have shape {draws.shape}; expected axes of chains and of draws; try draws[None]"]
    draws = draws.astype("float64")
    mean = to_host(mean)
    if numpy.broadcast_shapes(mean.shape, draws.shape[2:]) != draws.shape[2:]:
        return [f"the expected mean of {name!r} has shape {mean.shape}, its draws have {draws.shape[2:]}"]
    mean = numpy.broadcast_to(mean, draws.shape[2:])
    deviation = None if deviation is None else numpy.broadcast_to(to_host(deviation), draws.shape[2:])
    faults = []
    for index in numpy.ndindex(draws.shape[2:]):
        label = repr(name) + (f"{list(index)}" if index else "")
        found = draws[(slice(None), slice(None), *index)]
        if not numpy.isfinite(found).all():
            faults.append(f"{label} has draws that are not finite")
            continue
        spread, error = found.std(ddof=1), mcse_mean(found)
        if not (spread > 0.0 and numpy.isfinite(error)):
            faults.append(f"the draws of {label} have no standard error: they do not vary, or there are too few")
            continue
        if error > most_error * spread:
            faults.append(
                f"the standard error of the mean of {label} is {error / spread:.2g} standard deviations; "
                f"expected at most {most_error}; try more draws"
            )
        faults += _far("mean", label, found.mean(), float(mean[index]), error, most_z)
        if deviation is not None:
            faults += _far("standard deviation", label, spread, float(deviation[index]), mcse_sd(found), most_z)
    return faults


def _far(what: str, label: str, found: float, expected: float, error: float, most_z: float) -> list[str]:
    z = abs(found - expected) / error
    if z <= most_z:
        return []
    away = f"{z:.1f} standard errors away, at most {most_z} are allowed"
    return [f"the {what} of {label} is {found:.4g}, expected {expected:.4g}: {away}"]
