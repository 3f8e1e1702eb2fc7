"""``check_enumeration`` of loops: beside all joint values, summed by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats
from test_control_flow_history import LookingBack

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.contrib.control_flow import factors, scan
from ppl.errors import EnumerationError, InferenceError
from ppl.testing import assert_close

MOVES = np.array([[0.8, 0.2], [0.3, 0.7]])
DATA = np.array([[0.3, 1.1], [-0.8, 0.4], [1.7, -0.2]])


def in_plate(data, reverse=False):
    with ppl.plate("series", 2):

        def step(state, x):
            state = ppl.sample("state", dist.Categorical(ops.array(MOVES)[state]))
            kind = ppl.sample("kind", dist.Bernoulli(0.25))
            ppl.sample("x", dist.Normal(ops.array([-1.0, 1.0])[state] + kind, 1.0), obs=x)
            return state, None

        scan(step, ops.zeros((2,), dtype="int64"), data, reverse=reverse)


def by_hand(column):
    """Return the evidence of one series, and the probabilities of its states and kinds."""
    steps = len(column)
    evidence, states, kinds = 0.0, np.zeros((steps, 2)), np.zeros((steps, 2))
    for path in itertools.product(range(2), repeat=2 * steps):
        state, kind = np.array(path[:steps]), np.array(path[steps:])
        weight = np.prod(MOVES[[0, *state[:-1]], state] * np.array([0.75, 0.25])[kind])
        weight *= np.prod(stats.norm.pdf(column, np.array([-1.0, 1.0])[state] + kind))
        evidence += weight
        states[np.arange(steps), state] += weight
        kinds[np.arange(steps), kind] += weight
    return evidence, states / evidence, kinds / evidence


@pytest.mark.parametrize("reverse", [False, True])
def test_each_step_of_each_series(backend, capsys, reverse):
    data = DATA[:2]
    report = ppl.check_enumeration(in_plate, ops.array(data), reverse=reverse)
    order = slice(None, None, -1) if reverse else slice(None)
    evidence, states, kinds = zip(*(by_hand(column[order]) for column in data.T), strict=True)
    assert report.agrees
    assert report.num_assignments == 2**8
    assert_close(report.log_evidence, np.log(evidence).sum())
    assert_close(report.expected_log_evidence, np.log(evidence).sum())
    for name, expected in (("state", states), ("kind", kinds)):
        expected = np.stack(expected, axis=1)[order]
        assert report.marginals[name].shape == (2, 2, 2)
        assert_close(report.marginals[name], expected)
        assert_close(report.expected_marginals[name], expected)
    assert f"P(state[3] #1){'':10}{report.marginals['state'][1, 1, 1]:14.6f}" in capsys.readouterr().out


@pytest.mark.parametrize("history", [1, 2])
def test_sites_before_and_after_a_loop(backend, history):
    chain, data = LookingBack(history), DATA[:, 0]
    report = ppl.check_enumeration(chain.model, ops.array(data))
    paths, weights = chain.weights(data)
    assert report.agrees
    assert_close(report.log_evidence, np.log(weights.sum()))
    found = np.zeros((4, 2))
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        found[np.arange(4), path] += weight
    assert_close(report.marginals["start"], found[0])
    assert_close(report.marginals["state"], found[1:])


def test_negative_control_a_wrong_sum_over_steps_is_seen(backend, monkeypatch):
    right = factors.chain.log_forward
    monkeypatch.setattr(factors.chain, "log_forward", lambda start, matrices: right(start, ops.flip(matrices, -2)))
    report = ppl.check_enumeration(LookingBack(1).model, ops.array(DATA[:, 0]))
    assert not report.agrees
    assert abs(report.log_evidence - report.expected_log_evidence) > 0.01


def test_what_cannot_be_checked(backend):
    def subsampled(data):
        def step(carry, x):
            with ppl.plate("rows", 4, subsample_size=2):
                state = ppl.sample("state", dist.Bernoulli(0.5))
                ppl.sample("x", dist.Normal(1.0 * state, 1.0), obs=x)
            return carry, None

        scan(step, ops.array(0.0), data)

    with pytest.raises(EnumerationError, match=r"plate 'rows' .*2 of 4 elements.*try it without subsample_size"):
        ppl.check_enumeration(handlers.seed(subsampled, rng_seed=0), ops.array(DATA))
    with pytest.raises(InferenceError, match=r"'state', 'kind'.*expected at most 65536"):
        ppl.check_enumeration(in_plate, ops.zeros((8, 2)))
