"""Where guides start, and chains that start from a guide."""

import pickle

import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.autoguide import initialization as init
from ppl.distributions import constraints
from ppl.errors import InferenceError
from ppl.infer.mcmc.warm_start import WarmStart
from ppl.infer.potential import ModelArguments, Potential

MEAN = numpy.array([0.4, -1.1, 0.7])
FACTOR = numpy.array([[0.5, 0.0, 0.0], [0.9, 0.4, 0.0], [-0.3, 0.2, 1.2]])
COVARIANCE = FACTOR @ FACTOR.T


def guided(order=("scale", "place")):
    """A model whose sites come in another order than the guide's; its posterior is close to the guide's normal distribution."""
    for name in order:
        if name == "scale":
            ppl.sample("scale", dist.LogNormal(0.4, 0.5))
        else:
            ppl.sample("place", dist.Normal(ops.array([-1.1, 0.7]), ops.array([1.0, 1.3])).to_event(1))


def turned():
    guided(("place", "scale"))


def set_guide():
    """Return a guide with the normal distribution above over the log of ``scale`` and ``place``."""
    ppl.param("auto_loc", ops.array(MEAN))
    ppl.param("auto_scale_tril", ops.array(FACTOR), constraint=constraints.lower_cholesky)
    guide = infer.AutoMultivariateNormal(guided)
    guide()
    return guide


TURNED = [1, 2, 0]


def test_draws_of_a_guide_are_in_the_order_of_the_model(backend):
    start = WarmStart(set_guide(), "NUTS")
    potential = Potential(turned, ModelArguments((), {}))
    draws = start.propose(potential, 4000, numpy.random.default_rng(0))
    expected = COVARIANCE[TURNED][:, TURNED]
    variances = numpy.diag(expected)
    errors = numpy.sqrt((expected**2 + numpy.outer(variances, variances)) / 4000)
    assert (abs(draws.mean(axis=0) - MEAN[TURNED]) < 5 * numpy.sqrt(variances / 4000)).all()
    assert (abs(numpy.cov(draws.T) - expected) < 5 * errors).all()
    assert not (abs(numpy.cov(draws.T) - COVARIANCE) < 5 * errors).all()
    numpy.testing.assert_allclose(start.inverse_mass(potential, matrix=True), expected, rtol=1e-10)
    numpy.testing.assert_allclose(start.inverse_mass(potential, matrix=False), variances, rtol=1e-10)


@pytest.mark.parametrize("home", [None, "numpy"], ids=["same backend", "guide of numpy"])
def test_chains_begin_with_the_guide(backend, home):
    """The guide lives on the backend under test or on numpy; the chains run on the backend."""
    with ppl.pyro_backend(home or backend):
        ops.set_default_dtype("float64")
        guide = set_guide()
    kernel = infer.NUTS(turned, init=guide, full_mass=True, adapt_mass_matrix=False, step_size=0.1)
    kernel.setup(0)
    numpy.testing.assert_allclose(ops.to_numpy(kernel.inverse_mass_matrix), COVARIANCE[TURNED][:, TURNED], rtol=1e-8)
    start = kernel.initial_params
    point = numpy.concatenate([ops.to_numpy(start["place"]), ops.to_numpy(start["scale"])[None]])
    assert stats.chi2(3).sf(_distance(point)) > 1e-4
    assert {name: tuple(value.shape) for name, value in start.items()} == {"place": (2,), "scale": ()}


def _distance(point):
    offset = point - MEAN[TURNED]
    return offset @ numpy.linalg.solve(COVARIANCE[TURNED][:, TURNED], offset)


def test_metric_of_other_forms_takes_what_it_can(backend):
    guide = set_guide()
    for full_mass, expected in (
        (False, numpy.diag(COVARIANCE)),
        (None, COVARIANCE),
        ([("place",)], COVARIANCE * numpy.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]])),
    ):
        bound = infer.NUTS(guided, init=guide, full_mass=full_mass).bind(Potential(guided, ModelArguments((), {})))
        mass = bound.metric.from_inverse(ops.array(bound.initial_inverse_mass))
        numpy.testing.assert_allclose(ops.to_numpy(bound.metric.inverse_mass(mass)), expected, rtol=1e-8)
    given = infer.NUTS(guided, init=guide, initial_inverse_mass=numpy.ones(3))
    assert given.bind(Potential(guided, ModelArguments((), {}))).initial_inverse_mass.tolist() == [1.0, 1.0, 1.0]


def test_a_point_gives_points_alone(backend):
    guide = infer.AutoDelta(guided, init_loc_fn=init.init_to_value(values={"scale": 2.0, "place": numpy.array([1.0, 3.0])}))
    guide()
    start, potential = WarmStart(guide, "NUTS"), Potential(turned, ModelArguments((), {}))
    points = start.propose(potential, 2, numpy.random.default_rng(0))
    numpy.testing.assert_allclose(points, [[1.0, 3.0, numpy.log(2.0)]] * 2)
    assert start.inverse_mass(potential, matrix=True) is None


def test_guide_of_minibatches_starts_chains_of_the_whole(backend):
    def rows(size):
        with ppl.plate("rows", 6, subsample_size=size):
            ppl.sample("x", dist.LogNormal(0.0, 1.0))

    ppl.param("auto_x_loc", ops.array(numpy.arange(6.0)))
    ppl.param("auto_x_scale", ops.array(numpy.arange(1.0, 7.0)), constraint=constraints.positive)
    guide = infer.AutoNormal(rows)
    guide(2)
    start = pickle.loads(pickle.dumps(infer.NUTS(rows, init=guide).init_strategy))
    potential = Potential(rows, ModelArguments((6,), {}))
    numpy.testing.assert_allclose(start.inverse_mass(potential, matrix=True), numpy.arange(1.0, 7.0) ** 2)
    draws = start.propose(potential, 4000, numpy.random.default_rng(0))
    assert (abs(draws.mean(axis=0) - numpy.arange(6.0)) < 5 * numpy.arange(1.0, 7.0) / 4000**0.5).all()


def test_guides_that_cannot_start_chains(backend):
    def other():
        ppl.sample("scale", dist.LogNormal(0.4, 0.5))
        ppl.sample("extra", dist.Normal(0.0, 1.0))

    def narrow():
        ppl.sample("scale", dist.LogNormal(0.4, 0.5))
        ppl.sample("place", dist.Normal(0.0, 1.0))

    guide = set_guide()
    listed = r"sites of the model: \['extra', 'scale'\]; of the guide: \['place', 'scale'\]"
    with pytest.raises(InferenceError, match=f"AutoMultivariateNormal lacks the site 'extra' of the model; .*{listed}"):
        infer.NUTS(other, init=guide).setup(0)
    with pytest.raises(InferenceError, match="the model lacks the site 'place' of AutoMultivariateNormal"):
        infer.HMC(handlers.condition(guided, data={"place": ops.zeros(2)}), init=guide).setup(0)
    with pytest.raises(InferenceError, match=r"'place' has unconstrained shape \(\) in the model and \(2,\)"):
        infer.NUTS(narrow, init=guide).setup(0)
    with pytest.raises(InferenceError, match="takes a fitted automatic guide as init="):
        infer.NUTS(guided, init=init.init_to_mean)
    with pytest.raises(InferenceError, match="with a model and in place of init_strategy"):
        infer.NUTS(guided, init=guide, init_strategy=init.init_to_mean)
    with pytest.raises(InferenceError, match="AutoNormal is not fitted: it has not run yet"):
        infer.NUTS(guided, init=infer.AutoNormal(guided))
    ppl.get_param_store().set_unconstrained("auto_loc", ops.array([0.0, float("nan"), 0.0]))
    with pytest.raises(InferenceError, match="its param 'auto_loc' is not finite"):
        infer.NUTS(guided, init=guide)
    del ppl.get_param_store()["auto_loc"]
    with pytest.raises(InferenceError, match="its param 'auto_loc' is not in the param store"):
        infer.NUTS(guided, init=guide)


SITES = {
    "gamma": lambda: dist.Gamma(3.0, 2.0),
    "cauchy": lambda: dist.HalfCauchy(2.0),
    "simplex": lambda: dist.Dirichlet(ops.array([2.0, 3.0, 5.0])),
    "interval": lambda: dist.Uniform(1.0, 3.0),
    "correlation": lambda: dist.LKJCholesky(3, 2.0),
    "rows": lambda: dist.Normal(ops.array([[1.0, 2.0]]), 0.1).to_event(1),
}
STRATEGIES = (init.init_to_feasible, init.init_to_mean, init.init_to_median, init.init_to_sample, init.init_to_uniform)


@pytest.mark.parametrize("name", SITES)
def test_strategies_stay_in_the_support(backend, name):
    fn = SITES[name]()
    for strategy in STRATEGIES:
        value = strategy({"name": name, "fn": fn})
        assert tuple(ops.shape(value)) == tuple(fn.shape())
        assert bool(ops.all(fn.support.check(value)))


def test_strategies_by_their_formulas(backend):
    def at(strategy, fn):
        return ops.to_numpy(strategy({"name": "x", "fn": fn}))

    assert abs(at(init.init_to_mean, dist.Gamma(3.0, 2.0)) - 1.5) < 1e-12
    numpy.testing.assert_allclose(at(init.init_to_mean, SITES["simplex"]()), [0.2, 0.3, 0.5])
    assert at(init.init_to_feasible, dist.Uniform(1.0, 3.0)) == 2.0
    # The median of 15 draws is the eighth of them: its rank under the prior is a Beta(8, 8) variable.
    middle = at(init.init_to_median, dist.Gamma(ops.full((500,), 3.0), 2.0))
    assert stats.kstest(stats.gamma(3.0, scale=0.5).cdf(middle), stats.beta(8, 8).cdf).pvalue > 2e-5
    drawn = at(init.init_to_sample, dist.Gamma(ops.full((500,), 3.0), 2.0))
    assert stats.kstest(drawn, stats.gamma(3.0, scale=0.5).cdf).pvalue > 2e-5
    assert stats.kstest(middle, stats.gamma(3.0, scale=0.5).cdf).pvalue < 2e-5
    uniform = at(init.init_to_uniform(radius=0.5), dist.Uniform(ops.full((500,), 1.0), 3.0))
    assert stats.kstest(special.logit((uniform - 1.0) / 2.0), stats.uniform(-0.5, 1.0).cdf).pvalue > 2e-5
    given = init.init_to_value(values={"x": 2.5}, fallback=init.init_to_mean)
    assert at(given, dist.Gamma(3.0, 2.0)) == 2.5
    assert abs(ops.to_numpy(given({"name": "y", "fn": dist.Gamma(3.0, 2.0)})) - 1.5) < 1e-12


class Improper(dist.Normal):
    """A density that cannot be drawn from."""

    def sample(self, sample_shape=(), rng_key=None):
        raise NotImplementedError("no sampler")

    mean = property(lambda self: ops.full_like(self.loc, float("inf")))


def test_strategies_fall_back(backend):
    site = {"name": "x", "fn": Improper(ops.array([3.0, 4.0]), 1.0)}
    assert ops.to_numpy(init.init_to_median(site)).tolist() == [0.0, 0.0]
    assert ops.to_numpy(init.init_to_mean(site)).tolist() == [0.0, 0.0]


def test_messenger_sets_continuous_latent_sites(backend):
    def model():
        scale = ppl.sample("scale", dist.HalfNormal(5.0))
        kind = ppl.sample("kind", dist.Bernoulli(0.5))
        seen = ppl.sample("seen", dist.Normal(0.0, scale), obs=ops.array(7.0))
        return scale, kind, seen

    with init.InitMessenger(init.init_to_feasible):
        scale, kind, seen = model()
    assert (float(scale), float(seen)) == (1.0, 7.0)
    assert float(kind) in (0.0, 1.0)
    wrapped = init.InitMessenger(lambda site: None)(model)
    assert len({float(wrapped()[0]) for _ in range(3)}) == 3
    with pytest.raises(InferenceError, match="a function of a site, received int"):
        init.InitMessenger(3)
