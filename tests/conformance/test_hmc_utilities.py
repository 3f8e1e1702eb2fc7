"""Dual averaging, Welford's covariance and velocity Verlet at their documented paths."""

import math

import numpy
import pytest

from ppl import ops
from ppl.errors import InferenceError, ShapeError
from ppl.ops.dual_averaging import DualAveraging, DualAveragingState, advance
from ppl.ops.integrator import single_step_velocity_verlet, velocity_verlet
from ppl.ops.welford import WelfordCovariance, shrink
from ppl.testing import assert_close

pytestmark = pytest.mark.strict


@pytest.mark.parametrize("settings", [{}, {"prox_center": 1.5, "t0": 3, "kappa": 0.9, "gamma": 0.4}])
def test_dual_averaging_by_hand(backend, rng, settings):
    """Hoffman and Gelman (2014), eq. 6, from sums over all statistics instead of a recursion."""
    options = {"prox_center": 0.0, "t0": 10, "kappa": 0.75, "gamma": 0.05, **settings}
    scheme, statistics, average = DualAveraging(**settings), rng.normal(size=30), 0.0
    for t, statistic in enumerate(statistics, start=1):
        scheme.step(float(statistic))
        # The running mean with weights 1 / (t + t0) is a sum over all so far, over t + t0.
        point = options["prox_center"] - math.sqrt(t) / options["gamma"] * sum(statistics[:t]) / (t + options["t0"])
        average = t ** -options["kappa"] * point + (1 - t ** -options["kappa"]) * average
        assert [float(number) for number in scheme.get_state()] == pytest.approx([point, average], rel=1e-10)
    scheme.reset()
    assert scheme.get_state() == (0.0, 0.0)


def test_dual_averaging_of_arrays(backend, rng):
    """Arrays of statistics are averaged each by itself, by the pure function as by the class."""
    statistics = rng.normal(size=(12, 3))
    zeros = ops.zeros(3)
    scheme, state = DualAveraging(), DualAveragingState(zeros, zeros, zeros, 0)
    alone = [DualAveraging() for _ in range(3)]
    for row in statistics:
        scheme.step(ops.array(row))
        state = advance(state, ops.array(row))
        for each, number in zip(alone, row, strict=True):
            each.step(float(number))
    assert_close(scheme.get_state()[1], [each.get_state()[1] for each in alone], rtol=1e-10)
    assert_close(state.average, [each.get_state()[1] for each in alone], rtol=1e-10)


def test_dual_averaging_minimizes(backend, rng):
    """A noisy subgradient of |x - 2| leads to 2."""
    scheme = DualAveraging(gamma=1.0)
    for _ in range(4000):
        point, _ = scheme.get_state()
        scheme.step(float(numpy.sign(point - 2.0) + 0.5 * rng.normal()))
    assert float(scheme.get_state()[1]) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("regularize", [True, False])
def test_welford_equals_numpy(backend, rng, diagonal, regularize):
    samples = 1e4 + rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3))
    scheme = WelfordCovariance(diagonal=diagonal)
    for sample in rng.normal(size=(5, 3)):
        scheme.update(ops.array(sample))
    scheme.reset()
    for sample in samples:
        scheme.update(ops.array(sample))
    expected, unit = numpy.cov(samples.T), numpy.eye(3)
    if regularize:
        # Stan reference manual: the mean of n samples' covariance and of five samples' worth of variance 1e-3.
        expected = (40 * expected + 5 * 1e-3 * unit) / 45
    found = scheme.get_covariance(regularize=regularize)
    assert_close(found, numpy.diag(expected) if diagonal else expected, rtol=1e-9)
    if regularize:
        plain = scheme.get_covariance(regularize=False)
        assert_close(shrink(plain, 40), numpy.diag(expected) if diagonal else expected, rtol=1e-9)


@pytest.mark.parametrize("count", [0, 1])
def test_welford_needs_two_samples(backend, count):
    scheme = WelfordCovariance()
    for _ in range(count):
        scheme.update(ops.ones(2))
    with pytest.raises(InferenceError, match=f"at least two samples, got {count}"):
        scheme.get_covariance()


def oscillators(inverse_mass):
    """Two coupled sites under a quadratic potential, and the exact propagator of Verlet for it, as a matrix."""
    stiffness = numpy.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])

    def potential(sites):
        vector = ops.concat([ops.reshape(sites["a"], (-1,)), ops.reshape(sites["b"], (-1,))])
        return 0.5 * ops.sum(vector * ops.matmul(ops.array(stiffness), vector))

    def propagator(step):
        full = numpy.diag(inverse_mass) if inverse_mass.ndim == 1 else inverse_mass
        kick = numpy.block([[numpy.eye(3), numpy.zeros((3, 3))], [-0.5 * step * stiffness, numpy.eye(3)]])
        drift = numpy.block([[numpy.eye(3), step * full], [numpy.zeros((3, 3)), numpy.eye(3)]])
        return kick @ drift @ kick

    return stiffness, potential, propagator


INVERSE_MASSES = [
    numpy.array([1.0, 0.5, 2.0]),
    numpy.array([[1.0, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 2.0]]),
]


def as_sites(vector):
    return {"b": ops.array(vector[1:]), "a": ops.array(vector[0])}


def as_vector(sites):
    return numpy.concatenate([ops.to_numpy(sites[name]).reshape(-1) for name in ("a", "b")])


@pytest.mark.parametrize("inverse_mass", INVERSE_MASSES, ids=["diagonal", "dense"])
@pytest.mark.parametrize("num_steps", [1, 7])
def test_verlet_equals_its_matrix(backend, rng, inverse_mass, num_steps):
    """For a quadratic potential a step is linear: the product of two half kicks and a drift."""
    stiffness, potential, propagator = oscillators(inverse_mass)
    start = rng.normal(size=6)
    z, r, gradient, energy = velocity_verlet(
        as_sites(start[:3]), as_sites(start[3:]), potential, ops.array(inverse_mass), 0.3, num_steps
    )
    end = numpy.linalg.matrix_power(propagator(0.3), num_steps) @ start
    assert_close(as_vector(z), end[:3], rtol=1e-10)
    assert_close(as_vector(r), end[3:], rtol=1e-10)
    assert_close(as_vector(gradient), stiffness @ end[:3], rtol=1e-10)
    assert_close(energy, 0.5 * end[:3] @ stiffness @ end[:3], rtol=1e-10)


@pytest.mark.parametrize("inverse_mass", INVERSE_MASSES, ids=["diagonal", "dense"])
def test_verlet_is_reversible_and_of_second_order(backend, rng, inverse_mass):
    _, potential, _ = oscillators(inverse_mass)
    start = rng.normal(size=6)
    z, r = as_sites(start[:3]), as_sites(start[3:])
    there = velocity_verlet(z, r, potential, ops.array(inverse_mass), 0.1, 30)
    back = velocity_verlet(there[0], there[1], potential, ops.array(inverse_mass), -0.1, 30, there[2])
    assert_close(as_vector(back[0]), start[:3], atol=1e-10)
    assert_close(as_vector(back[1]), start[3:], atol=1e-10)


def test_verlet_follows_the_harmonic_oscillator(backend):
    """x(t) = cos(t): halving the step divides the error by four."""
    errors = []
    for step in (0.1, 0.05):
        count = round(1.0 / step)
        z, r, _, _ = velocity_verlet(
            {"x": ops.array(1.0)}, {"x": ops.array(0.0)}, lambda sites: 0.5 * sites["x"] ** 2, ops.ones(1), step, count
        )
        errors.append(math.hypot(float(z["x"]) - math.cos(1.0), float(r["x"]) + math.sin(1.0)))
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


def test_verlet_of_given_gradients_and_velocities(backend, rng):
    """The gradient at the start may be handed over, and velocities may be a function."""
    inverse_mass = INVERSE_MASSES[0]
    stiffness, potential, _ = oscillators(inverse_mass)
    start = rng.normal(size=6)
    z, r = as_sites(start[:3]), as_sites(start[3:])
    plain = single_step_velocity_verlet(z, r, potential, ops.array(inverse_mass), 0.2)
    gradient = as_sites(stiffness @ start[:3])
    given = single_step_velocity_verlet(z, r, potential, ops.array(inverse_mass), 0.2, gradient)
    scale = as_sites(inverse_mass)
    by_function = velocity_verlet(z, r, potential, lambda momentum: {k: scale[k] * momentum[k] for k in momentum}, 0.2)
    for other in (given, by_function):
        assert_close(as_vector(other[0]), as_vector(plain[0]), rtol=1e-12)
        assert_close(as_vector(other[1]), as_vector(plain[1]), rtol=1e-12)
    at_rest = velocity_verlet(z, r, potential, ops.array(inverse_mass), 0.2, num_steps=0)
    assert_close(as_vector(at_rest[2]), stiffness @ start[:3], rtol=1e-10)


def test_verlet_refuses_what_does_not_fit(backend):
    z, r = {"x": ops.zeros(3)}, {"x": ops.ones(3)}
    with pytest.raises(ShapeError, match="expected \\(3,\\) or \\(3, 3\\)"):
        velocity_verlet(z, r, lambda sites: ops.sum(sites["x"]), ops.ones(2), 0.1)
    with pytest.raises(ShapeError, match="the same sites"):
        velocity_verlet(z, {"y": ops.ones(3)}, lambda sites: ops.sum(sites["x"]), ops.ones(3), 0.1)
