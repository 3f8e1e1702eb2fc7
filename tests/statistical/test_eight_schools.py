"""The eight schools on every backend against the reference posterior that posteriordb publishes."""

import importlib.util
import pathlib

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import infer, ops
from ppl.infer import diagnostics

# Posterior eight_schools-eight_schools_noncentered: name -> (mean, sd).
REFERENCE = {"mu": (4.41, 3.3), "tau": (3.60, 3.2)}


def example():
    path = pathlib.Path(__file__).parents[2] / "examples" / "eight_schools.py"
    spec = importlib.util.spec_from_file_location("eight_schools_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draws_of(model, samples):
    schools = example()
    kernel = infer.NUTS(model or schools.noncentered, target_accept_prob=0.9)
    mcmc = infer.MCMC(kernel, num_samples=samples, warmup_steps=1000, num_chains=4, progress_bar=False, seed=11)
    mcmc.run(ops.array(schools.STANDARD_ERROR), ops.array(schools.EFFECT))
    return mcmc.get_samples(group_by_chain=True)


def distance(draws, name):
    mean, sd = REFERENCE[name]
    return abs(float(ops.to_numpy(ops.mean(draws))) - mean) / sd


@pytest.mark.nightly
def test_posterior_means(backend):
    samples = draws_of(None, 4000)
    for name, (_, sd) in REFERENCE.items():
        draws = numpy.asarray(samples[name])
        assert diagnostics.mcse_mean(draws) < 0.02 * sd
        assert distance(samples[name], name) < 0.05
        assert diagnostics.r_hat(draws) < 1.01


@pytest.mark.nightly
def test_another_prior_is_told_apart(backend):
    """The negative control: with a wide prior of tau the same comparison fails."""

    def wide(sigma, y=None):
        mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
        tau = ppl.sample("tau", dist.HalfCauchy(50.0))
        with ppl.plate("schools", len(sigma)):
            effect = ppl.sample("effect", dist.Normal(0.0, 1.0))
            ppl.sample("y", dist.Normal(mu + tau * effect, sigma), obs=y)

    assert distance(draws_of(wide, 1000)["tau"], "tau") > 0.1
