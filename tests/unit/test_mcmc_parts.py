"""The parts of the samplers that need no model: schedules, checkpoints, step size adaptation, spelling."""

import math

import numpy
import pytest

import ppl
from ppl.infer.adapt import dual_averaging, mass, step_size, windows
from ppl.infer.mcmc import termination


@pytest.mark.parametrize("depth", range(1, 9))
def test_checkpoints_close_every_aligned_subtree_once(depth):
    """Brute force: the nodes of a balanced binary tree over the leaves are all spans [k 2^j, (k + 1) 2^j)."""
    first, last = termination.checkpoint_tables(depth + 1)
    kept, closed = {}, []
    for leaf in range(2**depth):
        if leaf % 2 == 0:
            kept[last[leaf]] = leaf
        else:
            closed += [(kept[place], leaf) for place in range(first[leaf], last[leaf] + 1)]
    expected = [(k * 2**j, (k + 1) * 2**j - 1) for j in range(1, depth + 1) for k in range(2 ** (depth - j))]
    assert sorted(closed) == sorted(expected)
    assert max(last) < max(depth, 1)


def test_windows_of_a_thousand_are_stans():
    assert [w.end - w.start for w in windows.schedule(1000)] == [75, 25, 50, 100, 200, 500, 50]
    assert [w.slow for w in windows.schedule(1000)] == [False, True, True, True, True, True, False]


@pytest.mark.parametrize("num_warmup", [0, 1, 19, 20, 30, 75, 100, 149, 150, 151, 400, 999, 5000])
def test_windows_cover_the_warmup(num_warmup):
    covered = [iteration for window in windows.schedule(num_warmup) for iteration in range(window.start, window.end)]
    assert covered == list(range(num_warmup))


def test_dual_averaging_by_hand():
    """Hoffman and Gelman (2014), eq. 6, evaluated term by term."""
    with ppl.pyro_backend("numpy"):
        state = dual_averaging.start(0.5)
        accepts = [0.2, 0.95, 0.7, 0.8]
        for accept in accepts:
            state = dual_averaging.update(state, accept, 0.8)
    anchor, error, average = math.log(10 * 0.5), 0.0, 0.0
    for m, accept in enumerate(accepts, start=1):
        error = (1 - 1 / (m + 10)) * error + (0.8 - accept) / (m + 10)
        log_step = anchor - math.sqrt(m) / 0.05 * error
        average = m**-0.75 * log_step + (1 - m**-0.75) * average
    assert float(state.log_step) == pytest.approx(log_step, rel=1e-12)
    assert float(state.log_average) == pytest.approx(average, rel=1e-12)


def test_dual_averaging_finds_the_step_of_a_target():
    """With acceptance exp(-step), the target 0.8 is met at step = -log(0.8)."""
    rng = numpy.random.default_rng(0)
    with ppl.pyro_backend("numpy"):
        state = dual_averaging.start(5.0)
        for _ in range(3000):
            accept = numpy.clip(math.exp(-math.exp(state.log_step)) + 0.05 * rng.normal(), 0, 1)
            state = dual_averaging.update(state, accept, 0.8)
    assert math.exp(state.log_average) == pytest.approx(-math.log(0.8), rel=0.05)


@pytest.mark.parametrize("initial", [1e-4, 1.0, 300.0])
def test_step_search_crosses_the_target(initial):
    found = step_size.search(lambda step: math.exp(-step), initial, 0.8)
    assert math.exp(-found) > 0.8 >= math.exp(-2 * found)


def test_step_search_ends_on_a_flat_density():
    assert math.isfinite(step_size.search(lambda step: 1.0))
    assert step_size.search(lambda step: 0.0) > 0


@pytest.mark.parametrize("num_warmup", [*range(60), 100, 150, 151, 300, 1000])
def test_short_windows_cover_the_warmup(num_warmup):
    covered = [iteration for window in windows.short(num_warmup) for iteration in range(window.start, window.end)]
    assert covered == list(range(num_warmup))
    assert not num_warmup or not windows.short(num_warmup)[-1].slow


def test_few_draws_of_a_normal_give_its_covariance_wherever_they_lie():
    # The gradient of a normal's energy is linear, so that two points for each dimension determine the covariance.
    generator = numpy.random.default_rng(0)
    root = generator.normal(size=(6, 6)) * numpy.array([1e-2, 1.0, 30.0, 1.0, 5.0, 1e3])[:, None]
    covariance = root @ root.T
    scale = numpy.sqrt(numpy.diag(covariance))
    draws = (generator.normal(size=(15, 6)) * 50.0 + 7.0) * scale
    gradients = numpy.linalg.solve(covariance, draws.T).T
    found = mass.covariance_by_gradients(draws, gradients)
    numpy.testing.assert_allclose(found / scale / scale[:, None], covariance / scale / scale[:, None], atol=1e-5)
    assert numpy.abs(mass.covariance(draws) / scale / scale[:, None] - covariance / scale / scale[:, None]).max() > 0.5
    numpy.testing.assert_allclose(mass.worthwhile(draws, gradients), found, rtol=1e-12)


def test_variances_are_enough_for_independent_coordinates_and_for_few_draws():
    generator = numpy.random.default_rng(0)
    variances = numpy.array([1e-4, 1.0, 2.0, 900.0])
    draws = generator.normal(size=(60, 4)) * 3.0
    numpy.testing.assert_allclose(mass.worthwhile(draws, draws / variances), variances, rtol=1e-12)
    root = generator.normal(size=(4, 4))
    few = draws[:8]
    assert mass.worthwhile(few, numpy.linalg.solve(root @ root.T, few.T).T).shape == (4,)
    flat = mass.variances_by_gradients(draws, numpy.zeros_like(draws))
    numpy.testing.assert_array_equal(flat, numpy.ones(4))
