"""Run a model on every backend and compare it site by site."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy

from ppl import ops, registry
from ppl.backend import Backend
from ppl.errors import BackendError, GapError
from ppl.runtime import is_distribution
from ppl.testing.diagnosis import comparison, gradients, jacobians, mass, oracles, plates, precision
from ppl.testing.diagnosis.arguments import subject_of
from ppl.testing.diagnosis.places import libraries_of
from ppl.testing.diagnosis.points import filled, point_of
from ppl.testing.diagnosis.report import CheckReport, Fault
from ppl.testing.diagnosis.runs import SEED, Failure, Point, Run, Site, Subject, as_array, host, log_densities, run, setting
from ppl.testing.strict import StrictBackend

DRAWS = 3
# In unconstrained space: next to zero, well into both tails, and at the edges of supports.
EXTREMES = (1e-6, 4.0, -4.0, 12.0, -12.0)
EDGES = (12.0, -12.0)
VALUES = ("value", "log density", "log-determinant", "finite")
HEAD = ("site", "kind", "plates", "batch", "event", "dtype", "log density", "oracle", "verdict")


def check_model(model: Callable[..., Any], *args: Any, **kwargs: Any) -> CheckReport:
    """Run a model on every installed backend, compare it site by site, and print what was found.

    :param model: a callable with primitives.
    :param args: its arguments, as are ``kwargs``: numbers, and arrays of any library, which each backend gets as its own. A
        single function of no arguments is called on each backend and returns the argument, a tuple of them, or a pair of tuple
        and dict.
    :returns: a report with ``ok``, ``faults`` and ``first``; a table of the sites with the faults is printed too.
    :raises DiagnosisError: if ``model`` cannot be called with the arguments, or one of them is of no use here.

    The same prior draws, and points far out in unconstrained space, are given to all backends in float64 and float32. Compared
    are the sites and their order, shapes, plates and dtypes, log densities (with scipy's where it has the family), gradients
    (with finite differences), log-determinants of transforms, the independence and the scale of entries of plates, and float32
    with float64. A message says who is right as far as an outside source or a majority can tell.

    :func:`ppl.testing.diagnosis.check` does the same on backends of one's choice, and prints nothing.
    """
    report = check(model, args, kwargs)
    print(report)
    return report


def check(
    model: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    backends: Sequence[str | Backend] | None = None,
) -> CheckReport:
    """Do what :func:`check_model` does on the given backends, names or values, by default all, and print nothing.

    :raises BackendError: if a named backend is not installed.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> from ppl.testing.diagnosis import check
    >>> def model(y):
    ...     loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    ...     ppl.sample("y", dist.Normal(loc, 1.0).expand([3]), obs=y)
    >>> report = check(model, ([0.1, -0.4, 0.7],), backends=["numpy"])
    >>> report.first.site, report.first.check
    ('y', 'plates')
    """
    subject = subject_of(model, args, kwargs or {})
    chosen = installed() if backends is None else backends
    with numpy.errstate(all="ignore"):
        return _Check(subject, {_name(backend): registry.load(backend) for backend in chosen}).report()


def _name(backend: str | Backend) -> str:
    return backend.name if isinstance(backend, Backend) else backend


def installed() -> list[str]:
    """Return the names of the backends with arrays of their own whose libraries are installed; numpy first."""
    found: list[str] = []
    for name in sorted(set(registry.names()) - set(registry.ALIASES), key=lambda name: (name != "numpy", name)):
        try:
            backend = registry.load(name)
        except BackendError:
            continue
        if isinstance(backend, Backend) and not backend.beneath and not isinstance(backend, StrictBackend):
            found.append(name)
    return found


class _Check:
    """One check of one model."""

    def __init__(self, subject: Subject, backends: dict[str, Backend]) -> None:
        self.subject, self.backends, self.asked = subject, backends, list(backends)
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.reference = Run()
        self.sources: dict[str, str] = {}
        self.libraries = libraries_of(subject.model)

    def report(self) -> CheckReport:
        """Make all comparisons."""
        own = {name: self._on(name, validate=True) for name in self.asked}
        self._failures(own)
        running = [name for name in self.asked if own[name].failure is None]
        if running:
            self.lead = "numpy" if "numpy" in running else running[0]
            self.reference = own[self.lead]
            self._supports({name: own[name] for name in running})
            self.points = self._draws()
            self._values(running)
        else:
            self.reference = max(own.values(), key=lambda found: len(found.sites), default=Run())
        order = {name: index for index, name in enumerate(self.reference.sites)}
        merged = sorted(_merged(self.faults), key=lambda fault: order.get(fault.site, len(order) if fault.site else -1))
        if any(fault.check in ("run", "presence", "gap") for fault in merged):
            self._suspect_libraries()
        names = tuple(dict.fromkeys([*order, *(fault.site for fault in merged if fault.site)]))
        return CheckReport(tuple(self.asked), names, tuple(merged), tuple(self._rows(merged)), tuple(self.notes))

    # -- runs --

    def _on(self, backend: Any, point: Point | None = None, dtype: str = "float64", **options: Any) -> Run:
        with self._setting(backend, dtype):
            return run(self.subject, point, **options)

    def _setting(self, backend: Any, dtype: str = "float64") -> AbstractContextManager[None]:
        return setting(self.backends.get(backend, backend), dtype)

    def _add(self, faults: Iterator[Fault]) -> bool:
        found = list(faults)
        self.faults += found
        return bool(found)

    def _failures(self, runs: dict[str, Run], where: str = "") -> None:
        for name, found in runs.items():
            if found.failure is None:
                continue
            place = found.failure.place
            way = "on the way to it, " if place.on_the_way else ""
            before = ", ".join(name for name in found.sites if name != place.site)
            check = "gap" if isinstance(found.failure.error, GapError) else "run"
            after = f"; the sites before it: {before}" if before else ""
            self.faults.append(Fault(place.site or "", check, (name,), f"{way}{found.failure.words}{where}{after}"))

    def _draws(self) -> list[Point]:
        """Return prior draws as points, the continuous choices in unconstrained space."""
        points = []
        with self._setting(self.lead):
            for index in range(DRAWS):
                drawn = run(self.subject, rng_seed=SEED + index)
                if drawn.failure is None:
                    points.append(point_of(drawn, f"prior draw {index + 1}"))
        return points

    # -- comparisons --

    def _supports(self, runs: dict[str, Run]) -> None:
        for backend, found in runs.items():
            with self._setting(backend):
                for site in found.sites.values():
                    if site.foreign:
                        self.faults.append(Fault(
                            site.name, "run", (backend,),
                            f"its value is an array of {site.foreign}; expected one of the backend, from ppl.ops",
                        ))  # fmt: skip
                    if site.kind == "latent" and is_distribution(site.message["fn"]) and not _inside(site):
                        self.faults.append(Fault(
                            site.name, "support", (backend,),
                            f"a draw lies outside of the support {site.message['fn'].support!r}: {_range(site.value)}",
                        ))  # fmt: skip
                    for dtype in {site.dtype, site.log_prob_dtype} & {"float16", "float32"}:
                        self.faults.append(Fault(
                            site.name, "dtype", (backend,), f"it is {dtype} where the default dtype is float64; expected float64"
                        ))  # fmt: skip

    def _values(self, running: list[str]) -> None:
        for point in self.points:
            runs = {name: self._on(name, point) for name in running}
            if point is self.points[0]:
                self.reference = runs[self.lead]
                self._first_point(point, runs)
            self._densities(point, runs, with_oracle=True)
        if any(fault.check in ("run", "presence", "repetition") for fault in self.faults) and len(running) == len(self.asked):
            return
        # What follows from a wrong value is no news.
        wrong = {backend for fault in self.faults if fault.check in VALUES for backend in fault.backends}
        right = [name for name in running if name not in wrong]
        self._tracing(right)
        self._gradients(right)
        self._extremes(right)
        if self.lead in right:
            self._precision(right)

    def _first_point(self, point: Point, runs: dict[str, Run]) -> None:
        self._failures(runs, f" (at {point.label} of {self.lead})")
        self._add(comparison.structure(runs))
        for name in self.reference.sites:
            sites = {backend: found.sites[name] for backend, found in runs.items() if name in found.sites}
            self._add(comparison.shapes(name, sites))
            for sentence in plates.shape_faults(self.reference.sites[name]):
                self.faults.append(Fault(name, "plates", (), sentence))
        base = self.reference
        with self._setting(self.lead):
            for site in base.sites.values():
                if site.message["type"] == "sample" and is_distribution(site.message["fn"]):
                    free = point.free.get(site.name)
                    for sentence in jacobians.faults_of(site, free):
                        self.faults.append(Fault(site.name, "Jacobian", (self.lead,), sentence))
                    unnormalized = mass.fault_of(site, free) if free is not None else None
                    if unnormalized is not None:
                        self.faults.append(Fault(site.name, "mass", (self.lead,), unnormalized))

            def again(at: Point) -> Run:
                return run(self.subject, at)

            for name, sentence in (*plates.dependence_faults(again, point, base), *plates.scale_faults(again, point, base)):
                check = "scale" if "scale" in sentence or "minibatch" in sentence else "independence"
                self.faults.append(Fault(name, check, (), sentence))
            self._repeat(point, base)
        self._strict(point, base)

    def _repeat(self, point: Point, base: Run) -> None:
        again = run(self.subject, point)
        for name, expected in base.sites.items():
            found = again.sites.get(name)
            if found is None or comparison.differ(found.total, expected.total) or comparison.differ(found.value, expected.value):
                said = "is missing" if found is None else "has another value or log density"
                self.faults.append(Fault(
                    name, "repetition", (), f"it {said} when the model runs again with the same values; expected the same; try "
                    "to draw all randomness from sites, and to keep no state between runs",
                ))  # fmt: skip
                return
        if self.subject.make is None and _has_dicts((self.subject.args, self.subject.kwargs)):
            args, kwargs = _reversed((self.subject.args, self.subject.kwargs))
            other = run(Subject(self.subject.model, args, kwargs), point)
            for name, expected in base.sites.items():
                found = other.sites.get(name)
                if found is None or found.value.shape != expected.value.shape or comparison.differ(found.total, expected.total):
                    self.faults.append(Fault(
                        name, "order", (), "its log density depends on the order of a dict among the arguments, which jax sorts "
                        "by name in compiled code; expected none to; try sorted(data), or to read the dict by name",
                    ))  # fmt: skip
                    return

    def _strict(self, point: Point, base: Run) -> None:
        if self.lead != "numpy":
            return
        found = self._on(_strict_numpy(), point)
        if found.failure is not None:
            place = found.failure.place
            self.faults.append(Fault(
                place.site or "", "contract", ("strict numpy",), "it changes an array in place, or uses what ppl.ops does not "
                f"declare: {found.failure.words}",
            ))  # fmt: skip

    def _densities(self, point: Point, runs: dict[str, Run], with_oracle: bool) -> None:
        if any(fault.check in VALUES for fault in self.faults):
            return
        for name, reference in self.reference.sites.items():
            sites = {backend: found.sites[name] for backend, found in runs.items() if name in found.sites}
            shape = next(iter(sites.values())).value.shape
            same = {backend: site for backend, site in sites.items() if site.value.shape == shape}
            if self._add(comparison.numbers(name, "value", {b: s.value for b, s in same.items()}, point.label)):
                return
            if reference.log_prob is None or reference.kind == "deterministic":
                continue
            scored = {b: s.log_prob for b, s in same.items() if s.log_prob is not None}
            oracle = self._oracle(runs, name) if with_oracle else None
            if self._add(comparison.numbers(name, "log density", scored, point.label, oracle)):
                return
            dets = {b: s.log_det for b, s in same.items() if s.log_det is not None}
            if self._add(comparison.numbers(name, "log-determinant", dets, point.label)):
                return
            with numpy.errstate(all="ignore"):
                odd = {b for b, s in same.items() if numpy.isnan(s.log_prob).any() or numpy.isposinf(s.log_prob).any()}
            if odd:
                self.faults.append(Fault(
                    name, "finite", tuple(odd), f"its log density is NaN or positive infinity at {point.label}, the values being "
                    f"{_range(reference.value)}; expected a number, or negative infinity",
                ))  # fmt: skip
                return

    def _oracle(self, runs: dict[str, Run], name: str) -> tuple[str, Any] | None:
        """Return what an outside source says at the parameters that most backends have."""
        candidates = []
        for backend, found in runs.items():
            site = found.sites.get(name)
            if site is None:
                continue
            with self._setting(backend):
                try:
                    said = oracles.log_density(site.message["fn"], site.value)
                except (NotImplementedError, AttributeError, ValueError, TypeError):
                    said = None
            if said is not None and site.log_prob is not None and said[1].shape == site.log_prob.shape:
                candidates.append((backend, said))
        if not candidates:
            return None
        groups = comparison.parties({b: said[1] for b, said in candidates}, lambda x, y: not comparison.differ(x, y))
        source, expected = dict(candidates)[groups[0][0]]
        self.sources[name] = source
        mask = self.reference.sites[name].message["mask"]
        if mask is not None:
            # Where the mask is false, the density is that of another point.
            expected = numpy.where(host(mask), expected, numpy.nan)
        return source, expected

    def _tracing(self, running: list[str]) -> None:
        """Run the model once as compiled code would, without concrete values."""
        if not self.points or not self.points[0].free:
            return
        point = self.points[0]
        names = list(point.free)

        def total(arrays: Any) -> None:
            log_densities(self.subject, dict(zip(names, arrays, strict=True)), point.fixed)

        for name in running:
            with self._setting(name):
                try:
                    arrays = [as_array(numpy.asarray(value, dtype="float64")) for value in point.free.values()]
                    registry.active().infer.evaluate_shapes(total, arrays)
                except Exception as error:
                    failure = Failure(error, gradients.place(error, list(self.reference.sites)))
                    way = "on the way to it, " if failure.place.on_the_way else ""
                    self.faults.append(Fault(
                        failure.place.site or "", "tracing", (name,), f"it runs with concrete values, but not in compiled code: "
                        f"{way}{failure.words}; try ops.where, or ppl.ops.control, in place of a branch on a value",
                    ))  # fmt: skip

    def _gradients(self, running: list[str]) -> None:
        for index, point in enumerate(self.points[:2]):
            if not point.free:
                return
            found: dict[str, Any] = {}
            for name in running:
                with self._setting(name):
                    try:
                        found[name] = gradients.gradient(self.subject, point)
                    except Exception as error:
                        self._add(iter([self._no_gradient(name, error)]))
                        continue
                    self._add(gradients.not_finite(self.subject, point, name, found[name]))
            found = {name: g for name, g in found.items() if all(numpy.isfinite(part).all() for part in g.values())}
            if not found:
                continue
            lead = self.lead if self.lead in found else next(iter(found))
            if index == 0 and self._differences(lead, point, found[lead]):
                del found[lead]
                for name in found:
                    self._differences(name, point, found[name])
                return
            for name in found:
                faults = list(gradients.between(point, lead, found[lead], name, found[name]))
                # The site is the one whose log density has the wrong derivative, which finite differences tell.
                if faults and not self._differences(name, point, found[name]):
                    self._add(iter(faults))

    def _differences(self, backend: str, point: Point, found: dict[str, Any]) -> bool:
        with self._setting(backend):
            return self._add(gradients.against_differences(self.subject, point, backend, found))

    def _no_gradient(self, backend: str, error: Exception) -> Fault:
        failure = Failure(error, gradients.place(error, list(self.reference.sites)))
        return Fault(failure.place.site or "", "gradient", (backend,), f"it has no gradient: {failure.words}")

    def _extremes(self, running: list[str]) -> None:
        if not self.points or not self.points[0].free:
            return
        first = self.points[0]
        for number in EXTREMES:
            point = filled(first, list(first.free), number)
            runs = {name: self._on(name, point) for name in running}
            before = len(self.faults)
            self._densities(point, runs, with_oracle=False)
            if len(self.faults) > before or abs(number) > 4.0:
                continue
            for name in running:
                with self._setting(name):
                    self._add(gradients.not_finite(self.subject, point, name, gradients.gradient(self.subject, point)))

    def _precision(self, running: list[str]) -> None:
        """Compare float32 with float64: everywhere at draws and at joint extremes, one site after another on one backend."""
        with self._setting(self.lead):
            rounded = precision.on_the_host(self.subject)
        at: list[tuple[Point, list[str]]] = [(point, running) for point in self.points[:2]]
        free = list(self.points[0].free) if self.points else []
        at += [(filled(self.points[0], free, number), running) for number in EDGES if free]
        at += [(filled(self.points[0], [name], number), [self.lead]) for name in free for number in EDGES if len(free) > 1]
        lost: set[tuple[str, str]] = set()
        for point, backends in at:
            expected = precision.Expectation(rounded, self._on(self.lead, point), self.backends[self.lead], point.label)
            for backend in backends:
                for fault in expected.faults(backend, self.backends[backend], rounded):
                    if (fault.site, backend) not in lost:
                        lost.add((fault.site, backend))
                        self.faults.append(fault)
                    break

    # -- the report --

    def _suspect_libraries(self) -> None:
        others = [name for name in self.libraries if name != "numpy"]
        if others:
            self.notes.append(
                f"note: the model's own code uses {' and '.join(others)} by name, which ties its sites to one backend; expected "
                "ppl.ops, which follows the backend"
            )

    def _rows(self, faults: list[Fault]) -> Iterator[tuple[str, ...]]:
        yield HEAD
        bad: dict[str, list[str]] = {}
        for fault in faults:
            checks = bad.setdefault(fault.site, [])
            checks += [fault.check] if fault.check not in checks else []
        for name, site in self.reference.sites.items():
            frames = ", ".join(frame.name for frame in site.plates) or "-"
            scored = site.log_prob is not None and site.kind != "deterministic"
            yield (
                name, site.kind, frames, str(site.batch_shape), str(site.event_shape), site.dtype,
                f"{site.total:.6g}" if scored else "-", self.sources.get(name, "-"), ", ".join(bad.get(name, [])) or "ok",
            )  # fmt: skip
        for name in bad:
            if name and name not in self.reference.sites:
                yield name, "-", "-", "-", "-", "-", "-", "-", ", ".join(bad[name])


@functools.cache
def _strict_numpy() -> Backend:
    """Return numpy behind the contract alone; what looks a backend up by its name finds the whole of numpy."""
    strict = StrictBackend()
    parts = {part.name: getattr(strict, part.name) for part in dataclasses.fields(Backend)}
    return Backend(**{**parts, "name": "numpy"})


def _inside(site: Site) -> bool:
    try:
        return bool(host(ops.all(site.message["fn"].support.check(site.message["value"]))))
    except (NotImplementedError, AttributeError):
        return True


def _range(value: Any) -> str:
    if value.size == 0:
        return "none"
    return f"{value}" if value.ndim == 0 else f"between {value.min():.6g} and {value.max():.6g}"


def _has_dicts(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) > 1 or any(map(_has_dicts, value.values()))
    return isinstance(value, (tuple, list)) and any(map(_has_dicts, value))


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return type(value)(map(_reversed, value)) if type(value) in (tuple, list) else value


def _merged(faults: list[Fault]) -> list[Fault]:
    """Return the faults, those that say the same of several backends as one."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for fault in faults:
        found.setdefault((fault.site, fault.check, fault.message), []).extend(fault.backends)
    return [Fault(site, check, tuple(dict.fromkeys(who)), message) for (site, check, message), who in found.items()]
