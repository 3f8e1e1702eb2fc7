"""Automatic guides against conjugate posteriors, maxima and transformed densities."""

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, optim
from ppl.contrib import autoguide as documented
from ppl.distributions import constraints
from ppl.errors import InferenceError
from ppl.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoNormal
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.initialization import init_to_feasible, init_to_value
from ppl.infer.svi import SVI

QUIET = {"progress_bar": False}
DATA = numpy.array([1.2, 0.7, 2.1, 1.5, 0.4, 1.8])


def normal_model(data=None):
    mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", 6):
        ppl.sample("x", dist.Normal(mean, 1.0), obs=data)


def beta_model(data=None):
    probs = ppl.sample("probs", dist.Beta(3.0, 2.0))
    with ppl.plate("rows", 5):
        ppl.sample("x", dist.Bernoulli(probs), obs=data)


def many_sites(data=None):
    level = ppl.sample("level", dist.Normal(0.0, 1.0))
    scale = ppl.sample("scale", dist.Gamma(3.0, 2.0))
    ppl.sample("weights", dist.Dirichlet(ops.ones(3)))
    with ppl.plate("groups", 2, dim=-2):
        offset = ppl.sample("offset", dist.Normal(level, scale))
        with ppl.plate("rows", 4, dim=-1):
            return ppl.sample("x", dist.Normal(offset, 1.0), obs=data)


def test_diagonal_normal_finds_a_normal_posterior(backend):
    guide = AutoDiagonalNormal(normal_model, init_loc_fn=init_to_feasible)
    svi = SVI(normal_model, guide, optim.Adam(lr=0.02), Trace_ELBO(num_particles=10, vectorize_particles=True))
    result = svi.run(400, DATA, **QUIET)
    precision = 0.25 + len(DATA)
    mean, sd = DATA.sum() / precision, precision**-0.5
    assert set(result.params) == {"auto_loc", "auto_scale"}
    assert abs(guide.median(DATA)["mean"].item() - mean) < 0.1 * sd
    assert abs(result.params["auto_scale"][0].item() / sd - 1) < 0.1
    lower, middle, upper = guide.quantiles([0.05, 0.5, 0.95])["mean"]
    assert middle.item() == guide.median(result.params)["mean"].item()
    width = 2 * stats.norm.ppf(0.95) * result.params["auto_scale"][0].item()
    assert abs(upper.item() - lower.item() - width) < 1e-10
    draws = ops.to_numpy(guide.sample_posterior(0, result.params, sample_shape=(4000,))["mean"])
    assert abs(draws.mean() - guide.median()["mean"].item()) < 5 * draws.std() / 4000**0.5
    assert abs(draws.std() / result.params["auto_scale"][0].item() - 1) < 5 / 8000**0.5


def test_delta_finds_the_maximum(backend):
    data = numpy.array([1.0, 1.0, 0.0, 1.0, 1.0])
    guide = AutoDelta(beta_model, init_loc_fn=init_to_value(values={"probs": 0.5}))
    SVI(beta_model, guide, optim.Adam(lr=0.05), Trace_ELBO()).run(300, data, **QUIET)
    mode = (3 + 4 - 1) / (3 + 4 + 2 + 1 - 2)
    assert abs(guide.median(data)["probs"].item() - mode) < 1e-3
    assert abs(0.5 - mode) > 1e-3


@pytest.mark.parametrize(("cls", "at_once"), [(AutoDelta, False), (AutoDelta, True), (AutoDiagonalNormal, True)])
def test_shapes_in_plates_and_particles(backend, cls, at_once):
    guide = cls(many_sites)
    data = numpy.zeros((2, 4))
    svi = SVI(many_sites, guide, optim.Adam(lr=0.05), Trace_ELBO(num_particles=3, vectorize_particles=at_once))
    svi.run(3, data, **QUIET)
    shapes = {"level": (), "scale": (), "weights": (3,), "offset": (2, 1)}
    assert {name: tuple(value.shape) for name, value in guide(data).items()} == shapes
    assert {name: tuple(value.shape) for name, value in guide.median(data).items()} == shapes
    drawn = guide.sample_posterior(sample_shape=(5, 2))
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {name: (5, 2, *shape) for name, shape in shapes.items()}


def test_densities_include_the_jacobian(backend):
    guide = AutoDiagonalNormal(many_sites)
    trace = handlers.trace(guide).get_trace(numpy.zeros((2, 4)))
    total = float(ops.to_numpy(trace.log_prob_sum()))
    vector = ops.to_numpy(trace.nodes["_auto_latent"]["value"])
    loc = ops.to_numpy(ppl.get_param_store()["auto_loc"])
    where = guide.latents.site_slices
    u = vector[where["scale"]]
    # scale = exp(u); the simplex by stick breaking: log det = sum_i log s_i + log(1 - s_i) + log remaining_i.
    logits = vector[where["weights"]] - numpy.log([2.0, 1.0])
    sticks = 1 / (1 + numpy.exp(-logits))
    remaining = numpy.array([1.0, 1.0 - sticks[0]])
    log_det = u.sum() + (numpy.log(sticks) + numpy.log1p(-sticks) + numpy.log(remaining)).sum()
    normal = stats.norm.logpdf(vector, loc, 1.0).sum()
    assert abs(total - (normal - log_det)) < 1e-10
    assert abs(total - normal) > 1e-3


def test_delta_covers_the_whole_of_a_subsampled_plate(backend):
    data = numpy.arange(6.0)

    def model(data):
        with ppl.plate("rows", 6, subsample_size=2) as index:
            local = ppl.sample("local", dist.Normal(0.0, 1.0))
            ppl.sample("x", dist.Normal(local, 1.0), obs=ops.take(data, index, axis=0))

    guide = AutoDelta(model)
    SVI(model, guide, optim.Adam(lr=0.05), Trace_ELBO()).run(600, data, **QUIET)
    numpy.testing.assert_allclose(ops.to_numpy(guide.median(data)["local"]), data / 2, atol=0.1)
    assert tuple(guide(ops.array(data))["local"].shape) == (2,)
    with pytest.raises(InferenceError, match="subsampled plate 'rows', of which each call sees 2 of 6"):
        AutoDiagonalNormal(model)(ops.array(data))


def test_params_set_beforehand_are_used(backend):
    ppl.param("own_scale", ops.array([0.25]), constraint=constraints.positive)
    ppl.param("auto_probs", ops.array(0.3), constraint=constraints.unit_interval)
    assert abs(AutoDiagonalNormal(normal_model, prefix="own").get_posterior(ops.array(DATA)).stddev[0].item() - 0.25) < 1e-12
    assert abs(AutoDelta(beta_model).median(ops.array(numpy.ones(5)))["probs"].item() - 0.3) < 1e-12


def test_init_scale(backend):
    guide = AutoDiagonalNormal(normal_model, init_scale=0.1)
    assert abs(guide.get_posterior(ops.array(DATA)).stddev[0].item() - 0.1) < 1e-12
    with pytest.raises(InferenceError, match="init_scale must be positive"):
        AutoDiagonalNormal(normal_model, init_scale=0.0)


def test_bad_models(backend):
    def discrete():
        ppl.sample("kind", dist.Bernoulli(0.5))

    with pytest.raises(InferenceError, match="latent site 'kind' is discrete"):
        AutoDiagonalNormal(discrete)()
    with pytest.raises(InferenceError, match="latent site 'kind' is discrete"):
        AutoDelta(discrete)()
    with pytest.raises(InferenceError, match="no latent site for a guide"):
        AutoDelta(lambda: ppl.sample("x", dist.Normal(0.0, 1.0), obs=ops.array(1.0)))()
    with pytest.raises(InferenceError, match="a callable; received int"):
        AutoDelta(3)


def test_documented_path(backend):
    assert documented.AutoDiagonalNormal is AutoDiagonalNormal
    assert documented.initialization.init_to_feasible is init_to_feasible


@pytest.mark.backends("jax")
def test_first_run_inside_compiled_code(backend):
    guide = AutoNormal(normal_model)
    bound = Trace_ELBO(num_particles=2, vectorize_particles=True)
    with pytest.raises(InferenceError, match="AutoNormal meets its model for the first time inside compiled code"):
        bound.loss(normal_model, guide, ops.array(DATA))
    SVI(normal_model, guide, optim.Adam(lr=0.1), bound).run(2, DATA, **QUIET)
    assert numpy.isfinite(bound.loss(normal_model, guide, ops.array(DATA)))
