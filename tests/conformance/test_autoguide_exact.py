"""Automatic guides set to a closed-form posterior: then every draw gives the evidence, and each summary is scipy's."""

import math

import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.distributions import constraints, transforms
from ppl.infer.autoguide import (
    AutoContinuous,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from ppl.infer.elbo import Trace_ELBO

X = numpy.array([0.5, 1.0, 1.5, 2.0, 3.0])
Y = numpy.array([1.1, 1.9, 2.2, 3.4, 4.1])
NOISE = 0.5
DESIGN = numpy.stack([numpy.ones(5), X], axis=1)
PRIOR = numpy.diag([4.0, 1.0])
COVARIANCE = numpy.linalg.inv(numpy.linalg.inv(PRIOR) + DESIGN.T @ DESIGN / NOISE**2)
MEAN = COVARIANCE @ DESIGN.T @ Y / NOISE**2
LOG_EVIDENCE = stats.multivariate_normal(numpy.zeros(5), DESIGN @ PRIOR @ DESIGN.T + NOISE**2 * numpy.eye(5)).logpdf(Y)


def regression(y=None):
    intercept = ppl.sample("intercept", dist.Normal(0.0, 2.0))
    slope = ppl.sample("slope", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 5):
        ppl.sample("y", dist.Normal(intercept + slope * ops.array(X), NOISE), obs=y)


def set_param(name, value, constraint=constraints.real):
    store = ppl.get_param_store()
    if name in store:
        del store[name]
    store.setdefault(name, ops.array(value), constraint)


def set_multivariate():
    set_param("auto_scale_tril", numpy.linalg.cholesky(COVARIANCE), constraints.lower_cholesky)
    return AutoMultivariateNormal(regression)


def set_low_rank():
    variances = numpy.diag(COVARIANCE)
    correlation = COVARIANCE[0, 1] / math.sqrt(variances.prod())
    factor = numpy.sqrt(variances * abs(correlation)) * [1.0, math.copysign(1.0, correlation)]
    set_param("auto_cov_factor", factor[:, None])
    set_param("auto_cov_diag", variances * (1.0 - abs(correlation)), constraints.positive)
    return AutoLowRankMultivariateNormal(regression)


FULL_COVARIANCE = {"multivariate": set_multivariate, "low rank": set_low_rank}


@pytest.fixture(params=FULL_COVARIANCE)
def exact(backend, request):
    """A guide whose params are the exact posterior of the regression."""
    set_param("auto_loc", MEAN)
    guide = FULL_COVARIANCE[request.param]()
    guide(ops.array(Y))
    return guide


def losses(model, guide, *args, count=3):
    return [Trace_ELBO().loss(model, guide, *args) for _ in range(count)]


def test_full_covariance_reaches_the_evidence(exact):
    numpy.testing.assert_allclose(losses(regression, exact, ops.array(Y)), -LOG_EVIDENCE, rtol=1e-9)
    set_param("auto_loc", MEAN + 0.1)
    assert max(abs(loss + LOG_EVIDENCE) for loss in losses(regression, exact, ops.array(Y))) > 1e-3


def test_full_covariance_has_the_quantiles_and_moments(exact):
    sds = numpy.sqrt(numpy.diag(COVARIANCE))
    levels = [0.05, 0.5, 0.9]
    found = exact.quantiles(levels)
    for index, name in enumerate(("intercept", "slope")):
        expected = stats.norm(MEAN[index], sds[index]).ppf(levels)
        numpy.testing.assert_allclose([ops.to_numpy(value) for value in found[name]], expected, rtol=1e-8)
    numpy.testing.assert_allclose(ops.to_numpy(exact.median()["slope"]), MEAN[1], rtol=1e-12)
    draws = exact.sample_posterior(1, sample_shape=(4000,))
    draws = numpy.stack([ops.to_numpy(draws[name]) for name in ("intercept", "slope")])
    errors = numpy.sqrt((COVARIANCE**2 + numpy.outer(sds**2, sds**2)) / 4000)
    assert (abs(draws.mean(axis=1) - MEAN) < 5 * sds / 4000**0.5).all()
    assert (abs(numpy.cov(draws) - COVARIANCE) < 5 * errors).all()
    assert abs(draws.mean(axis=1)[0] - MEAN[0] - sds[0] / 10) > 5 * sds[0] / 4000**0.5


def test_full_covariance_as_a_transformed_standard_normal(exact):
    base, transform = exact.get_base_dist(), exact.get_transform()
    points = ops.array([[0.0, 0.0], [1.0, -2.0]])
    images = ops.to_numpy(transform(points))
    numpy.testing.assert_allclose(images[0], MEAN, rtol=1e-10)
    log_density = base.log_prob(points) - transform.log_abs_det_jacobian(points, ops.array(images))
    expected = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(images)
    numpy.testing.assert_allclose(ops.to_numpy(ops.autodiff.stop_gradient(log_density)), expected, rtol=1e-8)


SEEN_ROWS = numpy.array([False, False, True, True, True])


def weighted(y):
    """The regression whose likelihood counts twice, and in three rows alone."""
    intercept = ppl.sample("intercept", dist.Normal(0.0, 2.0))
    slope = ppl.sample("slope", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 5), handlers.mask(mask=ops.array(SEEN_ROWS)), handlers.scale(scale=2.0):
        ppl.sample("y", dist.Normal(intercept + slope * ops.array(X), NOISE), obs=y)


def test_masked_and_scaled_observations_count_as_they_say(backend):
    design, y, variance = DESIGN[SEEN_ROWS], Y[SEEN_ROWS], NOISE**2 / 2
    covariance = numpy.linalg.inv(numpy.linalg.inv(PRIOR) + design.T @ design / variance)
    set_param("auto_loc", covariance @ design.T @ y / variance)
    guide = AutoLaplaceApproximation(weighted).laplace_approximation(ops.array(Y))
    numpy.testing.assert_allclose(guide.unconstrained_normal().covariance, covariance, rtol=1e-8)
    # A squared normal density is one of half the variance times a constant.
    constant = -math.log(2 * math.pi * NOISE**2) + 0.5 * math.log(2 * math.pi * variance)
    evidence = stats.multivariate_normal(numpy.zeros(3), design @ PRIOR @ design.T + variance * numpy.eye(3)).logpdf(y)
    numpy.testing.assert_allclose(losses(weighted, guide, ops.array(Y)), -(evidence + 3 * constant), rtol=1e-9)


def priors():
    """Sites whose prior is a normal distribution in unconstrained space, which a mean-field guide can equal."""
    with ppl.plate("groups", 2, dim=-2):
        ppl.sample("rate", dist.LogNormal(0.3, 0.5))
        with ppl.plate("rows", 3, dim=-1):
            base = dist.Normal(ops.array([0.2, -0.4]), 0.7).to_event(1)
            ppl.sample("share", dist.TransformedDistribution(base, transforms.StickBreakingTransform()))
    base = dist.Normal(ops.array([0.1, 0.3, -0.2]), 0.5).to_event(1)
    ppl.sample("correlation", dist.TransformedDistribution(base, transforms.CorrCholeskyTransform()))
    base = dist.Normal(ops.array([1.0, -3.0]), 2.0)
    ppl.sample("fraction", dist.TransformedDistribution(base, transforms.SigmoidTransform()).to_event(1))
    ppl.sample("level", dist.Normal(ops.zeros((2, 2)), 3.0).to_event(2))


# site: unconstrained shape, mean, standard deviation
NORMALS = {
    "rate": ((2, 1), 0.3, 0.5),
    "share": ((2, 3, 2), [0.2, -0.4], 0.7),
    "correlation": ((3,), [0.1, 0.3, -0.2], 0.5),
    "fraction": ((2,), [1.0, -3.0], 2.0),
    "level": ((2, 2), 0.0, 3.0),
}


def set_by_sites():
    for name, (shape, loc, scale) in NORMALS.items():
        set_param(f"auto_{name}_loc", numpy.broadcast_to(loc, shape))
        set_param(f"auto_{name}_scale", numpy.full(shape, scale), constraints.positive)
    return AutoNormal(priors)


def set_vector():
    flat = [[numpy.broadcast_to(value, shape).ravel() for value in (loc, scale)] for shape, loc, scale in NORMALS.values()]
    set_param("auto_loc", numpy.concatenate([loc for loc, _ in flat]))
    set_param("auto_scale", numpy.concatenate([scale for _, scale in flat]), constraints.positive)
    return AutoDiagonalNormal(priors)


@pytest.mark.parametrize("build", [set_by_sites, set_vector], ids=["AutoNormal", "AutoDiagonalNormal"])
def test_mean_field_equals_normals_in_unconstrained_space(backend, build):
    guide = build()
    numpy.testing.assert_allclose(losses(priors, guide, count=2), 0.0, atol=1e-8)
    rate, fraction = (guide.quantiles([0.1, 0.8])[name] for name in ("rate", "fraction"))
    for level, found in zip((0.1, 0.8), rate, strict=True):
        numpy.testing.assert_allclose(ops.to_numpy(found), numpy.full((2, 1), stats.lognorm(0.5, scale=math.exp(0.3)).ppf(level)))
    for level, found in zip((0.1, 0.8), fraction, strict=True):
        numpy.testing.assert_allclose(ops.to_numpy(found), special.expit(stats.norm([1.0, -3.0], 2.0).ppf(level)))
    drawn = guide.sample_posterior(2, sample_shape=(3,))
    shapes = {"rate": (2, 1), "share": (2, 3, 3), "correlation": (3, 3), "fraction": (2,), "level": (2, 2)}
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {name: (3, *shape) for name, shape in shapes.items()}
    normal = guide.unconstrained_normal()
    assert normal.shapes == {name: shape for name, (shape, _, _) in NORMALS.items()}
    numpy.testing.assert_allclose(normal.covariance[:2], 0.25)
    assert guide.param_names()[0] in ppl.get_param_store()


def test_mean_field_off_the_normals_does_not(backend):
    guide = set_by_sites()
    set_param("auto_rate_loc", numpy.full((2, 1), 0.4))
    assert min(abs(loss) for loss in losses(priors, guide)) > 1e-6


ROWS = numpy.array([0.3, -1.2, 2.5, 0.9, -0.4, 1.7])


def local(data, size=2):
    with ppl.plate("rows", 6, subsample_size=size) as index:
        place = ppl.sample("place", dist.Normal(0.0, 1.0))
        shape = ppl.sample("shape", dist.LogNormal(0.0, 1.0))
        rows = ops.take(data, index, axis=0)
        ppl.sample("x", dist.Normal(place, 1.0), obs=rows)
        ppl.sample("s", dist.LogNormal(ops.log(shape), 1.0), obs=ops.exp(rows))


def test_minibatch_of_a_plate_uses_its_own_rows(backend):
    for name in ("place", "shape"):
        set_param(f"auto_{name}_loc", ROWS / 2)
        set_param(f"auto_{name}_scale", numpy.full(6, 0.5**0.5), constraints.positive)
    guide = AutoNormal(local)
    data = ops.array(ROWS)
    evidence = stats.norm(0.0, 2**0.5).logpdf(ROWS) + stats.lognorm(2**0.5).logpdf(numpy.exp(ROWS))
    for _ in range(3):
        guide_trace = handlers.trace(guide).get_trace(data)
        rows = ops.to_numpy(guide_trace.nodes["rows"]["value"])
        model_trace = handlers.trace(handlers.replay(local, trace=guide_trace)).get_trace(data)
        bound = float(ops.autodiff.stop_gradient(model_trace.log_prob_sum() - guide_trace.log_prob_sum()))
        assert abs(bound - 3 * evidence[rows].sum()) < 1e-8
        assert abs(bound - 3 * evidence[(rows + 1) % 6].sum()) > 1e-3
    assert tuple(guide.sample_posterior(0, sample_shape=(2,))["place"].shape) == (2, 6)
    numpy.testing.assert_allclose(ops.to_numpy(guide.median()["shape"]), numpy.exp(ROWS / 2))


KINDS, MEANS = numpy.array([0.2, 0.3, 0.5]), numpy.array([-1.0, 0.5, 2.0])
SEEN = numpy.array([0.1, 1.4, -2.0, 0.7])


def discrete(data):
    with ppl.plate("items", 4):
        kind = ppl.sample("kind", dist.Categorical(ops.array(KINDS)))
        ppl.sample("x", dist.Normal(ops.array(MEANS)[kind], 1.0), obs=data)
    flags = ppl.sample("flags", dist.Bernoulli(ops.array([0.3, 0.6])).to_event(1))
    ppl.sample("u", dist.Normal(2.0 * flags, 1.0).to_event(1), obs=ops.array([0.8, 1.1]))
    count = ppl.sample("count", dist.Binomial(2, probs=0.4))
    ppl.sample("w", dist.Normal(1.0 * count, 1.0), obs=ops.array(1.3))
    unit = ppl.sample("unit", dist.OneHotCategorical(ops.array(KINDS)))
    ppl.sample("v", dist.Normal(ops.sum(unit * ops.array(MEANS), axis=-1), 1.0), obs=ops.array(0.4))


def posterior_of(prior, likelihood):
    joint = prior * likelihood
    return joint / joint.sum(axis=-1, keepdims=True), numpy.log(joint.sum(axis=-1)).sum()


def discrete_posteriors():
    """Return, by site, the exact probabilities, and the log evidence of all."""
    found = {
        "kind": posterior_of(KINDS, stats.norm(MEANS, 1.0).pdf(SEEN[:, None])),
        "flags": posterior_of(
            numpy.array([[0.7, 0.3], [0.4, 0.6]]), stats.norm([0.0, 2.0], 1.0).pdf(numpy.array([[0.8], [1.1]]))
        ),
        "count": posterior_of(stats.binom(2, 0.4).pmf(range(3)), stats.norm(range(3), 1.0).pdf(1.3)),
        "unit": posterior_of(KINDS, stats.norm(MEANS, 1.0).pdf(0.4)),
    }
    return {name: probs for name, (probs, _) in found.items()}, sum(evidence for _, evidence in found.values())


def set_discrete():
    exact, log_evidence = discrete_posteriors()
    for name, probs in exact.items():
        boolean = name == "flags"
        constraint = constraints.unit_interval if boolean else constraints.simplex
        set_param(f"auto_{name}_probs", probs[:, 1] if boolean else probs, constraint)
    return exact, log_evidence


def test_discrete_guide_reaches_the_evidence(backend):
    exact, log_evidence = set_discrete()
    guide, data = AutoDiscreteParallel(discrete), ops.array(SEEN)
    numpy.testing.assert_allclose(losses(discrete, guide, data), -log_evidence, rtol=1e-9)
    modes = {name: ops.to_numpy(value) for name, value in guide.median().items()}
    assert modes["kind"].tolist() == exact["kind"].argmax(axis=1).tolist()
    assert modes["flags"].tolist() == exact["flags"].argmax(axis=1).tolist()
    assert modes["count"] == exact["count"].argmax()
    assert modes["unit"].tolist() == numpy.eye(3)[exact["unit"].argmax()].tolist()
    drawn = ops.to_numpy(guide.sample_posterior(0, sample_shape=(3000,))["kind"])
    assert drawn.shape == (3000, 4)
    for value in range(3):
        probs = exact["kind"][:, value]
        assert (abs((drawn == value).mean(axis=0) - probs) < 5 * numpy.sqrt(probs * (1 - probs) / 3000)).all()
    sites = handlers.trace(guide).get_trace(data).nodes
    assert sites["kind"]["infer"]["enumerate"] == "parallel"
    assert "enumerate" not in sites["flags"]["infer"]
    set_param("auto_count_probs", [0.2, 0.2, 0.6], constraints.simplex)
    assert max(abs(loss + log_evidence) for loss in losses(discrete, guide, data, count=8)) > 1e-3


def test_discrete_guide_starts_at_the_prior(backend):
    guide = AutoDiscreteParallel(discrete)
    guide(ops.array(SEEN))
    store = ppl.get_param_store()
    probs = {name: ops.to_numpy(ops.autodiff.stop_gradient(store[f"auto_{name}_probs"])) for name in ("kind", "flags", "count")}
    numpy.testing.assert_allclose(probs["kind"], numpy.tile(KINDS, (4, 1)), atol=1e-3)
    numpy.testing.assert_allclose(probs["flags"], [0.3, 0.6], atol=1e-3)
    numpy.testing.assert_allclose(probs["count"], stats.binom(2, 0.4).pmf(range(3)), atol=1e-3)


def mixed(y, data):
    regression(y)
    discrete(data)
    ppl.sample("own", dist.Normal(0.0, 1.0))


def own_guide(y, data):
    ppl.sample("own", dist.Normal(0.0, 1.0))


@pytest.fixture
def parts(backend):
    """A list of an exact vector guide, an exact discrete one and a callable."""
    set_param("auto_loc", MEAN)
    set_multivariate()
    _, log_evidence = set_discrete()
    discrete_sites = ["kind", "flags", "count", "unit"]
    guide = AutoGuideList(mixed)
    guide.add(AutoMultivariateNormal(handlers.block(mixed, hide=[*discrete_sites, "own"])))
    guide.add(AutoDiscreteParallel(handlers.block(mixed, expose=discrete_sites)))
    guide.add(own_guide)
    return guide, LOG_EVIDENCE + log_evidence


def test_list_of_exact_parts_reaches_the_evidence(parts):
    guide, log_evidence = parts
    data = ops.array(Y), ops.array(SEEN)
    numpy.testing.assert_allclose(losses(mixed, guide, *data), -log_evidence, rtol=1e-9)
    sites = {"intercept", "slope", "kind", "flags", "count", "unit"}
    assert set(guide(*data)) == sites | {"own"}
    assert set(guide.median(*data)) == sites
    assert set(guide.sample_posterior(0, None, *data)) == sites | {"own"}
    fitted = {"auto_loc": ops.array([7.0, 8.0])}
    assert ops.to_numpy(guide.median(fitted)["slope"]) == 8.0
    normal = guide.unconstrained_normal()
    assert list(normal.shapes) == ["intercept", "slope"]
    numpy.testing.assert_allclose(normal.covariance, COVARIANCE, rtol=1e-9)


def test_parts_of_a_list_share_the_minibatch(backend):
    set_param("left_place_loc", ROWS)
    set_param("left_place_scale", numpy.full(6, 1e-9), constraints.positive)
    set_param("right_shape", numpy.exp(ROWS), constraints.positive)
    guide = AutoGuideList(local)
    guide.add(AutoNormal(handlers.block(local, hide=["shape"]), prefix="left"))
    guide.append(ppl.infer.AutoDelta(handlers.block(local, hide=["place"]), prefix="right"))
    trace = handlers.trace(guide).get_trace(ops.array(ROWS))
    rows = ops.to_numpy(trace.nodes["rows"]["value"])
    for name, expected in (("place", ROWS[rows]), ("shape", numpy.exp(ROWS[rows]))):
        value = ops.to_numpy(ops.autodiff.stop_gradient(trace.nodes[name]["value"]))
        numpy.testing.assert_allclose(value, expected, atol=1e-6)
    levels = guide.quantiles([0.5], ops.array(ROWS))
    numpy.testing.assert_allclose(ops.to_numpy(levels["shape"][0]), numpy.exp(ROWS))
    assert len(guide) == 2
    assert guide[1] is list(guide)[1]


COUNTS = numpy.array([0.8, 0.3, 1.9, 0.5])


def exponential(data):
    rate = ppl.sample("rate", dist.Gamma(2.0, 1.5))
    with ppl.plate("rows", 4):
        ppl.sample("x", dist.Exponential(rate), obs=data)


def test_laplace_of_gamma_exponential_has_the_analytic_hessian(backend):
    # In u = log rate the log density is (a + n) u - (b + S) exp(u): maximum log((a + n) / (b + S)), curvature a + n.
    set_param("auto_loc", [math.log((2.0 + 4) / (1.5 + COUNTS.sum()))])
    delta = AutoLaplaceApproximation(exponential)
    data = ops.array(COUNTS)
    delta(data)
    guide = delta.laplace_approximation(data)
    assert isinstance(guide, AutoMultivariateNormal)
    posterior = guide.get_posterior()
    numpy.testing.assert_allclose(ops.to_numpy(ops.autodiff.stop_gradient(posterior.covariance_matrix)), [[1 / 6]], rtol=1e-9)
    low, high = (ops.to_numpy(value) for value in guide.quantiles([0.1, 0.9])["rate"])
    expected = stats.lognorm(6**-0.5, scale=6.0 / (1.5 + COUNTS.sum())).ppf([0.1, 0.9])
    numpy.testing.assert_allclose([low, high], expected, rtol=1e-8)
    assert delta.median()["rate"] == guide.median()["rate"]
    assert delta.unconstrained_normal().covariance is None
    numpy.testing.assert_allclose(guide.unconstrained_normal().covariance, [[1 / 6]], rtol=1e-9)


def exponential_minibatch(data, size, loop=False):
    rate = ppl.sample("rate", dist.Gamma(2.0, 1.5))
    ppl.deterministic("mean", 1.0 / rate)
    if loop:
        for row in ppl.plate("rows", 4, subsample_size=size):
            ppl.sample(f"x_{row}", dist.Exponential(rate), obs=data[row])
        return
    with ppl.plate("rows", 4, subsample_size=size) as rows:
        ppl.factor("none", 0.0 * rate)
        ppl.deterministic("twice", 2.0 * rate)
        ppl.sample("x", dist.Exponential(rate), obs=ops.take(data, rows, axis=0))


@pytest.mark.parametrize("arguments", [(1,), (3,), (2, True)])
def test_laplace_of_a_minibatch_has_the_hessian_of_all_data(backend, arguments):
    """At u = log rate the curvature is (b + S) exp(u), S of all four rows, where a minibatch has its own S."""
    set_param("auto_loc", [0.3])
    for data in (COUNTS, 2.0 * COUNTS):
        guide = AutoLaplaceApproximation(exponential_minibatch)
        normal = guide.laplace_approximation(ops.array(data), *arguments).unconstrained_normal()
        numpy.testing.assert_allclose(normal.covariance, [[math.exp(-0.3) / (1.5 + data.sum())]], rtol=1e-9)


def test_laplace_of_a_normal_posterior_is_exact(backend):
    set_param("auto_loc", MEAN)
    guide = AutoLaplaceApproximation(regression).laplace_approximation(ops.array(Y))
    numpy.testing.assert_allclose(guide.unconstrained_normal().covariance, COVARIANCE, rtol=1e-8)
    numpy.testing.assert_allclose(losses(regression, guide, ops.array(Y)), -LOG_EVIDENCE, rtol=1e-9)


class WideNormal(AutoContinuous):
    """A guide of a user's own, as the reference describes it."""

    def get_posterior(self, *args, **kwargs):
        return dist.MultivariateNormal(ppl.param("wide_loc", ops.array(MEAN)), covariance_matrix=ops.array(COVARIANCE))


def test_derived_guide_needs_its_posterior_alone(backend):
    guide = WideNormal(regression)
    numpy.testing.assert_allclose(losses(regression, guide, ops.array(Y)), -LOG_EVIDENCE, rtol=1e-9)
    numpy.testing.assert_allclose(ops.to_numpy(guide.median()["slope"]), MEAN[1])
