"""Each sampler on each backend against exact moments, within Monte Carlo standard errors that arviz computes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import arviz
import numpy
import pytest
import scipy.integrate
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops

STANDARD_ERRORS = 4.9
LARGEST_ERROR = 0.05


class Target(NamedTuple):
    """A posterior whose moments are known.

    ``model``: without arguments; ``moments``: name to a function of the draws, host arrays ``(chains, draws, ...)`` by site, and
    its exact mean.
    """

    model: Callable
    moments: dict


def normal(scale):
    def model():
        ppl.sample("x", dist.Normal(2.0, scale))

    return Target(model, {"mean": (lambda s: s["x"], 2.0), "variance": (lambda s: (s["x"] - 2.0) ** 2, scale**2)})


def correlated_normal(correlation):
    covariance = numpy.full((5, 5), correlation) + (1 - correlation) * numpy.eye(5)

    def model():
        ppl.sample("x", dist.MultivariateNormal(ops.zeros(5), covariance_matrix=ops.array(covariance)))

    moments = {f"mean {k}": (lambda s, k=k: s["x"][..., k], 0.0) for k in (0, 4)}
    moments["variance"] = (lambda s: s["x"][..., 2] ** 2, 1.0)
    moments["covariance"] = (lambda s: s["x"][..., 0] * s["x"][..., 3], correlation)
    return Target(model, moments)


def funnel(scale):
    """Neal's funnel, non-centred: x is normal with log variance v, itself normal."""

    def model():
        v = ppl.sample("v", dist.Normal(0.0, scale))
        raw = ppl.sample("raw", dist.Normal(0.0, 1.0))
        ppl.deterministic("x", ops.exp(0.5 * v) * raw)

    def density(v):
        return scipy.stats.norm.pdf(v, 0.0, scale) * (2.0 * scipy.stats.norm.cdf(math.exp(-0.5 * v)) - 1.0)

    inside = scipy.integrate.quad(density, -10 * scale, 10 * scale, epsabs=1e-12)[0]
    return Target(
        model,
        {
            "log variance": (lambda s: s["v"], 0.0),
            "its square": (lambda s: s["v"] ** 2, scale**2),
            "near the neck": (lambda s: (numpy.abs(s["x"]) < 1.0) * 1.0, inside),
        },
    )


def simplex(first):
    concentration = numpy.array([first, 2.0, 5.0])
    total = concentration.sum()

    def model():
        ppl.sample("x", dist.Dirichlet(ops.array(concentration)))

    moments = {f"mean {k}": (lambda s, k=k: s["x"][..., k], concentration[k] / total) for k in range(3)}
    products = concentration[0] * concentration[1] / (total * (total + 1))
    moments["product"] = (lambda s: s["x"][..., 0] * s["x"][..., 1], products)
    return Target(model, moments)


def lkj(concentration):
    """An entry r of a 3 x 3 correlation matrix: (r + 1) / 2 is Beta(c + 1/2, c + 1/2) (Lewandowski et al. 2009)."""

    def model():
        ppl.sample("factor", dist.LKJCholesky(3, concentration))

    def entry(s, i, j):
        return numpy.sum(s["factor"][..., i, :] * s["factor"][..., j, :], axis=-1)

    moments = {f"entry {i}{j}": (lambda s, i=i, j=j: entry(s, i, j), 0.0) for i, j in ((1, 0), (2, 1))}
    square = 1.0 / (2.0 * (concentration + 0.5) + 1.0)
    moments |= {f"square {i}{j}": (lambda s, i=i, j=j: entry(s, i, j) ** 2, square) for i, j in ((1, 0), (2, 1))}
    return Target(model, moments)


def student(df):
    def model():
        ppl.sample("x", dist.StudentT(df, 1.0, 2.0))

    law = scipy.stats.t(df, 1.0, 2.0)
    # E |t| = 2 sqrt(df) / ((df - 1) B(df / 2, 1 / 2))
    distance = 2.0 * 2.0 * math.sqrt(df) / ((df - 1.0) * scipy.special.beta(df / 2.0, 0.5))
    return Target(
        model,
        {
            "mean": (lambda s: s["x"], 1.0),
            "distance": (lambda s: numpy.abs(s["x"] - 1.0), distance),
            "tail": (lambda s: (s["x"] > 4.0) * 1.0, law.sf(4.0)),
        },
    )


def beta_bernoulli(prior):
    """Seven successes in ten trials."""

    def model():
        probability = ppl.sample("p", dist.Beta(prior, 3.0))
        with ppl.plate("trials", 10):
            ppl.sample("y", dist.Bernoulli(probability), obs=ops.array([1.0] * 7 + [0.0] * 3))

    law = scipy.stats.beta(prior + 7.0, 3.0 + 3.0)
    return Target(model, {"mean": (lambda s: s["p"], law.mean()), "variance": (lambda s: (s["p"] - law.mean()) ** 2, law.var())})


def mixture(weight):
    """Two unit normals at -1.5 and 1.5, the first of weight ``weight``."""

    def model():
        components = dist.Normal(ops.array([-1.5, 1.5]), 1.0)
        ppl.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=ops.array([weight, 1.0 - weight])), components))

    mean = 1.5 * (1.0 - 2.0 * weight)
    return Target(model, {"mean": (lambda s: s["x"], mean), "square": (lambda s: s["x"] ** 2, 3.25)})


# The parameter of each target, and another that must be told apart from it.
TARGETS = {
    normal: (3.0, 3.6),
    correlated_normal: (0.9, 0.5),
    funnel: (3.0, 2.0),
    simplex: (1.0, 2.0),
    lkj: (2.0, 5.0),
    student: (5.0, 2.0),
    beta_bernoulli: (2.0, 6.0),
    mixture: (0.3, 0.6),
}
# A trajectory of length pi / 2 crosses a normal; one of 2 pi would end where it began.
KERNELS = {
    "NUTS": infer.NUTS,
    "slice NUTS": lambda model: infer.NUTS(model, use_multinomial_sampling=False),
    "dense NUTS": lambda model: infer.NUTS(model, full_mass=True),
    "HMC": lambda model: infer.HMC(model, trajectory_length=math.pi / 2),
    "jittered HMC": lambda model: infer.HMC(model, trajectory_length=math.pi, jitter=True),
    "ChEES": infer.ChEES,
}
# With the draws that they need for a standard error small enough.
EVERY_DAY = [
    ("NUTS", correlated_normal, 400),
    ("NUTS", simplex, 400),
    ("HMC", lkj, 900),
    ("ChEES", beta_bernoulli, 400),
]


def draws_of(kernel, target, seed, warmup_steps, num_samples):
    kernel = KERNELS[kernel](target.model)
    mcmc = infer.MCMC(kernel, num_samples, warmup_steps, num_chains=4, progress_bar=False, seed=seed).run()
    return {name: ops.to_numpy(values) for name, values in mcmc.get_samples(group_by_chain=True).items()}


def faults(samples, moments):
    """Return a sentence for each moment that is off, or estimated too roughly to tell."""
    found = []
    for name, (function, exact) in moments.items():
        draws = function(samples)
        error = float(arviz.mcse(draws, method="mean"))
        if not error < LARGEST_ERROR * draws.std():
            found.append(f"{name}: the standard error {error:.3g} is above {LARGEST_ERROR} of {draws.std():.3g}")
        if not abs(draws.mean() - exact) < STANDARD_ERRORS * error:
            found.append(f"{name}: {draws.mean():.4g} lies {abs(draws.mean() - exact) / error:.1f} errors from {exact:.4g}")
    return found


def check(kernel, family, seed, warmup_steps, num_samples):
    parameter, other = TARGETS[family]
    samples = draws_of(kernel, family(parameter), seed, warmup_steps, num_samples)
    assert faults(samples, family(parameter).moments) == []
    assert faults(samples, family(other).moments), "the control: moments of another target were not told apart"


@pytest.mark.parametrize(("kernel", "family", "num_samples"), EVERY_DAY)
def test_moments(backend, seed, kernel, family, num_samples):
    check(kernel, family, seed, 250, num_samples)


@pytest.mark.nightly
@pytest.mark.parametrize("family", TARGETS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_moments_of_long_chains(backend, seed, kernel, family):
    check(kernel, family, seed, 500, 3000)


def test_a_kernel_that_never_rejects_is_told_apart(rng):
    """The control of the samplers: leapfrogs of half the stability limit, all accepted, widen a normal."""
    draws, position, step = numpy.empty((4, 3000)), rng.normal(size=4), 1.0
    for index in range(3000):
        momentum = rng.normal(size=4) - 0.5 * step * position
        position = position + step * momentum
        draws[:, index] = position
    moments = {"variance": (lambda s: s["x"] ** 2, 1.0)}
    assert any("errors from" in fault for fault in faults({"x": draws}, moments))
