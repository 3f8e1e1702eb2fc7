"""Is this distribution right? Its density, draws, moments, gradients and shapes, each held against the others."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ppl import constraints, distributions, ops, registry
from ppl.errors import PplWarning
from ppl.primitives import validation_enabled
from ppl.testing import quadrature
from ppl.testing.goodness_of_fit import LEAST_PVALUE, goodness_of_fit, monte_carlo_z
from ppl.testing.numeric import TOLERANCES, numerical_gradient, to_host
from ppl.transforms import as_constraint, biject_to

MOST_Z = 4.9
MASS_TOLERANCE = 2e-3
GUESSES = (0.5, 1.5, 4.0, (0.2, 0.3, 0.5), ((1.5, 0.0), (0.4, 0.8)), ((1.5, 0.4), (0.4, 0.8)))
OUTSIDE = (-1.5, 2.5, 0.3)


def assert_distribution_ok(
    family: Any, /, *, oracle: Any = None, num_draws: int = 4000, rng_seed: int = 0, **params: Any
) -> None:
    """Check a distribution on the active backend, in the default dtype; float64 is expected.

    :param family: a class of distributions, or one distribution, whose parameters then stay as they are.
    :param oracle: a frozen distribution of :mod:`scipy.stats`, if there is one: its density is then compared too.
    :param num_draws: draws for each statistical comparison, which fails if the truth lies beyond 4.9 standard errors.
    :param rng_seed: where the draws come from.
    :param params: the parameters, numbers or nested lists; without any, some that the class's constraints allow.
    :raises AssertionError: with a line for each fault: what was compared, what was expected, what was found.

    Without an oracle the truth is what must hold of any distribution: the density sums to one, draws have it, moments, entropy
    and distribution function are its integrals, gradients are those of finite differences, pathwise ones that of the
    expectation.

    >>> from ppl import distributions as dist, ops
    >>> from ppl.testing import assert_distribution_ok
    >>> before = ops.default_dtype()
    >>> ops.set_default_dtype("float64")
    >>> assert_distribution_ok(dist.Bernoulli, probs=0.3)
    >>> ops.set_default_dtype(before)
    """
    faults = distribution_faults(family, oracle=oracle, num_draws=num_draws, rng_seed=rng_seed, **params)
    if faults:
        name = getattr(family, "__name__", type(family).__name__)
        lines = "".join(f"\n  - {fault}" for fault in faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise AssertionError(f"{name} on backend {registry.active().name!r} has {count}:{lines}")


def distribution_faults(
    family: Any, /, *, oracle: Any = None, num_draws: int = 4000, rng_seed: int = 0, **params: Any
) -> list[str]:
    """Return the faults that :func:`assert_distribution_ok` would show, one sentence each; an empty list if there are none."""
    try:
        subject = Subject(family, params, oracle, num_draws, rng_seed)
        subject.prepare()
    except Exception as error:
        return [f"build: it cannot be built and drawn from: {_words(error)}"]
    faults: list[str] = []
    for check in CHECKS:
        try:
            with ops.random.scope(rng_seed + 1), numpy.errstate(all="ignore"):
                faults += [f"{check.__name__}: {fault}" for fault in check(subject)]
        except Exception as error:
            faults.append(f"{check.__name__}: {_words(error)}")
        if faults and check is shapes:
            # The other comparisons would only repeat that.
            break
    return faults


def _words(error: Exception) -> str:
    return f"raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


class Subject:
    """A distribution under test, with what several checks need of it."""

    def __init__(self, family: Any, params: dict[str, Any], oracle: Any, num_draws: int, rng_seed: int) -> None:
        given = isinstance(family, distributions.Distribution)
        self._fixed = family if given else None
        self._family = family
        self.constraints = dict(getattr(family, "arg_constraints", {}))
        if not given and not params:
            params = {name: _guess(family, name, constraint) for name, constraint in self.constraints.items()}
        self.params: dict[str, Any] = {
            name: value if isinstance(value, (int, str)) else numpy.asarray(value) for name, value in params.items()
        }
        self.oracle, self.num_draws, self.rng_seed = oracle, num_draws, rng_seed

    def build(self, **replaced: Any) -> Any:
        """Return the distribution, some of its parameters replaced."""
        return self._family(**{**self.params, **replaced}) if self._fixed is None else self._fixed

    def prepare(self) -> None:
        """Build the distribution and draw from it."""
        self.distribution = self.build()
        self.batch, self.event = tuple(self.distribution.batch_shape), tuple(self.distribution.event_shape)
        self.discrete = bool(self.distribution.is_discrete)
        with ops.random.scope(self.rng_seed):
            self.draws = to_host(self.distribution.sample((self.num_draws,)))
        expected = (self.num_draws, *self.batch, *self.event)
        if self.draws.shape != expected:
            raise ValueError(f"sample(({self.num_draws},)) has shape {self.draws.shape}; expected {expected}")
        self._grid: quadrature.Grid | None = None
        with validation_enabled(False):
            # Moments of angles are defined in other ways.
            self.circular = not self.event and not self.discrete and quadrature.circle(self.build(), self.draws) is not None

    @property
    def smooth(self) -> list[str]:
        """The parameters with gradients."""
        return [name for name, value in self.params.items() if isinstance(value, numpy.ndarray) and value.dtype.kind == "f"]

    @property
    def elements(self) -> list[tuple[int, ...]]:
        """The places of the batch, at most three of them."""
        return list(numpy.ndindex(self.batch))[:3]

    def grid(self, distribution: Any = None) -> quadrature.Grid | None:
        """Return the grid of densities, ``None`` for events with dimensions."""
        if self.event:
            return None
        make = quadrature.discrete if self.discrete else quadrature.continuous
        if distribution is not None:
            return make(distribution, self.draws)
        if self._grid is None:
            with validation_enabled(False):
                self._grid = make(self.build(), self.draws)
        return self._grid

    def optional(self, name: str, *args: Any) -> Any:
        """Return what an operation gives, ``None`` if the family says that it lacks it."""
        try:
            found = getattr(self.distribution, name)
            return to_host(found(*args) if callable(found) else found)
        except NotImplementedError:
            return None


def _guess(family: Any, name: str, constraint: Any) -> Any:
    constraint = as_constraint(constraint)
    for guess in GUESSES:
        try:
            if bool(ops.all(constraint.check(ops.array(guess)))) and numpy.ndim(guess) == constraint.event_dim:
                return guess
        except Exception:
            # A guess of another shape may be refused in any way.
            continue
    raise ValueError(f"no value is known for parameter {name!r} of {family.__name__}; try to pass {name}=...")


def _apart(found: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Return whether two arrays differ in shape or by more than a tolerance."""
    found, expected = numpy.asarray(found), numpy.asarray(expected)
    return found.shape != expected.shape or not numpy.allclose(found, expected, rtol=rtol, atol=atol, equal_nan=True)


def _short(value: Any) -> str:
    return numpy.array2string(numpy.asarray(value), precision=5, threshold=6).replace("\n", "")


Check = Callable[[Subject], Iterator[str]]


def shapes(subject: Subject) -> Iterator[str]:
    """Draws and densities have the documented shapes and dtypes, and draws lie in the support."""
    d = subject.distribution
    for sample_shape in ((), (2, 3)):
        draw = d.sample(sample_shape)
        expected = sample_shape + subject.batch + subject.event
        if not ops.is_array(draw):
            yield f"a draw is a {type(draw).__name__}; expected an array of the backend"
            return
        if tuple(draw.shape) != expected:
            yield f"sample({sample_shape}) has shape {tuple(draw.shape)}; expected sample, batch and event shape, {expected}"
            return
        if not subject.discrete and ops.dtype_name(draw) != ops.default_dtype():
            yield f"a draw has dtype {ops.dtype_name(draw)}; expected that of the parameters, {ops.default_dtype()}"
        if not bool(ops.all(d.support(draw))):
            yield f"a draw lies outside of the support {d.support}: {_short(to_host(draw))}"
            return
        log_prob = d.log_prob(draw)
        if tuple(log_prob.shape) != sample_shape + subject.batch:
            yield f"log_prob has shape {tuple(log_prob.shape)}; expected sample and batch shape, {sample_shape + subject.batch}"
        elif not numpy.isfinite(to_host(log_prob)).all():
            yield f"log_prob of a draw is {_short(to_host(log_prob))}; expected a finite number"


def parameters(subject: Subject) -> Iterator[str]:
    """Parameters are attributes, are checked, and may have batch axes."""
    value = subject.draws[:3]
    alone = to_host(subject.distribution.log_prob(ops.array(value)))
    for name in subject.constraints:
        if not hasattr(subject.distribution, name):
            yield f"{name!r} is in arg_constraints and no attribute of the distribution; expected the parameter there"
    for name in subject.smooth:
        point = subject.params[name]
        constraint = as_constraint(subject.constraints.get(name))
        if constraint is None:
            yield f"{name!r} is not in arg_constraints; expected its constraint there, so that wrong values are refused"
        elif isinstance(constraint, constraints.Constraint) and not constraints.is_dependent(constraint):
            bad = next((numpy.full_like(point, number) for number in OUTSIDE if _outside(constraint, point, number)), None)
            if bad is not None and not _refuses(subject, name, bad):
                yield f"{name}={_short(bad)} lies outside of {constraint} and is taken; expected a ConstraintError"
        if not subject.batch:
            repeated = subject.build(**{name: numpy.stack([point, point, point])})
            if tuple(repeated.batch_shape) != (3,):
                yield f"three values of {name!r} make batch shape {tuple(repeated.batch_shape)}; expected (3,)"
            elif _apart(to_host(repeated.log_prob(ops.array(value))), alone, 1e-10, 1e-12):
                yield f"with three equal values of {name!r} the densities are others than with one"


def _outside(constraint: Any, point: Any, number: float) -> bool:
    return not bool(numpy.any(to_host(constraint.check(ops.array(numpy.full_like(point, number))))))


def _refuses(subject: Subject, name: str, bad: Any) -> bool:
    try:
        subject.build(**{name: bad})
    except ValueError:
        return True
    return False


def density(subject: Subject) -> Iterator[str]:
    """The density sums to one, it is that of the draws, and it is the oracle's."""
    if subject.oracle is not None:
        reference = subject.oracle
        known = reference.logpmf if hasattr(reference, "logpmf") and not hasattr(reference, "pdf") else reference.logpdf
        found, expected = to_host(subject.distribution.log_prob(ops.array(subject.draws[:20]))), known(subject.draws[:20])
        if _apart(found, expected, 1e-8, 1e-10):
            yield f"log_prob is {_short(found)}; the oracle's is {_short(expected)}"
    grid = subject.grid()
    if grid is not None:
        if numpy.abs(grid.total - 1.0).max() > MASS_TOLERANCE:
            yield f"it sums to {_short(grid.total)} over the support; expected 1"
            return
        for index in subject.elements:
            draws = subject.draws[(slice(None), *index)]
            pvalue = goodness_of_fit(draws, grid.cdf(index, not subject.discrete), subject.discrete)
            if not pvalue > LEAST_PVALUE:
                yield f"{len(draws)} draws do not have it: p = {pvalue:.2g}"
        return
    if subject.distribution.has_enumerate_support:
        total = numpy.exp(to_host(subject.distribution.log_prob(subject.distribution.enumerate_support()))).sum(axis=0)
        if numpy.abs(total - 1.0).max() > MASS_TOLERANCE:
            yield f"it sums to {_short(total)} over the support; expected 1"
    elif not subject.discrete:
        yield from _density_by_weights(subject)


def _density_by_weights(subject: Subject) -> Iterator[str]:
    """For draws of ``p`` and any density ``q`` of its space ``q / p`` is one on average; here ``q`` is a narrower normal."""
    with validation_enabled(False):
        d = subject.build()
        try:
            transform = biject_to(d.support)
        except NotImplementedError:
            return
        value = ops.array(subject.draws)
        free = transform.inv(value)
        log_p = to_host(d.log_prob(value)) + to_host(transform.log_abs_det_jacobian(free, value))
    free, log_p = to_host(free), log_p.reshape(len(log_p), -1)
    for place in range(min(3, log_p.shape[1])):
        flat = free.reshape(len(free), log_p.shape[1], -1)[:, place]
        offset = flat - flat.mean(axis=0)
        covariance = 0.7 * numpy.atleast_2d(numpy.cov(offset.T))
        quadratic = numpy.einsum("ni,ij,nj->n", offset, numpy.linalg.inv(covariance), offset)
        log_q = -0.5 * (quadratic + numpy.linalg.slogdet(2.0 * numpy.pi * covariance)[1])
        weights = numpy.exp(log_q - log_p[:, place])
        if not abs(monte_carlo_z(weights, 1.0)) < MOST_Z:
            yield f"it is not that of the draws: a known density over it averages to {weights.mean():.4f}; expected 1"


def moments(subject: Subject) -> Iterator[str]:
    """Mean, variance and entropy are integrals of the density, and averages of draws."""
    mean, variance = subject.optional("mean"), subject.optional("variance")
    grid = subject.grid()
    expected_shape = subject.batch + subject.event
    for name, found in (("mean", mean), ("variance", variance)):
        if found is not None and found.shape != expected_shape:
            yield f"{name} has shape {found.shape}; expected batch and event shape, {expected_shape}"
            return
    if subject.circular:
        return
    if grid is None:
        draws = subject.draws.astype("float64")
        if mean is not None and not numpy.all(numpy.abs(monte_carlo_z(draws, mean)) < MOST_Z):
            yield f"mean is {_short(mean)}; that of the draws is {_short(draws.mean(axis=0))}"
        elif mean is not None and variance is not None:
            squares = (draws - mean) ** 2
            if not numpy.all(numpy.abs(monte_carlo_z(squares, variance)) < MOST_Z):
                yield f"variance is {_short(variance)}; that of the draws is {_short(squares.mean(axis=0))}"
        return
    spread = numpy.quantile(subject.draws, 0.75, axis=0) - numpy.quantile(subject.draws, 0.25, axis=0) + 1e-3
    exact = grid.mean_of(grid.points)
    if mean is not None and numpy.isfinite(mean).all() and numpy.any(numpy.abs(mean - exact) > 5e-3 * (spread + abs(exact))):
        yield f"mean is {_short(mean)}; that of the density is {_short(exact)}"
    exact = grid.mean_of((grid.points - exact) ** 2)
    if variance is not None and numpy.isfinite(variance).all() and _apart(variance, exact, 1e-2, 1e-6):
        yield f"variance is {_short(variance)}; that of the density is {_short(exact)}"
    entropy = subject.optional("entropy")
    if entropy is not None:
        with validation_enabled(False), numpy.errstate(all="ignore"):
            log_prob = to_host(subject.build().log_prob(ops.array(grid.points)))
        exact = -grid.mean_of(log_prob)
        if _apart(entropy, exact, 5e-3, 5e-3):
            yield f"entropy is {_short(entropy)}; that of the density is {_short(exact)}"


def distribution_function(subject: Subject) -> Iterator[str]:
    """``cdf`` is the integral of the density, and ``icdf`` its inverse."""
    grid = subject.grid()
    if grid is None:
        return
    points = numpy.sort(subject.draws[:25], axis=0)
    found = subject.optional("cdf", ops.array(points))
    if found is not None:
        rows: list[Any] = [(slice(None), *index) for index in subject.elements]
        expected = numpy.stack([grid.cdf(row[1:], not subject.discrete)(points[row]) for row in rows])
        shown = numpy.stack([found[row] for row in rows])
        if _apart(shown, expected, 0.0, 5e-3):
            yield f"cdf is {_short(shown[0])}; the integral of the density is {_short(expected[0])}"
            return
    if found is not None and not subject.discrete:
        back = subject.optional("icdf", ops.array(found))
        if back is not None and _apart(back, points, 1e-6, 1e-8):
            yield f"icdf of cdf is {_short(back)}; expected the values {_short(points)}"


def gradients(subject: Subject) -> Iterator[str]:
    """Gradients of the log density are those of finite differences."""
    rtol, atol = TOLERANCES["finite_difference"]
    value = subject.draws[:2].astype("float64")
    points = {name: subject.params[name] for name in subject.smooth}
    if not subject.discrete:
        points["the value"] = value

    def total(place: str, x: Any) -> Any:
        if place == "the value":
            return ops.sum(subject.build().log_prob(x))
        return ops.sum(subject.build(**{place: x}).log_prob(ops.array(value)))

    with validation_enabled(False):
        for place, point in points.items():
            of_place = functools.partial(total, place)
            found = to_host(ops.autodiff.grad(of_place)(ops.array(point)))
            expected = numerical_gradient(lambda x, f=of_place: f(ops.array(x)), point, 1e-5)  # type: ignore[misc]
            if _apart(found, expected, rtol, atol):
                yield f"in {place} it is {_short(found)}; finite differences give {_short(expected)}"


def pathwise(subject: Subject) -> Iterator[str]:
    """Where draws have gradients, these average to the derivative of the expectation."""
    if not subject.distribution.has_rsample or subject.discrete or subject.event or subject.batch or subject.circular:
        return
    center, spread = numpy.median(subject.draws), numpy.quantile(subject.draws, 0.75) - numpy.quantile(subject.draws, 0.25)
    for name in subject.smooth:
        point = subject.params[name]
        if point.shape:
            continue
        with validation_enabled(False):

            def total(p: Any, name: str = name) -> Any:
                return ops.sum(ops.tanh((subject.build(**{name: p}).rsample() - center) / spread))

            found = to_host(ops.autodiff.grad(total)(ops.array(numpy.full(subject.num_draws, point))))
            step = 1e-5 * max(1.0, abs(float(point)))
            ends = []
            for shifted in (point - step, point + step):
                grid = subject.grid(subject.build(**{name: shifted}))
                if grid is not None:
                    ends.append(grid.mean_of(numpy.tanh((grid.points - center) / spread)))
        exact = (ends[1] - ends[0]) / (2.0 * step)
        z = monte_carlo_z(found, exact)
        if not abs(z) < MOST_Z and abs(found.mean() - exact) > 1e-6:
            yield f"the gradient in {name} of an expectation averages to {found.mean():.5f}; its derivative is {float(exact):.5f}"


def reshaping(subject: Subject) -> Iterator[str]:
    """``expand`` repeats, ``to_event`` sums and ``mask`` silences."""
    value = subject.draws[0]
    alone = to_host(subject.distribution.log_prob(ops.array(value)))
    wide = subject.distribution.expand((4, *subject.batch))
    if tuple(wide.batch_shape) != (4, *subject.batch):
        yield f"expand makes batch shape {tuple(wide.batch_shape)}; expected {(4, *subject.batch)}"
        return
    if _apart(to_host(wide.log_prob(ops.array(value))), numpy.broadcast_to(alone, (4, *subject.batch)), 1e-10, 1e-12):
        yield "expand changes the density"
    draw = to_host(wide.sample())
    if draw.shape != (4, *subject.batch, *subject.event):
        yield f"a draw of four copies has shape {draw.shape}; expected {(4, *subject.batch, *subject.event)}"
    elif not subject.discrete and len(numpy.unique(draw.reshape(4, -1), axis=0)) == 1 and numpy.ptp(subject.draws) > 0.0:
        yield "expand repeats the same draw; expected independent ones"
    joint = to_host(wide.to_event().log_prob(ops.array(subject.draws[:4])))
    if _apart(joint, to_host(wide.log_prob(ops.array(subject.draws[:4]))).sum(), 1e-9, 1e-12):
        yield "to_event does not sum the densities"
    if _apart(to_host(wide.mask(False).log_prob(ops.array(value))), numpy.zeros((4, *subject.batch)), 0.0, 0.0):
        yield "mask(False) leaves a density other than zero"


def randomness(subject: Subject) -> Iterator[str]:
    """The same key gives the same draws, another key others."""

    def draw(seed: int) -> Any:
        return to_host(subject.distribution.sample((20,), rng_key=ops.random.key(seed)))

    first, second, other = draw(1), draw(1), draw(2)
    if not numpy.array_equal(first, second):
        yield "two draws from one key differ; expected all randomness to come from rng_key, through ppl.ops.random"
    elif not numpy.array_equal(first, first[:1].repeat(20, axis=0)) and numpy.array_equal(first, other):
        yield "draws from two keys are equal"


def compiled(subject: Subject) -> Iterator[str]:
    """The log density can be compiled, parameters and value as inputs, and is then the same."""
    names = subject.smooth

    def log_density(value: Any, *points: Any) -> Any:
        return subject.build(**dict(zip(names, points, strict=True))).log_prob(value)

    value = ops.array(subject.draws[:3])
    with warnings.catch_warnings(), validation_enabled(False):
        warnings.simplefilter("error", PplWarning)
        inputs = value, *(ops.array(subject.params[name]) for name in names)
        found = to_host(ops.compile.compile(log_density)(*inputs))
    if _apart(found, to_host(subject.distribution.log_prob(value)), 1e-9, 1e-12):
        yield f"compiled it is {_short(found)}; expected {_short(to_host(subject.distribution.log_prob(value)))}"


def enumeration(subject: Subject) -> Iterator[str]:
    """What is listed as the support is all of it, once, along a new first axis."""
    if not subject.distribution.has_enumerate_support:
        return
    values = to_host(subject.distribution.enumerate_support())
    if values.shape[1:] != subject.batch + subject.event:
        yield f"enumerate_support has shape {values.shape}; expected batch and event shape after the first axis"
        return
    flat = [values[(slice(None), *index)].reshape(len(values), -1) for index in subject.elements]
    if any(len(numpy.unique(rows, axis=0)) < len(rows) for rows in flat):
        yield "enumerate_support lists a value twice"
    drawn = [subject.draws[(slice(None), *index)].reshape(subject.num_draws, -1) for index in subject.elements]
    for rows, draws in zip(flat, drawn, strict=True):
        if {tuple(row) for row in draws.tolist()} - {tuple(row) for row in rows.tolist()}:
            yield "a draw is not in enumerate_support"


CHECKS: tuple[Check, ...] = (
    shapes, parameters, density, moments, distribution_function, gradients, pathwise, reshaping, randomness, compiled,
    enumeration,
)  # fmt: skip
