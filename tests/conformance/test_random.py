"""Draws: goodness of fit against scipy, reproducibility, independence and pathwise gradients."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special as sp
import scipy.stats as st

from ppl import ops, tree
from ppl.ops import autodiff, compile, random
from ppl.testing import assert_close, assert_samples_match_cdf, goodness_of_fit, monte_carlo_z, to_host
from ppl.testing.strict import declared_functions

N = 10_000
LARGEST_Z = 4.9


def full(value):
    return ops.full((N,), value)


def sampler(name, oracle, *parameters, discrete=False):
    """Return a function that draws ``N`` values with each parameter filled to that size, its oracle, and its kind."""
    return lambda key: getattr(random, name)(key, *map(full, parameters), (N,)), oracle, discrete


def binomial(n, p):
    return lambda key: random.binomial(key, n, full(p), (N,)), st.binom(n, p), True


def dirichlet(k, concentration):
    weights = np.array(concentration)
    marginal = st.beta(weights[k], weights.sum() - weights[k])
    return lambda key: random.dirichlet(key, ops.array(weights), (N, 3))[:, k], marginal, False


def categorical(*probs):
    oracle = st.rv_discrete(values=(list(range(len(probs))), probs))
    return lambda key: random.categorical(key, ops.log(ops.array(np.array(probs))), (N,)), oracle, True


# id: (draw of N values from a key, distribution, discrete)
SAMPLERS = {
    "normal": sampler("normal", st.norm()),
    "uniform": sampler("uniform", st.uniform()),
    "open_uniform": sampler("open_uniform", st.uniform()),
    "exponential": sampler("exponential", st.expon()),
    "randint": (lambda key: random.randint(key, (N,), -2, 5), st.randint(-2, 5), True),
    **{f"bernoulli-{p}": sampler("bernoulli", st.bernoulli(p), p, discrete=True) for p in (0.02, 0.5, 0.9)},
    **{f"gamma-{a}": sampler("gamma", st.gamma(a), a) for a in (0.1, 0.7, 1.0, 4.0, 300.0)},
    **{f"beta-{a}-{b}": sampler("beta", st.beta(a, b), a, b) for a, b in [(0.2, 0.3), (1.0, 1.0), (2.0, 5.0), (80.0, 20.0)]},
    **{f"dirichlet-{k}": dirichlet(k, (0.4, 2.0, 3.0)) for k in range(3)},
    **{f"standard_t-{df}": sampler("standard_t", st.t(df), df) for df in (0.8, 3.0, 40.0)},
    **{f"poisson-{rate}": sampler("poisson", st.poisson(rate), rate, discrete=True) for rate in (0.3, 4.0, 30.0, 500.0)},
    **{f"binomial-{n}-{p}": binomial(n, p) for n, p in [(1, 0.3), (10, 0.5), (10, 0.95), (200, 0.02), (1000, 0.6)]},
    "categorical": categorical(0.1, 0.2, 0.7),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_match_the_distribution(backend, seed, name):
    draw, oracle, discrete = SAMPLERS[name]
    samples = to_host(draw(random.key(seed)))
    assert samples.shape == (N,)
    assert_samples_match_cdf(samples, oracle.cdf, discrete)
    if np.isfinite(oracle.var()):
        assert abs(monte_carlo_z(samples, oracle.mean())) < LARGEST_Z


@pytest.mark.backends("numpy")
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("normal", st.norm(0.1, 1)),
        ("gamma-4.0", st.gamma(4.2)),
        ("poisson-4.0", st.poisson(4.25)),
        ("binomial-10-0.5", st.binom(10, 0.53)),
        ("categorical", st.rv_discrete(values=([0, 1, 2], [0.14, 0.16, 0.7]))),
        ("standard_t-3.0", st.t(8.0)),
        ("beta-2.0-5.0", st.beta(2.0, 5.5)),
    ],
)
def test_negative_control_a_wrong_distribution_is_found(backend, seed, name, wrong):
    draw, _, discrete = SAMPLERS[name]
    with pytest.raises(AssertionError, match="do not match"):
        assert_samples_match_cdf(draw(random.key(seed)), wrong.cdf, discrete)


@pytest.mark.backends("numpy")
def test_negative_control_of_the_kit(backend, rng):
    assert goodness_of_fit(np.full(100, np.nan), st.norm().cdf) == 0.0
    assert goodness_of_fit(rng.poisson(3.0, 1000) + 0.5, st.poisson(3.0).cdf, discrete=True) == 0.0
    assert goodness_of_fit(np.array([0.0, 7.0]), st.randint(0, 5).cdf, discrete=True) == 0.0
    assert np.median([goodness_of_fit(rng.poisson(3.0, 1000), st.poisson(3.0).cdf, discrete=True) for _ in range(50)]) > 0.2


DRAWS = {
    "normal": lambda key, p: random.normal(key, (2, 3)),
    "uniform": lambda key, p: random.uniform(key, (2, 3)),
    "open_uniform": lambda key, p: random.open_uniform(key, (2, 3)),
    "exponential": lambda key, p: random.exponential(key, (2, 3)),
    "randint": lambda key, p: random.randint(key, (2, 3), 0, 1000),
    "bernoulli": lambda key, p: random.bernoulli(key, p, (2, 3)),
    "gamma": lambda key, p: random.gamma(key, p, (2, 3)),
    "beta": lambda key, p: random.beta(key, p, p, (2, 3)),
    "dirichlet": lambda key, p: random.dirichlet(key, p, (2, 3)),
    "standard_t": lambda key, p: random.standard_t(key, p, (2, 3)),
    "poisson": lambda key, p: random.poisson(key, 50 * p, (2, 3)),
    "binomial": lambda key, p: random.binomial(key, 1000, p, (2, 3)),
    "categorical": lambda key, p: random.categorical(key, ops.zeros((3, 1000)), (2, 3)),
    "permutation": lambda key, p: random.permutation(key, 100),
    "choice": lambda key, p: random.choice(key, 1000, 6),
}
INTEGERS = {"randint", "categorical", "permutation", "choice"}
OF_PARAMETERS = ("bernoulli", "gamma", "beta", "dirichlet", "standard_t", "poisson", "binomial")


@pytest.mark.parametrize("name", DRAWS)
def test_shape_dtype_and_reproducibility(backend, name):
    probs = ops.array([0.3, 0.5, 0.4])
    first, again, other = (to_host(DRAWS[name](random.key(seed), probs)) for seed in (7, 7, 8))
    if name not in ("permutation", "choice"):
        assert first.shape == (2, 3)
    assert first.dtype == ("int64" if name in INTEGERS else "float64")
    assert np.array_equal(first, again)
    if name != "bernoulli":
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", OF_PARAMETERS)
def test_draws_take_the_dtype_of_their_parameters(backend, name):
    assert ops.dtype_name(DRAWS[name](random.key(0), ops.array([0.3, 0.5, 0.4], dtype="float32"))) == "float32"


@pytest.mark.parametrize("name", ["normal", "uniform", "open_uniform", "exponential"])
def test_dtype_argument(backend, name):
    for dtype in ("float32", "float64"):
        assert ops.dtype_name(getattr(random, name)(random.key(0), (2,), dtype)) == dtype


@pytest.mark.parametrize("name", ["normal", "gamma", "poisson", "categorical"])
def test_scalar_draws_are_arrays(backend, name):
    draw = {
        "normal": lambda: random.normal(random.key(0), ()),
        "gamma": lambda: random.gamma(random.key(0), ops.array(2.0), ()),
        "poisson": lambda: random.poisson(random.key(0), 2.0, ()),
        "categorical": lambda: random.categorical(random.key(0), ops.zeros(3), ()),
    }[name]()
    assert ops.is_array(draw)
    assert ops.shape(draw) == ()


def stream(size=4):
    return to_host(random.normal(None, (size,)))


def test_set_rng_seed_repeats_the_stream(backend):
    random.set_rng_seed(3)
    first = np.concatenate([stream(), stream()])
    random.set_rng_seed(3)
    assert np.array_equal(first, np.concatenate([stream(), stream()]))
    random.set_rng_seed(4)
    assert not np.array_equal(first[:4], stream())
    assert len(set(first)) == 8


def test_scope_is_reproducible_and_leaves_the_outer_stream_alone(backend):
    random.set_rng_seed(3)
    expected = np.concatenate([stream(), stream()])
    random.set_rng_seed(3)
    before = stream()
    with random.scope(11):
        inside = stream()
        with random.scope(12):
            nested = stream()
        rest = stream()
    after = stream()
    assert np.array_equal(np.concatenate([before, after]), expected)
    with random.scope(11):
        assert np.array_equal(inside, stream())
        assert np.array_equal(rest, stream())
    assert not np.array_equal(inside, nested)


def test_scope_restores_after_an_exception(backend):
    random.set_rng_seed(3)
    expected = stream()
    random.set_rng_seed(3)
    with pytest.raises(KeyError), random.scope(11):
        raise KeyError(stream())
    assert np.array_equal(stream(), expected)


def test_state_of_the_stream_is_saved_and_restored(backend):
    random.set_rng_seed(5)
    stream()
    state = random.get_state()
    expected = stream()
    random.set_state(state)
    assert np.array_equal(stream(), expected)
    with random.scope(state):
        assert np.array_equal(stream(), expected)


def test_state_of_a_key_is_saved_and_restored(backend):
    key = random.key(5)
    state = random.get_state(key)
    expected = to_host(random.normal(key, (4,)))
    assert np.array_equal(to_host(random.normal(random.from_state(state), (4,))), expected)


def test_state_holds_plain_data(backend):
    for state in (random.get_state(), random.get_state(random.key(1))):
        assert all(isinstance(leaf, (np.ndarray, int, str, float, bool)) for leaf in tree.leaves(state))


def test_keys(backend):
    key = random.key(0)
    assert random.is_key(key)
    assert not any(random.is_key(value) for value in (None, 3, "key", ops.zeros(2)))
    assert random.is_key(random.key(key))
    assert len(random.split(key)) == 2
    assert len(random.split(key, 5)) == 5
    assert all(random.is_key(random.fold_in(key, data)) for data in (0, 1, "site"))


def test_next_key_gives_new_draws(backend):
    first, second = (to_host(random.normal(random.next_key("site"), (4,))) for _ in range(2))
    assert not np.array_equal(first, second)


def fold_twice(key):
    return [random.fold_in(key, "a"), random.fold_in(key, "b")]


@pytest.mark.parametrize("derive", [random.split, fold_twice], ids=["split", "fold_in"])
def test_derived_keys_are_independent(backend, seed, derive):
    left, right = (to_host(random.normal(key, (N,))) for key in derive(random.key(seed)))
    assert_samples_match_cdf(left, st.norm().cdf)
    assert_samples_match_cdf(right, st.norm().cdf)
    assert abs(monte_carlo_z(left * right, 0.0)) < LARGEST_Z
    assert abs(monte_carlo_z(left**2 * right**2, 1.0)) < LARGEST_Z


@pytest.mark.backends("jax")
def test_fold_in_of_a_name_is_pure(backend):
    key = random.key(0)
    once, twice, other = (to_host(random.normal(random.fold_in(key, name), (3,))) for name in ("mu", "mu", "tau"))
    assert np.array_equal(once, twice)
    assert not np.array_equal(once, other)


@pytest.mark.parametrize("name", ["open_uniform", "uniform"])
def test_uniforms_stay_inside_in_float32(backend, name):
    """A million draws of 24 bits would meet each end with probability 0.06, rounding up far more often."""
    samples = to_host(getattr(random, name)(random.key(1), (1_000_000,), "float32"))
    assert samples.max() < 1.0
    assert samples.min() >= 0.0
    if name == "open_uniform":
        assert samples.min() > 0.0
        assert np.all(np.isfinite(np.log(samples) + np.log1p(-samples)))


def test_edges_of_binomial_and_bernoulli(backend):
    key = random.key(0)
    probs = ops.array([0.0, 1.0, 0.5])
    counts = to_host(random.binomial(key, ops.array([4, 4, 0]), probs, (100, 3)))
    assert np.all(counts == np.array([0.0, 4.0, 0.0]))
    assert np.all(to_host(random.bernoulli(key, probs, (100, 3)))[:, :2] == np.array([0.0, 1.0]))
    assert np.all(to_host(random.poisson(key, 0.0, (10,))) == 0)


def test_binomial_with_an_array_of_counts(backend, seed):
    samples = to_host(random.binomial(random.key(seed), ops.array([3, 50]), ops.array(0.4), (N, 2)))
    for column, n in zip(samples.T, (3, 50), strict=True):
        assert_samples_match_cdf(column, st.binom(n, 0.4).cdf, discrete=True)


def test_categorical_batches_and_impossible_classes(backend, seed):
    probs = np.array([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9]])
    logits = ops.log(ops.array(probs))
    samples = to_host(random.categorical(random.key(seed), logits, (N, 2)))
    for column, p in zip(samples.T, probs, strict=True):
        oracle = st.rv_discrete(values=(np.arange(3)[p > 0], p[p > 0]))
        assert_samples_match_cdf(column, oracle.cdf, discrete=True)


def test_categorical_takes_unnormalised_logits(backend, seed):
    samples = random.categorical(random.key(seed), ops.array([5.0, 5.0 + np.log(3.0)]), (N,))
    assert_samples_match_cdf(samples, st.bernoulli(0.75).cdf, discrete=True)


def test_small_gammas_and_betas_are_finite(backend):
    key = random.key(0)
    gammas = to_host(random.gamma(key, full(1e-2), (N,)))
    assert np.all(np.isfinite(gammas))
    assert np.all(gammas >= 0.0)
    points = to_host(random.dirichlet(key, ops.full((N, 3), 1e-2), (N, 3)))
    assert np.all(np.isfinite(points))
    assert_close(points.sum(-1), np.ones(N), rtol=1e-12)


def repeated(backend, draw, seed, times):
    """Return ``times`` draws; on jax an uncompiled call costs milliseconds."""
    draw = compile.compile(draw) if backend == "jax" else draw
    return np.array([to_host(draw(key)) for key in random.split(random.key(seed), times)])


def test_permutation_is_uniform(backend, seed):
    draws = repeated(backend, lambda key: random.permutation(key, 3), seed, 1200)
    assert np.array_equal(np.sort(draws, axis=1), np.tile(np.arange(3), (1200, 1)))
    counts = np.unique(draws @ np.array([9, 3, 1]), return_counts=True)[1]
    assert len(counts) == 6
    assert st.chisquare(counts).pvalue > 2e-5


def test_choice_is_distinct_and_uniform(backend, seed):
    draws = repeated(backend, lambda key: random.choice(key, 7, 3), seed, 1000)
    assert all(len(set(row)) == 3 for row in draws)
    assert draws.min() >= 0
    assert draws.max() < 7
    included = np.array([(draws == k).any(axis=1) for k in range(7)]).T.astype(float)
    assert np.all(np.abs(monte_carlo_z(included, np.full(7, 3 / 7))) < LARGEST_Z)
    # all 42 ordered pairs of the first two places are equally likely
    pairs = np.unique(draws[:, 0] * 7 + draws[:, 1], return_counts=True)[1]
    assert len(pairs) == 42
    assert st.chisquare(pairs).pvalue > 2e-5


def test_choice_of_all_and_from_many(backend):
    assert sorted(to_host(random.choice(random.key(0), 5, 5))) == [0, 1, 2, 3, 4]
    few = to_host(random.choice(random.key(0), 10_000_000, 20))
    assert len(set(few)) == 20


def pathwise(draw, parameter):
    """Return draws and the derivative of each with respect to its own copy of the parameter."""

    def total(value):
        samples = draw(value)
        return ops.sum(samples), samples

    (_, samples), gradient = autodiff.value_and_grad(total, has_aux=True)(parameter)
    return to_host(samples), to_host(gradient)


@pytest.mark.parametrize("concentration", [1.0, 3.0, 30.0, 1000.0])
def test_gamma_gradient_equals_the_implicit_formula(backend, seed, concentration):
    """dz/da = -(dF/da)(z; a) / f(z; a) (Figurnov, Mohamed and Mnih 2018, eq. 5), F differenced in scipy.

    Below one a draw may be made of two variables, each with its own derivative: there only the expectation is unique.
    """
    samples, gradient = pathwise(lambda a: random.gamma(random.key(seed), a, (40,)), ops.full((40,), concentration))
    inside = (samples > st.gamma(concentration).ppf(1e-3)) & (samples < st.gamma(concentration).ppf(1 - 1e-3))

    def central(h):
        return (sp.gammainc(concentration + h, samples) - sp.gammainc(concentration - h, samples)) / (2 * h)

    step = 1e-3 * concentration
    in_shape = (4 * central(step / 2) - central(step)) / 3
    expected = -in_shape / st.gamma(concentration).pdf(samples)
    assert inside.sum() > 30
    assert_close(gradient[inside], expected[inside], rtol=1e-3, atol=1e-6)


def gradient_z(draw, parameter, function, expected):
    """Return the z-score of the mean pathwise gradient of ``function`` against the derivative of its expectation."""
    per_draw = autodiff.grad(lambda value: ops.sum(function(draw(value))))(parameter)
    return monte_carlo_z(per_draw, expected)


def _t_derivative(function, df):
    def expectation(v):
        return 2 * scipy.integrate.quad(lambda z: function(z) * st.t.pdf(z, v), 0, np.inf, limit=200)[0]

    return (expectation(df + 1e-3) - expectation(df - 1e-3)) / 2e-3


UNBIASED = {
    **{f"gamma-log-{a}": ("gamma", a, ops.safe_log, lambda a: sp.polygamma(1, a)) for a in (0.15, 2.0, 50.0)},
    "gamma-mean": ("gamma", 2.0, lambda z: z, lambda a: 1.0),
    "gamma-square": ("gamma", 0.8, lambda z: z * z, lambda a: 2 * a + 1),
    **{f"beta-log-{a}": ("beta", a, ops.safe_log, lambda a: sp.polygamma(1, a) - sp.polygamma(1, a + 1.5)) for a in (0.6, 20.0)},
    "beta-mean": ("beta", 0.6, lambda z: z, lambda a: 1.5 / (a + 1.5) ** 2),
    "beta-second": ("beta-other", 2.0, lambda z: z, lambda b: -1.5 / (b + 1.5) ** 2),
    "beta-second-log": ("beta-other", 2.0, ops.safe_log, lambda b: -sp.polygamma(1, b + 1.5)),
    "t-log": ("standard_t", 4.0, lambda z: ops.log1p(z * z), lambda df: _t_derivative(lambda z: np.log1p(z * z), df)),
    "t-ratio": ("standard_t", 2.0, lambda z: 1 / (1 + z * z), lambda df: _t_derivative(lambda z: 1 / (1 + z * z), df)),
}  # fmt: skip


def drawer(name, seed):
    return {
        "gamma": lambda a: random.gamma(random.key(seed), a, (N,)),
        "beta": lambda a: random.beta(random.key(seed), a, full(1.5), (N,)),
        "beta-other": lambda b: random.beta(random.key(seed), full(1.5), b, (N,)),
        "standard_t": lambda df: random.standard_t(random.key(seed), df, (N,)),
    }[name]


@pytest.mark.parametrize("case", UNBIASED)
def test_pathwise_gradient_is_unbiased(backend, seed, case):
    name, parameter, function, expected = UNBIASED[case]
    assert abs(gradient_z(drawer(name, seed), full(parameter), function, expected(parameter))) < LARGEST_Z


def test_dirichlet_gradient_is_unbiased(backend, seed):
    """d E[log x_k] / d a_j = trigamma(a_k) [j = k] - trigamma(sum a)."""
    concentration = np.array([0.8, 1.0, 4.0])
    rows = ops.broadcast_to(ops.array(concentration), (N, 3))
    for k in range(3):
        expected = np.eye(3)[k] * sp.polygamma(1, concentration[k]) - sp.polygamma(1, concentration.sum())
        z = gradient_z(
            lambda a: random.dirichlet(random.key(seed), a, (N, 3)), rows, lambda x, k=k: ops.safe_log(x[..., k]), expected
        )
        assert np.all(np.abs(z) < LARGEST_Z)


def test_gradient_of_a_shared_parameter_adds_up(backend):
    """A parameter that broadcasts to the draws gets the sum of the gradients of its copies."""

    def total(a):
        return ops.sum(random.gamma(random.key(3), a, (5, 2)))

    shared = autodiff.grad(total)(ops.array([2.0, 0.7]))
    copies = autodiff.grad(total)(ops.broadcast_to(ops.array([2.0, 0.7]), (5, 2)))
    assert_close(shared, to_host(copies).sum(0), "gradient")


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1])
def test_negative_control_a_wrong_gradient_is_found(backend, seed, factor):
    """Scaling the gradient by ``factor`` keeps the draws and biases the estimate."""

    def biased(a):
        return random.gamma(random.key(seed), factor * a + (1 - factor) * autodiff.stop_gradient(a), (N,))

    assert abs(gradient_z(biased, full(2.0), ops.safe_log, sp.polygamma(1, 2.0))) > LARGEST_Z


def test_every_declared_function_is_tested():
    of_keys = {"key", "is_key", "split", "fold_in", "next_key"}
    of_streams = {"set_rng_seed", "scope", "get_state", "from_state", "set_state"}
    assert sorted({*DRAWS, *of_keys, *of_streams}) == sorted(declared_functions("random"))
