"""Bounds with analytic divergences, of importance weights, and of their tails; exactly, draw by draw."""

import itertools
import math
import warnings

import estimator_cases as cases
import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, registry
from ppl.distributions import constraints
from ppl.errors import InferenceError, PplWarning, ShapeError
from ppl.infer.elbo import (
    JitTrace_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)
from ppl.infer.objective import Objective, constraints_of, discover, leaves_of
from ppl.infer.particles import has_explicit_keys
from ppl.testing.numeric import assert_close, numerical_gradient

pytestmark = pytest.mark.strict

# ---- analytic divergences: a global and local normal sites, in a minibatch, with mask and scale ----

ROWS, KEEP, FACTOR = numpy.array([0.4, 2.6, -0.3]), numpy.array([True, False, True]), 0.5
LOCAL_POINT = {
    "loc": numpy.array(0.2),
    "scale": numpy.array(numpy.log(0.5)),
    "locs": numpy.array([0.1, 0.8, -0.4]),
}


def rows():
    return ppl.plate("rows", 3, subsample_size=2)


def local_model():
    mean = ppl.sample("mean", dist.Normal(0.0, 1.5))
    with rows() as index, handlers.scale(scale=FACTOR), handlers.mask(mask=ops.take(ops.array(KEEP), index, axis=0)):
        local = ppl.sample("local", dist.Normal(mean, 0.7))
        ppl.sample("x", dist.Normal(local, 1.0), obs=ops.take(ops.array(ROWS), index, axis=0))


def local_guide():
    ppl.sample("mean", dist.Normal(ppl.param("loc", 0.2), ppl.param("scale", 0.5, constraint=constraints.positive)))
    locs = ppl.param("locs", ops.array(LOCAL_POINT["locs"]))
    with rows() as index, handlers.scale(scale=FACTOR), handlers.mask(mask=ops.take(ops.array(KEEP), index, axis=0)):
        ppl.sample("local", dist.Normal(ops.take(locs, index, axis=0), 0.4))


def local_term(point, draw):
    scale, index = numpy.exp(point["scale"]), draw["rows"]
    mean, keep = point["loc"] + scale * draw["mean"], KEEP[draw["rows"]]
    center = point["locs"][index]
    local = center + 0.4 * draw["local"]
    apart = [
        cases.normal(local[place], mean, 0.7)
        - cases.normal(local[place], center[place], 0.4)
        + cases.normal(ROWS[row], local[place])
        for place, row in enumerate(index)
    ]
    total = cases.normal(mean, 0.0, 1.5) - cases.normal(mean, point["loc"], scale)
    return total + FACTOR * 1.5 * (numpy.array(apart) * keep).sum()


LOCAL = cases.Exact(
    local_model,
    local_guide,
    LOCAL_POINT,
    [
        (numpy.prod(weights) / 3, {"rows": numpy.array(index), "mean": nodes[0], "local": numpy.array(nodes[1:])})
        for index in ((0, 1), (1, 2), (2, 0))
        for nodes, weights in zip(
            itertools.product(cases.NODES, repeat=3), itertools.product(cases.WEIGHTS, repeat=3), strict=True
        )
    ],
    lambda point, draw: 0.0,
    local_term,
)


def test_analytic_divergences_are_unbiased_and_vary_less(backend):
    spread = {}
    for loss in (Trace_ELBO, TraceMeanField_ELBO):
        mean_loss, mean, variance = LOCAL.moments(loss())
        assert_close(mean_loss, LOCAL.loss(LOCAL.point))
        for name, slope in LOCAL.gradient.items():
            assert_close(mean[name], slope, rtol=1e-8, atol=1e-9)
        spread[loss] = sum(part.sum() for part in variance.values())
    assert spread[TraceMeanField_ELBO] < 0.9 * spread[Trace_ELBO]


def test_divergence_needs_no_draw(backend):
    def model():
        ppl.sample("z", dist.Normal(0.0, 2.0))

    def guide():
        ppl.sample("z", dist.Normal(ppl.param("loc", 1.0), 0.5))

    expected = math.log(4.0) + (0.25 + 1.0) / 8.0 - 0.5
    for at_once in (False, True):
        elbo = TraceMeanField_ELBO(num_particles=2, vectorize_particles=at_once)
        ppl.param("loc", 1.0)
        assert_close(elbo.loss(model, guide), expected)


@pytest.mark.parametrize("kind", ["no rule", "other scale", "other mask"])
def test_without_a_rule_the_draw_decides(backend, kind):
    prior = (lambda: dist.Cauchy(0.0, 1.0)) if kind == "no rule" else (lambda: dist.Normal(0.0, 1.0))
    factor, mask = {"no rule": (1.0, True), "other scale": (0.5, True), "other mask": (1.0, False)}[kind]

    def model():
        with handlers.scale(scale=factor), handlers.mask(mask=mask):
            ppl.sample("z", prior())

    def guide():
        draw = cases.Fixed({"z": ops.array(0.6)})
        draw(lambda: ppl.sample("z", dist.Normal(ppl.param("loc", 1.0), 0.5)))()

    value = 1.0 + 0.5 * 0.6
    prior_term = factor * mask * (stats.cauchy if kind == "no rule" else stats.norm).logpdf(value)
    assert_close(TraceMeanField_ELBO().loss(model, guide), stats.norm.logpdf(value, 1.0, 0.5) - prior_term)


def test_order_that_proves_nothing_is_warned_of(backend):
    def model():
        first = ppl.sample("first", dist.Normal(0.0, 1.0))
        ppl.sample("second", dist.Normal(first, 1.0))

    def guide():
        second = ppl.sample("second", dist.Normal(0.0, 1.0))
        ppl.sample("first", dist.Normal(second, 1.0))

    with pytest.warns(PplWarning, match="at site 'second' is right: the model samples 'first' before 'second'"):
        TraceMeanField_ELBO().loss(model, guide)

    def ordered_guide():
        first = ppl.sample("first", dist.Normal(0.0, 1.0))
        ppl.sample("second", dist.Normal(first, 1.0))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(TraceMeanField_ELBO().loss(model, ordered_guide), 0.0)


# ---- importance weights: two particles of a choice and a normal, all pairs of draws ----

PAIR_POINT = {"logit": numpy.array(0.3), "loc": numpy.array(0.5)}


def pair_model():
    bit = ppl.sample("bit", dist.Bernoulli(0.4))
    mean = ppl.sample("mean", dist.Normal(bit, 1.0))
    ppl.sample("x", dist.Normal(mean, 0.8), obs=ops.array(1.3))


def pair_guide():
    bit = ppl.sample("bit", dist.Bernoulli(logits=ppl.param("logit", 0.3)))
    ppl.sample("mean", dist.Normal(ppl.param("loc", 0.5) + bit, 0.6))


def pair_log_weight(point, draw):
    bit, mean = draw["bit"], point["loc"] + draw["bit"] + 0.6 * draw["mean"]
    model = cases.bernoulli(bit, 0.4) + cases.normal(mean, bit) + cases.normal(1.3, mean, 0.8)
    return model - cases.bernoulli(bit, special.expit(point["logit"])) - cases.normal(mean, point["loc"] + bit, 0.6)


SINGLES = [
    (weight, {"bit": bit, "mean": node}) for bit in cases.BITS for node, weight in zip(cases.NODES, cases.WEIGHTS, strict=True)
]
PAIRS = list(itertools.product(SINGLES, repeat=2))


def pair_bound(point, pair, alpha):
    log_weights = numpy.array([pair_log_weight(point, draw) for _, draw in pair])
    return special.logsumexp((1 - alpha) * log_weights - math.log(len(pair))) / (1 - alpha)


def pair_probability(point, pair):
    return math.prod(weight * numpy.exp(cases.bernoulli(draw["bit"], special.expit(point["logit"]))) for weight, draw in pair)


class PathwiseRenyi(RenyiELBO):
    """The wrong estimator: it leaves out score functions."""

    def particles(self, *args):
        sums = super().particles(*args)
        return sums._replace(score=0.0 * sums.score)


def renyi_outcomes(elbo):
    """Return the losses and gradients at each pair of draws, from particles in a loop or, where they are in one, in a plate."""
    current = []

    def guide():
        return cases.Fixed(current.pop(0))(pair_guide)()

    names = discover(pair_model, pair_guide, (), {})
    objective, plain = Objective(pair_model, guide, elbo), Objective(pair_model, pair_guide, elbo)

    def once(first, second):
        current[:] = [first, second]
        if elbo.vectorize_particles:
            # The plate stands around the guide, so that what fixes its draws stands around all.
            around = cases.Fixed({name: ops.stack([first[name], second[name]]) for name in first})
            with around:
                estimate, gradients = plain.with_gradients(leaves_of(names), constraints_of(names), (), {})
        else:
            estimate, gradients = objective.with_gradients(leaves_of(names), constraints_of(names), (), {})
        return estimate.loss, gradients

    rows = [[{name: ops.array(value) for name, value in draw.items()} for _, draw in pair] for pair in PAIRS]
    elbo.max_plate_nesting = 0
    if has_explicit_keys():
        once = ops.compile.compile(once)
    found = [once(*row) for row in rows]
    return numpy.array([float(ops.to_numpy(loss)) for loss, _ in found]), {
        name: numpy.stack([ops.to_numpy(gradients[name]) for _, gradients in found]) for name in PAIR_POINT
    }


@pytest.mark.parametrize("alpha", [0.0, 0.5, pytest.param(2.0, marks=pytest.mark.nightly), -1.0])
def test_renyi_bound_of_each_draw_and_its_gradient(backend, alpha):
    elbo = RenyiELBO(alpha=alpha, num_particles=2, vectorize_particles=alpha == 0.5 and not has_explicit_keys())
    losses, gradients = renyi_outcomes(elbo)
    # At alpha=0 the loss of each pair of draws is minus the log of the average of the two weights.
    assert_close(losses, [-pair_bound(PAIR_POINT, pair, alpha) for pair in PAIRS])
    weights = numpy.array([pair_probability(PAIR_POINT, pair) for pair in PAIRS])
    for name, start in PAIR_POINT.items():

        def expected(value, name=name):
            point = {**PAIR_POINT, name: value}
            return -sum(pair_probability(point, pair) * pair_bound(point, pair, alpha) for pair in PAIRS)

        assert_close(weights @ gradients[name], numerical_gradient(expected, start), rtol=1e-8, atol=1e-9)
    if alpha == 0.0:
        _, wrong = renyi_outcomes(PathwiseRenyi(alpha=alpha, num_particles=2))
        assert abs(weights @ wrong["logit"] - weights @ gradients["logit"]) > 1e-3


def test_renyi_bounds_fall_with_alpha(backend):
    draws = {"bit": [0.0, 1.0, 1.0, 0.0], "mean": [0.3, -1.2, 0.4, 2.0]}
    bounds = []
    for alpha in (-1.0, 0.0, 0.5, 0.99, 3.0):
        left = [{name: ops.array(values[place]) for name, values in draws.items()} for place in range(4)]
        elbo = RenyiELBO(alpha=alpha, num_particles=4)
        bounds.append(-elbo.loss(pair_model, lambda: cases.Fixed(left.pop(0))(pair_guide)()))  # noqa: B023
    assert (numpy.diff(bounds) < 0).all()
    log_weights = [pair_log_weight(PAIR_POINT, {name: values[place] for name, values in draws.items()}) for place in range(4)]
    assert abs(bounds[3] - numpy.mean(log_weights)) < 0.02
    assert bounds[4] > min(log_weights)


# ---- tails: gradients along the draws alone, weighed by rank ----

TAIL_POINT = {"loc": numpy.array(0.4), "scale": numpy.array(numpy.log(0.7)), "shift": numpy.array(-0.3)}
NOISE = {"first": numpy.array([-1.1, 0.2, 0.9, 1.7]), "second": numpy.array([0.5, -0.8, 1.2, -0.1])}


def tail_model():
    first = ppl.sample("first", dist.Normal(0.0, 2.0))
    second = ppl.sample("second", dist.Normal(0.5 * first, 1.0))
    ppl.sample("x", dist.Normal(second, 0.5), obs=ops.array(1.4))


def tail_guide():
    scale = ppl.param("scale", 0.7, constraint=constraints.positive)
    first = ppl.sample("first", dist.Normal(ppl.param("loc", 0.4), scale))
    ppl.sample("second", dist.Normal(first + ppl.param("shift", -0.3), scale))


def tail_log_weights(point, fixed, noise):
    """Return the log weights of draws at the params ``point``, their densities at the params ``fixed``."""
    scale = numpy.exp(point["scale"])
    first = point["loc"] + scale * noise["first"]
    second = first + point["shift"] + scale * noise["second"]
    total = stats.norm.logpdf(first, 0.0, 2.0) + stats.norm.logpdf(second, 0.5 * first, 1.0) + stats.norm.logpdf(1.4, second, 0.5)
    total -= stats.norm.logpdf(first, fixed["loc"], numpy.exp(fixed["scale"]))
    return total - stats.norm.logpdf(second, first + fixed["shift"], numpy.exp(fixed["scale"]))


@pytest.mark.parametrize("beta", [-1.0, -0.4])
def test_tail_adaptive_gradient_of_given_draws(backend, beta):
    # Particles mapped over keys have one noise in common; those in a plate have their own.
    noise = {name: numpy.full(4, values[0]) if has_explicit_keys() else values for name, values in NOISE.items()}
    given = {name: ops.array(values[0] if has_explicit_keys() else values) for name, values in noise.items()}
    elbo = TraceTailAdaptive_ELBO(num_particles=4, vectorize_particles=True, tail_adaptive_beta=beta, max_plate_nesting=0)
    names = discover(tail_model, tail_guide, (), {})
    objective = Objective(tail_model, tail_guide, elbo)
    with cases.Fixed(given):
        key = ops.random.key(0)
        estimate, gradients = objective.with_gradients(leaves_of(names), constraints_of(names), (), {}, key)
    log_weights = tail_log_weights(TAIL_POINT, TAIL_POINT, noise)
    assert_close(estimate.loss, -log_weights.mean())
    fractions = numpy.array([(log_weights >= own).mean() for own in log_weights])
    weights = fractions**beta / (fractions**beta).sum()
    for name, start in TAIL_POINT.items():

        def weighed(value, name=name):
            return -(weights * tail_log_weights({**TAIL_POINT, name: value}, TAIL_POINT, noise)).sum()

        assert_close(gradients[name], numerical_gradient(weighed, start), rtol=1e-7)


# ---- compiled forms ----


def test_jit_forms_agree_with_the_plain_ones(backend):
    calls = []

    def model(data):
        calls.append(None)
        loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
        ppl.sample("x", dist.Normal(ppl.param("shift", 0.5), 1.0), obs=data)
        return loc

    def guide(data):
        ppl.sample("loc", dist.Normal(ppl.param("mean", 0.3), 0.5))

    def exact(shift, mean, x):
        return math.log(4.0) + (0.25 + mean**2) / 8.0 - 0.5 - stats.norm.logpdf(x, shift, 1.0)

    elbo = JitTraceMeanField_ELBO()
    discover(model, guide, (ops.array(1.0),), {})
    for shift, mean, x in ((0.5, 0.3, 1.0), (0.1, 0.9, -0.4), (0.7, 0.2, 0.6)):
        store = ppl.get_param_store()
        store["shift"], store["mean"] = ops.array(shift), ops.array(mean)
        loss, surrogate = elbo.loss_and_surrogate_loss(model, guide, ops.array(x))
        assert_close(loss, exact(shift, mean, x))
        assert_close(surrogate, exact(shift, mean, x))
        assert_close(elbo.loss_and_grads(model, guide, ops.array(x)), exact(shift, mean, x))
        assert_close(elbo.gradients["mean"], mean / 4.0)
        assert_close(elbo.gradients["shift"], shift - x)
        for leaf in leaves_of(["mean", "shift"]).values():
            if registry.active().optim.STEP == "leaves":
                leaf.grad = None
        before = len(calls)
    if registry.active().optim.STEP == "leaves":
        elbo.loss_and_grads(model, guide, ops.array(0.0))
        assert len(calls) == before


@pytest.mark.nightly
@pytest.mark.parametrize(("jitted", "plain"), [(JitTrace_ELBO, Trace_ELBO), (JitTraceGraph_ELBO, TraceGraph_ELBO)])
def test_jit_forms_are_their_plain_forms(backend, jitted, plain):
    assert issubclass(jitted, plain)
    assert (jitted.jit, plain.jit) == (True, False)
    chain, draw = cases.CHAIN, {name: ops.array(value) for name, value in cases.CHAIN.draws[5][1].items()}
    elbos, losses = (jitted(), plain()), []
    discover(chain.model, chain.guide, (), {})

    def guide():
        return cases.Fixed(draw)(chain.guide)()

    for elbo in elbos:
        for _ in range(2):
            losses.append(elbo.loss_and_grads(chain.model, guide))
        if registry.active().optim.STEP == "leaves":
            ppl.get_param_store().get_unconstrained("logits").grad = None
    assert_close(losses, [-chain.term(chain.point, chain.draws[5][1])] * 4)
    assert_close(elbos[0].gradients["logits"], elbos[1].gradients["logits"])


# ---- what is refused ----


def simple_model():
    ppl.sample("z", dist.Normal(0.0, 1.0))


def test_refused_arguments(backend):
    with pytest.raises(InferenceError, match="needs a finite alpha other than 1, received 1"):
        RenyiELBO(alpha=1)
    with pytest.raises(
        InferenceError, match="ranks particles that run at once; received num_particles=4 and vectorize_particles=F"
    ):
        TraceTailAdaptive_ELBO(num_particles=4)
    with pytest.raises(InferenceError, match=r"tail_adaptive_beta in \[-1, 0\), received 0.5"):
        TraceTailAdaptive_ELBO(num_particles=4, vectorize_particles=True, tail_adaptive_beta=0.5)
    tail = TraceTailAdaptive_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=0)
    with pytest.raises(InferenceError, match="never its value; try Trace_ELBO"):
        tail.loss(simple_model, simple_model)
    with pytest.raises(InferenceError, match=r"TraceTailAdaptive_ELBO needs reparameterised draws.*site 'bit' from Bernoulli"):
        tail.differentiable_loss(pair_model, pair_guide)
    with pytest.raises(InferenceError, match=r"TraceMeanField_ELBO needs reparameterised draws.*site 'bit' from Bernoulli"):
        TraceMeanField_ELBO().loss(pair_model, pair_guide)
    with pytest.raises(InferenceError, match="plate 'rows' around site 'local' holds 2 of 3 elements"):
        RenyiELBO().loss(local_model, local_guide)


MISMATCHES = {
    "shape": (
        lambda: ppl.sample("z", dist.Normal(ops.zeros(3), 1.0).to_event(1)),
        lambda: ppl.sample("z", dist.Normal(0.0, 1.0)),
        ShapeError,
        r"site 'z' has shape \(\) in the guide \(Normal of batch shape \(\) and event shape \(\)\) but \(3,\) in the model",
    ),
    "support": (
        lambda: ppl.sample("z", dist.Gamma(2.0, 1.0)),
        lambda: ppl.sample("z", dist.Normal(1.0, 1.0)),
        InferenceError,
        "site 'z' is drawn by the guide from Normal of support real, but the model's Gamma has support",
    ),
    "shape, met where the model uses the value": (
        lambda: ppl.sample("y", dist.Normal(ppl.sample("z", dist.Normal(ops.zeros(3), 1.0).to_event(1)) + ops.zeros(3), 1.0)),
        lambda: ppl.sample("z", dist.Normal(ops.zeros(4), 1.0).to_event(1)),
        ShapeError,
        r"site 'z' has shape \(4,\) in the guide .* but \(3,\) in the model",
    ),
    "support, met where the model uses the value": (
        lambda: ppl.sample("y", dist.Normal(0.0, ppl.sample("z", dist.Gamma(2.0, 1.0)))),
        lambda: ppl.sample("z", dist.Normal(-5.0, 0.1)),
        InferenceError,
        "site 'z' is drawn by the guide from Normal of support real, but the model's Gamma has support",
    ),
    "continuous for discrete": (
        lambda: ppl.sample("z", dist.Bernoulli(0.3)),
        lambda: ppl.sample("z", dist.Beta(1.0, 1.0)),
        InferenceError,
        "site 'z' is drawn by the guide from Beta.*the model's Bernoulli",
    ),
    "discrete for continuous": (
        lambda: ppl.sample("z", dist.Normal(0.0, 1.0)),
        lambda: ppl.sample("z", dist.Poisson(3.0)),
        InferenceError,
        "site 'z' is drawn by the guide from Poisson.*the model's Normal",
    ),
    "discrete site left out": (
        lambda: ppl.sample("z", dist.Bernoulli(0.3)),
        lambda: None,
        InferenceError,
        "lacks 'z'.*it is discrete, and this loss neither enumerates it nor has a score function",
    ),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_guide_that_does_not_fit(backend, kind):
    model, guide, error, message = MISMATCHES[kind]
    for loss in (Trace_ELBO(), RenyiELBO()):
        with pytest.raises(error, match=message):
            loss.loss(model, guide)


FITTING = {
    "transformed": (dist.LogNormal, (0.0, 1.0), dist.Gamma, (2.0, 1.0)),
    "point": (dist.Delta, (0.5,), dist.Beta, (2.0, 1.0)),
    "point for a choice": (dist.Delta, (1.0,), dist.Bernoulli, (0.3,)),
    "rounded": (dist.RelaxedBernoulliStraightThrough, (0.5, 0.3), dist.Bernoulli, (0.3,)),
    "narrower": (dist.Beta, (2.0, 2.0), dist.Normal, (0.0, 1.0)),
}


@pytest.mark.parametrize("kind", FITTING)
def test_guide_that_fits_in_another_family(backend, kind):
    proposed, ours, target, theirs = FITTING[kind]
    ours = tuple(map(ops.array, ours))
    loss = Trace_ELBO().loss(lambda: ppl.sample("z", target(*theirs)), lambda: ppl.sample("z", proposed(*ours)))
    assert math.isfinite(loss)


# jax maps its particles, which then take no dimension.
@pytest.mark.backends("numpy", "torch")
def test_particles_have_room_left_of_all_plates(backend):
    """Three rows beside three particles would be taken for each other, without any error of shapes."""

    def model():
        with ppl.plate("rows", 3):
            z = ppl.sample("z", dist.Normal(0.0, 1.0))
            ppl.sample("x", dist.Normal(z, 1.0), obs=ops.array([1.0, 2.0, 3.0]))

    def guide():
        with ppl.plate("rows", 3):
            ppl.sample("z", dist.Normal(0.0, 1.0))

    for bound in (Trace_ELBO, RenyiELBO):
        small = bound(num_particles=3, vectorize_particles=True, max_plate_nesting=0)
        with pytest.raises(InferenceError, match=r"plate 'rows' .* dim=-2, left of the particles at dim=-1; .*nesting=1 or more"):
            small.loss(model, guide)
        with pytest.raises(InferenceError, match=r"max_plate_nesting must be an int of 0 or more, received 1\.5"):
            bound(max_plate_nesting=1.5)
