"""The models of the examples: log density and gradient on unconstrained space, on each backend and between backends.

The oracle is from outside: the density is written out with scipy.stats plus the logarithm of the derivative of exp (for the
positive ``tau``), its gradient by hand on paper; a finite-difference test ties the two together.
"""

import importlib.util
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy
import pytest
import scipy.special
import scipy.stats

import ppl
from ppl import handlers, ops
from ppl.infer.latents import LatentSpace
from ppl.ops import autodiff
from ppl.testing import assert_close, numerical_gradient

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
POINTS = 5


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


schools = load("eight_schools")
logistic = load("logistic_regression")
EFFECT, SIGMA = numpy.array(schools.EFFECT), numpy.array(schools.STANDARD_ERROR)

_generator = numpy.random.default_rng(20260101)
ROWS = _generator.normal(size=(60, 4))
LABELS = (_generator.random(60) < scipy.special.expit(0.5 + ROWS @ [1.0, -2.0, 0.0, 0.5])).astype(float)


class Example(NamedTuple):
    """A model and its data, with scipy's density and the gradient on paper, each a function of the flat vector."""

    model: Callable
    data: tuple
    names: list
    size: int
    density: Callable
    gradient: Callable


def _population(mu, log_tau):
    """Prior of mu and tau, and the logarithm of d tau / d log tau."""
    return scipy.stats.norm(0, 5).logpdf(mu) + scipy.stats.halfcauchy(scale=5).logpdf(numpy.exp(log_tau)) + log_tau


def _population_gradient(mu, log_tau):
    tau_squared = numpy.exp(2 * log_tau)
    return -mu / 25, 1 - 2 * tau_squared / (25 + tau_squared)


def centered_density(v):
    mu, log_tau, theta = v[0], v[1], v[2:]
    schools_prior = scipy.stats.norm(mu, numpy.exp(log_tau)).logpdf(theta).sum()
    return _population(mu, log_tau) + schools_prior + scipy.stats.norm(theta, SIGMA).logpdf(EFFECT).sum()


def centered_gradient(v):
    mu, log_tau, theta = v[0], v[1], v[2:]
    in_mu, in_log_tau = _population_gradient(mu, log_tau)
    pull = (theta - mu) / numpy.exp(2 * log_tau)
    in_theta = -pull + (EFFECT - theta) / SIGMA**2
    return numpy.array([in_mu + pull.sum(), in_log_tau + (pull * (theta - mu) - 1).sum(), *in_theta])


def noncentered_density(v):
    mu, log_tau, z = v[0], v[1], v[2:]
    likelihood = scipy.stats.norm(mu + numpy.exp(log_tau) * z, SIGMA).logpdf(EFFECT).sum()
    return _population(mu, log_tau) + scipy.stats.norm.logpdf(z).sum() + likelihood


def noncentered_gradient(v):
    mu, log_tau, z = v[0], v[1], v[2:]
    in_mu, in_log_tau = _population_gradient(mu, log_tau)
    tau = numpy.exp(log_tau)
    residual = (EFFECT - mu - tau * z) / SIGMA**2
    return numpy.array([in_mu + residual.sum(), in_log_tau + tau * (z * residual).sum(), *(-z + tau * residual)])


def logistic_density(v):
    probs = scipy.special.expit(v[0] + ROWS @ v[1:])
    prior = scipy.stats.norm(0, 5).logpdf(v[0]) + scipy.stats.norm.logpdf(v[1:]).sum()
    return prior + scipy.stats.bernoulli(probs).logpmf(LABELS).sum()


def logistic_gradient(v):
    residual = LABELS - scipy.special.expit(v[0] + ROWS @ v[1:])
    return numpy.array([-v[0] / 25 + residual.sum(), *(-v[1:] + ROWS.T @ residual)])


CASES = {
    "centered": Example(
        schools.centered, (SIGMA, EFFECT), ["mu", "tau", "theta"], 10, centered_density, centered_gradient
    ),
    "noncentered": Example(
        schools.noncentered, (SIGMA, EFFECT), ["mu", "tau", "theta_standardised"], 10, noncentered_density, noncentered_gradient
    ),
    "logistic": Example(
        logistic.model, (ROWS, LABELS), ["intercept", "coefficients"], 5, logistic_density, logistic_gradient
    ),
}  # fmt: skip


def points(case):
    return numpy.random.default_rng(CASES[case].size).normal(size=(POINTS, CASES[case].size))


def value_and_gradient(case, vector):
    """Return the log density and its gradient, as numpy arrays, by the active backend's run of the model."""
    example = CASES[case]
    data = [ops.array(value) for value in example.data]
    trace = handlers.trace(handlers.seed(example.model, rng_seed=0)).get_trace(*data)
    space = LatentSpace.from_trace(trace)
    assert space.names == example.names
    assert space.size == example.size

    def log_density(v):
        values, log_det = space.constrain_with_log_det(v)
        return handlers.trace(handlers.substitute(example.model, data=values)).get_trace(*data).log_prob_sum() + log_det

    value, gradient = autodiff.value_and_grad(log_density)(ops.array(vector))
    return ops.to_numpy(value), ops.to_numpy(gradient)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_on_paper_is_that_of_the_density(case):
    for vector in points(case):
        assert_close(CASES[case].gradient(vector), numerical_gradient(CASES[case].density, vector), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_log_density_and_gradient(backend, case):
    for vector in points(case):
        value, gradient = value_and_gradient(case, vector)
        assert value.dtype == gradient.dtype == numpy.float64
        assert_close(value, CASES[case].density(vector), "value")
        assert_close(gradient, CASES[case].gradient(vector), "gradient", atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_negative_control_a_wrong_density_is_found(backend, case):
    """Leaving out the Jacobian of ``tau``, or an intercept's prior a hair too wide, must fail; so must a neighbouring point."""
    vector = points(case)[0]
    value, gradient = value_and_gradient(case, vector)
    missing = 1e-7 * vector[0] ** 2 if case == "logistic" else vector[1]
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close(value, CASES[case].density(vector) - missing, "value")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close(gradient, CASES[case].gradient(vector + 1e-6), "gradient", atol=1e-10)


@pytest.fixture
def every_backend(request):
    """The names of all chosen backends whose library is installed."""
    chosen = request.config.getoption("--backends")
    names = [name.strip() for name in chosen.split(",")] if chosen else ["numpy", "torch", "jax"]
    found = [name for name in names if importlib.util.find_spec(name)]
    if len(found) < 2:
        pytest.skip("fewer than two backends were chosen")
    return found


@pytest.mark.parametrize("case", CASES)
def test_backends_agree(every_backend, case):
    results = {}
    for name in every_backend:
        with ppl.pyro_backend(name):
            before = ops.default_dtype()
            ops.set_default_dtype("float64")
            try:
                results[name] = [value_and_gradient(case, vector) for vector in points(case)]
            finally:
                ops.set_default_dtype(before)
    reference = results.pop(every_backend[0])
    for others in results.values():
        for (value, gradient), (expected_value, expected_gradient) in zip(others, reference, strict=True):
            assert_close(value, expected_value, "value")
            assert_close(gradient, expected_gradient, "gradient", atol=1e-10)
