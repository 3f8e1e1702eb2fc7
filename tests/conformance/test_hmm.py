"""Hidden Markov models as distributions: plain forward and Kalman loops, joint normals and brute force are the oracles."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ppl import distributions as dist
from ppl import ops
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.ops import autodiff, random
from ppl.registry import active
from ppl.testing import assert_close

STATES = 3


def compiled(fn):
    """On jax one program in the place of hundreds of small ones."""
    return ops.compile.compile(fn, horizon=1) if active().name == "jax" else fn


def tables(length, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    initial = rng.dirichlet(np.ones(STATES), batch)
    transition = rng.dirichlet(np.ones(STATES), (*batch, length, STATES))
    return initial, transition, rng.normal(size=(*batch, length, STATES)), rng.normal(size=(*batch, 5))


def forward(initial, transition, means, value):
    """The textbook recursion; the last weights of the states."""
    weights = initial
    for t, x in enumerate(value):
        weights = (weights @ transition[t % len(transition)]) * stats.norm.pdf(x, means[t % len(means)], 0.8)
    return weights


def discrete(initial, transition, means, duration=None):
    observed = dist.Normal(ops.array(means), 0.8)
    return dist.DiscreteHMM(ops.array(np.log(initial)), ops.array(np.log(transition)), observed, duration=duration)


@pytest.mark.parametrize("length", [1, 5])
def test_a_discrete_series_has_the_density_of_the_forward_recursion(backend, length):
    initial, transition, means, value = tables(length)
    series = discrete(initial, transition, means, duration=5)
    assert (series.batch_shape, series.event_shape) == ((), (5,))
    expected = forward(initial, transition, means, value)
    assert_close(series.log_prob(ops.array(value)), np.log(expected.sum()))
    assert_close(series.filter(ops.array(value)).probs, expected / expected.sum())
    assert_close(series.log_prob(ops.array(value)), brute_force(initial, transition, means, value))


def brute_force(initial, transition, means, value):
    total = 0.0
    for path in itertools.product(range(STATES), repeat=len(value) + 1):
        weight = initial[path[0]]
        for t, x in enumerate(value):
            step = t % len(transition)
            weight *= transition[step][path[t], path[t + 1]] * stats.norm.pdf(x, means[step][path[t + 1]], 0.8)
        total += weight
    return np.log(total)


def test_batches_and_logits_that_are_not_normalised(backend):
    initial, transition, means, value = tables(5, 1, (2,))
    observed = dist.Normal(ops.array(means), 0.8)
    series = dist.DiscreteHMM(ops.array(np.log(initial) + 3.0), ops.array(np.log(transition) - 1.0), observed)
    expected = [np.log(forward(*each).sum()) for each in zip(initial, transition, means, value, strict=True)]
    assert_close(series.log_prob(ops.array(value)), np.array(expected))
    wide = series.expand((3, 2))
    assert_close(wide.log_prob(ops.array(value)), np.broadcast_to(expected, (3, 2)))
    assert tuple(wide.sample((4,)).shape) == (4, 3, 2, 5)


def test_the_gradient_of_a_discrete_series_is_the_finite_difference(backend):
    initial, transition, means, value = tables(5, 2)
    density = lambda means: discrete(initial, transition, means).log_prob(ops.array(value))  # noqa: E731
    gradient = ops.to_numpy(
        compiled(autodiff.grad(lambda array: discrete_at(initial, transition, array, value)))(ops.array(means))
    )
    for place in ((0, 0), (4, 2)):
        moved = means.copy()
        moved[place] += 1e-5
        assert_close(gradient[place], (float(density(moved)) - float(density(means))) / 1e-5, "finite_difference")


def discrete_at(initial, transition, means, value):
    series = dist.DiscreteHMM(ops.array(np.log(initial)), ops.array(np.log(transition)), dist.Normal(means, 0.8))
    return series.log_prob(ops.array(value))


def test_discrete_draws_follow_the_density(backend):
    initial = np.array([0.2, 0.8])
    transition = np.array([[[0.9, 0.1], [0.3, 0.7]]])
    series = dist.DiscreteHMM(
        ops.array(np.log(initial)),
        ops.array(np.log(transition)),
        dist.Categorical(ops.array([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]])),
        duration=3,
    )
    draws = ops.to_numpy(series.sample((20_000,), random.key(0))).astype(int)
    counts = np.bincount(draws @ np.array([9, 3, 1]), minlength=27)
    every = np.array(list(itertools.product(range(3), repeat=3)))
    expected = np.exp(ops.to_numpy(series.log_prob(ops.array(every))))
    assert_close(expected.sum(), 1.0)
    assert stats.chisquare(counts, expected * counts.sum()).pvalue > 2e-5
    # Negative control: draws in another order are told apart.
    reversed_counts = np.bincount(draws[:, ::-1] @ np.array([9, 3, 1]), minlength=27)
    assert stats.chisquare(reversed_counts, expected * counts.sum()).pvalue < 1e-6


def gaussian_parts(length, seed=0):
    rng = np.random.default_rng(seed)

    def covariance(size):
        root = rng.normal(size=(size, size))
        return root @ root.T + 0.5 * np.eye(size)

    return {
        "start": (rng.normal(size=2), covariance(2)),
        "matrix": rng.normal(size=(length, 2, 2)) / 2,
        "push": (rng.normal(size=(length, 2)), np.array([covariance(2) for _ in range(length)])),
        "lens": rng.normal(size=(length, 2, 3)),
        "error": (rng.normal(size=(length, 3)), np.array([covariance(3) for _ in range(length)])),
    }


def gaussian(parts, duration=None):
    start, push, error = (dist.MultivariateNormal(*map(ops.array, parts[name])) for name in ("start", "push", "error"))
    return dist.GaussianHMM(start, ops.array(parts["matrix"]), push, ops.array(parts["lens"]), error, duration=duration)


def joint(parts, length):
    """Mean and covariance of all observations as one vector."""
    at = lambda array, t: array[t % len(array)]  # noqa: E731
    mean, spread = parts["start"]
    means, crosses, covariance = [], [], np.zeros((length * 3, length * 3))
    for t in range(length):
        matrix, lens = at(parts["matrix"], t), at(parts["lens"], t)
        mean = mean @ matrix + at(parts["push"][0], t)
        crosses = [cross @ matrix for cross in crosses]
        spread = matrix.T @ spread @ matrix + at(parts["push"][1], t)
        means.append(mean @ lens + at(parts["error"][0], t))
        crosses.append(spread)
        for s, cross in enumerate(crosses):
            part = at(parts["lens"], s).T @ cross @ lens + (at(parts["error"][1], t) if s == t else 0.0)
            covariance[s * 3 : s * 3 + 3, t * 3 : t * 3 + 3] = part
            covariance[t * 3 : t * 3 + 3, s * 3 : s * 3 + 3] = part.T
    return np.concatenate(means), covariance


def kalman(parts, value):
    """The textbook filter; log density, and mean and covariance of the last state."""
    (mean, spread), total = parts["start"], 0.0
    for t, x in enumerate(value):
        step = t % len(parts["matrix"])
        matrix, lens = parts["matrix"][step], parts["lens"][step]
        mean, spread = mean @ matrix + parts["push"][0][step], matrix.T @ spread @ matrix + parts["push"][1][step]
        seen, innovation = mean @ lens + parts["error"][0][step], lens.T @ spread @ lens + parts["error"][1][step]
        total += stats.multivariate_normal(seen, innovation).logpdf(x)
        gain = spread @ lens @ np.linalg.inv(innovation)
        mean, spread = mean + gain @ (x - seen), spread - gain @ lens.T @ spread
    return total, mean, spread


@pytest.mark.parametrize("length", [1, 4])
def test_a_gaussian_series_is_the_joint_normal_and_the_kalman_filter(backend, length):
    parts = gaussian_parts(length)
    value = np.random.default_rng(9).normal(size=(4, 3))
    series = gaussian(parts, duration=4)
    assert (series.batch_shape, series.event_shape) == ((), (4, 3))
    mean, covariance = joint(parts, 4)
    total, last_mean, last_spread = kalman(parts, value)
    assert_close(total, stats.multivariate_normal(mean, covariance).logpdf(value.reshape(-1)))
    assert_close(series.log_prob(ops.array(value)), total)
    last = series.filter(ops.array(value))
    assert_close(last.loc, last_mean, rtol=1e-9)
    assert_close(last.covariance_matrix, last_spread, rtol=1e-8)
    assert_close(series.mean, mean.reshape(4, 3))
    assert_close(series.variance, np.diag(covariance).reshape(4, 3))


def test_gaussian_draws_have_the_joint_moments(backend):
    parts = gaussian_parts(1, 3)
    draws = ops.to_numpy(gaussian(parts, duration=3).sample((20_000,), random.key(0))).reshape(-1, 9)
    mean, covariance = joint(parts, 3)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (draws - mean).T)
    count = whitened.shape[1]
    assert abs(whitened.mean(axis=1) * np.sqrt(count)).max() < 5.0
    # Of a standard normal vector the entries of the second moment have standard errors sqrt(1 + (i == j)) / sqrt(count).
    error = (whitened @ whitened.T / count - np.eye(9)) * np.sqrt(count) / np.sqrt(1.0 + np.eye(9))
    assert abs(error).max() < 5.5
    # Negative control: as if the steps were independent of each other.
    apart = np.linalg.solve(np.linalg.cholesky(covariance * np.kron(np.eye(3), np.ones((3, 3)))), (draws - mean).T)
    assert abs((apart @ apart.T / count - np.eye(9)) * np.sqrt(count)).max() > 10.0


def test_a_batch_of_gaussian_series_and_gradients_through_draws(backend):
    parts = gaussian_parts(2, 4)
    series = gaussian(parts).expand((3,))
    value = np.random.default_rng(1).normal(size=(3, 2, 3))
    assert_close(compiled(series.log_prob)(ops.array(value)), [kalman(parts, one)[0] for one in value])
    assert tuple(series.rsample((2,)).shape) == (2, 3, 2, 3)

    def moved(shift):
        start = dist.MultivariateNormal(ops.array(parts["start"][0]) + shift, ops.array(parts["start"][1]))
        push, error = (dist.MultivariateNormal(*map(ops.array, parts[name])) for name in ("push", "error"))
        chain = dist.GaussianHMM(start, ops.array(parts["matrix"]), push, ops.array(parts["lens"]), error)
        return ops.sum(chain.rsample((), random.key(0)))

    # A shift of the first state goes through all matrices, whatever the draw.
    (first, second), (near, far) = parts["matrix"], parts["lens"]
    assert_close(compiled(autodiff.grad(moved))(ops.array(0.0)), (np.ones(2) @ first @ (near + second @ far)).sum(), "gradient")


def test_independent_normals_serve_as_noise(backend):
    half = dist.Normal(ops.zeros((2,)), 0.5).to_event(1)
    series = dist.GaussianHMM(half, ops.eye(2), half, ops.eye(2), half, duration=3)
    value = np.random.default_rng(2).normal(size=(3, 2))
    covariance = 0.25 * (np.minimum.outer([2, 3, 4], [2, 3, 4]) + np.eye(3))
    expected = sum(stats.multivariate_normal(np.zeros(3), covariance).logpdf(value[:, column]) for column in range(2))
    assert_close(series.log_prob(ops.array(value)), expected)


BAD = [
    (lambda: dist.DiscreteHMM(ops.zeros((3,)), ops.zeros((1, 2, 2)), dist.Normal(ops.zeros((1, 3)), 1.0)), ShapeError, "one K"),
    (lambda: dist.DiscreteHMM(ops.zeros((2,)), ops.zeros((4, 2, 2)), dist.Normal(ops.zeros((3, 2)), 1.0)), ShapeError,
     r"\[3, 4\] steps"),
    (lambda: dist.DiscreteHMM(ops.zeros((2,)), ops.zeros((4, 2, 2)), dist.Normal(ops.zeros((1, 2)), 1.0), duration=5),
     ConstraintError, "duration=5.*4 steps"),
    (lambda: dist.DiscreteHMM(ops.zeros((2,)), ops.zeros((1, 2, 2)), dist.Normal(ops.zeros((1, 2)), 1.0), duration=0),
     ConstraintError, "at least 1, received 0"),
    (lambda: dist.GaussianHMM(dist.Normal(0.0, 1.0), ops.eye(1), dist.Normal(0.0, 1.0), ops.eye(1), dist.Normal(0.0, 1.0)),
     ShapeError, "to_event"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "sentence"), BAD)
def test_bad_parameters_are_refused(backend, make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_what_a_series_lacks_says_why(backend):
    with pytest.raises(GapError, match="grows exponentially"):
        discrete(*tables(2)[:3]).enumerate_support()
