"""The parts of the samplers that need no model: schedules, checkpoints, step size adaptation, spelling."""

import math

import numpy
import pytest
import scipy.linalg
import scipy.stats

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


@pytest.mark.parametrize("depth", range(1, 9))
def test_spans_across_halves_end_at_every_node_once(depth):
    """Brute force: with first, middle and last leaf of each node, from first to middle and from the leaf before it to last."""
    begins, ended = {}, []
    for leaf, (place, first, last) in enumerate(termination.places(depth + 1)):
        ended += [(begins[number], leaf) for number in range(first, last + 1) if number >= 0]
        begins[2 * place], begins[2 * place + 1] = leaf - 1, leaf
    nodes = [
        (k * 2**j, k * 2**j + 2 ** (j - 1), (k + 1) * 2**j - 1) for j in range(1, depth + 1) for k in range(2 ** (depth - j))
    ]
    # Of two leaves all three spans are one.
    expected = {span for a, b, c in nodes for span in ((a, c), (a, b), (b - 1, c))}
    assert sorted(ended) == sorted(expected)


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
    few = generator.normal(size=(30, 40))
    of_few = numpy.exp(generator.normal(size=40))
    numpy.testing.assert_allclose(mass.worthwhile(few, few / of_few), of_few, rtol=1e-12)
    flat = mass.variances_by_gradients(draws, numpy.zeros_like(draws))
    numpy.testing.assert_array_equal(flat, numpy.ones(4))


def low_rank_covariance(size, stretches, scale):
    directions = scipy.stats.ortho_group.rvs(size, random_state=2)[:, : len(stretches)]
    return (numpy.eye(size) + (directions * (numpy.array(stretches) - 1.0)) @ directions.T) * scale * scale[:, None]


def misfit(covariance, estimate):
    """The root of the ratio of the largest to the least eigenvalue of one matrix relative to another: 1 if they agree."""
    values = scipy.linalg.eigh(covariance, estimate, eigvals_only=True)
    return math.sqrt(values[-1] / values[0])


def normal_draws(generator, covariance, count):
    draws = generator.multivariate_normal(numpy.ones(len(covariance)), covariance, size=count, method="cholesky")
    return draws, numpy.linalg.solve(covariance, (draws - 1.0).T).T


@pytest.mark.parametrize("stretches", [[1e3, 700.0, 500.0, 300.0, 100.0], [1e-3, 0.01, 0.1], [1e3, 30.0, 1e-3, 0.02]])
def test_few_draws_find_few_strong_directions(stretches):
    """The misfit of scales and directions is small from 40 draws in 150 dimensions, and shrinks with more."""
    found, diagonal = {40: 0.0, 480: 0.0}, []
    for seed in range(3):
        generator = numpy.random.default_rng(seed)
        covariance = low_rank_covariance(150, stretches, numpy.exp(generator.normal(size=150)))
        for count in found:
            draws, gradients = normal_draws(generator, covariance, count)
            parts = mass.low_rank(draws, gradients, 32)
            assert [part.shape for part in parts] == [(150,), (32, 150), (32,)]
            scaled = parts.directions[parts.stretches != 1.0] / numpy.sqrt(parts.variances)
            numpy.testing.assert_allclose(scaled @ scaled.T, numpy.eye(len(scaled)), atol=1e-8)
            found[count] += math.log(misfit(covariance, mass.assemble(*parts))) / 3
            diagonal.append(misfit(covariance, numpy.diag(mass.variances_by_gradients(draws, gradients))))
    assert found[40] < 0.2
    assert found[480] < min(0.02, 0.5 * found[40])
    assert min(diagonal) > 10.0


def test_more_directions_than_allowed_leave_the_weakest():
    generator = numpy.random.default_rng(0)
    covariance = low_rank_covariance(60, [1e3, 300.0, 1e-3, 0.05, 8.0], numpy.ones(60))
    fits = [misfit(covariance, mass.assemble(*mass.low_rank(*normal_draws(generator, covariance, 400), rank))) for rank in (3, 4)]
    assert fits[0] == pytest.approx(math.sqrt(8.0 / 0.05), rel=0.3)
    assert fits[1] == pytest.approx(math.sqrt(8.0), rel=0.3)


def test_independent_coordinates_need_no_direction():
    """Whatever their tails: scores of Student's t and of the logistic distribution are not linear."""
    generator = numpy.random.default_rng(0)
    scale = generator.uniform(0.1, 7.0, size=150)
    normal = generator.normal(size=(40, 150)) * scale
    parts = mass.low_rank(normal, normal / scale**2, 32)
    numpy.testing.assert_allclose(parts.variances, scale**2, rtol=1e-9)
    assert not parts.directions.any()
    assert (parts.stretches == 1.0).all()
    heavy = generator.standard_t(4, size=(160, 150))
    logistic = generator.logistic(size=(160, 150))
    for draws, gradients in ((heavy, 5.0 * heavy / (4.0 + heavy**2)), (logistic, numpy.tanh(logistic / 2.0))):
        assert (mass.low_rank(draws, gradients, 32).stretches == 1.0).all()
    assert (mass.low_rank(numpy.ones((12, 5)), numpy.zeros((12, 5)), 3).stretches == 1.0).all()


def test_correlations_are_believed_from_few_draws_along_few_directions():
    generator = numpy.random.default_rng(0)
    covariance = low_rank_covariance(80, [1e3, 200.0, 1e-3], numpy.ones(80))
    draws, gradients = normal_draws(generator, covariance, 60)
    assert not mass.enough(draws)
    assert misfit(covariance, mass.worthwhile(draws, gradients)) < 1.5
    assert misfit(covariance, numpy.diag(mass.variances_by_gradients(draws, gradients))) > 10.0
