"""Gradients of a model's log density in unconstrained space: finite, those of finite differences, those of the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from ppl import ops
from ppl.ops import autodiff
from ppl.testing.diagnosis.comparison import differ, worst
from ppl.testing.diagnosis.places import Place, place_of
from ppl.testing.diagnosis.report import Fault
from ppl.testing.diagnosis.runs import Point, Subject, as_array, host, log_densities

STEP = 1e-4
RTOL, ATOL = 2e-4, 1e-5


def gradient(subject: Subject, point: Point, only: str | None = None) -> dict[str, Any]:
    """Return the gradient of the joint log density, or of one site's, with regard to each free value: numpy arrays.

    :param only: the site whose log density is meant.
    """

    def total(free: dict[str, Any]) -> Any:
        terms = log_densities(subject, free, point.fixed)
        # A site that depends on no free value has a gradient of zero all the same.
        nothing = sum(0.0 * ops.sum(value) for value in free.values())
        return (terms[only] if only is not None else sum(terms.values())) + nothing

    return {name: host(part) for name, part in autodiff.grad(total)(_arrays(point)).items()}


def _arrays(point: Point) -> dict[str, Any]:
    return {name: as_array(numpy.asarray(value, dtype="float64")) for name, value in point.free.items()}


def terms(subject: Subject, point: Point) -> dict[str, float]:
    """Return the log density of each site at a point."""
    return {name: float(host(value)) for name, value in log_densities(subject, _arrays(point), point.fixed).items()}


def directions(point: Point) -> dict[str, Any]:
    """Return a fixed direction for each free value."""
    numbers = numpy.random.default_rng(7)
    return {name: numbers.normal(size=numpy.shape(value)) for name, value in point.free.items()}


def slopes(subject: Subject, point: Point, name: str, direction: Any) -> dict[str, float]:
    """Return the derivative of each site's log density along ``direction`` at the free value ``name``, by differences."""

    def ends(step: float) -> dict[str, float]:
        above = terms(subject, Point({**point.free, name: point.free[name] + step * direction}, point.fixed))
        below = terms(subject, Point({**point.free, name: point.free[name] - step * direction}, point.fixed))
        return {site: (above[site] - below[site]) / (2.0 * step) for site in above if site in below}

    near, far = ends(STEP), ends(2.0 * STEP)
    return {site: (4.0 * near[site] - far[site]) / 3.0 for site in near}


def against_differences(subject: Subject, point: Point, backend: str, found: dict[str, Any]) -> Iterator[Fault]:
    """Yield where a gradient of the active backend is not that of its values, at the site whose log density it is."""
    for name, direction in directions(point).items():
        if direction.size == 0:
            continue
        expected = slopes(subject, point, name, direction)
        slope, truth = float(numpy.sum(found[name] * direction)), sum(expected.values())
        scale = sum(abs(part) for part in expected.values())
        if not numpy.isfinite(truth) or abs(slope - truth) <= RTOL * scale + ATOL:
            continue
        site, part, right = _culprit(subject, point, name, direction, expected) or (name, slope, truth)
        yield Fault(
            site, "gradient", (backend,),
            f"its log density has derivative {part:.6g} along a direction of {name!r} at {point.label}; finite differences of "
            f"the same backend give {right:.6g}",
        )  # fmt: skip
        return


def _culprit(
    subject: Subject, point: Point, name: str, direction: Any, expected: dict[str, float]
) -> tuple[str, float, float] | None:
    for site, right in expected.items():
        part = float(numpy.sum(gradient(subject, point, site)[name] * direction))
        if not abs(part - right) <= RTOL * abs(right) + ATOL:
            return site, part, right
    return None


def not_finite(subject: Subject, point: Point, backend: str, found: dict[str, Any]) -> Iterator[Fault]:
    """Yield the first site whose log density is finite at a point but whose gradient is not."""
    bad = [name for name, part in found.items() if not numpy.isfinite(part).all()]
    if not bad:
        return
    values = terms(subject, point)
    if not all(numpy.isfinite(value) for value in values.values()):
        return
    for site in values:
        parts = gradient(subject, point, site)
        name = next((name for name in bad if not numpy.isfinite(parts[name]).all()), None)
        if name is not None:
            yield Fault(
                site, "gradient", (backend,),
                f"its log density is {values[site]:.6g} at {point.label}, but its gradient with regard to {name!r} is not "
                "finite; expected a finite one; a where() whose other side is NaN has this effect",
            )  # fmt: skip
            return


def between(point: Point, lead: str, right: dict[str, Any], backend: str, found: dict[str, Any]) -> Iterator[Fault]:
    """Yield the first free value with regard to which the gradients of two backends differ.

    :param lead: the backend whose gradient ``right`` agrees with finite differences.
    """
    for name, expected in right.items():
        part = found.get(name)
        if part is not None and differ(part, expected, rtol=1e-5, atol=1e-6):
            one, other, index = worst(part, expected)
            yield Fault(
                name, "gradient", (backend,),
                f"the derivative of the log density is {one:.6g}{index} at {point.label}; {lead} gives {other:.6g}",
            )  # fmt: skip
            return


def place(error: Exception, names: list[str]) -> Place:
    """Return the site whose gradient failed, the first of ``names`` if nothing tells."""
    found = place_of(error, None, [])
    return found if found.site is not None else Place(names[0] if names else None, found.line, False)
