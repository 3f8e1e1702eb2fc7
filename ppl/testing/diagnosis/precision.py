"""Whether log densities in float32 lose more than the rounding of values and data explains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ppl import tree
from ppl.backend import Backend
from ppl.testing.diagnosis.report import Fault
from ppl.testing.diagnosis.runs import Point, Run, Subject, host, is_array, run, setting

EPSILON = float(numpy.finfo(numpy.float32).eps)
# How many roundings of the result, and how many times the effect of rounding the inputs, are still no fault.
ROUNDINGS, EFFECTS = 256.0, 16.0
PERTURBATIONS = 3
# Beyond these, float32 has no numbers for what a density is made of.
LARGEST = 1e30


def on_the_host(subject: Subject) -> Subject:
    """Return the subject with its arguments as numpy arrays, rounded to float32."""
    args, kwargs = tree.map(lambda leaf: _rounded(host(leaf)) if is_array(leaf) else leaf, subject.arguments())
    return Subject(subject.model, args, kwargs)


def _rounded(array: Any) -> Any:
    return array.astype("float32").astype("float64") if array.dtype.kind == "f" else array


def _perturbed(array: Any, numbers: Any) -> Any:
    """Return an array with each element moved by about the rounding of float32; whole numbers have none."""
    if not is_array(array) or array.dtype.kind != "f":
        return array
    moved = array * (1.0 + EPSILON * numbers.uniform(-1.0, 1.0, size=array.shape))
    return numpy.where(array == numpy.floor(array), array, moved)


class Expectation:
    """What a model's log densities are in float64 at values that float32 has, and how much rounding those can change.

    :param subject: from :func:`on_the_host`.
    :param reference: a run at the point in float64.
    :param backend: where the model runs in float64.
    """

    def __init__(self, subject: Subject, reference: Run, backend: Backend, label: str) -> None:
        kinds = ("latent", "param", "subsample")
        values = {name: _rounded(site.value) for name, site in reference.sites.items() if site.kind in kinds}
        self.point = Point({}, values, label)
        numbers = numpy.random.default_rng(11)
        with setting(backend, "float64"):
            base = run(subject, self.point)
            others = []
            for _ in range(PERTURBATIONS):
                moved = {name: _perturbed(value, numbers) for name, value in values.items()}
                args, kwargs = tree.map(lambda leaf: _perturbed(leaf, numbers), (subject.args, subject.kwargs))
                others.append(run(Subject(subject.model, args, kwargs), Point({}, moved)))
        self.log_probs = _scored(base)
        self.allowed = {name: self._allowance(name, base, [_scored(other) for other in others]) for name in self.log_probs}

    def _allowance(self, name: str, base: Run, others: Sequence[dict[str, Any]]) -> Any:
        log_prob, value = self.log_probs[name], base.sites[name].value
        effect = numpy.zeros_like(log_prob)
        for other in others:
            if name in other and other[name].shape == log_prob.shape:
                effect = numpy.maximum(effect, numpy.abs(other[name] - log_prob))
        # Counts enter through log-factorials, which cancel.
        largest = float(numpy.abs(value).max(initial=0.0)) if value.dtype.kind in "iu" or _whole(value) else 0.0
        terms = 1.0 + numpy.abs(log_prob) + largest * numpy.log1p(largest)
        return ROUNDINGS * EPSILON * terms + EFFECTS * effect

    def faults(self, name_of_backend: str, backend: Backend, subject: Subject) -> Iterator[Fault]:
        """Yield the sites that lose precision on a backend, in order."""
        with setting(backend, "float32"):
            found = run(subject, self.point)
        for name, log_prob in _scored(found).items():
            expected = self.log_probs.get(name)
            if expected is None or expected.shape != log_prob.shape:
                continue
            log_prob = log_prob.astype("float64")
            judged = numpy.isfinite(expected) & (numpy.abs(expected) < LARGEST) & numpy.isfinite(self.allowed[name])
            lost = judged & ~(numpy.abs(log_prob - expected) <= self.allowed[name])
            if lost.any():
                index = tuple(int(i) for i in numpy.argwhere(lost)[0])
                where = f" at index {index}" if index else ""
                yield Fault(
                    name, "float32", (name_of_backend,),
                    f"its log density is {log_prob[index]:.8g}{where} in float32 at {self.point.label}; in float64 it is "
                    f"{expected[index]:.8g}, and rounding the inputs moves that by at most {self.allowed[name][index]:.2g}; try "
                    "a form that does not cancel, such as logits= in place of probs=, or ops.log1p",
                )  # fmt: skip
        if found.failure is not None:
            place = found.failure.place
            yield Fault(place.site or "", "float32", (name_of_backend,), f"in float32 it failed: {found.failure.words}")


def _whole(value: Any) -> bool:
    return bool(value.size and numpy.isfinite(value).all() and (value == numpy.floor(value)).all())


def _scored(found: Run) -> dict[str, Any]:
    return {
        name: site.log_prob for name, site in found.sites.items() if site.log_prob is not None and site.kind != "deterministic"
    }
