"""``scan``: what it refuses."""

import numpy as np
import pytest
from test_control_flow import DATA, PARALLEL, evidence, walk

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.control_flow import scan
from ppl.errors import DuplicateSite, EnumerationError, PlateCollision, ShapeError, SiteError
from ppl.infer.enum import runs


def step_of(draw):
    def model(data):
        def step(state, x):
            state = draw(state)
            ppl.sample("x", dist.Normal(state, 1.0), obs=x)
            return state, 2.0 * state

        return scan(step, ops.array(0), data)

    return model


def test_a_step_that_misreads_a_table_is_refused(backend):
    table = ops.array(np.random.default_rng(0).dirichlet(np.ones(2), (2, 2)))
    right = step_of(lambda state: ppl.sample("state", dist.Categorical(table[state, 1]), infer=PARALLEL))
    wrong = step_of(lambda state: ppl.sample("state", dist.Categorical(table[state][1]), infer=PARALLEL))
    # Run as it is, since compiled code has no values to compare.
    assert "state" in handlers.trace(runs.enumerated(right)).get_trace(ops.array(DATA[:2]))
    with pytest.raises(EnumerationError, match=r"'state'.*expected"):
        handlers.trace(runs.enumerated(wrong)).get_trace(ops.array(DATA[:2]))


def test_outputs_that_are_summed_out_cannot_be_used(backend):
    table = ops.array([[0.5, 0.5], [0.2, 0.8]])
    model = step_of(lambda state: ppl.sample("state", dist.Categorical(table[state]), infer=PARALLEL))
    _, output = handlers.trace(runs.enumerated(model)).get_trace(ops.array(DATA)).nodes["_RETURN"]["value"]
    with pytest.raises(EnumerationError, match="summed out"):
        output + 1.0


def test_what_no_chain_of_one_step_is_is_refused(backend):
    table = ops.array(np.random.default_rng(0).dirichlet(np.ones(2), (2, 2)))

    def two_back(data):
        def step(carry, x):
            state = ppl.sample("state", dist.Categorical(table[carry]), infer=PARALLEL)
            ppl.sample("x", dist.Normal(state, 1.0), obs=x)
            return (state, carry[0]), None

        scan(step, (ops.array(0), ops.array(0)), data)

    with pytest.raises(EnumerationError, match=r"'state'.*history=1 allows.*try history=2"):
        evidence(two_back, ops.array(DATA))
    draws = step_of(lambda state: ppl.sample("state", dist.Bernoulli(0.5), infer={**PARALLEL, "num_samples": 3}))
    with pytest.raises(EnumerationError, match="num_samples=3"):
        evidence(draws, ops.array(DATA))

    def scaled(data):
        def step(state, x):
            state = ppl.sample("state", dist.Categorical(table[state, state]), infer=PARALLEL)
            with handlers.scale(scale=2.0):
                ppl.sample("x", dist.Normal(state, 1.0), obs=x)
            return state, None

        scan(step, ops.array(0), data)

    with pytest.raises(EnumerationError, match=r"'x' has the scale 2.0.*try handlers.scale around scan"):
        evidence(scaled, ops.array(DATA))


def test_sequential_enumeration_is_refused(backend):
    from queue import LifoQueue

    partial = LifoQueue()
    partial.put(handlers.Trace())
    model = step_of(lambda state: ppl.sample("state", dist.Bernoulli(0.5)))
    with pytest.raises(EnumerationError, match=r"cannot be left and run again.*parallel"):
        handlers.queue(model, queue=partial)(ops.array(DATA))


BAD = [
    (lambda: scan(lambda c, x: (c, x), 0.0), SiteError, "neither xs nor length"),
    (lambda: scan(lambda c, x: (c, x), 0.0, ops.zeros((3,)), length=4), ShapeError, "differ: 3, 4"),
    (lambda: scan(lambda c, x: (c, x), 0.0, {"a": ops.zeros((3,)), "b": ops.zeros((2,))}), ShapeError, "differ: 2, 3"),
    (lambda: scan(lambda c, x: (c, x), 0.0, ops.array(1.0)), ShapeError, "scalar"),
    (lambda: scan(lambda c, x: (c, x), 0.0, length=0), ShapeError, "0 steps"),
    (lambda: scan(lambda c, x: (c, x), 0.0, length=2.5), SiteError, "length=2.5"),
    (lambda: scan(lambda c, x: (c, x), 0.0, length=2, history=-1), SiteError, "history=-1"),
    (lambda: scan(lambda c, x: ((c, c), x), 0.0, length=2), ShapeError, r"from \* to tuple"),
    (lambda: scan(lambda c, x: c, 0.0, length=2), SiteError, "expected a pair"),
    (lambda: scan(lambda c, x: (ops.concat([c, c], axis=0), x), ops.zeros((1,)), length=3), ShapeError, r"\(2,\).*\(4,\)"),
    (lambda: scan(lambda c, x: (scan(lambda a, b: (a, b), c, length=2)[0], x), 0.0, length=2), SiteError, "another scan"),
    (lambda: scan(lambda c, x: (ppl.sample("s", lambda: c), x), 0.0, length=2), SiteError, "expected a distribution"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "error", "sentence"), BAD)
def test_bad_loops_are_refused(backend, run, error, sentence):
    with pytest.raises(error, match=sentence):
        run()


def test_names_and_values_that_do_not_fit_are_refused(backend):
    def twice(data):
        ppl.sample("x", dist.Normal(0.0, 1.0))
        walk(data)

    with pytest.raises(DuplicateSite, match="'x'"):
        handlers.trace(handlers.seed(twice, rng_seed=0)).get_trace(ops.array(DATA))

    def inside(data):
        def step(c, x):
            ppl.sample("a", dist.Normal(c, 1.0))
            return ppl.sample("a", dist.Normal(c, 1.0)), None

        scan(step, 0.0, data)

    with pytest.raises(DuplicateSite, match="one step of scan"):
        handlers.seed(inside, rng_seed=0)(ops.array(DATA))
    with pytest.raises(ShapeError, match=r"'x' of scan has shape \(3,\); expected 4 steps"):
        handlers.condition(walk, data={"x": ops.zeros((3,))})(ops.array(DATA))
    strategy = {"x": infer.reparam.LocScaleReparam(0.0)}
    with pytest.raises(SiteError, match=r"reparam around scan.*around the step"):
        handlers.seed(handlers.reparam(walk, config=strategy), rng_seed=0)(ops.array(DATA))
    with pytest.raises(PlateCollision, match=r"first_available_dim=-2, or max_plate_nesting=1"):
        handlers.enum(handlers.condition(walk, data={"x": ops.array(DATA)}), first_available_dim=-1)(ops.array(DATA))
