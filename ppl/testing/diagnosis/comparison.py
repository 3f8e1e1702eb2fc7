"""What several backends say of one site at one point, and which of them is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy

from ppl.testing.diagnosis.report import Fault
from ppl.testing.diagnosis.runs import Run, Site

# Two libraries' special functions agree to this; sums cancel at most as much as their terms are large.
RTOL, ATOL = 1e-6, 1e-8


def differ(found: Any, expected: Any, rtol: float = RTOL, atol: float = ATOL) -> bool:
    """Return whether two arrays differ beyond rounding; NaN equals NaN, and infinities themselves."""
    found, expected = numpy.asarray(found, dtype="float64"), numpy.asarray(expected, dtype="float64")
    if found.shape != expected.shape:
        return True
    return not numpy.allclose(found, expected, rtol=rtol, atol=atol * (1.0 + _largest(expected)), equal_nan=True)


def _largest(array: Any) -> float:
    finite = numpy.abs(array[numpy.isfinite(array)]) if array.ndim else numpy.abs(array)
    return float(finite.max(initial=0.0)) if array.ndim else float(finite) if numpy.isfinite(finite) else 0.0


def worst(found: Any, expected: Any) -> tuple[float, float, str]:
    """Return the elements that differ most, and the index of these, ``""`` for a number."""
    found, expected = numpy.broadcast_arrays(numpy.asarray(found, dtype="float64"), numpy.asarray(expected, dtype="float64"))
    with numpy.errstate(all="ignore"):
        apart = numpy.abs(found - expected)
        odd = (numpy.isnan(found) != numpy.isnan(expected)) | (numpy.isinf(found) != numpy.isinf(expected))
        apart = numpy.where(odd, numpy.inf, numpy.nan_to_num(apart / (1.0 + numpy.abs(expected)), nan=0.0))
    index = tuple(int(i) for i in numpy.unravel_index(int(numpy.argmax(apart)), found.shape)) if found.ndim else ()
    return float(found[index]), float(expected[index]), f" at index {index}" if found.ndim else ""


def parties(values: Mapping[str, Any], same: Any) -> list[list[str]]:
    """Return the backends in groups of equal values, the largest group first; among equals the first one named leads."""
    groups: list[list[str]] = []
    for name, value in values.items():
        home = next((group for group in groups if same(values[group[0]], value)), None)
        if home is None:
            groups.append([name])
        else:
            home.append(name)
    return sorted(groups, key=len, reverse=True)


def structure(runs: Mapping[str, Run]) -> Iterator[Fault]:
    """Yield the differences between the lists of sites: one missing, one of another kind, another order."""
    orders = {name: tuple(run.sites) for name, run in runs.items() if run.failure is None}
    groups = parties(orders, lambda a, b: a == b)
    if len(groups) < 2:
        return
    most, expected = groups[0], orders[groups[0][0]]
    for group in groups[1:]:
        found = orders[group[0]]
        missing = [name for name in expected if name not in found]
        extra = [name for name in found if name not in expected]
        by = opinion(most, group)
        for name in missing:
            yield Fault(name, "presence", tuple(group), f"the model has no such site here, but {by} have it")
        for name in extra:
            yield Fault(name, "presence", tuple(group), f"the model has this site here alone; {by} have {', '.join(expected)}")
        if not missing and not extra:
            first = next(name for name, other in zip(expected, found, strict=True) if name != other)
            yield Fault(
                first, "order", tuple(group), f"the sites come in the order {', '.join(found)}; on {by} {', '.join(expected)}"
            )


def opinion(most: Sequence[str], group: Sequence[str]) -> str:
    """Return who says otherwise, and whether they are more."""
    return ", ".join(most) + (" (the majority)" if len(most) > len(group) else " (as many)")


def shapes(name: str, sites: Mapping[str, Site], dtypes: bool = True) -> Iterator[Fault]:
    """Yield where kind, shapes, plates or dtypes of a site differ between backends."""
    aspects = {
        "kind": lambda site: site.kind,
        "batch shape": lambda site: site.batch_shape,
        "event shape": lambda site: site.event_shape,
        "shape of the value": lambda site: site.value.shape,
        "plates": lambda site: tuple((frame.name, frame.dim, frame.size, frame.counter) for frame in site.plates),
        "shape of the log density": lambda site: None if site.log_prob is None else site.log_prob.shape,
    }
    if dtypes:
        aspects["dtype of the value"] = lambda site: site.dtype
        aspects["dtype of the log density"] = lambda site: site.log_prob_dtype
    for aspect, read in aspects.items():
        groups = parties({backend: read(site) for backend, site in sites.items()}, lambda a, b: a == b)
        for group in groups[1:]:
            found, expected = read(sites[group[0]]), read(sites[groups[0][0]])
            yield Fault(
                name, aspect.split()[0] if aspect.startswith("dtype") else aspect, tuple(group),
                f"the {aspect} is {found or 'none'}; {opinion(groups[0], group)}: {expected or 'none'}",
            )  # fmt: skip
            return


def numbers(
    name: str, check: str, values: Mapping[str, Any], where: str, oracle: tuple[str, Any] | None = None
) -> Iterator[Fault]:
    """Yield the backends whose arrays are not the oracle's, or not those of most backends.

    :param where: the point, for the message.
    :param oracle: the name of a source from outside, and what it gives.
    """
    if oracle is not None:
        source, expected = oracle
        known = numpy.isfinite(expected)
        wrong = [
            backend for backend, value in values.items()
            if numpy.shape(value) != expected.shape or differ(value[known], expected[known])
        ]  # fmt: skip
        for group in parties({backend: values[backend] for backend in wrong}, lambda a, b: not differ(a, b)):
            found, right, index = worst(numpy.where(known, values[group[0]], expected), expected)
            agree = [backend for backend in values if backend not in wrong]
            also = f", as on {', '.join(agree)}" if agree else ""
            yield Fault(name, check, tuple(group), f"{found:.6g}{index} at {where}; {source} says {right:.6g}{also}")
        if wrong or known.all():
            return
    groups = parties(values, lambda a, b: not differ(a, b))
    for group in groups[1:]:
        found, right, index = worst(values[group[0]], values[groups[0][0]])
        yield Fault(name, check, tuple(group), f"{found:.6g}{index} at {where}; {opinion(groups[0], group)}: {right:.6g}")
