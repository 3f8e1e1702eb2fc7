"""Automatic guides fitted by SVI reach the posteriors that closed forms and quadrature give."""

import math

import numpy
import pytest
from scipy import optimize, special, stats
from test_autoguide_exact import (
    COUNTS,
    COVARIANCE,
    KINDS,
    MEAN,
    MEANS,
    ROWS,
    SEEN,
    Y,
    exponential,
    local,
    posterior_of,
    regression,
)

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim
from ppl.distributions import constraints
from ppl.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.initialization import init_to_feasible, init_to_value
from ppl.infer.svi import SVI

QUIET = {"progress_bar": False}


def fit(model, guide, *args, steps, lr=0.05, particles=1, decay=1e-3):
    """Fit with a learning rate that falls to ``decay`` of itself, so that the end does not wander."""
    adam = optim.ClippedAdam({"lr": lr, "lrd": decay ** (1.0 / steps)})
    loss = Trace_ELBO(num_particles=particles, vectorize_particles=particles > 1)
    return SVI(model, guide, adam, loss).run(steps, *args, **QUIET)


def read(name):
    return ops.to_numpy(ops.autodiff.stop_gradient(ppl.get_param_store()[name]))


def test_laplace_fits_gamma_exponential(backend):
    """The loss of a point has no noise, so that few steps suffice; curvature 6 at log(6 / (1.5 + S))."""
    delta = AutoLaplaceApproximation(exponential, init_loc_fn=init_to_value(values={"rate": 0.8}))
    fit(exponential, delta, COUNTS, steps=200, decay=0.01)
    mode = math.log(6.0 / (1.5 + COUNTS.sum()))
    assert abs(read("auto_loc")[0] - mode) < 1e-3
    assert abs(math.log(0.8) - mode) > 0.1
    normal = delta.laplace_approximation(ops.array(COUNTS)).unconstrained_normal()
    assert abs(normal.covariance[0, 0] - 1 / 6) < 1e-3


NEAR = init_to_value(values={"intercept": 0.0, "slope": 1.0})
COVERING = {
    "multivariate": lambda: AutoMultivariateNormal(regression, init_loc_fn=NEAR, init_scale=0.3),
    "low rank": lambda: AutoLowRankMultivariateNormal(regression, init_loc_fn=NEAR, rank=1, init_scale=0.3),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", COVERING)
def test_full_covariance_is_found(backend, name):
    guide = COVERING[name]()
    fit(regression, guide, Y, steps=800, particles=8)
    normal, sds = guide.unconstrained_normal(), numpy.sqrt(numpy.diag(COVARIANCE))
    assert (abs(normal.loc - MEAN) < 0.1 * sds).all()
    numpy.testing.assert_allclose(numpy.sqrt(numpy.diag(normal.covariance)), sds, rtol=0.1)
    correlation = COVARIANCE[0, 1] / sds.prod()
    assert abs(normal.covariance[0, 1] / numpy.sqrt(numpy.diag(normal.covariance)).prod() - correlation) < 0.05
    assert abs(correlation) > 0.8


@pytest.mark.nightly
@pytest.mark.parametrize("cls", [AutoNormal, AutoDiagonalNormal])
def test_mean_field_of_a_correlated_posterior_has_the_conditional_scales(backend, cls):
    """The best mean-field normal has the precision's diagonal for its precisions (Bishop 2006, sec. 10.1.2)."""
    guide = cls(regression, init_loc_fn=NEAR, init_scale=0.3)
    fit(regression, guide, Y, steps=800, particles=8)
    normal, conditional = guide.unconstrained_normal(), 1.0 / numpy.diag(numpy.linalg.inv(COVARIANCE))
    assert (abs(normal.loc - MEAN) < 0.1 * numpy.sqrt(conditional)).all()
    numpy.testing.assert_allclose(normal.covariance, conditional, rtol=0.15)
    assert (abs(normal.covariance / numpy.diag(COVARIANCE) - 1.0) > 0.3).all()


def flips(data):
    probs = ppl.sample("probs", dist.Beta(3.0, 2.0))
    with ppl.plate("rows", 7):
        ppl.sample("x", dist.Bernoulli(probs), obs=data)


FLIPS = numpy.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0])


def best_normal(heads, tails):
    """Return mean and standard deviation, in log odds, of the normal nearest to Beta(heads, tails), by quadrature."""
    nodes, weights = special.roots_hermitenorm(60)

    def divergence(point):
        odds = point[0] + math.exp(point[1]) * nodes
        density = -heads * numpy.logaddexp(0.0, -odds) - tails * numpy.logaddexp(0.0, odds)
        return -(weights @ density) / weights.sum() - point[1]

    found = optimize.minimize(divergence, [0.5, -0.5], method="BFGS").x
    return found[0], math.exp(found[1])


@pytest.mark.nightly
@pytest.mark.parametrize("cls", [AutoNormal, AutoMultivariateNormal])
def test_beta_bernoulli_reaches_the_nearest_normal(backend, cls):
    guide = cls(flips, init_loc_fn=init_to_feasible, init_scale=0.5)
    fit(flips, guide, FLIPS, steps=600, particles=16)
    loc, scale = best_normal(3.0 + 5, 2.0 + 2)
    normal = guide.unconstrained_normal()
    assert abs(normal.loc[0] - loc) < 0.08 * scale
    assert abs(math.sqrt(normal.covariance.ravel()[0]) / scale - 1.0) < 0.08
    prior_loc, prior_scale = best_normal(3.0, 2.0)
    assert abs(prior_loc - loc) > 0.08 * scale
    assert abs(prior_scale / scale - 1.0) > 0.08


@pytest.mark.nightly
def test_local_sites_of_a_subsampled_plate_are_found(backend):
    guide = AutoNormal(local, init_loc_fn=init_to_feasible, init_scale=0.5)
    fit(local, guide, ROWS, steps=1500)
    for name in ("place", "shape"):
        numpy.testing.assert_allclose(read(f"auto_{name}_loc"), ROWS / 2, atol=0.15)
        numpy.testing.assert_allclose(read(f"auto_{name}_scale"), 0.5**0.5, rtol=0.2)


@pytest.mark.nightly
def test_discrete_posteriors_are_found_by_the_score_function(backend):
    def labels(data):
        with ppl.plate("items", 4):
            kind = ppl.sample("kind", dist.Categorical(ops.array(KINDS)))
            ppl.sample("x", dist.Normal(ops.array(MEANS)[kind], 1.0), obs=data)

    fit(labels, AutoDiscreteParallel(labels), SEEN, steps=800, particles=32)
    exact = posterior_of(KINDS, stats.norm(MEANS, 1.0).pdf(SEEN[:, None]))[0]
    numpy.testing.assert_allclose(read("auto_kind_probs"), exact, atol=0.06)
    assert (abs(exact - KINDS) > 0.06).any(axis=1).all()


def clusters(data):
    """Two separate questions, so that the posterior of a list of guides has a closed form."""
    kind = ppl.sample("kind", dist.Bernoulli(0.3))
    ppl.sample("u", dist.Normal(2.0 * kind, 1.0), obs=ops.array(1.4))
    loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
    rate = ppl.sample("rate", dist.Gamma(2.0, 1.5))
    with ppl.plate("rows", 4):
        ppl.sample("x", dist.Exponential(rate), obs=data)
        ppl.sample("y", dist.Normal(loc, 1.0), obs=data)


@pytest.mark.nightly
def test_list_over_a_mixed_model(backend):
    def own(data):
        loc = ppl.param("own_loc", ops.array(0.0))
        scale = ppl.param("own_scale", ops.array(1.0), constraint=constraints.positive)
        ppl.sample("loc", dist.Normal(loc, scale))

    guide = AutoGuideList(clusters)
    guide.add(AutoDelta(handlers.block(clusters, expose=["rate"])))
    guide.add(AutoDiscreteParallel(handlers.block(clusters, expose=["kind"])))
    guide.add(own)
    fit(clusters, guide, COUNTS, steps=1500, particles=64)
    assert abs(read("auto_rate") - 5.0 / (1.5 + COUNTS.sum())) < 0.01
    odds = 0.3 / 0.7 * stats.norm(2.0, 1.0).pdf(1.4) / stats.norm(0.0, 1.0).pdf(1.4)
    # The score function meets the terms of all other sites as noise, some 0.02 of probability at this number of steps.
    assert abs(read("auto_kind_probs") - odds / (1.0 + odds)) < 0.1
    assert abs(0.3 - odds / (1.0 + odds)) > 0.1
    precision = 4.25
    assert abs(read("own_loc") - COUNTS.sum() / precision) < 0.05
    assert abs(read("own_scale") * precision**0.5 - 1.0) < 0.1


@pytest.mark.nightly
def test_chains_from_a_guide_sample_the_posterior(backend):
    """Without any warm-up the guide's points and metric are all that the chains have."""
    guide = AutoMultivariateNormal(regression, init_loc_fn=NEAR, init_scale=0.3)
    fit(regression, guide, Y, steps=400, particles=4)
    kernel = infer.NUTS(regression, init=guide, step_size=0.7, adapt_step_size=False, adapt_mass_matrix=False)
    mcmc = infer.MCMC(kernel, num_samples=500, warmup_steps=0, num_chains=4, progress_bar=False, seed=3)
    mcmc.run(Y)
    samples = {name: ops.to_numpy(ops.array(value)) for name, value in mcmc.get_samples().items()}
    for index, name in enumerate(("intercept", "slope")):
        sd = math.sqrt(COVARIANCE[index, index])
        draws = samples[name]
        assert abs(draws.mean() - MEAN[index]) < 5 * sd / 500**0.5
        assert abs(draws.std() / sd - 1.0) < 5 / 1000**0.5
        assert abs(draws.mean() - MEAN[index] - sd) > 5 * sd / 500**0.5
