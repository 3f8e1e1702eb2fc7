"""Is each sampler right as a whole? Simulation-based calibration, and the joint-distribution test of Geweke.

Both compare with the prior, which is known exactly. Thousands of data sets advance in lockstep, one a chain, so that every check
is one of independent draws. Sources: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), "Validating Bayesian inference
algorithms with simulation-based calibration"; Geweke (2004), "Getting it right", JASA 99.
"""

import math

import numpy
import pytest
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops, registry
from ppl.infer.mcmc.state import ChainState, Mass, Tuning
from ppl.ops import random
from ppl.testing import goodness_of_fit

LEAST_PVALUE = 2e-5
NUM_DATA = 4
SPREAD = 0.5
STEP_SIZE, LENGTH = 0.3, 1.2
# Scale of the likelihood that the sampler believes in over that of the data: the control, and the truth.
WRONG, RIGHT = 1.3, 1.0


def log_density(position):
    raise AssertionError("the transitions below are handed energies and gradients")


# Of the constructors only transitions are used: their densities, step sizes and metrics come from this page.
CONFIGURATION = {"log_density_fn": log_density, "dimension": 2, "full_mass": False}
KERNELS = {
    "NUTS": lambda: infer.NUTS(**CONFIGURATION),
    "slice NUTS": lambda: infer.NUTS(**CONFIGURATION, use_multinomial_sampling=False),
    "HMC": lambda: infer.HMC(**CONFIGURATION, trajectory_length=LENGTH),
    "jittered HMC": lambda: infer.HMC(**CONFIGURATION, trajectory_length=2 * LENGTH, jitter=True),
    "ChEES": lambda: infer.ChEES(**CONFIGURATION),
}
EVERY_DAY = ["NUTS", "HMC"]
DAILY_AND_NIGHTLY = [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.nightly) for name in KERNELS]


def energy_and_gradient(position, data):
    """Potential of ``mu ~ Normal(0, 1)``, ``s ~ Normal(0, 1/2)``, ``y ~ Normal(mu, scale exp(s))``, each chain with its own data.

    :param position: ``mu`` and ``s``, shape ``(C, 2)``.
    :param data: ``y``, shape ``(C, NUM_DATA)``, and ``scale``.
    """
    y, scale = data
    mu, s = position[:, 0], position[:, 1]
    residual = (y - mu[:, None]) / (scale * ops.exp(s))[:, None]
    squares = ops.sum(residual * residual, axis=1)
    energy = 0.5 * mu * mu + 0.5 * (s / SPREAD) ** 2 + NUM_DATA * s + 0.5 * squares
    by_mu = mu - ops.sum(residual, axis=1) / (scale * ops.exp(s))
    by_s = s / SPREAD**2 + NUM_DATA - squares
    return energy, ops.stack([by_mu, by_s], axis=1)


def prior(key, num_chains):
    """Return exact draws of ``(mu, s)``."""
    return random.normal(key, (num_chains, 2)) * ops.array([1.0, SPREAD])


def simulate(key, position):
    """Return data given the parameters."""
    noise = random.normal(key, (ops.shape(position)[0], NUM_DATA))
    return position[:, :1] + ops.exp(position[:, 1:]) * noise


def repeated(kernel, renew_data):
    """Return ``run(key, position, y, scale, count) -> positions`` of ``count`` transitions, host array ``(count, C, 2)``.

    :param renew_data: whether data are simulated anew after each transition.
    """
    transition = KERNELS[kernel]().transition(energy_and_gradient, 0)

    def step(state, tuning, mass, scale):
        key, position, y = state
        key, key_step, key_data = random.split(key, 3)
        data = [y, scale]
        start = ChainState(position, *energy_and_gradient(position, data))
        chains, _ = transition(key_step, start, tuning, mass, data)
        y = simulate(key_data, chains.position) if renew_data else y
        return (key, chains.position, y), chains.position

    loop = registry.active().infer.loop(step)

    def run(key, position, y, scale, count):
        tuning = Tuning(ops.array(STEP_SIZE), ops.array(LENGTH))
        mass = Mass(ops.array([1.0, SPREAD**2]), ops.array([1.0, 1.0 / SPREAD]))
        return loop((key, position, y), count, tuning, mass, ops.array(scale))[1]

    return run


@pytest.mark.parametrize("kernel", DAILY_AND_NIGHTLY)
def test_transitions_between_simulations_keep_the_joint_distribution(backend, seed, kernel):
    """Geweke's test: parameters given data by the sampler, then data given parameters, leave the prior of the parameters."""
    chains, sweeps, run = 1500, 25, repeated(kernel, renew_data=True)

    def pvalues(scale):
        key_prior, key_data, key_run = random.split(random.key(seed), 3)
        start = prior(key_prior, chains)
        end = run(key_run, start, simulate(key_data, start), scale, sweeps)[-1]
        return [goodness_of_fit(end[:, k], scipy.stats.norm(0.0, spread).cdf) for k, spread in enumerate((1.0, SPREAD))]

    assert min(pvalues(RIGHT)) > LEAST_PVALUE
    assert min(pvalues(WRONG)) < LEAST_PVALUE, "the control: a wrong likelihood was not told apart"


@pytest.mark.parametrize("kernel", DAILY_AND_NIGHTLY)
def test_ranks_among_posterior_draws_are_uniform(backend, seed, kernel):
    """Simulation-based calibration of the transitions: the true parameter is as likely to take any rank among draws."""
    chains, warmup, draws, thinning, run = 1200, 25, 15, 5, repeated(kernel, renew_data=False)

    def pvalues(scale):
        key_truth, key_data, key_start, key_run = random.split(random.key(seed), 4)
        truth = prior(key_truth, chains)
        found = run(key_run, prior(key_start, chains), simulate(key_data, truth), scale, warmup + draws * thinning)
        ranks = numpy.sum(found[warmup::thinning] < ops.to_numpy(truth), axis=0)
        return [scipy.stats.chisquare(numpy.bincount(ranks[:, k], minlength=draws + 1)).pvalue for k in range(2)]

    assert min(pvalues(RIGHT)) > LEAST_PVALUE
    assert min(pvalues(WRONG)) < LEAST_PVALUE, "the control: a wrong likelihood was not told apart"


# ---- the whole of MCMC: transforms of supports, starts, warm-up, constrained draws ----

FULL_KERNELS = {
    "NUTS": infer.NUTS,
    "HMC": lambda model: infer.HMC(model, trajectory_length=math.pi / 2, jitter=True),
}


def scale_model(y):
    """Of each data set ``sd ~ HalfNormal(1)``, ``p ~ Beta(2, 2)``, ``y ~ Normal(p, sd)``; ``y`` has one data set a column."""
    with ppl.plate("data sets", y.shape[1], dim=-1):
        spread = ppl.sample("sd", dist.HalfNormal(1.0))
        share = ppl.sample("p", dist.Beta(2.0, 2.0))
        with ppl.plate("rows", y.shape[0], dim=-2):
            ppl.sample("y", dist.Normal(share, spread), obs=y)


@pytest.mark.nightly
@pytest.mark.parametrize("kernel", FULL_KERNELS)
def test_ranks_of_a_whole_run_are_uniform(backend, rng, kernel):
    """Simulation-based calibration of a run from its start to constrained draws, of independent data sets in one posterior."""
    data_sets, draws, thinning = 400, 15, 5
    mcmc = infer.MCMC(FULL_KERNELS[kernel](scale_model), draws * thinning, warmup_steps=150, progress_bar=False, seed=1)

    def pvalues(scale):
        truth = {"sd": numpy.abs(rng.normal(size=data_sets)), "p": rng.beta(2.0, 2.0, data_sets)}
        y = rng.normal(truth["p"], scale * truth["sd"], (NUM_DATA, data_sets))
        samples = mcmc.run(ops.array(y)).get_samples()
        ranks = [numpy.sum(ops.to_numpy(samples[name])[::thinning] < value, axis=0) for name, value in truth.items()]
        return [scipy.stats.chisquare(numpy.bincount(rank, minlength=draws + 1)).pvalue for rank in ranks]

    assert min(pvalues(RIGHT)) > LEAST_PVALUE
    assert min(pvalues(WRONG)) < LEAST_PVALUE, "the control: a wrong likelihood was not told apart"
