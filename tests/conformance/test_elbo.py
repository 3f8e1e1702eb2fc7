"""Trace_ELBO against closed forms, enumeration and quadrature; its gradients against exact ones."""

import itertools

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import ops, registry
from ppl.distributions import constraints
from ppl.errors import InferenceError
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.objective import Estimate, Objective, constraints_of, discover, leaves_of
from ppl.infer.particles import has_explicit_keys
from ppl.ops import random

pytestmark = pytest.mark.strict

PARTICLES, REPETITIONS = 50, 60


class PathwiseOnly(Trace_ELBO):
    """The wrong estimator: it leaves out score functions."""

    def particle(self, model_trace, guide_trace):
        guide_trace.compute_score_parts()
        for site in guide_trace.nodes.values():
            if site["type"] == "sample":
                site["score_parts"] = site["score_parts"]._replace(score_function=0)
        return super().particle(model_trace, guide_trace)


def estimates(model, guide, elbo=None, repetitions=REPETITIONS):
    """Return losses, shape (repetitions,), and gradients in unconstrained params by name, one row a repetition."""
    elbo = Trace_ELBO(num_particles=PARTICLES, vectorize_particles=True) if elbo is None else elbo
    names = discover(model, guide, (), {})
    objective = Objective(model, guide, elbo)

    def once(key):
        estimate, gradients = objective.with_gradients(leaves_of(names), constraints_of(names), (), {}, key)
        return estimate.loss, gradients

    if has_explicit_keys():
        once = ops.compile.compile(once)
    rows = [once(random.next_key()) for _ in range(repetitions)]
    losses = numpy.array([float(loss) for loss, _ in rows])
    return losses, {name: numpy.stack([ops.to_numpy(gradients[name]) for _, gradients in rows]) for name in names}


def standard_errors_off(draws, exact):
    """Return by how many standard errors the mean of the rows of ``draws`` differs from ``exact``, at worst."""
    error = draws.std(axis=0, ddof=1) / numpy.sqrt(len(draws))
    return numpy.abs((draws.mean(axis=0) - exact) / error).max()


def gradient_of(function, point, step=1e-5):
    """Return central differences of a smooth function of a dict of arrays."""
    result = {}
    for name, value in point.items():
        value = numpy.asarray(value, dtype=float)
        slope = numpy.zeros_like(value)
        for index in numpy.ndindex(value.shape):
            moved = []
            for sign in (1, -1):
                changed = value.copy()
                changed[index] += sign * step
                moved.append(function({**point, name: changed}))
            slope[index] = (moved[0] - moved[1]) / (2 * step)
        result[name] = slope
    return result


# ---- a reparameterised guide: normal mean with a normal prior, closed form ----

DATA = numpy.array([1.2, 0.7, 2.1, 1.5])


def normal_model():
    mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", 4):
        ppl.sample("x", dist.Normal(mean, 1.0), obs=ops.array(DATA))


def normal_guide():
    loc = ppl.param("loc", 0.3)
    scale = ppl.param("scale", 0.6, constraint=constraints.positive)
    ppl.sample("mean", dist.Normal(loc, scale))


def normal_loss(point):
    loc, scale = point["loc"], numpy.exp(point["scale"])
    prior = -0.5 * numpy.log(2 * numpy.pi * 4.0) - (loc**2 + scale**2) / 8.0
    likelihood = -2.0 * numpy.log(2 * numpy.pi) - 0.5 * (((DATA - loc) ** 2).sum() + 4 * scale**2)
    entropy = 0.5 * numpy.log(2 * numpy.pi * numpy.e) + point["scale"]
    return -(prior + likelihood + entropy)


NORMAL_POINT = {"loc": 0.3, "scale": numpy.log(0.6)}


def test_value_and_pathwise_gradient(backend):
    losses, gradients = estimates(normal_model, normal_guide)
    assert standard_errors_off(losses, normal_loss(NORMAL_POINT)) < 5
    assert standard_errors_off(losses, normal_loss(NORMAL_POINT) + 1.0) > 5
    for name, exact in gradient_of(normal_loss, NORMAL_POINT).items():
        assert standard_errors_off(gradients[name], exact) < 5


def test_particles_in_a_loop_agree_with_particles_at_once(backend):
    losses, gradients = estimates(normal_model, normal_guide, Trace_ELBO(num_particles=3), repetitions=200)
    assert standard_errors_off(losses, normal_loss(NORMAL_POINT)) < 5
    for name, exact in gradient_of(normal_loss, NORMAL_POINT).items():
        assert standard_errors_off(gradients[name], exact) < 5


# ---- score functions: dependent discrete sites, by enumeration ----


def discrete_model():
    first = ppl.sample("first", dist.Bernoulli(0.3))
    second = ppl.sample("second", dist.Bernoulli(0.2 + 0.5 * first))
    ppl.sample("x", dist.Normal(first + 2.0 * second, 1.0), obs=ops.array(1.7))


def discrete_guide():
    first = ppl.sample("first", dist.Bernoulli(ppl.param("p", 0.4, constraint=constraints.unit_interval)))
    slope = ppl.param("slope", ops.array([0.1, 0.9]))
    ppl.sample("second", dist.Bernoulli(logits=slope[0] + slope[1] * first))


def bernoulli_log(value, probs):
    return value * numpy.log(probs) + (1 - value) * numpy.log1p(-probs)


def expit(x):
    return 1.0 / (1.0 + numpy.exp(-x))


def discrete_loss(point):
    total = 0.0
    for first, second in itertools.product((0.0, 1.0), repeat=2):
        guide = bernoulli_log(first, expit(point["p"]))
        guide += bernoulli_log(second, expit(point["slope"][0] + point["slope"][1] * first))
        model = bernoulli_log(first, 0.3) + bernoulli_log(second, 0.2 + 0.5 * first)
        model += stats.norm.logpdf(1.7, first + 2.0 * second, 1.0)
        total += numpy.exp(guide) * (guide - model)
    return total


def test_score_function_gradient(backend):
    point = {"p": numpy.log(0.4 / 0.6), "slope": numpy.array([0.1, 0.9])}
    losses, gradients = estimates(discrete_model, discrete_guide)
    assert standard_errors_off(losses, discrete_loss(point)) < 5
    for name, exact in gradient_of(discrete_loss, point).items():
        assert standard_errors_off(gradients[name], exact) < 5


def test_gradient_without_score_function_is_caught(backend):
    point = {"p": numpy.log(0.4 / 0.6), "slope": numpy.array([0.1, 0.9])}
    wrong = PathwiseOnly(num_particles=PARTICLES, vectorize_particles=True)
    _, gradients = estimates(discrete_model, discrete_guide, wrong)
    exact = gradient_of(discrete_loss, point)["p"]
    assert abs(gradients["p"].mean() - exact) > 5 * gradients["p"].std() / REPETITIONS**0.5 + 1e-3


@pytest.mark.parametrize("how", ["bool", "array", "distribution"])
def test_a_masked_draw_still_decides_what_follows(backend, how):
    def bit(probs):
        mask = ops.array(False) if how == "array" else False
        if how == "distribution":
            return ppl.sample("k", dist.Bernoulli(probs).mask(mask))
        with ppl.handlers.mask(mask=mask):
            return ppl.sample("k", dist.Bernoulli(probs))

    def masked_model():
        ppl.sample("x", dist.Normal(2.0 * bit(0.3), 1.0), obs=ops.array(1.7))

    def masked_guide():
        bit(ppl.param("p", 0.4, constraint=constraints.unit_interval))

    def loss(point):
        zero, one = stats.norm.logpdf(1.7, [0.0, 2.0], 1.0)
        return -(zero + expit(point["p"]) * (one - zero))

    point = {"p": numpy.log(0.4 / 0.6)}
    losses, gradients = estimates(masked_model, masked_guide)
    assert standard_errors_off(losses, loss(point)) < 5
    assert standard_errors_off(gradients["p"], gradient_of(loss, point)["p"]) < 5


# ---- mixed sites in a plate, with mask, scale and subsampling: quadrature over the normal, enumeration of the rest ----

ROWS = numpy.array([0.4, 2.6, -0.3, 3.1])
KEEP = numpy.array([True, True, False, True])


def mixed_model(size=4, subsample=None, masked=False, factor=1.0):
    mean = ppl.sample("mean", dist.Normal(0.0, 1.5))
    with ppl.handlers.scale(scale=factor), ppl.plate("rows", size, subsample_size=subsample) as index:
        rows = ops.take(ops.array(ROWS), index, axis=0)
        keep = ops.take(ops.array(KEEP), index, axis=0) if masked else True
        with ppl.handlers.mask(mask=keep):
            kind = ppl.sample("kind", dist.Bernoulli(0.3))
            ppl.sample("x", dist.Normal(mean + 2.0 * kind, 1.0), obs=rows)


def mixed_guide(size=4, subsample=None, masked=False, factor=1.0):
    loc = ppl.param("loc", 0.2)
    scale = ppl.param("scale", 0.5, constraint=constraints.positive)
    ppl.sample("mean", dist.Normal(loc, scale))
    logits = ppl.param("logits", ops.array([-0.5, 0.3, 0.2, 0.8]))
    with ppl.handlers.scale(scale=factor), ppl.plate("rows", size, subsample_size=subsample) as index:
        keep = ops.take(ops.array(KEEP), index, axis=0) if masked else True
        with ppl.handlers.mask(mask=keep):
            ppl.sample("kind", dist.Bernoulli(logits=ops.take(logits, index, axis=0)))


def mixed_loss(point, keep, factor=1.0):
    nodes, weights = numpy.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    scale = numpy.exp(point["scale"])
    means = point["loc"] + scale * nodes
    total = (weights * stats.norm.logpdf(means, point["loc"], scale)).sum()
    total -= (weights * stats.norm.logpdf(means, 0.0, 1.5)).sum()
    for row in numpy.flatnonzero(keep):
        probs = expit(point["logits"][row])
        for kind in (0.0, 1.0):
            guide = bernoulli_log(kind, probs)
            model = bernoulli_log(kind, 0.3) + (weights * stats.norm.logpdf(ROWS[row], means + 2.0 * kind, 1.0)).sum()
            total += factor * numpy.exp(guide) * (guide - model)
    return total


MIXED_POINT = {"loc": 0.2, "scale": numpy.log(0.5), "logits": numpy.array([-0.5, 0.3, 0.2, 0.8])}
MIXED = {
    "plate": {},
    "subsample": {"subsample": 2},
    "subsample-mask-scale": {"subsample": 3, "masked": True, "factor": 0.5},
}


@pytest.mark.parametrize("kind", MIXED)
def test_mixed_guide_in_plates(backend, kind):
    options = MIXED[kind]
    keep = KEEP if options.get("masked") else numpy.ones(4, bool)
    losses, gradients = estimates(lambda: mixed_model(**options), lambda: mixed_guide(**options))
    exact = lambda point: mixed_loss(point, keep, options.get("factor", 1.0))  # noqa: E731
    assert standard_errors_off(losses, exact(MIXED_POINT)) < 5
    for name, slope in gradient_of(exact, MIXED_POINT).items():
        assert standard_errors_off(gradients[name], slope) < 5


def test_plates_reduce_the_variance(backend):
    def model(declare):
        with ppl.plate("rows", 4) if declare else ppl.handlers.scale(scale=1.0):
            kind = ppl.sample(
                "kind", dist.Bernoulli(ops.full((4,), 0.3)) if declare else dist.Bernoulli(ops.full((4,), 0.3)).to_event(1)
            )
            fn = dist.Normal(2.0 * kind, 1.0)
            ppl.sample("x", fn if declare else fn.to_event(1), obs=ops.array(ROWS))

    def guide(declare):
        logits = ppl.param("logits", ops.zeros(4))
        with ppl.plate("rows", 4) if declare else ppl.handlers.scale(scale=1.0):
            fn = dist.Bernoulli(logits=logits)
            ppl.sample("kind", fn if declare else fn.to_event(1))

    spread = {}
    for declare in (True, False):
        _, gradients = estimates(lambda: model(declare), lambda: guide(declare))  # noqa: B023
        spread[declare] = gradients["logits"].var(axis=0).sum()
    assert spread[True] < 0.5 * spread[False]


# ---- the three ways to ask, and errors ----


def test_loss_surrogate_and_gradients_agree(backend):
    elbo = Trace_ELBO(num_particles=2)
    discover(normal_model, normal_guide, (), {})
    with random.scope(3):
        loss = elbo.loss(normal_model, normal_guide)
    with random.scope(3):
        differentiable = elbo.differentiable_loss(normal_model, normal_guide)
    assert isinstance(loss, float)
    assert abs(float(ops.to_numpy(differentiable)) - loss) < 1e-12
    value = elbo.loss_and_grads(normal_model, normal_guide)
    assert isinstance(value, float)
    assert sorted(elbo.gradients) == ["loc", "scale"]
    if registry.active().optim.STEP == "leaves":
        assert ppl.get_param_store().get_unconstrained("loc").grad is not None


def test_differentiable_loss_carries_the_gradient(backend):
    values, constraint = (
        {"loc": ops.array(0.3), "scale": ops.array(numpy.log(0.6))},
        {"loc": constraints.real, "scale": constraints.positive},
    )
    elbo = Trace_ELBO()

    def loss(model, guide):
        return elbo.differentiable_loss(model, guide)

    with random.scope(1):
        direct, first = Objective(normal_model, normal_guide, elbo).with_gradients(values, constraint, (), {})
    with random.scope(1):
        custom, second = Objective(normal_model, normal_guide, loss).with_gradients(values, constraint, (), {})
    assert isinstance(direct, Estimate)
    assert abs(float(ops.to_numpy(custom.loss)) - float(ops.to_numpy(direct.loss))) < 1e-10
    for name in values:
        numpy.testing.assert_allclose(ops.to_numpy(second[name]), ops.to_numpy(first[name]), atol=1e-10)


def test_sites_must_match(backend):
    def extra_guide():
        normal_guide()
        ppl.sample("extra", dist.Normal(0.0, 1.0))

    with pytest.raises(
        InferenceError, match=r"guide samples 'extra', which the model does not have; latent sites of the model: \['mean'\]"
    ):
        Trace_ELBO().loss(normal_model, extra_guide)
    with pytest.raises(InferenceError, match=r"guide lacks 'mean'.*sites of the guide: \[\]"):
        Trace_ELBO().loss(normal_model, lambda: None)

    def observed_guide():
        normal_guide()
        ppl.sample("x", dist.Normal(0.0, 1.0).expand((4,)).to_event(1))

    with pytest.raises(InferenceError, match="guide samples 'x', which the model observes"):
        Trace_ELBO().loss(normal_model, observed_guide)

    def auxiliary_guide():
        normal_guide()
        ppl.sample("helper", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

    assert numpy.isfinite(Trace_ELBO().loss(normal_model, auxiliary_guide))


def test_bad_particles(backend):
    with pytest.raises(InferenceError, match="num_particles must be an int of 1 or more, received 0"):
        Trace_ELBO(num_particles=0)
