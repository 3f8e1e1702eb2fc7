"""Reparametrised sites: the same distribution by other coordinates. Densities and moments come from scipy."""

import math

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, poutine
from ppl.errors import HandlerError, InferenceError, PplWarning
from ppl.infer import diagnostics
from ppl.infer.reparam import DiscreteCosineReparam, HaarReparam, LocScaleReparam, Reparam, TransformReparam

pytestmark = pytest.mark.strict

EFFECT = numpy.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
STANDARD_ERROR = numpy.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
# The reference posterior of posteriordb: name -> mean.
REFERENCE = {"mu": 4.41, "tau": 3.60}


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def traced(model, **values):
    data = {name: ops.array(value) for name, value in values.items()}
    trace = handlers.trace(handlers.substitute(model, data=data) if data else model).get_trace()
    trace.compute_log_prob()
    return trace


def one_site(fn):
    """A model of the single site ``x``; the distribution is made as it runs, on the backend of the test."""

    def model():
        return ppl.sample("x", fn())

    return model


LOC, SCALE = 1.5, 0.7
LOC_SCALE = {
    "normal": (lambda: dist.Normal(LOC, SCALE), stats.norm(LOC, SCALE)),
    "student_t": (lambda: dist.StudentT(3.5, LOC, SCALE), stats.t(3.5, LOC, SCALE)),
    "cauchy": (lambda: dist.Cauchy(LOC, SCALE), stats.cauchy(LOC, SCALE)),
    "laplace": (lambda: dist.Laplace(LOC, SCALE), stats.laplace(LOC, SCALE)),
    "gumbel": (lambda: dist.Gumbel(LOC, SCALE), stats.gumbel_r(LOC, SCALE)),
    "soft_laplace": (lambda: dist.SoftLaplace(LOC, SCALE), stats.hypsecant(LOC, SCALE)),
    "asymmetric_laplace": (
        lambda: dist.AsymmetricLaplace(LOC, SCALE, 1.8), stats.laplace_asymmetric(1.8, LOC, SCALE),
    ),
}  # fmt: skip


@pytest.mark.parametrize("centered", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("family", LOC_SCALE)
def test_loc_scale_density(backend, family, centered):
    """The density of the noise less the logarithm of the stretch is that of the site, at the point that the noise maps to."""
    fn, oracle = LOC_SCALE[family]
    reparametrised = handlers.reparam(one_site(fn), config={"x": LocScaleReparam(centered)})
    for noise in (-1.3, 0.2, 2.4):
        if centered == 1.0:
            trace = traced(reparametrised, x=noise)
            assert trace.stochastic_nodes == ["x"]
            assert number(trace.log_prob_sum()) == pytest.approx(oracle.logpdf(noise), rel=1e-8)
            continue
        trace = traced(reparametrised, x_decentered=noise)
        x = LOC + SCALE ** (1.0 - centered) * (noise - centered * LOC)
        assert trace.stochastic_nodes == ["x_decentered"]
        assert number(trace.nodes["x"]["value"]) == pytest.approx(x, rel=1e-12)
        joint = number(trace.log_prob_sum()) - (1.0 - centered) * math.log(SCALE)
        assert joint == pytest.approx(oracle.logpdf(x), rel=1e-8)
        assert number(trace.nodes["x"]["log_prob_sum"]) == 0.0


TRANSFORMED = {
    "transformed": (
        lambda: dist.TransformedDistribution(
            dist.Normal(0.4, 1.2), [dist.transforms.AffineTransform(1.0, 0.5), dist.transforms.ExpTransform()]
        ),
        0.3,
        lambda y: math.exp(1.0 + 0.5 * y),
        stats.lognorm(0.6, scale=math.exp(1.2)),
    ),
    "log_normal": (lambda: dist.LogNormal(0.4, 1.2), -0.7, math.exp, stats.lognorm(1.2, scale=math.exp(0.4))),
    "log_uniform": (lambda: dist.LogUniform(2.0, 9.0), 1.1, math.exp, stats.loguniform(2.0, 9.0)),
    "inverse_gamma": (lambda: dist.InverseGamma(3.0, 2.0), 1.7, lambda y: 1.0 / y, stats.invgamma(3.0, scale=2.0)),
    "pareto": (lambda: dist.Pareto(2.0, 3.0), 0.4, lambda y: 2.0 * math.exp(y), stats.pareto(3.0, scale=2.0)),
    "weibull": (lambda: dist.Weibull(2.0, 1.7), 0.8, lambda y: 2.0 * y ** (1 / 1.7), stats.weibull_min(1.7, scale=2.0)),
}


@pytest.mark.parametrize("family", TRANSFORMED)
def test_transform_density(backend, family):
    """The slope of the map, taken by differences, is the Jacobian between the two densities."""
    fn, base, image, oracle = TRANSFORMED[family]
    trace = traced(handlers.reparam(one_site(fn), config={"x": TransformReparam()}), x_base=base)
    x = image(base)
    slope = (image(base + 1e-6) - image(base - 1e-6)) / 2e-6
    assert trace.stochastic_nodes == ["x_base"]
    assert number(trace.nodes["x"]["value"]) == pytest.approx(x, rel=1e-10)
    assert number(trace.log_prob_sum()) - math.log(abs(slope)) == pytest.approx(oracle.logpdf(x), rel=1e-7)


def test_transform_density_over_the_simplex(backend):
    loc, scale, base = numpy.array([0.2, -0.4]), numpy.array([0.8, 1.1]), numpy.array([0.5, -0.3])

    def fn():
        return dist.LogisticNormal(ops.array(loc), ops.array(scale))

    trace = traced(handlers.reparam(one_site(fn), config={"x": TransformReparam()}), x_base=base)
    x = host(trace.nodes["x"]["value"])
    assert x.sum() == pytest.approx(1.0, rel=1e-12)
    assert number(trace.log_prob_sum()) == pytest.approx(stats.norm(loc, scale).logpdf(base).sum(), rel=1e-10)
    # Two coordinates of the simplex as functions of the base.
    transform = dist.transforms.StickBreakingTransform()
    jacobian = host(ops.autodiff.jacobian(lambda y: transform(y)[:2])(ops.array(base)))
    joint = number(trace.log_prob_sum()) - math.log(abs(numpy.linalg.det(jacobian)))
    assert joint == pytest.approx(number(fn().log_prob(ops.array(x))), rel=1e-8)


@pytest.mark.parametrize(
    ("strategy", "suffix"),
    [
        (DiscreteCosineReparam(), "dct"),
        (DiscreteCosineReparam(smooth=1.0), "dct"),
        (HaarReparam(), "haar"),
        (HaarReparam(flip=True), "haar"),
    ],
)
def test_rotation_keeps_the_density(backend, strategy, suffix, rng):
    """The maps have determinant one, so the density of the image is that of the point."""
    loc, image = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))

    def model():
        with ppl.plate("rows", 2):
            return ppl.sample("x", dist.Normal(ops.array(loc), 0.6).to_event(1))

    trace = traced(handlers.reparam(model, config={"x": strategy}), **{f"x_{suffix}": image})
    x = host(trace.nodes["x"]["value"])
    assert trace.stochastic_nodes == [f"x_{suffix}"]
    assert not numpy.allclose(x, image)
    numpy.testing.assert_allclose(host(strategy.transform(ops.array(x))), image, rtol=1e-10, atol=1e-12)
    numpy.testing.assert_allclose(
        host(trace.nodes[f"x_{suffix}"]["log_prob"]), stats.norm(loc, 0.6).logpdf(x).sum(axis=-1), rtol=1e-9
    )


# -- moments --


def test_draws_have_the_distribution_of_the_site(backend):
    """Means and squares against the closed form, five standard errors; another scale must fail."""
    count = 20_000

    def model():
        with ppl.plate("draws", count):
            ppl.sample("a", dist.Normal(LOC, SCALE))
            ppl.sample("b", dist.LogNormal(0.3, 0.4))

    config = {"a": LocScaleReparam(0.4), "b": TransformReparam(), "b_base": LocScaleReparam(0.0)}
    trace = handlers.trace(handlers.reparam(model, config=config)).get_trace()
    assert trace.stochastic_nodes == ["a_decentered", "b_base_decentered"]

    def agrees(draws, mean, second):
        ratios = [(power.mean() - e) / (power.std() / math.sqrt(count)) for power, e in ((draws, mean), (draws**2, second))]
        return max(map(abs, ratios)) < 5

    a, b = host(trace.nodes["a"]["value"]), host(trace.nodes["b"]["value"])
    assert a.shape == b.shape == (count,)
    assert agrees(a, LOC, LOC**2 + SCALE**2)
    assert agrees(b, stats.lognorm(0.4, scale=math.exp(0.3)).moment(1), stats.lognorm(0.4, scale=math.exp(0.3)).moment(2))
    assert not agrees(a, LOC, LOC**2 + (1.2 * SCALE) ** 2)


# -- plates, nesting, use --


def schools(y=None):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", 8):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, ops.array(STANDARD_ERROR)), obs=ops.array(EFFECT))


def test_inside_a_plate(backend, rng):
    noise, mu, tau = rng.normal(size=8), 3.2, 1.7
    trace = traced(handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)}), mu=mu, tau=tau, theta_decentered=noise)
    assert trace.stochastic_nodes == ["mu", "tau", "theta_decentered"]
    assert tuple(trace.nodes["theta_decentered"]["log_prob"].shape) == (8,)
    assert [frame.name for frame in trace.nodes["theta_decentered"]["cond_indep_stack"]] == ["schools"]
    theta = mu + tau * noise
    numpy.testing.assert_allclose(host(trace.nodes["theta"]["value"]), theta, rtol=1e-12)
    prior = stats.norm(0, 5).logpdf(mu) + stats.halfcauchy(0, 5).logpdf(tau)
    likelihood = stats.norm(theta, STANDARD_ERROR).logpdf(EFFECT).sum()
    assert number(trace.log_prob_sum()) == pytest.approx(prior + stats.norm.logpdf(noise).sum() + likelihood, rel=1e-10)
    original = traced(schools, mu=mu, tau=tau, theta=theta)
    assert number(trace.log_prob_sum()) == pytest.approx(number(original.log_prob_sum()) + 8 * math.log(tau), rel=1e-10)


def test_plate_around_the_handler_and_events(backend):
    def model():
        ppl.sample("x", dist.Normal(ops.array([0.0, 1.0]), 2.0).to_event(1))

    with handlers.trace() as recorder, ppl.plate("outer", 3):
        handlers.reparam(model, config={"x": LocScaleReparam(0.0)})()
    trace = recorder.get_trace()
    trace.compute_log_prob()
    assert tuple(trace.nodes["x_decentered"]["log_prob"].shape) == (3,)
    assert tuple(trace.nodes["x"]["value"].shape) == (3, 2)
    assert tuple(trace.nodes["x"]["fn"].event_shape) == (2,)
    noise = host(trace.nodes["x_decentered"]["value"])
    numpy.testing.assert_allclose(host(trace.nodes["x"]["value"]), [0.0, 1.0] + 2.0 * noise, rtol=1e-12)


def test_masks_and_scales_reach_the_noise(backend):
    keep = numpy.array([True, False, True])

    def masked():
        ppl.sample("x", dist.Normal(ops.zeros((3,)), 2.0).mask(ops.array(keep)))

    trace = traced(handlers.reparam(masked, config={"x": LocScaleReparam(0.0)}), x_decentered=[0.1, 5.0, -0.4])
    expected = stats.norm.logpdf([0.1, 5.0, -0.4]) * keep
    numpy.testing.assert_allclose(host(trace.nodes["x_decentered"]["log_prob"]), expected, rtol=1e-10)
    for scaled in (
        handlers.scale(handlers.reparam(masked, config={"x": LocScaleReparam(0.0)}), scale=3.0),
        handlers.reparam(handlers.scale(masked, scale=3.0), config={"x": LocScaleReparam(0.0)}),
    ):
        trace = traced(scaled, x_decentered=[0.1, 5.0, -0.4])
        assert number(trace.log_prob_sum()) == pytest.approx(3.0 * expected.sum(), rel=1e-10)


def test_nested_in_one_dict_and_in_two_handlers(backend):
    def model():
        ppl.sample("x", dist.LogNormal(LOC, SCALE))

    inside = handlers.reparam(model, config={"x": TransformReparam(), "x_base": LocScaleReparam(0.0)})
    outside = handlers.reparam(handlers.reparam(model, config={"x": TransformReparam()}), config={"x_base": LocScaleReparam(0.0)})
    for each in (inside, outside):
        trace = traced(each, x_base_decentered=0.6)
        assert trace.stochastic_nodes == ["x_base_decentered"]
        assert number(trace.nodes["x"]["value"]) == pytest.approx(math.exp(LOC + SCALE * 0.6), rel=1e-12)
        assert number(trace.log_prob_sum()) == pytest.approx(stats.norm.logpdf(0.6), rel=1e-10)


def test_config_may_be_a_function(backend):
    """It is asked about the sites of the model, not about those that its own strategies draw."""
    asked = []

    def config(site):
        asked.append(site["name"])
        return None if site["is_observed"] or site["name"] == "tau" else LocScaleReparam(0.0)

    trace = handlers.trace(handlers.reparam(schools, config=config)).get_trace()
    assert trace.stochastic_nodes == ["mu_decentered", "tau", "theta_decentered"]
    assert asked == ["mu", "tau", "theta", "y"]


def test_learnt_centering(backend):
    def model():
        ppl.sample("x", dist.Normal(ops.array([1.0, 2.0]), 4.0).to_event(1))

    def value(centered):
        ppl.clear_param_store()
        ppl.param("x_centered", ops.array(centered), constraint=ppl.constraints.unit_interval)
        return traced(handlers.reparam(model, config={"x": LocScaleReparam()}), x_decentered=[0.5, -0.5])

    trace = traced(handlers.reparam(model, config={"x": LocScaleReparam()}), x_decentered=[0.5, -0.5])
    numpy.testing.assert_allclose(host(trace.nodes["x_centered"]["value"]), [0.5, 0.5], rtol=1e-12)
    numpy.testing.assert_allclose(host(trace.nodes["x"]["value"]), [1 + 2 * (0.5 - 0.5), 2 + 2 * (-0.5 - 1.0)], atol=1e-12)
    trace = value([0.25, 0.75])
    expected = [1 + 4**0.75 * (0.5 - 0.25), 2 + 4**0.25 * (-0.5 - 1.5)]
    numpy.testing.assert_allclose(host(trace.nodes["x"]["value"]), expected, rtol=1e-10)

    def density(centered):
        config = {"x": LocScaleReparam(centered)}
        return handlers.trace(
            handlers.substitute(handlers.reparam(model, config=config), data={"x_decentered": ops.array([0.5, -0.5])})
        ).get_trace().log_prob_sum()  # fmt: skip

    gradient = number(ops.autodiff.grad(density)(ops.array(0.4)))
    step = (number(density(ops.array(0.4 + 1e-6))) - number(density(ops.array(0.4 - 1e-6)))) / 2e-6
    assert gradient == pytest.approx(step, rel=1e-6)


def test_a_value_given_to_the_latent_site_further_in(backend):
    """The noise is then the one that maps to it."""
    for fn, strategy, base, expected in (
        (lambda: dist.Normal(1.0, 2.0), LocScaleReparam(0.5), "x_decentered", 0.5 + (3.0 - 1.0) / math.sqrt(2.0)),
        (lambda: dist.LogNormal(1.0, 2.0), TransformReparam(), "x_base", math.log(3.0)),
    ):
        given = handlers.substitute(one_site(fn), data={"x": ops.array(3.0)})
        trace = handlers.trace(handlers.reparam(given, config={"x": strategy})).get_trace()
        assert number(trace.nodes[base]["value"]) == pytest.approx(expected, rel=1e-10)
        assert number(trace.nodes["x"]["value"]) == pytest.approx(3.0, rel=1e-10)
        assert trace.stochastic_nodes == [base]


def test_replay_of_a_reparametrised_run_is_the_identity(backend):
    reparametrised = handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)})
    first = handlers.trace(reparametrised).get_trace()
    second = handlers.trace(handlers.replay(reparametrised, trace=first)).get_trace()
    for name in first.stochastic_nodes:
        numpy.testing.assert_array_equal(host(first.nodes[name]["value"]), host(second.nodes[name]["value"]))
    assert number(first.log_prob_sum()) == pytest.approx(number(second.log_prob_sum()), rel=1e-12)


def test_seeds_and_keys_decide_the_draws(backend):
    reparametrised = handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)})

    def theta(seed):
        return host(handlers.trace(handlers.seed(reparametrised, rng_seed=seed)).get_trace().nodes["theta"]["value"])

    numpy.testing.assert_array_equal(theta(0), theta(0))
    assert (theta(0) != theta(1)).all()

    def keyed():
        return ppl.sample("x", dist.Normal(LOC, SCALE), rng_key=ops.random.key(5))

    reparametrised = handlers.reparam(keyed, config={"x": LocScaleReparam(0.0)})
    assert number(reparametrised()) == number(reparametrised())


def test_call_decorator_and_context_agree(backend):
    config = {"theta": LocScaleReparam(0.0)}

    def in_context():
        with poutine.reparam(config=config):
            schools()

    for each in (handlers.reparam(schools, config), handlers.reparam(config=config)(schools), in_context):
        assert handlers.trace(each).get_trace().stochastic_nodes == ["mu", "tau", "theta_decentered"]


def test_a_strategy_may_keep_the_site_and_change_its_distribution(backend):
    model = handlers.reparam(one_site(lambda: dist.Normal(0.0, 1.0)), config={"x": lambda site: (dist.Normal(5.0, 0.5), None)})
    trace = traced(model, x=4.5)
    assert trace.stochastic_nodes == ["x"]
    assert number(trace.log_prob_sum()) == pytest.approx(stats.norm(5.0, 0.5).logpdf(4.5), rel=1e-10)


def test_variational_inference_over_the_noise(backend):
    """The optimum of a conjugate pair is known: the posterior mean of x = 1 + 2 e at y is that of the normal model."""

    def model():
        x = ppl.sample("x", dist.Normal(1.0, 2.0))
        ppl.sample("y", dist.Normal(x, 1.0), obs=ops.array(3.0))

    reparametrised = handlers.reparam(model, config={"x": LocScaleReparam(0.0)})
    guide = infer.AutoDelta(reparametrised)
    svi = infer.SVI(reparametrised, guide, ppl.optim.Adam({"lr": 0.05}), infer.Trace_ELBO())
    for _ in range(400):
        svi.step()
    noise = number(guide.median()["x_decentered"])
    assert 1.0 + 2.0 * noise == pytest.approx((1.0 / 4.0 + 3.0) / (1.0 / 4.0 + 1.0), abs=0.02)


# -- the eight schools --


def posterior(model, samples=1500, warmup=500, chains=2):
    kernel = infer.NUTS(model, target_accept_prob=0.9)
    mcmc = infer.MCMC(kernel, num_samples=samples, warmup_steps=warmup, num_chains=chains, progress_bar=False, seed=11)
    mcmc.run()
    draws = mcmc.get_samples(group_by_chain=True)
    return {name: host(draws[name]) for name in draws}


def distance(draws, name):
    """Standard errors between the mean of the draws and the reference."""
    return abs(draws[name].mean() - REFERENCE[name]) / diagnostics.mcse_mean(draws[name])


@pytest.mark.backends("numpy")
def test_eight_schools_have_the_published_posterior(backend):
    draws = posterior(handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)}))
    assert "theta_decentered" in draws
    for name in REFERENCE:
        assert diagnostics.r_hat(draws[name]) < 1.02
        assert distance(draws, name) < 5


def test_a_sampler_moves_the_noise_and_records_the_site(backend):
    draws = posterior(handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)}), samples=20, warmup=20, chains=1)
    assert draws["theta"].shape == (1, 20, 8)
    assert len(numpy.unique(draws["theta_decentered"][0, :, 0])) > 10
    theta = draws["mu"][..., None] + draws["tau"][..., None] * draws["theta_decentered"]
    numpy.testing.assert_allclose(draws["theta"], theta, rtol=1e-8)


@pytest.mark.backends("numpy")
def test_negative_control_another_prior_is_told_apart(backend):
    def wide():
        mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
        tau = ppl.sample("tau", dist.HalfCauchy(50.0))
        with ppl.plate("schools", 8):
            theta = ppl.sample("theta", dist.Normal(mu, tau))
            ppl.sample("y", dist.Normal(theta, ops.array(STANDARD_ERROR)), obs=ops.array(EFFECT))

    draws = posterior(handlers.reparam(wide, config={"theta": LocScaleReparam(0.0)}), samples=500)
    assert distance(draws, "tau") > 5


# -- refusals --


def test_observed_sites_are_refused(backend):
    for strategy in (LocScaleReparam(0.0), TransformReparam(), DiscreteCosineReparam()):
        with pytest.raises(InferenceError, match=r"observed site 'y'.*Jacobian.*leave it out"):
            handlers.reparam(schools, config={"y": strategy})()
        assert not ppl.runtime.am_i_wrapped()


@pytest.mark.parametrize(
    "fn",
    [
        lambda: dist.LogNormal(0.0, 1.0),
        lambda: dist.Gamma(1.0, 1.0),
        lambda: dist.TruncatedNormal(0.0, 1.0, low=-1.0),
        lambda: dist.Bernoulli(0.5),
        lambda: dist.MultivariateNormal(ops.zeros((2,)), ops.eye(2)),
        lambda: dist.Pareto(1.0, 2.0),
    ],
)
def test_loc_scale_refuses_other_families(backend, fn):
    with pytest.raises(InferenceError, match=r"site 'x'.*loc and scale over the real numbers"):
        handlers.reparam(one_site(fn), config={"x": LocScaleReparam(0.0)})()


def test_other_bad_input(backend):
    normal = one_site(lambda: dist.Normal(0.0, 1.0))
    with pytest.raises(InferenceError, match=r"TransformReparam.*site 'x'.*LocScaleReparam"):
        handlers.reparam(normal, config={"x": TransformReparam()})()
    with pytest.raises(InferenceError, match=r"HaarReparam.*to_event\(1\)"):
        handlers.reparam(normal, config={"x": HaarReparam()})()
    with pytest.raises(InferenceError, match="draws from"):
        handlers.reparam(lambda: ppl.sample("x", lambda: ops.array(1.0)), config={"x": TransformReparam()})()
    for centered in (-0.1, 1.5, math.nan):
        with pytest.raises(InferenceError, match="from 0 to 1"):
            LocScaleReparam(centered)
    with pytest.raises(InferenceError, match=r"shape_params \['df'\].*Normal"):
        handlers.reparam(normal, config={"x": LocScaleReparam(0.0, shape_params=["df"])})()
    for config in (None, 3, {"x": "centred"}):
        with pytest.raises(HandlerError, match="strategy"):
            handlers.reparam(normal, config=config)
    with pytest.raises(HandlerError, match="returned Normal at site 'x'"):
        handlers.reparam(normal, config={"x": lambda site: site["fn"]})()
    with pytest.warns(PplWarning, match=r"config of reparam.*'thta'.*'theta'"):
        handlers.reparam(schools, config={"thta": LocScaleReparam(0.0)})()
    with pytest.raises(TypeError):
        Reparam()
    assert not ppl.runtime.am_i_wrapped()
