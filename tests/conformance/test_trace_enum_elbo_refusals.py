"""What the bound with discrete sites summed out refuses, and which sites config_enumerate marks."""

import itertools
import math

import numpy
import pytest
from enumeration import PARALLEL
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.errors import InferenceError, PlateCollision, PplError, ShapeError, SiteError
from ppl.infer import TraceEnum_ELBO, config_enumerate

SEQUENTIAL = {"enumerate": "sequential"}


def no_guide():
    pass


def table(values):
    return ops.array(numpy.asarray(values, dtype=float))


def normal(seen, loc):
    return stats.norm.logpdf(seen, loc)


def coin(value, prob):
    return stats.bernoulli.logpmf(value, prob)


def too_deep():
    with ppl.plate("rows", 2, dim=-2):
        x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
        ppl.sample("y", dist.Normal(x, 1.0), obs=0.4)


def undeclared():
    x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
    ppl.sample("y", dist.Normal(x, 1.0), obs=table([0.4, 0.1, 0.7]))


def leaking():
    with ppl.plate("rows", 2):
        x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
    ppl.sample("y", dist.Normal(ops.sum(x, axis=-1, keepdims=True), 1.0), obs=0.4)


def unmarked():
    ppl.sample("x", dist.Bernoulli(0.3))


def continuous():
    ppl.sample("x", dist.Normal(0.0, 1.0), infer=PARALLEL)


def uneven():
    with ppl.plate("rows", 2):
        ppl.sample("x", dist.Binomial(ops.array(numpy.array([1, 2])), 0.4), infer=PARALLEL)


def drawn():
    ppl.sample("x", dist.Bernoulli(0.3), infer={**PARALLEL, "num_samples": 5})


def forgetful():
    seen = []
    for t in ppl.markov(range(3), history=1):
        p = 0.3 + 0.4 * seen[t - 2] if t > 1 else 0.3
        seen.append(ppl.sample(f"x{t}", dist.Bernoulli(p), infer=PARALLEL))
    ppl.sample("y", dist.Normal(seen[-1], 1.0), obs=0.4)


@pytest.mark.parametrize(
    ("model", "nesting", "error", "match"),
    [
        (too_deep, 1, PlateCollision, "plate 'rows' uses dim=-2.*max_plate_nesting=2"),
        (undeclared, 0, ShapeError, "'y'"),
        (leaking, 1, PplError, "'y'.*'x'"),
        (unmarked, 0, InferenceError, "the guide lacks 'x'.*TraceEnum_ELBO"),
        (continuous, 0, SiteError, "'x'.*no finite support|'x'.*finite support"),
        (uneven, 1, SiteError, "'x'"),
        (drawn, 0, InferenceError, "site 'x' of the model.*num_samples.*do not sum it out"),
        (forgetful, 0, PplError, "'x2'"),
    ],
)
def test_what_cannot_be_summed_is_refused(backend, model, nesting, error, match):
    with pytest.raises(error, match=f"(?s){match}"):
        TraceEnum_ELBO(max_plate_nesting=nesting).loss(model, no_guide)
    assert not ppl.runtime.am_i_wrapped()


def test_a_guide_further_in_than_the_sum_of_the_model_is_refused(backend):
    """Joint values of all rows of the guide would have to be tried for each value of the model's own site."""

    def model():
        top = ppl.sample("top", dist.Bernoulli(0.3), infer=PARALLEL)
        with ppl.plate("rows", 2):
            row = ppl.sample("row", dist.Bernoulli(0.2 + 0.5 * top))
            ppl.sample("y", dist.Normal(row, 1.0), obs=table([0.1, 0.4]))

    def guide():
        with ppl.plate("rows", 2):
            ppl.sample("row", dist.Bernoulli(0.4), infer=PARALLEL)

    with pytest.raises(InferenceError, match=r"'row' is enumerated in the guide inside of plate 'rows'.*\['top'\]"):
        TraceEnum_ELBO().loss(model, guide)
    with pytest.raises(InferenceError, match=r"compute_marginals needs single values.*\['row'\]"):
        TraceEnum_ELBO().compute_marginals(model, guide)
    with pytest.raises(InferenceError, match="num_particles=2"):
        TraceEnum_ELBO(num_particles=2).sample_posterior(model, guide)


def test_a_site_in_another_plate_than_that_of_the_guide_is_refused(backend):
    """The plates have one dimension, so that shapes fit."""

    def model():
        with ppl.plate("rows", 2):
            row = ppl.sample("row", dist.Bernoulli(0.2))
        with ppl.plate("others", 2):
            ppl.sample("y", dist.Normal(row, 1.0), obs=table([0.1, 0.4]))

    def guide():
        with ppl.plate("rows", 2):
            ppl.sample("row", dist.Bernoulli(0.4), infer=PARALLEL)

    with pytest.raises(InferenceError, match="'y' lies outside of plate 'rows' but depends on the enumerated site 'row'"):
        TraceEnum_ELBO().loss(model, guide)


def test_a_site_behind_a_plate_in_sequence_is_refused(backend):
    def model():
        with ppl.plate("rows", 2):
            row = ppl.sample("row", dist.Bernoulli(0.2))
        ppl.sample("y", dist.Normal(ops.sum(row), 1.0), obs=0.4)

    def guide():
        with ppl.plate("rows", 2):
            ppl.sample("row", dist.Bernoulli(0.4), infer=SEQUENTIAL)

    with pytest.raises(InferenceError, match=r"'row' of the guide is enumerated for each element of plate 'rows'.*'y'"):
        TraceEnum_ELBO().loss(model, guide)


def test_chains_of_model_and_guide_share_their_dimensions_or_are_refused(backend):
    def chained(history, mark, prefix="z"):
        seen = []
        for t in ppl.markov(range(3), history=history):
            p = 0.2 + 0.3 * sum(seen[-history:])
            seen.append(ppl.sample(f"{prefix}{t}", dist.Bernoulli(p), infer=mark))
            if mark is None:
                ppl.sample(f"y{t}", dist.Normal(seen[-1], 1.0), obs=0.4)

    total = 0.0
    for states in itertools.product(range(2), repeat=3):
        p = [0.2 + 0.3 * state for state in (0, *states)]
        log_q = sum(coin(state, prob) for state, prob in zip(states, p, strict=False))
        total += math.exp(log_q) * sum(normal(0.4, state) for state in states)
    elbo = TraceEnum_ELBO()
    assert elbo.loss(lambda: chained(1, None), lambda: chained(1, PARALLEL)) == pytest.approx(-total, rel=1e-5)
    with pytest.raises(PplError, match="'z2'"):
        elbo.loss(lambda: chained(2, None), lambda: chained(1, PARALLEL))
    # Also where nothing is run beforehand to compare.
    with ppl.validation_enabled(False), pytest.raises(ShapeError, match=r"sites 'z0' and 'z2' share dim=-1 in the guide"):
        elbo.loss(lambda: chained(2, None), lambda: chained(1, PARALLEL))


def test_config_enumerate_marks_what_can_be(backend):
    def model():
        ppl.sample("x", dist.Bernoulli(0.3))
        ppl.sample("own", dist.Bernoulli(0.3), infer={"enumerate": "sequential"})
        ppl.sample("z", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Bernoulli(0.3), obs=ops.array(1.0))

    def marks(configured):
        nodes = handlers.trace(configured).get_trace().nodes
        return {name: node["infer"] for name, node in nodes.items() if node["type"] == "sample"}

    parallel, sequential = {"enumerate": "parallel", "expand": False}, {"enumerate": "sequential", "expand": True}
    assert marks(config_enumerate(model)) == {"x": parallel, "own": {**parallel, **SEQUENTIAL}, "z": {}, "y": {}}
    assert marks(config_enumerate(default="sequential", expand=True)(model))["x"] == sequential
    drawn = marks(config_enumerate(model, num_samples=4))
    assert {name: mark.get("num_samples") for name, mark in drawn.items()} == {"x": 4, "own": 4, "z": 4, "y": None}
    for wrong in ({"default": "both"}, {"num_samples": 0}, {"expand": 1}, {"default": "sequential", "num_samples": 3}):
        with pytest.raises(InferenceError, match="config_enumerate got"):
            config_enumerate(model, **wrong)
