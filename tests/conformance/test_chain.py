"""Products along chains: plain loops, brute force over paths, and the joint normal distribution are the oracles."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from ppl import ops
from ppl.errors import ShapeError
from ppl.ops import autodiff, chain, random
from ppl.testing import assert_close


def matrices(length, states, seed, batch=()):
    """Weights of steps, some of them impossible."""
    rng = np.random.default_rng(seed)
    weights = rng.random((*batch, length, states, states))
    weights[rng.random(weights.shape) < 0.2] = 0.0
    return weights


def logarithm(weights):
    with np.errstate(divide="ignore"):
        return np.log(weights)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
def test_a_product_is_that_of_a_loop(backend, length):
    weights = matrices(length, 3, length, (2,))
    expected = weights[:, 0]
    for step in range(1, length):
        expected = expected @ weights[:, step]
    found = chain.sequential_log_sum_product(ops.array(logarithm(weights)))
    assert_close(ops.exp(found), expected)


@pytest.mark.parametrize("length", [1, 3, 4])
def test_the_best_path_is_that_of_brute_force(backend, length):
    log_weights = logarithm(matrices(length, 3, 10 + length))
    found = chain.sequential_max_sum(ops.array(log_weights))
    expected = np.full((3, 3), -np.inf)
    for path in itertools.product(range(3), repeat=length + 1):
        weight = sum(log_weights[step, path[step], path[step + 1]] for step in range(length))
        expected[path[0], path[-1]] = max(expected[path[0], path[-1]], weight)
    assert_close(ops.exp(found), np.exp(expected))


def test_gradients_are_the_probabilities_of_steps_and_finite_at_impossible_ones(backend):
    weights = matrices(5, 2, 3)
    weights[2] = [[0.0, 0.0], [0.3, 0.7]]
    total = lambda log_weights: ops.logsumexp(chain.sequential_log_sum_product(log_weights))  # noqa: E731
    gradient = ops.to_numpy(autodiff.grad(total)(ops.array(logarithm(weights))))
    before = np.ones(2)
    after = [np.ones(2)]
    for step in range(4, 0, -1):
        after.insert(0, weights[step] @ after[0])
    for step in range(5):
        joint = before[:, None] * weights[step] * after[step]
        assert_close(gradient[step], joint / joint.sum())
        before = before @ weights[step]


def test_weights_further_apart_than_floats_reach_are_summed_exactly(backend):
    # Whoever changes the state pays more than the smallest positive float; the last step allows nothing else.
    steps = np.full((5, 2, 2), -900.0) + 900.0 * np.eye(2) + np.random.default_rng(4).normal(size=(5, 2, 2))
    steps[4] = [[-np.inf, 0.3], [-1.0, -np.inf]]
    expected = steps[0]
    for step in steps[1:]:
        expected = special.logsumexp(expected[:, :, None] + step, axis=1)
    assert_close(chain.sequential_log_sum_product(ops.array(steps)), expected)
    start = np.array([0.0, -2000.0])
    last = special.logsumexp(start[:, None] + expected, axis=0)
    assert_close(chain.log_forward(ops.array(start), ops.array(steps)), last)
    # Negative control: plain numbers lose them.
    with np.errstate(divide="ignore"):
        assert np.isinf(np.log(np.exp(steps[0]) @ np.exp(steps[1]))).sum() == 2


def test_a_path_of_temperature_zero_is_the_best_one(backend):
    log_weights = np.random.default_rng(5).normal(size=(6, 3, 3))
    best = max(
        itertools.product(range(3), repeat=7), key=lambda path: sum(log_weights[t, path[t], path[t + 1]] for t in range(6))
    )
    found = chain.path(ops.array(log_weights), ops.array(best[-1]), temperature=0)
    assert ops.to_numpy(found).tolist() == list(best)
    inside = chain.path(ops.array(log_weights), ops.array(best[-1]), first=ops.array(best[0]), temperature=0)
    assert ops.to_numpy(inside).tolist() == list(best)


def frequencies(log_weights, last, count, draw_key):
    """Return how often each path to ``last`` is drawn, and how likely each is."""
    length, states, _ = log_weights.shape
    repeated = np.broadcast_to(log_weights, (count, *log_weights.shape))
    paths = ops.to_numpy(chain.path(ops.array(np.array(repeated)), ops.array(np.full(count, last)), key=draw_key))
    code = (paths[:, :-1] * states ** np.arange(length)).sum(-1)
    weights = np.zeros(states**length)
    for path in itertools.product(range(states), repeat=length):
        steps = (*path, last)
        weights[(np.array(path) * states ** np.arange(length)).sum()] = np.exp(
            sum(log_weights[t, steps[t], steps[t + 1]] for t in range(length))
        )
    return np.bincount(code, minlength=states**length), weights / weights.sum()


def test_paths_are_drawn_in_proportion_to_their_weights(backend):
    log_weights = np.random.default_rng(6).normal(size=(3, 2, 2))
    counts, expected = frequencies(log_weights, 1, 20_000, random.key(0))
    assert stats.chisquare(counts, expected * counts.sum()).pvalue > 2e-5
    # Negative control: paths of other weights are told apart.
    _, other = frequencies(log_weights + 0.3 * np.eye(2), 1, 10, random.key(0))
    assert stats.chisquare(counts, other * counts.sum()).pvalue < 1e-6


def test_impossible_states_are_never_drawn(backend):
    log_weights = logarithm(np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]], [[0.2, 0.8], [0.0, 1.0]]]))
    many = ops.array(np.array(np.broadcast_to(log_weights, (200, 3, 2, 2))))
    paths = ops.to_numpy(chain.path(many, ops.array(np.full(200, 0)), key=random.key(1)))
    weights = np.array([[log_weights[t, a, b] for t, (a, b) in enumerate(itertools.pairwise(path))] for path in paths.tolist()])
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_a_gaussian_chain_is_the_joint_normal(backend, length):
    rng = np.random.default_rng(length)
    size, seen = 2, 3
    matrix, observation = rng.normal(size=(length, size, size)), rng.normal(size=(length, seen, size))
    offset, shift, value = rng.normal(size=(length, size)), rng.normal(size=(length, seen)), rng.normal(size=(length, seen))
    roots = rng.normal(size=(length, size, 1))
    covariance = roots @ np.swapaxes(roots, -1, -2)  # of rank one: information form would not hold it
    error = np.eye(seen) + 0.3
    start = rng.normal(size=size)
    given = [ops.array(part) for part in (matrix, offset, covariance, observation, shift, np.array([error] * length), value)]
    steps = chain.gaussian_step(given[0], (given[1], given[2]), given[3], (given[4], given[5]), given[6])
    whole = chain.sequential_gaussian_product(steps)
    found = ops.to_numpy(whole.log_scale) + ops.to_numpy(whole.information_vector) @ start
    found -= 0.5 * start @ ops.to_numpy(whole.precision) @ start
    # All states and observations as one normal vector, from the same start.
    mean, spread, states, cross = start, np.zeros((size, size)), [], []
    means, joint = [], np.zeros((length * seen, length * seen))
    for t in range(length):
        mean = matrix[t] @ mean + offset[t]
        cross = [block @ matrix[t].T for block in cross]
        spread = matrix[t] @ spread @ matrix[t].T + covariance[t]
        means.append(observation[t] @ mean + shift[t])
        cross.append(spread)
        for s, block in enumerate(cross):
            part = observation[s] @ block @ observation[t].T + (error if s == t else 0.0)
            joint[s * seen : (s + 1) * seen, t * seen : (t + 1) * seen] = part
            joint[t * seen : (t + 1) * seen, s * seen : (s + 1) * seen] = part.T
        states.append(mean)
    normal = stats.multivariate_normal(np.concatenate(means), joint)
    assert_close(found, normal.logpdf(value.reshape(-1)))
    to_state = np.concatenate([observation[s] @ block for s, block in enumerate(cross)])
    gain = np.linalg.solve(joint, to_state).T
    expected = mean + gain @ (value.reshape(-1) - np.concatenate(means))
    last = ops.to_numpy(whole.transition) @ start + ops.to_numpy(whole.offset)
    assert_close(last, expected, rtol=1e-8)
    assert_close(whole.covariance, spread - gain @ to_state, rtol=1e-8, atol=1e-9)


def test_bad_chains_are_refused(backend):
    with pytest.raises(ShapeError, match=r"shape \(2, 3, 2\).*T, K, K"):
        chain.sequential_log_sum_product(ops.zeros((2, 3, 2)))
    with pytest.raises(ShapeError, match="one step at least"):
        chain.sequential_max_sum(ops.zeros((0, 2, 2)))
