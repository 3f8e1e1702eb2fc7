"""``TraceEnum_ELBO.compute_marginals`` of sites inside of loops, beside sums over all joint values."""

import itertools

import numpy as np
import pytest
from scipy import stats
from test_check_enumeration_loops import DATA, MOVES, by_hand, in_plate
from test_control_flow_history import LookingBack

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.control_flow import scan
from ppl.testing import assert_close


def nothing(*args, **kwargs):
    pass


def marginals(model, *args, nesting=0, guide=nothing, **kwargs):
    elbo = infer.TraceEnum_ELBO(max_plate_nesting=nesting)
    return elbo.compute_marginals(infer.config_enumerate(model), guide, *args, **kwargs)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_step_of_each_series(backend, reverse):
    found = marginals(in_plate, ops.array(DATA), nesting=1, reverse=reverse)
    order = slice(None, None, -1) if reverse else slice(None)
    _, states, kinds = zip(*(by_hand(column[order]) for column in DATA.T), strict=True)
    assert list(found) == ["state", "kind"]
    assert isinstance(found["state"], dist.Categorical)
    assert isinstance(found["kind"], dist.Bernoulli)
    assert_close(found["state"].probs, np.stack(states, axis=1)[order])
    assert_close(found["kind"].probs, np.stack(kinds, axis=1)[order][..., 1])


@pytest.mark.parametrize("history", [1, 2])
def test_sites_before_and_after_a_loop(backend, history):
    chain, data = LookingBack(history), DATA[:, 0]
    found = marginals(chain.model, ops.array(data))
    paths, weights = chain.weights(data)
    expected = np.zeros((4, 2))
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        expected[np.arange(4), path] += weight
    assert_close(found["start"].probs, expected[0])
    assert_close(found["state"].probs, expected[1:])


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_scale_and_a_plate_in_between_change_nothing(backend, scale):
    """Each element of a plate is weighed by itself, whatever it counts for; plates at dim=-2 alone keep a dimension of one."""

    def model(data):
        with ppl.plate("series", 4, subsample=ops.array([0, 2]), dim=-2):

            def step(state, x):
                state = ppl.sample("state", dist.Binomial(1, ops.array(MOVES)[ops.array(state, dtype="int64")][..., 1]))
                ppl.sample("x", dist.Normal(2.0 * state - 1.0, 1.0), obs=ops.expand_dims(x, -1))
                return state, None

            scan(step, ops.zeros((2, 1)), data)

    found = marginals(handlers.scale(model, scale), ops.array(DATA), nesting=2)["state"]
    assert tuple(found.batch_shape) == (3, 2, 1)
    for place, column in enumerate(DATA.T):
        expected = np.zeros(3)
        total = 0.0
        for path in itertools.product(range(2), repeat=3):
            weight = np.prod(MOVES[[0, *path[:-1]], path] * stats.norm.pdf(column, 2.0 * np.array(path) - 1.0))
            expected += weight * np.array(path)
            total += weight
        assert_close(found.mean[:, place, 0], expected / total)


def test_given_what_the_guide_draws(backend):
    """A continuous site of the guide moves the marginals: those at the value that it had."""
    shifts = [0.0, 1.5]

    def model(data, shift):
        place = ppl.sample("place", dist.Normal(0.0, 1.0))

        def step(state, x):
            state = ppl.sample("state", dist.Categorical(ops.array(MOVES)[state]))
            ppl.sample("x", dist.Normal(2.0 * state - 1.0 + place, 1.0), obs=x)
            return state, None

        scan(step, ops.array(0), data)

    def guide(data, shift):
        ppl.sample("place", dist.Delta(ops.array(shift)))

    answers = []
    for shift in shifts:
        found = marginals(model, ops.array(DATA[:, 0]), shift, guide=guide)["state"].probs
        expected, total = np.zeros((3, 2)), 0.0
        for path in itertools.product(range(2), repeat=3):
            weight = np.prod(MOVES[[0, *path[:-1]], path] * stats.norm.pdf(DATA[:, 0] - shift, 2.0 * np.array(path) - 1.0))
            expected[np.arange(3), path] += weight
            total += weight
        assert_close(found, expected / total)
        answers.append(ops.to_numpy(found))
    assert np.abs(answers[0] - answers[1]).max() > 0.1
