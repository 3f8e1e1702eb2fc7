"""One eager run of a model with concrete values, on one backend in one precision, as plain records."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy

from ppl import constraints, distributions, handlers, ops, registry, tree
from ppl.backend import Backend
from ppl.errors import DiagnosisError
from ppl.handlers import density
from ppl.handlers.messenger import Handler
from ppl.params import get_param_store
from ppl.primitives.validation import validation_enabled
from ppl.runtime import is_distribution
from ppl.testing.diagnosis.places import Place, place_of
from ppl.transforms import biject_to, transform_to
from ppl.typing import Message

SEED = 20190505


@dataclass
class Site:
    """What one run says of one site; arrays are numpy's.

    :param kind: ``latent``, ``observed``, ``deterministic``, ``param`` or ``subsample``.
    :param plates: frames of the plates around it.
    :param log_prob: its log density of the site's batch shape, neither scaled nor masked; ``None`` without one.
    :param total: the sum of its scaled and masked log density.
    :param message: the message itself, whose arrays are those of the backend.
    """

    name: str
    kind: str
    value: Any
    dtype: str
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    plates: tuple[Any, ...]
    message: Message
    log_prob: Any = None
    log_prob_dtype: str = ""
    total: float = 0.0
    log_det: Any = None
    foreign: str = ""


@dataclass
class Failure:
    """The error that ended a run, and where."""

    error: Exception
    place: Place

    @property
    def words(self) -> str:
        """Type and first line of the error, and the line of the model."""
        text = str(self.error).strip().splitlines()
        said = f"{type(self.error).__name__}: {text[0] if text else 'no message'}"
        return said + (f" (at {self.place.line})" if self.place.line else "")


@dataclass
class Run:
    """The sites of a run in order, and what ended it early."""

    sites: dict[str, Site] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass
class Point:
    """Values for a model's choices, the same on every backend.

    :param free: unconstrained values of continuous latent sites and of params.
    :param fixed: values of the others: discrete sites, indices of minibatches.
    :param label: what it is, for messages.
    """

    free: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    label: str = "a prior draw"


class Subject:
    """A model and its arguments, on the host.

    :param make: returns ``(args, kwargs)`` for the active backend; without it ``args`` and ``kwargs`` are converted.
    """

    def __init__(
        self, model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], make: Callable[[], Any] | None = None
    ) -> None:
        self.model, self.args, self.kwargs, self.make = model, args, kwargs, make

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments as arrays of the active backend, floating ones in the default dtype."""
        if self.make is None:
            return tree.map(as_array, (self.args, self.kwargs))
        made = self.make()
        if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], tuple) and isinstance(made[1], dict):
            return tree.map(as_array, made)
        return tree.map(as_array, (made if isinstance(made, tuple) else (made,), {}))


def is_array(value: Any) -> bool:
    """Return whether ``value`` is an array of any library."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)


def host(value: Any) -> Any:
    """Return an array of any library, or a number, as numpy's."""
    return numpy.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def from_lists(value: Any) -> Any:
    """Return nested lists of numbers as an array, and other values as they are.

    :raises DiagnosisError: if the lists make no rectangle.
    """
    if not isinstance(value, list):
        return value
    try:
        array = numpy.asarray(value)
    except ValueError:
        raise DiagnosisError(
            "an argument is a list whose rows differ in length; expected a rectangle of numbers; try a function that makes the "
            "arguments"
        ) from None
    return array if array.dtype.kind in "bif" else value


def as_array(value: Any) -> Any:
    """Return an array of any library as one of the active backend, a floating one in the default dtype; others as they are."""
    if not is_array(value):
        return value
    array = value if ops.is_array(value) else ops.array(host(value))
    return ops.astype(array, ops.default_dtype()) if ops.is_floating(array) else array


@contextmanager
def setting(backend: str | Backend, dtype: str) -> Iterator[None]:
    """Activate a backend with a default dtype and no params, quietly, and restore everything."""
    with registry.using(backend) as active:
        before = ops.default_dtype()
        ops.set_default_dtype(dtype)
        try:
            with warnings.catch_warnings(), get_param_store().scope(), numpy.errstate(all="ignore"), active.infer.quiet():
                warnings.simplefilter("ignore")
                yield
        finally:
            ops.set_default_dtype(before)


class _Pending(Handler):
    """Knows the site whose message is under way."""

    name: str | None = None

    def process_message(self, message: Message) -> None:
        """Take note of the name."""
        self.name = message["name"]

    def postprocess_message(self, message: Message) -> None:
        """Forget it."""
        self.name = None


class _Giver:
    """Gives the sites the values of a point, and adds up the log-determinants of their transforms."""

    def __init__(self, point: Point, rng_seed: int = SEED) -> None:
        self.point = point
        self.numbers = numpy.random.default_rng(rng_seed)
        self.log_dets: dict[str, Any] = {}

    def __call__(self, site: Message) -> Any:
        name = site["name"]
        if name in self.point.free and site["type"] in ("sample", "param"):
            free = as_array(self.point.free[name])
            if site["type"] == "param":
                return transform_to(constraint_of(site))(free)
            transform = biject_to(site["fn"].support)
            value = transform(free)
            self.log_dets[name] = transform.log_abs_det_jacobian(free, value)
            return value
        if name in self.point.fixed:
            return as_array(self.point.fixed[name])
        return self._start(site["fn"]) if site["type"] == "sample" and site["value"] is None else None

    def _start(self, fn: Any) -> Any:
        """Return a value for a prior that cannot be drawn from, near the middle of its support; ``None`` for another."""
        inner = fn
        while hasattr(inner, "base_dist"):
            inner = inner.base_dist
        if not isinstance(inner, distributions.ImproperUniform):
            return None
        transform = biject_to(fn.support)
        return transform(as_array(self.numbers.uniform(-2.0, 2.0, size=transform.inverse_shape(tuple(fn.shape())))))


def constraint_of(site: Message) -> Any:
    """Return the constraint of a param site."""
    constraint = (site["kwargs"] or {}).get("constraint")
    return constraints.real if constraint is None else constraint


def run(subject: Subject, point: Point | None = None, *, rng_seed: int = SEED, validate: bool = False) -> Run:
    """Run a model on the active backend and score its sites, as far as it gets.

    :param point: values; without it, the run draws its own.
    :param validate: whether sites and distributions check their values.
    """
    giver = _Giver(point or Point(), rng_seed)
    pending = _Pending()
    recorder = handlers.trace()
    failure: Failure | None = None
    with validation_enabled(validate):
        try:
            args, kwargs = subject.arguments()
            with recorder, handlers.seed(rng_seed=rng_seed), handlers.substitute(substitute_fn=giver), pending:
                subject.model(*args, **kwargs)
        except Exception as error:
            failure = Failure(error, place_of(error, pending.name, _sites(recorder.trace)))
        found = Run(failure=failure)
        for name in _sites(recorder.trace):
            try:
                found.sites[name] = _record(recorder.trace.nodes[name], giver.log_dets.get(name))
            except Exception as error:
                place = place_of(error, name, [])
                found.sites[name] = _record(recorder.trace.nodes[name], None, score=False)
                return Run(found.sites, Failure(error, place))
    return found


def log_densities(subject: Subject, free: dict[str, Any], fixed: dict[str, Any]) -> dict[str, Any]:
    """Return the scaled log density of each site, its Jacobian included, as scalars of the active backend."""
    giver = _Giver(Point(free, fixed))
    args, kwargs = subject.arguments()
    with validation_enabled(False):
        with (
            handlers.trace() as recorder,
            handlers.seed(rng_seed=SEED),
            handlers.substitute(substitute_fn=giver),
        ):
            subject.model(*args, **kwargs)
        recorder.trace.compute_log_prob()
    terms = {name: node["log_prob_sum"] for name, node in recorder.trace.nodes.items() if node["type"] == "sample"}
    for name, log_det in giver.log_dets.items():
        terms[name] = terms[name] + ops.sum(log_det)
    return terms


def _sites(trace: Any) -> list[str]:
    return [name for name, node in trace.nodes.items() if node["type"] in ("sample", "param", "subsample")]


def _kind(node: Message) -> str:
    if node["type"] != "sample":
        return node["type"]
    return "deterministic" if node["infer"].get("_deterministic") else "observed" if node["is_observed"] else "latent"


def _record(node: Message, log_det: Any, score: bool = True) -> Site:
    value, fn = node["value"], node["fn"]
    known = is_distribution(fn)
    foreign = "" if ops.is_array(value) or not is_array(value) else type(value).__module__.split(".")[0]
    array = host(value)
    site = Site(
        node["name"], _kind(node), array, array.dtype.name,
        tuple(fn.batch_shape) if known else (), tuple(fn.event_shape) if known else (),
        tuple(node["cond_indep_stack"]), node, foreign=foreign,
    )  # fmt: skip
    if node["type"] == "sample" and known and score:
        density.compute(node["name"], node)
        scored = node["unscaled_log_prob"]
        site.log_prob, site.total = host(scored), float(host(node["log_prob_sum"]))
        site.log_prob_dtype = site.log_prob.dtype.name
        site.log_det = None if log_det is None else host(log_det)
    return site
