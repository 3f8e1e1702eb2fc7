"""Rerun a model that failed, eagerly and with concrete values, and name the first site that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ppl import distributions, ops
from ppl.params import get_param_store
from ppl.runtime import is_distribution
from ppl.testing.diagnosis import gradients, plates
from ppl.testing.diagnosis.arguments import subject_of
from ppl.testing.diagnosis.places import libraries_of
from ppl.testing.diagnosis.points import point_of
from ppl.testing.diagnosis.report import DebugReport
from ppl.testing.diagnosis.runs import SEED, Failure, Point, Run, Site, Subject, host, run, setting

DRAWS = 8
HEAD = ("site", "kind", "value", "batch", "event", "values", "log density", "entries", "verdict")


def debug(model: Callable[..., Any], *args: Any, **kwargs: Any) -> DebugReport:
    """Run a model eagerly on numpy, print what its sites hold, and name the first one that is wrong.

    :param model: a callable with primitives, of any backend.
    :param args: the arguments with which it failed, as are ``kwargs``; arrays of any library.
    :returns: a report with ``site`` and ``reason``; the table is printed too.
    :raises DiagnosisError: if ``model`` cannot be called with the arguments.

    Params have the values that the param store of the active backend holds; latent sites are drawn from the prior, with several
    seeds until a site is wrong, in the default dtype of the active backend. A site is wrong if a parameter of its distribution
    breaks its constraint, if its value is not finite or not in the support, if its log density is not finite, if its shapes are
    not those of its plates, or if the model fails there; and, when all of that is right, if its gradient is not finite.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> def model():
    ...     scale = ppl.sample("scale", dist.Uniform(-2.0, -1.0))
    ...     ppl.sample("y", dist.Normal(0.0, scale), obs=0.3)
    >>> report = ppl.debug(model)  # doctest: +ELLIPSIS
    site   kind      ...
    >>> report.site
    'y'
    """
    report = examine(subject_of(model, args, kwargs))
    print(report)
    return report


def examine(subject: Subject) -> DebugReport:
    """Do what :func:`debug` does, and print nothing."""
    params = {name: host(value) for name, value in get_param_store().items()}
    with setting("numpy", ops.default_dtype()):
        found = Run()
        for index in range(DRAWS):
            point = Point({}, params, f"prior draw {index + 1}")
            found = run(subject, point, rng_seed=SEED + index)
            verdict = _first_wrong(found) or _complaint(subject, point, SEED + index, found)
            if verdict is not None:
                return _report(subject, found, *verdict)
            wrong = _gradient(subject, point_of(found, point.label))
            if wrong is not None:
                return _report(subject, found, *wrong, None)
    return _report(subject, found, None, "", None)


Verdict = tuple[str | None, str, Failure | None]


def _first_wrong(found: Run) -> Verdict | None:
    """Return the first wrong site of a run without checks, what is wrong, and the error that ended the run."""
    for site in found.sites.values():
        failed = found.failure is not None and found.failure.place.site == site.name
        reason = next(_reasons(site), None)
        if reason is not None:
            return site.name, reason, found.failure
        if failed and found.failure is not None:
            return site.name, f"its log density failed: {found.failure.words}", found.failure
    if found.failure is None:
        return None
    place = found.failure.place
    way = "the model failed on the way to it: " if place.on_the_way else "the model failed there: "
    return place.site, f"{way}{found.failure.words}", found.failure


def _complaint(subject: Subject, point: Point, seed: int, found: Run) -> Verdict | None:
    """Return what the checks of sites and distributions say of the same run."""
    checked = run(subject, point, rng_seed=seed, validate=True)
    if checked.failure is None:
        return None
    return checked.failure.place.site, f"the checks say: {checked.failure.words}", checked.failure


def _reasons(site: Site) -> Iterator[str]:
    """Yield what is wrong with a site, the cause before its effects."""
    if site.kind != "deterministic":
        for name, broken, _ in _parameters(site):
            if broken:
                yield f"parameter {name!r} of its distribution {broken}"
    masked = site.message["mask"] is not None or _is_masked(site.message["fn"])
    # What a mask leaves out may be anything.
    if site.value.dtype.kind == "f" and not numpy.isfinite(site.value).all() and (site.kind == "deterministic" or not masked):
        yield f"its value is not finite: {_range(site.value)}"
    if site.kind in ("latent", "observed") and is_distribution(site.message["fn"]) and not masked:
        support = site.message["fn"].support
        try:
            inside = numpy.asarray(host(support.check(site.message["value"])))
        except (NotImplementedError, AttributeError, ValueError):
            inside = numpy.asarray(True)
        if not inside.all():
            yield f"its value lies outside of the support {support!r}: {_range(site.value)}"
    if site.log_prob is not None and site.kind != "deterministic" and not masked:
        if not numpy.isfinite(site.log_prob).all():
            index = tuple(int(i) for i in numpy.argwhere(~numpy.isfinite(site.log_prob))[0])
            yield f"its log density is {site.log_prob[index]}" + (f" at index {index}" if index else "")
    yield from plates.shape_faults(site)


def _is_masked(fn: Any) -> bool:
    while not isinstance(fn, distributions.MaskedDistribution):
        if not hasattr(fn, "base_dist"):
            return False
        fn = fn.base_dist
    return True


def _parameters(site: Site) -> Iterator[tuple[str, str, Any]]:
    """Yield name, broken constraint (or ``""``) and array of each parameter that the distribution was given."""
    fn = site.message["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    for name, constraint in getattr(fn, "arg_constraints", {}).items():
        value = vars(fn).get(name)
        if value is None or not hasattr(value, "shape"):
            continue
        array = host(value)
        try:
            inside = numpy.asarray(host(constraint.check(value)))
        except (NotImplementedError, AttributeError, ValueError, TypeError):
            inside = numpy.asarray(True)
        broken = ""
        if not inside.all():
            index = tuple(int(i) for i in numpy.argwhere(~inside)[0])
            broken = f"is outside of its constraint {constraint!r}: {_entry(array, index)}"
        yield name, broken, array


def _entry(array: Any, index: tuple[int, ...]) -> str:
    shown = array[index]
    text = f"{shown:.6g}" if shown.ndim == 0 else str(shown.tolist())
    return text + (f" at index {index} of shape {array.shape}" if index else "")


def _gradient(subject: Subject, point: Point) -> tuple[str, str] | None:
    """Return the first site whose gradient is not finite in unconstrained space."""
    if not point.free:
        return None
    try:
        found = gradients.gradient(subject, point)
    except Exception as error:
        failure = Failure(error, gradients.place(error, list(point.free)))
        return failure.place.site or "", f"its gradient failed: {failure.words}"
    fault = next(gradients.not_finite(subject, point, "numpy", found), None)
    return None if fault is None else (fault.site, fault.message)


def _range(value: Any) -> str:
    if value.size == 0:
        return "-"
    if value.dtype.kind == "f" and numpy.isnan(value).all():
        return "nan"
    low, high = numpy.nanmin(value), numpy.nanmax(value)
    holes = f", {int(numpy.isnan(value).sum())} nan" if value.dtype.kind == "f" and numpy.isnan(value).any() else ""
    return (f"{low:.4g}" if low == high else f"{low:.4g} .. {high:.4g}") + holes


def _report(subject: Subject, found: Run, site: str | None, reason: str, failure: Failure | None) -> DebugReport:
    rows = [HEAD]
    for record in found.sites.values():
        scored = record.log_prob is not None and record.kind != "deterministic"
        entries = _range(record.log_prob) if scored else "-"
        verdict = "WRONG" if record.name == site else "ok" if next(_reasons(record), None) is None else "wrong too"
        rows.append((
            record.name, record.kind, str(record.value.shape), str(record.batch_shape), str(record.event_shape),
            _range(record.value), f"{record.total:.6g}" if scored else "-", entries, verdict,
        ))  # fmt: skip
    if site is not None and site not in found.sites:
        rows.append((site, *("-",) * 7, "FAILED"))
    details = []
    if site in found.sites:
        for name, broken, array in _parameters(found.sites[site]):
            details.append(f"  {name}: shape {array.shape}, {_range(array)}" + (f", {broken}" if broken else ""))
    if failure is not None and failure.words not in reason:
        details.append(f"the run ended with {failure.words}")
    others = [library for library in libraries_of(subject.model) if library in ("torch", "jax")]
    if failure is not None and others:
        details.append(
            f"note: the model's own code uses {' and '.join(others)} by name; this run is on numpy, where only ppl.ops follows"
        )
    return DebugReport(site, reason, tuple(found.sites), tuple(rows), tuple(details))
