"""Draws: goodness of fit against scipy, reproducibility, independence and pathwise gradients."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats as st

from ppl import ops, tree
from ppl.ops import compile, random
from ppl.testing.goodness_of_fit import assert_samples_match_cdf, monte_carlo_z
from ppl.testing.numeric import Mismatch, assert_close, assert_equal, to_host
from ppl.testing.suites.check import Check, asked, checks_of

N = 10_000
LARGEST_Z = 4.9


def seed_of(name: str) -> int:
    """Return a stable seed for a name."""
    return zlib.crc32(name.encode()) >> 1


def assert_near(z: Any) -> None:
    """Check that numbers of standard errors are at most 4.9.

    :raises Mismatch: an ``AssertionError``, if one is larger or NaN.
    """
    largest = float(np.max(np.abs(z)))
    if not largest < LARGEST_Z:
        raise Mismatch(f"within {LARGEST_Z} standard errors", f"{largest:.1f} standard errors away")


def full(value: float) -> Any:
    """Return an array of ``N`` equal numbers."""
    return ops.full((N,), value)


def _sampler(name, oracle, *parameters, discrete=False):
    """Return a function that draws ``N`` values with each parameter filled to that size, its oracle, and its kind."""
    return lambda key: getattr(random, name)(key, *map(full, parameters), (N,)), oracle, discrete


def _binomial(n, p):
    return lambda key: random.binomial(key, n, full(p), (N,)), st.binom(n, p), True


def _dirichlet(k, concentration):
    weights = np.array(concentration)
    marginal = st.beta(weights[k], weights.sum() - weights[k])
    return lambda key: random.dirichlet(key, ops.array(weights), (N, 3))[:, k], marginal, False


def _categorical(*probs):
    oracle = st.rv_discrete(values=(list(range(len(probs))), probs))
    return lambda key: random.categorical(key, ops.log(ops.array(np.array(probs))), (N,)), oracle, True


# id: (draw of N values from a key, distribution, discrete)
SAMPLERS = {
    "normal": _sampler("normal", st.norm()),
    "uniform": _sampler("uniform", st.uniform()),
    "open_uniform": _sampler("open_uniform", st.uniform()),
    "exponential": _sampler("exponential", st.expon()),
    "randint": (lambda key: random.randint(key, (N,), -2, 5), st.randint(-2, 5), True),
    **{f"bernoulli-{p}": _sampler("bernoulli", st.bernoulli(p), p, discrete=True) for p in (0.02, 0.5, 0.9)},
    **{f"gamma-{a}": _sampler("gamma", st.gamma(a), a) for a in (0.1, 0.7, 1.0, 4.0, 300.0)},
    **{f"beta-{a}-{b}": _sampler("beta", st.beta(a, b), a, b) for a, b in [(0.2, 0.3), (1.0, 1.0), (2.0, 5.0), (80.0, 20.0)]},
    **{f"dirichlet-{k}": _dirichlet(k, (0.4, 2.0, 3.0)) for k in range(3)},
    **{f"standard_t-{df}": _sampler("standard_t", st.t(df), df) for df in (0.8, 3.0, 40.0)},
    **{f"poisson-{rate}": _sampler("poisson", st.poisson(rate), rate, discrete=True) for rate in (0.3, 4.0, 30.0, 500.0)},
    **{f"binomial-{n}-{p}": _binomial(n, p) for n, p in [(1, 0.3), (10, 0.5), (10, 0.95), (200, 0.02), (1000, 0.6)]},
    "categorical": _categorical(0.1, 0.2, 0.7),
}


def check_sampler(name: str, seed: int | None = None) -> None:
    """Draws have the distribution function and the mean of the oracle."""
    draw, oracle, discrete = SAMPLERS[name]
    samples = to_host(draw(random.key(seed_of(name) if seed is None else seed)))
    assert_equal(samples.shape, (N,))
    assert_samples_match_cdf(samples, oracle.cdf, discrete)
    if np.isfinite(oracle.var()):
        assert_near(monte_carlo_z(samples, oracle.mean()))


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


def check_form(name: str) -> None:
    """Draws have their shape and dtype, are repeated by their seed and change with it."""
    probs = ops.array([0.3, 0.5, 0.4])
    first, again, other = (to_host(DRAWS[name](random.key(seed), probs)) for seed in (7, 7, 8))
    if name not in ("permutation", "choice"):
        assert_equal(first.shape, (2, 3))
    assert_equal(str(first.dtype), "int64" if name in INTEGERS else "float64")
    if not np.array_equal(first, again):
        raise Mismatch(f"the same draws from the same seed, {first.ravel()[:3]}", again.ravel()[:3])
    if name != "bernoulli" and np.array_equal(first, other):
        raise Mismatch("other draws from another seed", "the same draws")


def check_dtype_of_parameters(name: str) -> None:
    """Draws take the dtype of their parameters."""
    draw = DRAWS[name](random.key(0), ops.array([0.3, 0.5, 0.4], dtype="float32"))
    assert_equal(ops.dtype_name(draw), "float32")


def check_dtype_argument(name: str) -> None:
    """Draws take the dtype that is asked for."""
    for dtype in ("float32", "float64"):
        assert_equal(ops.dtype_name(getattr(random, name)(random.key(0), (2,), dtype)), dtype)


def check_scalar_draw(draw: Callable[[], Any]) -> None:
    """A draw of shape () is an array."""
    value = draw()
    assert_equal(ops.is_array(value), True)
    assert_equal(ops.shape(value), ())


SCALAR_DRAWS = {
    "normal": lambda: random.normal(random.key(0), ()),
    "gamma": lambda: random.gamma(random.key(0), ops.array(2.0), ()),
    "poisson": lambda: random.poisson(random.key(0), 2.0, ()),
    "categorical": lambda: random.categorical(random.key(0), ops.zeros(3), ()),
}


def check_inside(name: str) -> None:
    """A million draws of 24 bits would meet each end with probability 0.06, rounding up far more often."""
    samples = to_host(getattr(random, name)(random.key(1), (1_000_000,), "float32"))
    least = samples.min() > 0.0 if name == "open_uniform" else samples.min() >= 0.0
    if not (least and samples.max() < 1.0):
        raise Mismatch("draws inside of the interval", f"draws from {samples.min()!r} to {samples.max()!r}")


FORMS = (
    *(Check(name, "shape, dtype and seed", "probs = [0.3, 0.5, 0.4]", functools.partial(check_form, name)) for name in DRAWS),
    *(
        Check(name, "dtype of parameters", "float32", functools.partial(check_dtype_of_parameters, name))
        for name in OF_PARAMETERS
    ),
    *(
        Check(name, "dtype argument", "float32, float64", functools.partial(check_dtype_argument, name))
        for name in ("normal", "uniform", "open_uniform", "exponential")
    ),
    *(
        Check(name, "a scalar draw", "shape ()", functools.partial(check_scalar_draw, draw))
        for name, draw in SCALAR_DRAWS.items()
    ),
    *(
        Check(name, "ends in float32", "a million draws", functools.partial(check_inside, name))
        for name in ("open_uniform", "uniform")
    ),
)


def _stream(size: int = 4) -> Any:
    return to_host(random.normal(None, (size,)))


def assert_same(first: Any, again: Any, same: bool = True) -> None:
    """Check that two arrays of draws are the same, or that they are not.

    :raises Mismatch: an ``AssertionError``, otherwise.
    """
    if np.array_equal(first, again) is not same:
        raise Mismatch("the same draws" if same else "other draws", "other draws" if same else "the same draws")


@asked("set_rng_seed", given="3, 3, 4")
def _the_stream_is_repeated() -> None:
    random.set_rng_seed(3)
    first = np.concatenate([_stream(), _stream()])
    random.set_rng_seed(3)
    assert_same(first, np.concatenate([_stream(), _stream()]))
    random.set_rng_seed(4)
    assert_same(first[:4], _stream(), False)
    assert_equal(len(set(first)), 8)


@asked("scope", given="11, inside of it 12")
def _scope_is_reproducible_and_leaves_the_outer_stream_alone() -> None:
    random.set_rng_seed(3)
    expected = np.concatenate([_stream(), _stream()])
    random.set_rng_seed(3)
    before = _stream()
    with random.scope(11):
        inside = _stream()
        with random.scope(12):
            nested = _stream()
        rest = _stream()
    after = _stream()
    assert_same(np.concatenate([before, after]), expected)
    with random.scope(11):
        assert_same(inside, _stream())
        assert_same(rest, _stream())
    assert_same(inside, nested, False)


@asked("scope", given="a block that raises")
def _scope_restores_after_an_exception() -> None:
    random.set_rng_seed(3)
    expected = _stream()
    random.set_rng_seed(3)
    try:
        with random.scope(11):
            raise KeyError(_stream())
    except KeyError:
        assert_same(_stream(), expected)


@asked("set_state", given="the state of a seeded stream")
def _state_of_the_stream_is_restored() -> None:
    random.set_rng_seed(5)
    _stream()
    state = random.get_state()
    expected = _stream()
    random.set_state(state)
    assert_same(_stream(), expected)
    with random.scope(state):
        assert_same(_stream(), expected)


@asked("from_state", given="the state of key(5)")
def _state_of_a_key_is_restored() -> None:
    key = random.key(5)
    state = random.get_state(key)
    expected = to_host(random.normal(key, (4,)))
    assert_same(to_host(random.normal(random.from_state(state), (4,))), expected)


@asked("get_state", given="the stream and key(1)")
def _state_holds_plain_data() -> None:
    for state in (random.get_state(), random.get_state(random.key(1))):
        for leaf in tree.leaves(state):
            if not isinstance(leaf, (np.ndarray, int, str, float, bool)):
                raise Mismatch("numpy arrays, numbers and strings", f"a {type(leaf).__name__}")


@asked("key", given="3, 3, and a key")
def _a_key_of_a_seed_gives_its_draws() -> None:
    first, again = (to_host(random.normal(random.key(3), (4,))) for _ in range(2))
    assert_same(first, again)
    assert_same(first, to_host(random.normal(random.key(random.key(3)), (4,))))


@asked("is_key", given="a key, None, 3, 'key', an array")
def _keys_are_told_from_values() -> None:
    key = random.key(0)
    values = (key, random.key(key), None, 3, "key", ops.zeros(2))
    assert_equal([random.is_key(value) for value in values], [True, True, False, False, False, False])


@asked("split", given="key(0)")
def _as_many_keys_as_asked() -> None:
    assert_equal((len(random.split(random.key(0))), len(random.split(random.key(0), 5))), (2, 5))


@asked("fold_in", given="0, 1, 'site'")
def _folded_keys_are_keys() -> None:
    assert_equal([random.is_key(random.fold_in(random.key(0), data)) for data in (0, 1, "site")], [True, True, True])


@asked("next_key", given="'site', twice")
def _next_key_gives_new_draws() -> None:
    first, second = (to_host(random.normal(random.next_key("site"), (4,))) for _ in range(2))
    assert_same(first, second, False)


def check_independent(name: str) -> None:
    """Keys derived from one give standard normals that know nothing of each other."""
    key = random.key(seed_of(name))
    keys = random.split(key) if name == "split" else [random.fold_in(key, "a"), random.fold_in(key, "b")]
    left, right = (to_host(random.normal(key, (N,))) for key in keys)
    assert_samples_match_cdf(left, st.norm().cdf)
    assert_samples_match_cdf(right, st.norm().cdf)
    assert_near(monte_carlo_z(left * right, 0.0))
    assert_near(monte_carlo_z(left**2 * right**2, 1.0))


INDEPENDENT = tuple(
    Check(name, "independent draws", "two keys of one", functools.partial(check_independent, name))
    for name in ("split", "fold_in")
)


@asked("binomial", given="counts [4, 4, 0], probs [0, 1, 0.5]")
def _certain_counts() -> None:
    counts = to_host(random.binomial(random.key(0), ops.array([4, 4, 0]), ops.array([0.0, 1.0, 0.5]), (100, 3)))
    assert_close(counts, np.broadcast_to([0.0, 4.0, 0.0], (100, 3)))


@asked("bernoulli", given="probs [0, 1]")
def _certain_coins() -> None:
    assert_close(random.bernoulli(random.key(0), ops.array([0.0, 1.0]), (100, 2)), np.broadcast_to([0.0, 1.0], (100, 2)))


@asked("poisson", given="rate 0")
def _rate_of_zero() -> None:
    assert_close(random.poisson(random.key(0), 0.0, (10,)), np.zeros(10))


@asked("binomial", given="counts [3, 50], probs 0.4")
def _an_array_of_counts() -> None:
    samples = to_host(random.binomial(random.key(21), ops.array([3, 50]), ops.array(0.4), (N, 2)))
    for column, n in zip(samples.T, (3, 50), strict=True):
        assert_samples_match_cdf(column, st.binom(n, 0.4).cdf, discrete=True)


@asked("categorical", given="probs [[0.5, 0.5, 0], [0, 0.1, 0.9]]")
def _batches_and_impossible_classes() -> None:
    probs = np.array([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9]])
    logits = ops.array(np.array([[np.log(0.5), np.log(0.5), -np.inf], [-np.inf, np.log(0.1), np.log(0.9)]]))
    samples = to_host(random.categorical(random.key(22), logits, (N, 2)))
    for column, p in zip(samples.T, probs, strict=True):
        oracle = st.rv_discrete(values=(np.arange(3)[p > 0], p[p > 0]))
        assert_samples_match_cdf(column, oracle.cdf, discrete=True)


@asked("categorical", given="logits [5, 5 + log(3)]")
def _unnormalised_logits() -> None:
    samples = random.categorical(random.key(23), ops.array([5.0, 5.0 + np.log(3.0)]), (N,))
    assert_samples_match_cdf(samples, st.bernoulli(0.75).cdf, discrete=True)


@asked("gamma", given="concentration 0.01")
def _small_gammas_are_finite() -> None:
    gammas = to_host(random.gamma(random.key(0), full(1e-2), (N,)))
    if not (np.all(np.isfinite(gammas)) and np.all(gammas >= 0.0)):
        raise Mismatch("finite draws that are not negative", gammas[~(np.isfinite(gammas) & (gammas >= 0.0))])


@asked("dirichlet", given="concentration 0.01, three times")
def _small_dirichlets_sum_to_one() -> None:
    points = to_host(random.dirichlet(random.key(0), ops.full((N, 3), 1e-2), (N, 3)))
    assert_close(points.sum(-1), np.ones(N), rtol=1e-12)


@asked("permutation", given="3, for 1200 keys")
def _every_order_is_equally_likely() -> None:
    draw = compile.compile(lambda key: random.permutation(key, 3))
    draws = np.array([to_host(draw(key)) for key in random.split(random.key(24), 1200)])
    assert_same(np.sort(draws, axis=1), np.tile(np.arange(3), (1200, 1)))
    counts = np.unique(draws @ np.array([9, 3, 1]), return_counts=True)[1]
    assert_equal(len(counts), 6)
    assert_samples_match_cdf(np.repeat(np.arange(6), counts), st.randint(0, 6).cdf, discrete=True)


@asked("choice", given="3 of 7, for 1000 keys")
def _every_ordered_pair_is_equally_likely() -> None:
    draw = compile.compile(lambda key: random.choice(key, 7, 3))
    draws = np.array([to_host(draw(key)) for key in random.split(random.key(25), 1000)])
    assert_equal({len(set(row)) for row in draws.tolist()}, {3})
    assert_equal(bool(draws.min() >= 0 and draws.max() < 7), True)
    included = np.array([(draws == k).any(axis=1) for k in range(7)]).T.astype(float)
    assert_near(monte_carlo_z(included, np.full(7, 3 / 7)))
    pairs = np.unique(draws[:, 0] * 7 + draws[:, 1], return_counts=True)[1]
    assert_equal(len(pairs), 42)
    assert_samples_match_cdf(np.repeat(np.arange(42), pairs), st.randint(0, 42).cdf, discrete=True)


@asked("choice", given="5 of 5, 20 of 10 million")
def _all_and_few() -> None:
    assert_equal(sorted(to_host(random.choice(random.key(0), 5, 5)).tolist()), [0, 1, 2, 3, 4])
    assert_equal(len(set(to_host(random.choice(random.key(0), 10_000_000, 20)).tolist())), 20)


FITS = tuple(
    Check(name.partition("-")[0], f"distribution: {name}", f"{N} draws", functools.partial(check_sampler, name))
    for name in SAMPLERS
)
CHECKS = (*FITS, *FORMS, *INDEPENDENT, *checks_of(globals()))
