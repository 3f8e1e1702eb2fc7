"""Jittered HMC and ChEES against closed forms, block metrics, and every argument of the kernels, on every backend."""

import math

import arviz
import numpy
import pytest
import scipy.integrate
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops, registry
from ppl.errors import InferenceError
from ppl.infer.adapt.trajectory_length import LengthAdaptation
from ppl.infer.mcmc import blocks, chees, hmc
from ppl.infer.mcmc.metrics import Dense, Diagonal
from ppl.infer.mcmc.state import ChainState, StepInfo, Tuning
from ppl.infer.potential import ModelArguments
from ppl.ops import control, random
from ppl.transforms import ExpTransform

MAX_Z = 4.9
COVARIANCE = numpy.array([[2.0, 1.2, 0.1], [1.2, 1.0, 0.0], [0.1, 0.0, 4.0]])


def z_score(values, truth):
    """Distance of the mean of ``values``, (chains, draws), from ``truth`` in the Monte Carlo standard errors of arviz."""
    return abs(values.mean() - truth) / float(arviz.mcse(values, method="mean"))


def assert_moments(draws, mean, variance):
    """Mean and variance are within MAX_Z standard errors of the truth; a mean half a standard deviation away is not."""
    draws, scale = numpy.asarray(draws, dtype="float64"), math.sqrt(variance)
    assert float(arviz.mcse(draws, method="mean")) < 0.05 * scale
    assert z_score(draws, mean) < MAX_Z
    assert z_score((draws - mean) ** 2, variance) < MAX_Z
    assert z_score(draws, mean + 0.5 * scale) > MAX_Z


def run(kernel, *args, samples, warmup, chains, **options):
    mcmc = infer.MCMC(kernel, samples, warmup, chains, progress_bar=False, seed=3, **options)
    return mcmc.run(*args)


def log_normal(position, precision):
    return -0.5 * ops.sum(position * (precision @ position))


def correlated(kind, **options):
    return kind(log_density_fn=log_normal, dimension=3, **options)


PRECISION = numpy.linalg.inv(COVARIANCE)


# Exact moments


@pytest.mark.parametrize(
    ("make", "chains", "samples"),
    [
        pytest.param(lambda: correlated(infer.HMC, trajectory_length=3.0, jitter=True), 4, 1000, id="jittered length"),
        pytest.param(
            lambda: correlated(infer.HMC, num_steps=8, jitter=True, full_mass=False),
            4,
            1000,
            id="jittered steps",
            marks=pytest.mark.nightly,
        ),
        pytest.param(lambda: correlated(infer.ChEES, full_mass=False), 16, 300, id="ChEES"),
    ],
)
def test_correlated_normal(backend, make, chains, samples):
    mcmc = run(make(), ops.array(PRECISION), samples=samples, warmup=300, chains=chains)
    draws = numpy.asarray(mcmc.get_samples(group_by_chain=True)["position"])
    for index in range(3):
        assert_moments(draws[..., index], 0.0, COVARIANCE[index, index])
    product = draws[..., 0] * draws[..., 1]
    assert z_score(product, 1.2) < MAX_Z
    assert z_score(product, 0.8) > MAX_Z
    steps = mcmc.get_extra_fields()["num_leapfrog_steps"]
    assert (steps == steps[:1]).all()
    assert len(numpy.unique(steps)) > 1


EFFECTS = numpy.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = numpy.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools(errors, effects):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfNormal(5.0))
    with ppl.plate("schools", errors.shape[0]):
        offset = ppl.sample("offset", dist.Normal(0.0, 1.0))
        ppl.sample("effect", dist.Normal(mu + tau * offset, errors), obs=effects)


def schools_moments():
    """Means and variances of ``mu`` and ``tau``: the effects are normal given ``tau``, which is left to quadrature."""
    grid = numpy.linspace(1e-6, 40.0, 4001)
    marginal = ERRORS**2 + grid[:, None] ** 2
    precision = 1 / 25 + (1 / marginal).sum(1)
    mean = (EFFECTS / marginal).sum(1) / precision
    log_weight = scipy.stats.halfnorm(scale=5.0).logpdf(grid) - 0.5 * numpy.log(marginal).sum(1) - 0.5 * numpy.log(precision)
    log_weight += 0.5 * mean**2 * precision - 0.5 * (EFFECTS**2 / marginal).sum(1)
    weight = numpy.exp(log_weight - log_weight.max())

    def expect(values):
        return scipy.integrate.simpson(weight * values, x=grid) / scipy.integrate.simpson(weight, x=grid)

    mu, tau = expect(mean), expect(grid)
    return {"mu": (mu, expect(mean**2 + 1 / precision) - mu**2), "tau": (tau, expect(grid**2) - tau**2)}


def test_chees_on_a_hierarchical_model(backend):
    mcmc = run(infer.ChEES(schools), ops.array(ERRORS), ops.array(EFFECTS), samples=250, warmup=300, chains=16)
    draws = mcmc.get_samples(group_by_chain=True)
    for name, (mean, variance) in schools_moments().items():
        assert_moments(draws[name], mean, variance)


@pytest.mark.nightly
def test_jittered_hmc_on_a_hierarchical_model(backend):
    kernel = infer.HMC(schools, trajectory_length=3.0, jitter=True)
    draws = run(kernel, ops.array(ERRORS), ops.array(EFFECTS), samples=1500, warmup=500, chains=4).get_samples(
        group_by_chain=True
    )
    for name, (mean, variance) in schools_moments().items():
        assert_moments(draws[name], mean, variance)


# The trajectory


def energy_and_gradient(position, precision):
    gradient = position @ precision
    return 0.5 * ops.sum(position * gradient, axis=-1), gradient


def start_of(rng, chains=5):
    position = ops.array(rng.normal(size=(chains, 3)))
    return ChainState(position, *energy_and_gradient(position, ops.array(PRECISION)))


def metrics(rng):
    factor = rng.normal(size=(3, 3))
    yield Diagonal(), ops.array(rng.uniform(0.5, 2.0, size=3))
    yield Dense(), ops.array(factor @ factor.T + numpy.eye(3))


@pytest.mark.strict
def test_a_trajectory_leads_back_when_the_momentum_is_turned(backend, rng):
    for metric, inverse in metrics(rng):
        mass, state = metric.from_inverse(inverse), start_of(rng)
        momentum = metric.draw(random.key(1), mass, (5, 3))
        one_step = hmc.make_leapfrog(energy_and_gradient, metric)
        there, change = hmc.integrate(metric, one_step, state, momentum, 0.3, 17, mass, ops.array(PRECISION))
        assert numpy.abs(numpy.asarray(there.position - state.position)).max() > 0.1
        turned = ChainState(there.position, there.potential_energy, there.gradient)
        back, change_back = hmc.integrate(metric, one_step, turned, -there.momentum, 0.3, 17, mass, ops.array(PRECISION))
        numpy.testing.assert_allclose(numpy.asarray(back.position), numpy.asarray(state.position), atol=1e-10)
        numpy.testing.assert_allclose(numpy.asarray(back.momentum), -numpy.asarray(momentum), atol=1e-10)
        numpy.testing.assert_allclose(numpy.asarray(change_back), -numpy.asarray(change), atol=1e-10)


def test_numbers_of_jittered_steps_are_uniform(backend):
    counts = numpy.asarray(hmc.steps_of_part(4 * random.open_uniform(random.key(2), (2000,))))
    observed = numpy.bincount(counts, minlength=5)[1:]
    assert len(observed) == 4
    assert scipy.stats.chisquare(observed).pvalue > 2e-5
    assert scipy.stats.chisquare(observed, [800, 400, 400, 400]).pvalue < 2e-5


@pytest.mark.parametrize(("ratio", "steps"), [(0.3 / 0.1, 3), (0.6 / 0.2, 3), (3.9, 3), (0.2, 1), (1e9, hmc.MAX_LEAPFROG_STEPS)])
def test_number_of_steps(backend, ratio, steps):
    assert int(hmc.steps_of_whole(ops.array(ratio))) == steps


@pytest.mark.backends("numpy")
def test_jitter_breaks_the_period_of_a_normal(backend):
    """A length of one period brings a standard normal back to where it was: the control that must fail."""
    options = {"trajectory_length": 2 * math.pi, "step_size": math.pi / 10, "adapt_step_size": False}
    options |= {"adapt_mass_matrix": False, "log_density_fn": lambda x: -0.5 * ops.sum(x * x), "dimension": 1}
    stuck, moving = (
        numpy.asarray(run(infer.HMC(jitter=jitter, **options), samples=1000, warmup=0, chains=1).get_samples()["position"])[:, 0]
        for jitter in (False, True)
    )
    assert numpy.corrcoef(stuck[1:], stuck[:-1])[0, 1] > 0.99
    assert abs(numpy.corrcoef(moving[1:], moving[:-1])[0, 1]) < 0.3
    assert z_score(moving[None], 0.0) < MAX_Z


@pytest.mark.backends("numpy")
def test_two_pi_is_jittered_unless_it_is_asked_for(backend):
    """After warm-up every normal has period two pi, so that whole trajectories of this length stand still: the control."""
    effective = {}
    for name, options in {"default": {}, "whole": {"jitter": False}, "asked for": {"trajectory_length": 2 * math.pi}}.items():
        kernel = correlated(infer.HMC, **options)
        assert kernel.jitter == (name == "default")
        assert kernel.trajectory_length == pytest.approx(2 * math.pi)
        mcmc = run(kernel, ops.array(PRECISION), samples=500, warmup=300, chains=4)
        draws = numpy.asarray(mcmc.get_samples(group_by_chain=True)["position"])
        effective[name] = min(float(arviz.ess(draws[..., index].copy())) for index in range(3))
    assert effective["default"] > 500
    assert effective["whole"] < 200
    assert effective["asked for"] == effective["whole"]
    assert not infer.HMC(gamma_model, num_steps=4).jitter


# Invariance: chains that start at exact draws of the target stay exact draws of it


SHAPES = numpy.array([0.7, 4.0])


def log_gamma_energy(position, _):
    """Logarithms of gamma variables: skewed, and no transition of theirs is exact without its correction."""
    return ops.sum(ops.exp(position) - ops.array(SHAPES) * position, axis=-1), ops.exp(position) - ops.array(SHAPES)


def after_transitions(transition, mass, rng, chains=4000, transitions=8):
    """Positions of chains that start at exact draws, after some transitions with a step size that is none too small."""
    position = ops.array(numpy.log(rng.gamma(SHAPES, size=(chains, 2))))
    tuning = Tuning(ops.array(0.7), ops.array(3.0))

    def step(state, mass, tuning):
        key, following = random.split(state[0])
        moved, info = transition(following, state[1], tuning, mass, ())
        return (key, moved), info.accept_prob

    infer_of = registry.active().infer
    with infer_of.quiet():
        start = (infer_of.sampling_key(7), ChainState(position, *log_gamma_energy(position, ())))
        (_, state), accepted = infer_of.loop(step)(start, transitions, mass, tuning)
    assert 0.3 < accepted.mean() < 0.95
    assert not numpy.allclose(ops.to_numpy(state.position), ops.to_numpy(position))
    return ops.to_numpy(state.position)


def p_values(positions):
    return [scipy.stats.kstest(positions[:, index], scipy.stats.loggamma(shape).cdf).pvalue for index, shape in enumerate(SHAPES)]


KERNELS = {
    "HMC": lambda **target: infer.HMC(num_steps=3, **target),
    "jittered": lambda **target: infer.HMC(trajectory_length=3.0, jitter=True, **target),
    "dense": lambda **target: infer.HMC(num_steps=3, full_mass=True, **target),
    "NUTS": lambda **target: infer.NUTS(max_tree_depth=3, **target),
    "slice": lambda **target: infer.NUTS(max_tree_depth=3, use_multinomial_sampling=False, **target),
    "ChEES": lambda **target: infer.ChEES(**target),
}


@pytest.mark.strict
@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_transitions_leave_the_target_alone(backend, rng, make):
    kernel = make(log_density_fn=abs, dimension=2)
    mass = kernel.metric.from_inverse(ops.array([[1.5, 0.3], [0.3, 0.4]] if isinstance(kernel.metric, Dense) else [1.5, 0.4]))
    assert min(p_values(after_transitions(kernel.transition(log_gamma_energy, 8), mass, rng))) > 2e-5


def test_transitions_without_correction_do_not(backend, rng):
    """The control that must fail: every end of a trajectory is accepted."""
    one_step = hmc.make_leapfrog(log_gamma_energy, Diagonal())

    def uncorrected(key, state, tuning, mass, data):
        momentum = Diagonal().draw(key, mass, ops.shape(state.position))
        end, change = hmc.integrate(Diagonal(), one_step, state, momentum, tuning.step_size, 3, mass, data)
        moved = ChainState(end.position, end.potential_energy, end.gradient)
        return moved, StepInfo(ops.exp(-ops.maximum(change, 0.0)), change, change)

    assert min(p_values(after_transitions(uncorrected, Diagonal().identity(2), rng))) < 2e-5


# ChEES


def criterion(start, momentum, length, weight, centre):
    """The ChEES criterion of standard normals, whose trajectories are circles, with the means over chains held fixed."""
    end = start * numpy.cos(length) + momentum * numpy.sin(length)
    growth = ((end - centre) ** 2).sum(1) - ((start - start.mean(0)) ** 2).sum(1)
    return 0.25 * (weight * growth**2).sum()


@pytest.mark.parametrize("accepted", ["all", "some"])
def test_gradient_of_the_criterion_is_its_finite_difference(backend, rng, accepted):
    start, momentum, length, step = rng.normal(size=(8, 5)), rng.normal(size=(8, 5)), 0.7, 1e-5
    accept = numpy.ones(8) if accepted == "all" else rng.uniform(0.1, 1.0, size=8)
    end = start * math.cos(length) + momentum * math.sin(length)
    velocity = momentum * math.cos(length) - start * math.sin(length)
    weight = accept / accept.sum()
    centre = (weight[:, None] * end).sum(0)
    high, low = (criterion(start, momentum, length * math.exp(sign * step), weight, centre) for sign in (1, -1))
    mass = Diagonal().identity(5)
    found = float(chees.length_gradient(Diagonal(), mass, *map(ops.array, (start, end, velocity, accept)), length))
    assert found == pytest.approx((high - low) / (2 * step), rel=1e-7)


@pytest.mark.strict
def test_gradient_is_that_of_whitened_coordinates(backend, rng):
    """A metric is a change of coordinates: position ``L z`` and momentum ``L^-T q`` for inverse mass ``L L^T``."""
    accept = rng.uniform(size=6)
    start, end, momentum = (rng.normal(size=(6, 3)) for _ in range(3))
    plain = float(chees.length_gradient(Diagonal(), Diagonal().identity(3), *map(ops.array, (start, end, momentum, accept)), 0.4))
    for metric, inverse in metrics(rng):
        covariance = numpy.asarray(inverse)
        factor = numpy.diag(numpy.sqrt(covariance)) if covariance.ndim == 1 else numpy.linalg.cholesky(covariance)
        moved = (start @ factor.T, end @ factor.T, momentum @ numpy.linalg.inv(factor), accept)
        found = chees.length_gradient(metric, metric.from_inverse(inverse), *map(ops.array, moved), 0.4)
        assert float(found) == pytest.approx(plain, rel=1e-10)


def test_a_chain_thrown_off_leaves_the_gradient_alone(backend, rng):
    start, end, momentum = (rng.normal(size=(5, 3)) for _ in range(3))
    accept = numpy.array([0.9, 0.5, 0.0, 1.0, 0.3])
    mass = Diagonal().identity(3)
    expected = float(chees.length_gradient(Diagonal(), mass, *map(ops.array, (start, end, momentum, accept)), 0.4))
    end[2], momentum[2] = numpy.inf, numpy.nan
    assert float(chees.length_gradient(Diagonal(), mass, *map(ops.array, (start, end, momentum, accept)), 0.4)) == pytest.approx(
        expected
    )


def as_info(accept, gradient):
    none = ops.zeros(len(accept))
    return StepInfo(ops.array(accept), none, none, (ops.array(gradient),))


@pytest.mark.strict
def test_length_climbs_to_the_top_of_the_criterion(backend, rng):
    """With a noisy gradient ``2 - log length`` the averaged length comes to ``exp(2)``; without a gradient it stays."""
    adaptation, noise = LengthAdaptation(0.651, length=1.0), ops.array(rng.normal(size=400))

    def climb(index, states):
        state, still = states
        state = adaptation.update(state, None, None, as_info([0.7, 0.7], 2.0 - state.log_length + noise[index]))
        return state, adaptation.update(still, None, None, as_info([0.7, 0.7], math.nan))

    state, still = control.fori_loop(0, 400, climb, (adaptation.start(0.5), adaptation.start(0.5)))
    fraction = scipy.stats.qmc.Halton(1, scramble=False).random(402)[401, 0]
    assert float(adaptation.tuning(state, False).trajectory_length) == pytest.approx(fraction * math.exp(2.0), rel=0.15)
    assert float(adaptation.tuning(still, False).trajectory_length) == pytest.approx(fraction, rel=1e-12)


def test_lengths_are_the_halton_sequence_after_warm_up_too(backend):
    adaptation, state = LengthAdaptation(0.651, length=2.0), LengthAdaptation(0.651, length=2.0).start(0.5)
    expected = 2.0 * scipy.stats.qmc.Halton(1, scramble=False).random(30)[1:, 0]
    lengths = []
    for _ in expected:
        lengths.append(float(adaptation.tuning(state, False).trajectory_length))
        state = adaptation.keep(state, adaptation.update(state, None, None, as_info([0.7, 0.7], 1.0)), ops.array(False))
    numpy.testing.assert_allclose(lengths, expected, rtol=1e-12)


def test_step_size_follows_the_harmonic_mean(backend):
    """Chains whose harmonic mean is the target leave the step size where dual averaging is drawn to: ten times the first."""
    accept = numpy.array([0.4, 0.9, 0.8, 0.7])
    adaptation = LengthAdaptation(float(scipy.stats.hmean(accept)))
    state, lower = adaptation.start(0.1), LengthAdaptation(float(accept.mean())).start(0.1)
    for _ in range(20):
        state = adaptation.update(state, None, None, as_info(accept, 0.0))
        lower = LengthAdaptation(float(accept.mean())).update(lower, None, None, as_info(accept, 0.0))
    assert float(adaptation.tuning(state, True).step_size) == pytest.approx(1.0, rel=1e-9)
    assert float(adaptation.tuning(lower, True).step_size) < 0.5


def test_restart_moves_half_of_the_way_to_a_quarter_period(backend):
    adaptation = LengthAdaptation(0.651, length=8.0)
    state = adaptation.restart(adaptation.start(0.5), 0.25)
    tuning = adaptation.tuning(state, True)
    assert float(tuning.trajectory_length) == pytest.approx(0.5 * math.sqrt(8.0 * math.pi / 2))
    assert float(tuning.step_size) == pytest.approx(0.25)


@pytest.mark.parametrize("options", [{"chains": 1}, {"chains": 4, "chain_method": "sequential"}], ids=["one chain", "sequential"])
def test_chees_needs_chains_together(backend, options):
    with pytest.raises(InferenceError, match="at least 2, got 1; try num_chains=16 with chain_method='vectorized'"):
        run(correlated(infer.ChEES), ops.array(PRECISION), samples=5, warmup=5, **options)


# Metrics of blocks


class Place:
    def __init__(self, name, offset, size):
        self.name, self.offset, self.size = name, offset, size


def test_block_mask_is_one_within_groups():
    places = [Place("a", 0, 2), Place("b", 2, 1), Place("c", 3, 2), Place("d", 5, 1)]
    owner = ["a", "a", "b", "c", "c", "d"]
    groups = (("a", "d"), ("b",))
    expected = [
        [float(i == j or any(owner[i] in group and owner[j] in group for group in groups)) for j in range(6)] for i in range(6)
    ]
    numpy.testing.assert_array_equal(blocks.block_mask(groups, places), expected)


@pytest.mark.strict
def test_momenta_of_a_block_metric_have_the_inverse_covariance(backend):
    mask = numpy.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    metric = blocks.Block(mask)
    mass = metric.from_inverse(ops.array(COVARIANCE))
    numpy.testing.assert_allclose(numpy.asarray(mass.inverse), COVARIANCE * mask)
    momenta, mass_matrix = numpy.asarray(metric.draw(random.key(3), mass, (40_000, 3))), numpy.linalg.inv(COVARIANCE * mask)
    spread = numpy.sqrt((numpy.outer(numpy.diag(mass_matrix), numpy.diag(mass_matrix)) + mass_matrix**2) / 40_000)
    assert (numpy.abs(momenta.T @ momenta / 40_000 - mass_matrix) < MAX_Z * spread).all()
    assert not (numpy.abs(momenta.T @ momenta / 40_000 - COVARIANCE * mask) < MAX_Z * spread).all()
    energy = 0.5 * numpy.einsum("ci,ij,cj->c", momenta[:5], COVARIANCE * mask, momenta[:5])
    numpy.testing.assert_allclose(numpy.asarray(metric.kinetic_energy(mass, ops.array(momenta[:5]))), energy)


def three_sites():
    c = ppl.sample("c", dist.Normal(0.0, 2.0))
    ppl.sample("a", dist.MultivariateNormal(ops.zeros(2), covariance_matrix=ops.array(COVARIANCE[:2, :2])))
    ppl.sample("b", dist.Normal(1.5 * c, 1.0))


def test_full_mass_of_groups_of_sites(backend):
    """The metric of warm-up is the posterior covariance within each group, and zero between them."""
    kernel = infer.HMC(three_sites, full_mass=[("b", "c"), ("a",)], num_steps=6, jitter=True)
    kernel.setup(200)
    params, draws = kernel.initial_params, []
    for index in range(700):
        params = kernel.sample(params)
        if index >= 200:
            draws.append([float(params["c"]), *numpy.asarray(params["a"]), float(params["b"])])
    truth = numpy.array([[4.0, 0, 0, 6.0], [0, 2.0, 1.2, 0], [0, 1.2, 1.0, 0], [6.0, 0, 0, 10.0]])
    inverse = numpy.asarray(kernel.inverse_mass_matrix)
    assert kernel.mass_matrix_size == 4
    numpy.testing.assert_array_equal(inverse[truth == 0.0], 0.0)
    numpy.testing.assert_allclose(inverse[truth != 0.0], truth[truth != 0.0], rtol=0.6)
    assert abs(inverse[0, 3]) > 0.7 * math.sqrt(inverse[0, 0] * inverse[3, 3])
    for index in range(4):
        values = numpy.asarray(draws)[:, index]
        assert z_score(values[None], 0.0) < MAX_Z
        assert z_score(values[None] ** 2, truth[index, index]) < MAX_Z
        assert z_score(values[None], math.sqrt(truth[index, index])) > MAX_Z


# By hand


def gamma_model(rate):
    ppl.sample("x", dist.Gamma(5.0, rate))


def test_a_chain_by_hand(backend):
    kernel = infer.NUTS(gamma_model, max_tree_depth=4)
    with pytest.raises(InferenceError, match=r"NUTS\.sample needs a chain; expected NUTS\.setup"):
        kernel.sample({"x": 0.0})
    kernel.setup(150, ops.array(3.0))
    params, draws, trace = kernel.initial_params, [], kernel.initial_trace
    assert -2.0 < float(params["x"]) < 2.0
    assert float(trace.nodes["x"]["value"]) == pytest.approx(math.exp(float(params["x"])))
    for index in range(850):
        params = kernel.sample(params)
        if index >= 150:
            draws.append(math.exp(float(params["x"])))
    truth = scipy.stats.gamma(5.0, scale=1 / 3.0)
    assert z_score(numpy.array([draws]), truth.mean()) < MAX_Z
    assert z_score(numpy.array([draws]), truth.mean() + 0.5 * truth.std()) > MAX_Z
    diagnostics, log = kernel.diagnostics(), kernel.logging()
    assert 0.6 < diagnostics["acceptance rate"] <= 1.0
    assert diagnostics["step size"] == kernel.step_size
    assert log == {"step size": f"{kernel.step_size:.2e}", "acc. prob": f"{diagnostics['acceptance rate']:.3f}"}
    assert 0.0 < float(numpy.ravel(kernel.inverse_mass_matrix)[0]) < 3.0
    kernel.cleanup()
    assert kernel.step_size is None
    assert kernel.inverse_mass_matrix is None
    with pytest.raises(InferenceError, match=r"setup\(warmup_steps"):
        kernel.diagnostics()


def test_a_chain_goes_on_from_the_values_it_is_given(backend):
    options = {"step_size": 1e-6, "adapt_step_size": False, "adapt_mass_matrix": False, "num_steps": 2}
    kernel = infer.HMC(gamma_model, **options)
    kernel.initial_params = {"x": ops.array(0.25)}
    kernel.setup(0, ops.array(3.0))
    assert float(kernel.initial_params["x"]) == 0.25
    assert float(kernel.sample(kernel.initial_params)["x"]) == pytest.approx(0.25, abs=1e-4)
    assert float(kernel.sample({"x": -1.5})["x"]) == pytest.approx(-1.5, abs=1e-4)
    with pytest.raises(InferenceError, match=r"shapes \{'x': \(\)\}, got \{'y': \(\)\}"):
        kernel.sample({"y": 0.0})
    with pytest.raises(InferenceError, match="warmup_steps must be an int of at least 0, got -1"):
        kernel.setup(-1, ops.array(3.0))


def test_a_kernel_in_use_by_hand_still_serves_mcmc(backend):
    kernel = infer.HMC(gamma_model, step_size=0.5, num_steps=3)
    kernel.setup(30, ops.array(3.0))
    params = kernel.initial_params
    for _ in range(30):
        params = kernel.sample(params)
    assert kernel.step_size != 0.5
    assert kernel.bind(kernel.potential(ModelArguments((ops.array(3.0),), {}))).step_size == 0.5


# Arguments


def test_documented_numbers_of_steps():
    kernel = infer.HMC(gamma_model, step_size=0.5, trajectory_length=2.2)
    assert (kernel.num_steps, kernel.trajectory_length, kernel.step_size) == (4, 2.2, 0.5)
    kernel = infer.HMC(gamma_model, step_size=0.0855, num_steps=4)
    assert kernel.num_steps == 4
    assert kernel.trajectory_length == pytest.approx(0.342)
    assert infer.HMC(gamma_model).trajectory_length == pytest.approx(2 * math.pi)
    assert infer.HMC(gamma_model).num_steps is None
    assert not infer.NUTS(gamma_model, use_multinomial_sampling=False).use_multinomial_sampling
    kernel = infer.NUTS(gamma_model, jit_compile=True, jit_options={}, ignore_jit_warnings=True, max_plate_nesting=2)
    assert kernel.max_plate_nesting == 2


def test_potential_fn(backend):
    def energy(values):
        return 0.5 * ops.sum(((values["x"] - 3.0) / 2.0) ** 2) + 0.5 * values["y"] ** 2

    kernel = infer.HMC(potential_fn=energy, num_steps=5, jitter=True)
    with pytest.raises(InferenceError, match=r"set kernel.initial_params"):
        run(kernel, samples=5, warmup=5, chains=1)
    kernel.initial_params = {"x": ops.zeros(2), "y": ops.array(0.5)}
    draws = run(kernel, samples=700, warmup=150, chains=2).get_samples(group_by_chain=True)
    assert draws["x"].shape == (2, 700, 2)
    assert_moments(numpy.asarray(draws["x"])[..., 1], 3.0, 4.0)
    assert_moments(draws["y"], 0.0, 1.0)
    with pytest.raises(InferenceError, match=r"expected run\(\) without arguments"):
        run(kernel, ops.array(1.0), samples=5, warmup=5, chains=1)


def test_transforms(backend):
    """A gamma through the logarithm, the inverse of the transform to it, keeps its moments; the identity would not be allowed."""

    def model():
        ppl.sample("x", dist.Gamma(3.0, 2.0))

    kernel = infer.HMC(model, transforms={"x": ExpTransform().inv}, num_steps=5, jitter=True)
    mcmc = run(kernel, samples=700, warmup=150, chains=2)
    draws = mcmc.get_samples(group_by_chain=True)
    numpy.testing.assert_allclose(numpy.log(numpy.asarray(draws["x"])), numpy.asarray(draws["x_unconstrained"]), atol=1e-9)
    assert_moments(draws["x"], 1.5, 0.75)


BAD = {
    "no target": (infer.NUTS, {}, "needs either a model or log_density_fn"),
    "two targets": (infer.NUTS, {"model": gamma_model, "potential_fn": abs}, "only one of them"),
    "no dimension": (infer.HMC, {"log_density_fn": abs}, "needs dimension=..., the length of its vector; got None"),
    "dimension": (infer.HMC, {"log_density_fn": abs, "dimension": 0}, "got 0"),
    "step size": (infer.HMC, {"model": abs, "step_size": 0.0}, "step_size must be positive and finite, got 0.0"),
    "NaN step": (infer.NUTS, {"model": abs, "step_size": math.nan}, "step_size must be positive and finite, got nan"),
    "accept": (infer.NUTS, {"model": abs, "target_accept_prob": 1.0}, "strictly between 0 and 1, got 1.0"),
    "depth": (infer.NUTS, {"model": abs, "max_tree_depth": 0}, "max_tree_depth must be an int from 1 to 20, got 0"),
    "steps": (infer.HMC, {"model": abs, "num_steps": 2.5}, "num_steps must be an int from 1 to 1000, got 2.5"),
    "steps true": (infer.HMC, {"model": abs, "num_steps": True}, "got True"),
    "length": (infer.HMC, {"model": abs, "trajectory_length": -1.0}, "trajectory_length must be positive and finite, got -1.0"),
    "both": (infer.HMC, {"model": abs, "trajectory_length": 1.0, "num_steps": 3}, "trajectory_length or num_steps, not both"),
    "ChEES length": (infer.ChEES, {"model": abs, "trajectory_length": 0}, "trajectory_length must be positive and finite, got 0"),
    "unknown": (infer.ChEES, {"model": abs, "num_steps": 3}, "ChEES got an unknown argument 'num_steps'"),
    "plates": (infer.NUTS, {"model": abs, "max_plate_nesting": -1}, "max_plate_nesting must be an int of at least 0, got -1"),
    "mass": (infer.NUTS, {"model": abs, "full_mass": "x"}, r"full_mass must be a bool or a list of tuples of site names, got"),
    "mass twice": (infer.NUTS, {"model": abs, "full_mass": [("a", "b"), ("b",)]}, "names 'b' twice"),
    "spellings": (infer.NUTS, {"model": abs, "full_mass": True, "dense_mass": True}, "two spellings"),
    "transforms": (infer.NUTS, {"model": abs, "transforms": {"x": 3}}, "must map site names to transforms, got 3"),
    "needless": (infer.NUTS, {"potential_fn": abs, "transforms": {"x": ExpTransform()}}, "transforms= of the sites of a model"),
}


@pytest.mark.parametrize(("kind", "options", "sentence"), BAD.values(), ids=BAD)
def test_bad_arguments(kind, options, sentence):
    with pytest.raises(InferenceError, match=sentence):
        kind(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"full_mass": [("a", "nowhere")]}, "full_mass names 'nowhere', which is no latent site; expected some of 'c', 'a', 'b'"),
        ({"initial_inverse_mass": numpy.ones(3)}, r"initial_inverse_mass has shape \(3,\); expected \(4,\) or \(4, 4\)"),
        ({"initial_inverse_mass": numpy.eye(4), "full_mass": False}, r"has shape \(4, 4\); expected \(4,\):"),
    ],
)
def test_names_and_sizes_that_do_not_fit_the_model(backend, options, sentence):
    with pytest.raises(InferenceError, match=sentence):
        run(infer.NUTS(three_sites, **options), samples=5, warmup=5, chains=1)
