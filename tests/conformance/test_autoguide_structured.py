"""The guide with dependencies set to a closed-form posterior reaches the evidence; others cannot, or say what is wrong."""

import numpy
import pytest
from scipy import stats
from test_autoguide_exact import losses, set_param

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim
from ppl.distributions import constraints
from ppl.errors import InferenceError
from ppl.infer.autoguide import AutoNormal, AutoStructured
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.svi import SVI

STEPS = 4
KEEP, MOVE, NOISE = 0.9, 0.6, 0.8
SEEN = numpy.array([0.3, 1.4, 0.9, -0.6])
CHAIN = {f"x_{step}": {f"x_{step - 1}": "linear"} for step in range(1, STEPS)}


def chain(seen):
    """Observe states that keep a part of the one before; every second site is the exponential of its state."""
    state = 0.0
    for step in range(STEPS):
        name = f"x_{step}"
        if step % 2:
            state = ops.log(ppl.sample(name, dist.LogNormal(KEEP * state, MOVE)))
        else:
            state = ppl.sample(name, dist.Normal(KEEP * state, MOVE))
        ppl.sample(f"y_{step}", dist.Normal(state, NOISE), obs=seen[step])


def exact_posterior():
    """Return mean and covariance of the unconstrained states given what was seen, and its log evidence, by linear algebra."""
    moves = numpy.eye(STEPS) - KEEP * numpy.eye(STEPS, k=-1)
    prior = MOVE**2 * numpy.linalg.inv(moves) @ numpy.linalg.inv(moves).T
    marginal = prior + NOISE**2 * numpy.eye(STEPS)
    covariance = prior - prior @ numpy.linalg.solve(marginal, prior)
    return covariance @ SEEN / NOISE**2, covariance, stats.multivariate_normal(numpy.zeros(STEPS), marginal).logpdf(SEEN)


POSTERIOR_MEAN, COVARIANCE, LOG_EVIDENCE = exact_posterior()


def regressions():
    """Return the conditional standard deviations and weights along the chain: each state on the one before."""
    factor = numpy.linalg.cholesky(COVARIANCE)
    weights = numpy.eye(STEPS) - numpy.diag(numpy.diag(factor)) @ numpy.linalg.inv(factor)
    assert numpy.abs(numpy.tril(weights, -2)).max() < 1e-12
    return numpy.diag(factor), numpy.diag(weights, -1)


def set_chain(conditionals="normal"):
    scales, weights = regressions()
    set_param("auto_loc", POSTERIOR_MEAN)
    set_param("auto_weights", weights)
    set_param("auto_scale", scales, constraints.positive)
    for step, scale in enumerate(scales):
        set_param(f"auto_x_{step}_scale_tril", [[scale]], constraints.lower_cholesky)
    return AutoStructured(chain, conditionals=conditionals, dependencies=CHAIN)


# Bishop 2006, section 10.1.2: the best mean-field normal has the precision's diagonal for its precisions.
PRECISION = numpy.linalg.inv(COVARIANCE)
MEAN_FIELD_GAP = 0.5 * (numpy.log(numpy.diag(PRECISION)).sum() - numpy.linalg.slogdet(PRECISION)[1])


@pytest.mark.parametrize("conditionals", ["normal", pytest.param("mvn", marks=pytest.mark.nightly)])
def test_dependencies_along_a_chain_reach_the_evidence(backend, conditionals):
    guide, seen = set_chain(conditionals), ops.array(SEEN)
    numpy.testing.assert_allclose(losses(chain, guide, seen), -LOG_EVIDENCE, rtol=1e-9)
    store = ppl.get_param_store()
    own = sum(ops.to_numpy(ops.autodiff.stop_gradient(store[name])).size for name in guide.param_names())
    assert own == 3 * STEPS - 1
    normal = guide.unconstrained_normal()
    numpy.testing.assert_allclose(normal.loc, POSTERIOR_MEAN)
    numpy.testing.assert_allclose(normal.covariance, COVARIANCE, rtol=1e-9)
    low, high = (ops.to_numpy(value) for value in guide.quantiles([0.1, 0.9])["x_1"])
    expected = stats.lognorm(COVARIANCE[1, 1] ** 0.5, scale=numpy.exp(POSTERIOR_MEAN[1])).ppf([0.1, 0.9])
    numpy.testing.assert_allclose([low, high], expected, rtol=1e-8)
    set_param("auto_weights", 0.9 * regressions()[1])
    assert max(abs(loss + LOG_EVIDENCE) for loss in losses(chain, guide, seen)) > 1e-3


def test_draws_have_the_covariance(backend):
    drawn = set_chain().sample_posterior(1, None, ops.array(SEEN), sample_shape=(4000,))
    points = numpy.stack([ops.to_numpy(drawn[f"x_{step}"]) for step in range(STEPS)])
    points[1::2] = numpy.log(points[1::2])
    variances = numpy.diag(COVARIANCE)
    errors = numpy.sqrt((COVARIANCE**2 + numpy.outer(variances, variances)) / 4000)
    assert (abs(numpy.cov(points) - COVARIANCE) < 5 * errors).all()
    assert (abs(numpy.diag(variances) - COVARIANCE) > 5 * errors).any()


def tree(seen):
    """Three sites, which the guide takes in another order than the model."""
    low = ppl.sample("low", dist.Normal(0.0, 1.0))
    top = ppl.sample("top", dist.Normal(ops.array([0.5, -0.5]), 1.0).to_event(1))
    side = ppl.sample("side", dist.LogNormal(ops.sum(top, axis=-1), 1.0))
    ppl.sample("y", dist.Normal(low + top[..., 0] + ops.log(side), 1.0), obs=seen)


def tree_posterior(y):
    """Return mean and covariance of (low, top, log side) given y, and the log evidence, by conditioning their joint normal."""
    joint = numpy.zeros((4, 4))
    joint[:3, :3] = numpy.eye(3)
    joint[3, :3] = joint[:3, 3] = [0.0, 1.0, 1.0]
    joint[3, 3] = 3.0
    mean, loading = numpy.array([0.0, 0.5, -0.5, 0.0]), numpy.array([1.0, 1.0, 0.0, 1.0])
    variance = loading @ joint @ loading + 1.0
    gain = joint @ loading / variance
    evidence = stats.norm(loading @ mean, variance**0.5).logpdf(y)
    return mean + gain * (y - loading @ mean), joint - numpy.outer(gain, loading @ joint), evidence


def test_sites_of_several_numbers_depend_in_any_order(backend):
    mean, covariance, evidence = tree_posterior(1.3)
    # The guide's own order: top (two numbers), then side, then low.
    order = [1, 2, 3, 0]
    factor = numpy.linalg.cholesky(covariance[numpy.ix_(order, order)])
    weights = numpy.eye(4) - numpy.diag(numpy.diag(factor)) @ numpy.linalg.inv(factor)
    set_param("auto_loc", mean[order])
    set_param("auto_scale", numpy.diag(factor)[2:], constraints.positive)
    set_param("auto_top_scale_tril", factor[:2, :2], constraints.lower_cholesky)
    set_param("auto_weights", numpy.concatenate([weights[2, :2], weights[3, :2], weights[3, 2:3]]))
    dependencies = {"low": {"top": "linear", "side": "linear"}, "side": {"top": "linear"}}
    guide = AutoStructured(tree, conditionals={"top": "mvn"}, dependencies=dependencies)
    numpy.testing.assert_allclose(losses(tree, guide, ops.array(1.3)), -evidence, rtol=1e-9)
    normal = guide.unconstrained_normal()
    assert list(normal.shapes) == ["top", "side", "low"]
    numpy.testing.assert_allclose(normal.covariance, covariance[numpy.ix_(order, order)], atol=1e-12)
    at_once = Trace_ELBO(num_particles=3, vectorize_particles=True)
    numpy.testing.assert_allclose(at_once.loss(tree, guide, ops.array(1.3)), -evidence, rtol=1e-9)


def test_callables_may_stand_for_words(backend):
    """Noise and dependency written out are those of the words, so that the evidence is reached again."""
    scales, weights = regressions()

    def noise():
        return ppl.sample("noise", dist.Normal(ops.array([0.0]), scales[2]).to_event(1), infer={"is_auxiliary": True})

    set_chain()
    set_param("auto_scale", numpy.delete(scales, 2), constraints.positive)
    set_param("auto_weights", numpy.delete(weights, 1))
    dependencies = {**CHAIN, "x_2": {"x_1": lambda above: above * ppl.param("own", ops.array(weights[1]))}}
    guide = AutoStructured(chain, conditionals={"x_2": noise}, dependencies=dependencies)
    seen = ops.array(SEEN)
    numpy.testing.assert_allclose(losses(chain, guide, seen, count=2), -LOG_EVIDENCE, rtol=1e-9)
    at_once = Trace_ELBO(num_particles=3, vectorize_particles=True)
    numpy.testing.assert_allclose(at_once.loss(chain, guide, seen), -LOG_EVIDENCE, rtol=1e-9)
    assert tuple(guide.sample_posterior(0, None, seen, sample_shape=(2,))["x_2"].shape) == (2,)
    with pytest.raises(InferenceError, match=r"callable among its conditionals .* no known distribution.*sample_posterior"):
        guide.median()


def test_a_site_without_noise_follows_the_others(backend):
    set_chain()
    scales, weights = regressions()
    set_param("auto_scale", scales[:-1], constraints.positive)
    guide = AutoStructured(chain, conditionals={"x_3": "delta"}, dependencies=CHAIN)
    drawn = {
        name: ops.to_numpy(values) for name, values in guide.sample_posterior(0, None, ops.array(SEEN), sample_shape=3).items()
    }
    expected = POSTERIOR_MEAN[3] + weights[2] * (drawn["x_2"] - POSTERIOR_MEAN[2])
    numpy.testing.assert_allclose(numpy.log(drawn["x_3"]), expected, rtol=1e-9)
    sd = abs(weights[2]) * COVARIANCE[2, 2] ** 0.5
    expected = stats.lognorm(sd, scale=numpy.exp(POSTERIOR_MEAN[3])).ppf(0.9)
    assert abs(float(guide.quantiles([0.9])["x_3"][0]) - expected) < 1e-9
    assert guide.unconstrained_normal().covariance is None
    with pytest.raises(InferenceError, match="site 'x_3' of AutoStructured is a 'delta', so that the whole has no density"):
        guide.get_posterior()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conditionals": "gamma"}, r"'all sites' in AutoStructured is 'gamma'; expected one of \['delta', 'normal', 'mvn'\]"),
        ({"conditionals": {"low": 3}}, "conditional of 'low' in AutoStructured is 3"),
        ({"conditionals": ["normal"]}, "one word or a dict by site, received list"),
        ({"conditionals": {"lo": "mvn"}}, r"conditionals .* the site 'lo', .*expected some of \['low', 'side', 'top'\]"),
        ({"dependencies": "linear"}, "dependencies of AutoStructured are a dict by site, received 'linear'"),
        ({"dependencies": {"low": "top"}}, "dependencies of site 'low' in AutoStructured are a dict by site, received 'top'"),
        ({"dependencies": {"low": {"top": "quadratic"}}}, "'low' on 'top' in AutoStructured is 'quadratic'; expected 'linear'"),
        ({"dependencies": {"low": {"up": "linear"}}}, r"dependencies .* the site 'up', .* received \['low', 'up'\]"),
        ({"dependencies": {"low": {"low": "linear"}}}, "form a circle: 'low' -> 'low'"),
        ({"dependencies": {"low": {"top": "linear"}, "top": {"low": "linear"}}}, "form a circle"),
        (
            {"dependencies": {"top": {"low": lambda above: above}}},
            r"'top' on 'low' .* returned shape \(1,\); expected \(\.\.\., 2\)",
        ),
        ({"conditionals": {"top": lambda: ops.zeros(3)}}, r"conditional of site 'top' .* shape \(3,\); expected \(\.\.\., 2\)"),
        ({"init_scale": 0.0}, "init_scale must be positive"),
    ],
)
def test_bad_input(backend, arguments, message):
    with pytest.raises(InferenceError, match=message):
        AutoStructured(tree, **arguments)(ops.array(1.0))


@pytest.mark.nightly
def test_a_fit_reaches_the_evidence_where_mean_field_cannot(backend):
    """The bound at the end, from 2000 draws: exact but for the fit's own noise, and below by the known gap for mean field."""
    seen, bounds = ops.array(SEEN), {}
    for name, guide in {
        "chain": AutoStructured(chain, dependencies=CHAIN, init_scale=0.5),
        "apart": AutoNormal(chain, prefix="apart", init_scale=0.5),
    }.items():
        adam = optim.ClippedAdam({"lr": 0.05, "lrd": 1e-3 ** (1.0 / 700)})
        SVI(chain, guide, adam, Trace_ELBO(num_particles=8, vectorize_particles=True)).run(700, SEEN, progress_bar=False)
        draws = numpy.array(Trace_ELBO(num_particles=2000, vectorize_particles=True).loss(chain, guide, seen))
        bounds[name] = -float(draws)
    assert abs(bounds["chain"] - LOG_EVIDENCE) < 0.01
    assert MEAN_FIELD_GAP > 0.2
    assert abs(bounds["apart"] - (LOG_EVIDENCE - MEAN_FIELD_GAP)) < 5 * (STEPS / 2000) ** 0.5


@pytest.mark.nightly
def test_chains_start_from_the_guide(backend):
    guide = set_chain()
    guide(ops.array(SEEN))
    kernel = infer.NUTS(chain, init=guide, step_size=0.7, adapt_step_size=False, adapt_mass_matrix=False)
    mcmc = infer.MCMC(kernel, num_samples=400, warmup_steps=0, num_chains=4, progress_bar=False, seed=3)
    mcmc.run(SEEN)
    draws = ops.to_numpy(ops.array(mcmc.get_samples()["x_2"]))
    sd = COVARIANCE[2, 2] ** 0.5
    assert abs(draws.mean() - POSTERIOR_MEAN[2]) < 5 * sd / 400**0.5
    assert abs(draws.mean() - POSTERIOR_MEAN[2] - sd) > 5 * sd / 400**0.5
