"""The potential of a model against densities and Jacobians written out with scipy; the leapfrog scheme; the metrics."""

import math

import numpy
import pytest
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.errors import InferenceError
from ppl.infer.latents import LatentSpace
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.metrics import Dense, Diagonal
from ppl.infer.potential import ModelArguments, Potential
from ppl.ops import autodiff, random

pytestmark = pytest.mark.strict


def model(y):
    scale = ppl.sample("scale", dist.HalfCauchy(2.0))
    p = ppl.sample("p", dist.Beta(2.0, 3.0))
    with ppl.plate("rows", y.shape[0]):
        x = ppl.sample("x", dist.Normal(p, scale))
        ppl.sample("y", dist.Normal(x, 0.5), obs=y)


def by_hand(vector, y):
    """Log scale, logit p, then x: densities of scipy plus the logarithms of the derivatives of exp and the logistic function."""
    scale, p, x = math.exp(vector[0]), 1 / (1 + math.exp(-vector[1])), vector[2:]
    prior = scipy.stats.halfcauchy(scale=2).logpdf(scale) + vector[0] + scipy.stats.beta(2, 3).logpdf(p) + math.log(p * (1 - p))
    return prior + scipy.stats.norm(p, scale).logpdf(x).sum() + scipy.stats.norm(x, 0.5).logpdf(y).sum()


class OneSite:
    """Sums out the only discrete site of a model without plates."""

    def covers(self, site):
        return site["name"] == "side"

    def around(self, model, max_plate_nesting):
        return handlers.enum(model, first_available_dim=-1 - max_plate_nesting)

    def log_density(self, trace):
        trace.compute_log_prob()
        return ops.logsumexp(sum(trace.nodes[name]["log_prob"] for name in ("loc", "side", "y")), axis=0)

    def check(self, model, args, kwargs, max_plate_nesting):
        pass


def two_sides():
    loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
    side = ppl.sample("side", dist.Categorical(ops.array([0.3, 0.7])), infer={"enumerate": "parallel"})
    ppl.sample("y", dist.Normal(loc * ops.array([1.0, -1.0])[side], 0.5), obs=1.5)


def test_discrete_sites_are_summed_out_by_a_hook(backend, monkeypatch):
    potential = Potential(two_sides, ModelArguments((), {}), OneSite(), max_plate_nesting=0)
    assert (potential.names, potential.eliminated) == (["loc"], ["side"])
    for loc in (-1.0, 0.4, 2.0):
        sides = 0.3 * scipy.stats.norm(loc, 0.5).pdf(1.5) + 0.7 * scipy.stats.norm(-loc, 0.5).pdf(1.5)
        expected = scipy.stats.norm(0, 2).logpdf(loc) + math.log(sides)
        assert float(potential.log_density(ops.array([loc]), [])) == pytest.approx(expected, abs=1e-10)
    monkeypatch.setattr(infer.NUTS, "elimination", OneSite())
    bound = infer.NUTS(two_sides, max_plate_nesting=0).potential(ModelArguments((), {}))
    assert float(bound.log_density(ops.array([2.0]), [])) == pytest.approx(expected, abs=1e-10)
    monkeypatch.setattr(infer.NUTS, "elimination", None)
    with pytest.raises(InferenceError, match="'side' is discrete"):
        infer.NUTS(two_sides).potential(ModelArguments((), {}))


def test_log_density_and_gradient(backend, rng):
    y = rng.normal(size=4)
    potential = Potential(model, ModelArguments((y,), {}))
    data = potential.arguments.arrays
    assert potential.names == ["scale", "p", "x"]
    for _ in range(5):
        vector = rng.normal(size=potential.size)
        value, gradient = autodiff.value_and_grad(lambda v: potential.log_density(v, data))(ops.array(vector))
        assert float(value) == pytest.approx(by_hand(vector, y), rel=1e-10)
        steps = 1e-5 * numpy.eye(potential.size)
        expected = [(by_hand(vector + h, y) - by_hand(vector - h, y)) / 2e-5 for h in steps]
        numpy.testing.assert_allclose(ops.to_numpy(gradient), expected, rtol=1e-4, atol=1e-6)


def test_data_are_arguments(backend, rng):
    potential = Potential(model, ModelArguments((rng.normal(size=4),), {}))
    other = rng.normal(size=4)
    vector = rng.normal(size=potential.size)
    value = potential.log_density(ops.array(vector), [ops.array(other)])
    assert float(value) == pytest.approx(by_hand(vector, other), rel=1e-10)


def test_constrain_and_unconstrain_are_inverse(backend, rng):
    potential = Potential(model, ModelArguments((rng.normal(size=4),), {}))
    data = potential.arguments.arrays
    vector = rng.normal(size=potential.size)
    values = potential.constrain(ops.array(vector), data)
    assert float(values["scale"]) == pytest.approx(math.exp(vector[0]), rel=1e-12)
    assert float(values["p"]) == pytest.approx(1 / (1 + math.exp(-vector[1])), rel=1e-12)
    numpy.testing.assert_allclose(ops.to_numpy(values["x"]), vector[2:], rtol=1e-12)
    numpy.testing.assert_allclose(ops.to_numpy(potential.unconstrain(values, data)), vector, rtol=1e-9)


def test_latent_space_batches(backend, rng):
    trace = handlers.trace(handlers.seed(model, rng_seed=1)).get_trace(ops.array(rng.normal(size=4)))
    space = LatentSpace.from_trace(trace)
    assert space.names == ["scale", "p", "x"]
    assert space.size == 6
    vector = rng.normal(size=(3, 2, 6))
    values, log_det = space.constrain_with_log_det(ops.array(vector))
    numpy.testing.assert_allclose(ops.to_numpy(values["scale"]), numpy.exp(vector[..., 0]), rtol=1e-12)
    assert ops.shape(values["x"]) == (3, 2, 4)
    p = 1 / (1 + numpy.exp(-vector[..., 1]))
    numpy.testing.assert_allclose(ops.to_numpy(log_det), vector[..., 0] + numpy.log(p * (1 - p)), rtol=1e-10)
    numpy.testing.assert_allclose(ops.to_numpy(space.unconstrain(values)), vector, rtol=1e-8, atol=1e-10)


def quartic(position, data):
    return ops.sum(0.25 * position**4 + 0.5 * position**2, axis=-1), position**3 + position


@pytest.mark.parametrize("metric", [Diagonal(), Dense()], ids=["diagonal", "dense"])
def test_leapfrog_is_reversible_and_symplectic_to_rounding(backend, rng, metric):
    covariance = numpy.diag([0.5, 2.0, 1.0]) if isinstance(metric, Diagonal) else numpy.cov(rng.normal(size=(3, 50)))
    inverse = numpy.diag(covariance) if isinstance(metric, Diagonal) else covariance
    mass = metric.from_inverse(ops.array(inverse))
    position, momentum = (ops.array(rng.normal(size=(2, 3))) for _ in range(2))
    energy, gradient = quartic(position, None)
    start = Phase(position, momentum, energy, gradient)
    phase = start
    for _ in range(20):
        phase = leapfrog(quartic, metric, phase, 0.1, mass, None)
    moved = float(ops.sum(ops.abs(phase.position - position)))
    assert moved > 0.5
    phase = phase._replace(momentum=-phase.momentum)
    for _ in range(20):
        phase = leapfrog(quartic, metric, phase, 0.1, mass, None)
    numpy.testing.assert_allclose(ops.to_numpy(phase.position), ops.to_numpy(position), atol=1e-10)
    numpy.testing.assert_allclose(ops.to_numpy(-phase.momentum), ops.to_numpy(momentum), atol=1e-10)


def test_leapfrog_is_second_order(backend):
    """The energy error of a trajectory of fixed length falls by four when the step is halved."""
    metric, mass = Diagonal(), Diagonal().identity(1)
    position, momentum = ops.array([[1.0]]), ops.array([[0.7]])
    errors = []
    for steps in (50, 100):
        energy, gradient = quartic(position, None)
        phase = Phase(position, momentum, energy, gradient)
        before = float(energy[0] + metric.kinetic_energy(mass, momentum)[0])
        for _ in range(steps):
            phase = leapfrog(quartic, metric, phase, 2.0 / steps, mass, None)
        errors.append(abs(float(phase.potential_energy[0] + metric.kinetic_energy(mass, phase.momentum)[0]) - before))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("metric", [Diagonal(), Dense()], ids=["diagonal", "dense"])
def test_momenta_have_the_inverse_covariance(backend, seed, metric):
    covariance = numpy.array([[2.0, 0.9], [0.9, 1.0]])
    inverse = numpy.diag(covariance) if isinstance(metric, Diagonal) else covariance
    truth = numpy.diag(1 / inverse) if isinstance(metric, Diagonal) else numpy.linalg.inv(covariance)
    draws = ops.to_numpy(metric.draw(random.key(seed), metric.from_inverse(ops.array(inverse)), (40_000, 2)))
    products = numpy.einsum("ni,nj->nij", draws, draws)
    errors = products.std(axis=0) / math.sqrt(len(draws))
    assert (numpy.abs(products.mean(axis=0) - truth) < 4.9 * errors).all()
    assert not (numpy.abs(products.mean(axis=0) - inverse * numpy.eye(2)) < 4.9 * errors).all()


def test_metric_estimates_shrink_as_stan_does(backend, rng):
    draws = rng.normal(size=(30, 3)) * [1.0, 3.0, 0.1]
    weight = 30 / 35
    diagonal = weight * draws.var(axis=0, ddof=1) + (1 - weight) * 1e-3
    found = Diagonal(by_gradients=False).estimate(ops.array(draws), None).inverse
    numpy.testing.assert_allclose(ops.to_numpy(found), diagonal, rtol=1e-10)
    dense = weight * numpy.cov(draws.T) + (1 - weight) * 1e-3 * numpy.eye(3)
    found = Dense(by_gradients=False).estimate(ops.array(draws), None).inverse
    numpy.testing.assert_allclose(ops.to_numpy(found), dense, rtol=1e-10)


def test_initial_strategies_give_their_values(backend, seed):
    site = {"name": "p", "fn": dist.Beta(2.0, 6.0), "rng_key": random.key(seed)}
    assert float(infer.init_to_mean()(site)) == pytest.approx(0.25)
    assert float(infer.init_to_feasible()(site)) == pytest.approx(0.5)
    assert float(infer.init_to_value(values={"p": 0.3})(site)) == pytest.approx(0.3)
    assert 0 < float(infer.init_to_median()(site)) < 1
    logit = scipy.special.logit(float(infer.init_to_uniform(radius=0.1)(site)))
    assert abs(logit) <= 0.1
