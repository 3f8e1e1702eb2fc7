"""Estimators of bounds with real draws, many particles at once or in a loop, against sums by hand.

Each check is one of independent repetitions: their mean lies within five of its standard errors of the exact value, and an
estimator that is wrong on purpose does not.
"""

import importlib.util
from pathlib import Path

import numpy
import pytest
from scipy import special

import ppl
from ppl import distributions as dist
from ppl import ops
from ppl.infer.elbo import JitTraceGraph_ELBO, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, TraceTailAdaptive_ELBO
from ppl.infer.objective import Objective, constraints_of, discover, leaves_of, settle
from ppl.infer.particles import has_explicit_keys
from ppl.ops import random

PLACE = Path(__file__).parents[1] / "conformance" / "estimator_cases.py"
SPECIFICATION = importlib.util.spec_from_file_location("estimator_cases", PLACE)
cases = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(cases)

pytestmark = pytest.mark.nightly

PARTICLES, REPETITIONS, LOOP_REPETITIONS = 1000, 60, 300


def repeated(model, guide, elbo, repetitions):
    """Return losses and gradients of independent estimates, one row each."""
    names = discover(model, guide, (), {}, loss=elbo)
    objective = Objective(model, guide, elbo)

    def once(key):
        estimate, gradients = objective.with_gradients(leaves_of(names), constraints_of(names), (), {}, key)
        return estimate.loss, gradients

    if has_explicit_keys():
        once = ops.compile.compile(once)
    rows = [once(random.next_key()) for _ in range(repetitions)]
    losses = numpy.array([float(ops.to_numpy(loss)) for loss, _ in rows])
    return losses, {name: numpy.stack([ops.to_numpy(gradients[name]) for _, gradients in rows]) for name in rows[0][1]}


def standard_errors_off(rows, exact, error_of_exact=0.0):
    """Return by how many standard errors the mean of the rows differs from ``exact``, at worst."""
    # What is masked has no gradient and no spread: the rounding of differences is forgiven.
    error = numpy.hypot(rows.std(axis=0, ddof=1) / len(rows) ** 0.5, error_of_exact) + 1e-9
    return numpy.max(numpy.abs(rows.mean(axis=0) - exact) / error)


class WithoutScores(TraceGraph_ELBO):
    """The wrong estimator: it leaves out score functions."""

    def weigh(self, *args):
        return 0.0 * super().weigh(*args)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("loss", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("case", cases.CASES)
def test_value_and_gradient(backend, case, loss, at_once):
    exact = cases.CASES[case]
    elbo = loss(num_particles=PARTICLES if at_once else 2, vectorize_particles=at_once)
    losses, gradients = repeated(exact.model, exact.guide, elbo, REPETITIONS if at_once else LOOP_REPETITIONS)
    assert standard_errors_off(losses, exact.loss(exact.point)) < 5
    for name, slope in exact.gradient.items():
        assert standard_errors_off(gradients[name], slope) < 5


def test_dropped_score_functions_are_found(backend):
    exact = cases.CASES["nested plates"]
    elbo = WithoutScores(num_particles=PARTICLES, vectorize_particles=True)
    # Without a score the logits of a discrete site have no gradient at all, and so no spread.
    _, gradients = repeated(exact.model, exact.guide, elbo, 2)
    assert numpy.abs(gradients["kind_logits"]).max() == 0.0
    assert numpy.abs(exact.gradient["kind_logits"]).max() > 0.01


@pytest.mark.parametrize("case", cases.CASES)
def test_graph_varies_at_most_as_much_as_trace(backend, case):
    exact, spread = cases.CASES[case], {}
    for loss in (Trace_ELBO, TraceGraph_ELBO):
        elbo = loss(num_particles=20, vectorize_particles=True)
        _, gradients = repeated(exact.model, exact.guide, elbo, 400)
        spread[loss] = sum(rows.var(axis=0, ddof=1).sum() for rows in gradients.values())
    # The ratio of two variances from 400 draws each strays by about 10 percent; equal ones stay below 1.5.
    assert spread[TraceGraph_ELBO] < 1.5 * spread[Trace_ELBO]
    if case in ("chain", "loop"):
        assert spread[TraceGraph_ELBO] < 0.9 * spread[Trace_ELBO]


def test_moving_average_leaves_the_gradient_unbiased(backend):
    chain = cases.CHAIN

    def guide():
        logits, previous = ppl.param("logits", ops.array(chain.point["logits"])), 0.0
        for step in range(3):
            infer = {"baseline": {"use_decaying_avg_baseline": True, "baseline_beta": 0.8}}
            previous = ppl.sample(f"bit_{step}", dist.Bernoulli(logits=logits[step] + 0.8 * previous), infer=infer)

    elbo = TraceGraph_ELBO(num_particles=5, vectorize_particles=True)
    names, rows = discover(chain.model, guide, (), {}, loss=elbo), []
    objective, store = Objective(chain.model, guide, elbo), ppl.get_param_store()

    def once(params, key):
        estimate, gradients = objective.with_gradients(params, constraints_of(names), (), {}, key)
        return gradients, estimate.updates

    if has_explicit_keys():
        once = ops.compile.compile(once)
    for _ in range(600):
        gradients, updates = once(leaves_of(names), random.next_key())
        rows.append(ops.to_numpy(gradients["logits"]))
        for name, value in updates.items():
            store.set_unconstrained(name, value)
    assert len(updates) == 3
    assert standard_errors_off(numpy.stack(rows), chain.gradient["logits"]) < 5
    # Against the same guide without baselines, whose cost is far from zero.
    _, plain = repeated(chain.model, chain.guide, elbo, 600)
    assert numpy.stack(rows)[100:].var() < 0.7 * plain["logits"].var()


@pytest.mark.backends("torch")
@pytest.mark.parametrize("case", ["chain", "nested plates"])
def test_compiled_loss_draws_anew_at_each_call(backend, case):
    exact = cases.CASES[case]
    elbo = JitTraceGraph_ELBO(num_particles=50, vectorize_particles=True)
    names, losses, gradients = discover(exact.model, exact.guide, (), {}), [], {name: [] for name in exact.point}
    for _ in range(200):
        losses.append(elbo.loss_and_grads(exact.model, exact.guide))
        for name, leaf in leaves_of(names).items():
            gradients[name].append(ops.to_numpy(leaf.grad))
            leaf.grad = None
    assert standard_errors_off(numpy.array(losses), exact.loss(exact.point)) < 5
    for name, slope in exact.gradient.items():
        assert standard_errors_off(numpy.stack(gradients[name]), slope) < 5


def test_settled_gradients_are_those_of_the_optimizer():
    gradients, updates = settle({"x": 1.0, "__baseline_avg_y": 0.5}, {"x": 2.0, "__baseline_avg_y": 3.0})
    assert (gradients, updates) == ({"x": 1.0}, {"__baseline_avg_y": 2.5})


# ---- bounds that are no average over particles: against Monte Carlo in numpy ----

POINT, NUM, DRAWS = {"logit": 0.3, "loc": 0.5}, 5, 200_000


def pair_model():
    bit = ppl.sample("bit", dist.Bernoulli(0.4))
    mean = ppl.sample("mean", dist.Normal(bit, 1.0))
    ppl.sample("x", dist.Normal(mean, 0.8), obs=ops.array(1.3))


def pair_guide():
    bit = ppl.sample("bit", dist.Bernoulli(logits=ppl.param("logit", POINT["logit"])))
    ppl.sample("mean", dist.Normal(ppl.param("loc", POINT["loc"]) + bit, 0.6))


def log_normal_density(value, loc, scale):
    return -0.5 * ((value - loc) / scale) ** 2 - numpy.log(scale) - 0.5 * numpy.log(2 * numpy.pi)


def bound_by_hand(alpha, point, rng):
    """Return the bound for each of many sets of particles; the same ``rng`` gives the same noise."""
    probs = special.expit(point["logit"])
    bit = (rng.uniform(size=(DRAWS, NUM)) < probs).astype(float)
    mean = point["loc"] + bit + 0.6 * rng.normal(size=(DRAWS, NUM))
    log_weight = special.xlogy(bit, 0.4 / probs) + special.xlogy(1 - bit, 0.6 / (1 - probs))
    log_weight += log_normal_density(mean, bit, 1.0) + log_normal_density(1.3, mean, 0.8)
    log_weight -= log_normal_density(mean, point["loc"] + bit, 0.6)
    return special.logsumexp((1 - alpha) * log_weight, axis=1, b=1 / NUM) / (1 - alpha)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_renyi_bound(backend, alpha, at_once):
    elbo = RenyiELBO(alpha=alpha, num_particles=NUM, vectorize_particles=at_once)
    losses, gradients = repeated(pair_model, pair_guide, elbo, 1500 if at_once else 300)
    by_hand = bound_by_hand(alpha, POINT, numpy.random.default_rng(1))
    assert standard_errors_off(losses, -by_hand.mean(), by_hand.std() / DRAWS**0.5) < 5
    assert standard_errors_off(losses, -by_hand.mean() + 0.1, by_hand.std() / DRAWS**0.5) > 5
    for name, width in (("loc", 0.05), ("logit", 0.4)):
        moved = [
            bound_by_hand(alpha, {**POINT, name: POINT[name] + sign * width}, numpy.random.default_rng(2)) for sign in (1, -1)
        ]
        slopes = -(moved[0] - moved[1]) / (2 * width)
        # A third of the square of the width bounds what central differences miss here.
        error = numpy.hypot(slopes.std() / DRAWS**0.5, width**2 / 15)
        assert standard_errors_off(gradients[name], slopes.mean(), error) < 5


def tail_model():
    mean = ppl.sample("mean", dist.StudentT(3.0, 0.0, 1.0))
    ppl.sample("x", dist.Normal(mean, 1.0), obs=ops.array(1.3))


def tail_guide():
    ppl.sample("mean", dist.Normal(ppl.param("loc", 0.4), 0.7))


@pytest.mark.parametrize("beta", [-1.0, -0.5])
def test_tail_adaptive_gradient(backend, beta):
    elbo = TraceTailAdaptive_ELBO(num_particles=NUM, vectorize_particles=True, tail_adaptive_beta=beta)
    _, gradients = repeated(tail_model, tail_guide, elbo, 1500)
    value = 0.4 + 0.7 * numpy.random.default_rng(1).normal(size=(DRAWS, NUM))
    log_weight = -2.0 * numpy.log1p(value**2 / 3.0) + log_normal_density(1.3, value, 1.0) - log_normal_density(value, 0.4, 0.7)
    slope = -4.0 * value / (3.0 + value**2) + (1.3 - value) + (value - 0.4) / 0.7**2
    fraction = (log_weight[:, :, None] <= log_weight[:, None, :]).mean(axis=2) ** beta
    weighed = -(fraction / fraction.sum(axis=1, keepdims=True) * slope).sum(axis=1)
    assert standard_errors_off(gradients["loc"], weighed.mean(), weighed.std() / DRAWS**0.5) < 5
    # Equal weights, the gradient of the evidence lower bound, are told from these.
    assert standard_errors_off(gradients["loc"], -slope.mean()) > 5


def test_mean_field_of_a_minibatch(backend):
    data, locs = numpy.array([0.4, 2.6, -0.3]), numpy.array([0.1, 0.8, -0.4])

    def model():
        mean = ppl.sample("mean", dist.Normal(0.0, 1.5))
        with ppl.plate("rows", 3, subsample_size=2) as index:
            local = ppl.sample("local", dist.Normal(mean, 0.7))
            ppl.sample("x", dist.Normal(local, 1.0), obs=ops.take(ops.array(data), index, axis=0))

    def guide():
        ppl.sample("mean", dist.Normal(ppl.param("loc", 0.2), 0.5))
        with ppl.plate("rows", 3, subsample_size=2) as index:
            ppl.sample("local", dist.Normal(ops.take(ppl.param("locs", ops.array(locs)), index, axis=0), 0.4))

    def divergence(distance, scale, other):
        return numpy.log(other / scale) + (scale**2 + distance**2) / (2 * other**2) - 0.5

    # The mean of the squared distance between a local loc and a draw of the mean adds the variance of the draw.
    local = divergence(0.2 - locs, 0.4, 0.7) + 0.5**2 / (2 * 0.7**2)
    expected = divergence(0.2, 0.5, 1.5) + (local - log_normal_density(data, locs, 1.0) + 0.5 * 0.4**2).sum()
    elbo = TraceMeanField_ELBO(num_particles=PARTICLES, vectorize_particles=True)
    losses, gradients = repeated(model, guide, elbo, REPETITIONS)
    assert standard_errors_off(losses, expected) < 5
    assert standard_errors_off(gradients["loc"], 0.2 / 1.5**2 + (0.2 - locs).sum() / 0.7**2) < 5
    assert standard_errors_off(gradients["locs"], (locs - 0.2) / 0.7**2 + locs - data) < 5
