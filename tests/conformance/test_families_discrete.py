"""What no row of the table says of families of counts and categories. Oracles: mpmath, scipy.stats, sums over whole supports."""

import itertools
import pickle

import mpmath
import numpy as np
import pytest
from cases.discrete import Inflated
from scipy import special, stats

from ppl import distributions as dist
from ppl import ops
from ppl.errors import ConstraintError, GapError
from ppl.testing import assert_close, goodness_of_fit, monte_carlo_z, to_host

pytestmark = pytest.mark.strict

INF = np.inf
MILLION = 1_000_000
PROBS = np.array([0.2, 0.5, 0.3])


def grad(fn, point):
    return to_host(ops.autodiff.grad(fn)(ops.array(point)))


def compositions(total, size):
    """Return all vectors of ``size`` counts that sum to ``total``."""
    return np.array([x for x in itertools.product(range(total + 1), repeat=size) if sum(x) == total], dtype=float)


# --- probabilities at zero and one ---


@pytest.mark.parametrize(("make", "value", "expected"), [
    (lambda: dist.Geometric(1.0), [0.0, 1.0], [0.0, -INF]),
    (lambda: dist.NegativeBinomial(3.0, 0.0), [0.0, 1.0], [0.0, -INF]),
    (lambda: dist.NegativeBinomial(0.0, 0.4), [0.0, 2.0], [0.0, -INF]),
    (lambda: dist.BinomialProbs(1.0, 4), [4.0, 3.0], [0.0, -INF]),
    (lambda: dist.Binomial(4, logits=INF), [4.0, 3.0], [0.0, -INF]),
    (lambda: dist.BernoulliLogits(-INF), [0.0, 1.0], [0.0, -INF]),
    (lambda: dist.BetaBinomial(2.0, 3.0, 0), [0.0], [0.0]),
    (lambda: dist.OneHotCategorical([0.0, 1.0]), np.eye(2), [-INF, 0.0]),
    (lambda: dist.OneHotCategorical(logits=[-INF, 0.0]), np.eye(2), [-INF, 0.0]),
    (lambda: dist.Multinomial(3, [0.0, 1.0]), [[0.0, 3.0], [1.0, 2.0]], [0.0, -INF]),
    (lambda: dist.Multinomial(3, logits=[-INF, 0.0]), [[0.0, 3.0], [1.0, 2.0]], [0.0, -INF]),
    (lambda: dist.ZeroInflatedPoisson(0.0, 2.0), [0.0, 1.0], [-2.0, np.log(2.0) - 2.0]),
    (lambda: dist.ZeroInflatedPoisson(1.0, 2.0), [0.0, 1.0], [0.0, -INF]),
    (lambda: dist.ZeroInflatedPoisson(0.0, 2000.0), [0.0], [-2000.0]),
    (lambda: dist.ZeroInflatedPoisson(gate_logits=-INF, rate=2.0), [0.0], [-2.0]),
])  # fmt: skip
def test_probabilities_at_zero_and_one(backend, make, value, expected):
    assert_close(make().log_prob(np.asarray(value)), np.asarray(expected))


@pytest.mark.parametrize(("score", "point", "slope"), [
    (lambda p: dist.Geometric(p).log_prob(0.0), 1.0, 1.0),
    (lambda p: dist.NegativeBinomial(3.0, p).log_prob(0.0), 0.0, -3.0),
    (lambda p: dist.Binomial(4, p).log_prob(0.0), 0.0, -4.0),
    (lambda p: dist.Binomial(4, p).log_prob(4.0), 1.0, 4.0),
    (lambda g: dist.ZeroInflatedPoisson(g, 2.0).log_prob(0.0), 0.0, np.exp(2.0) - 1.0),
    (lambda g: dist.ZeroInflatedPoisson(g, 2.0).log_prob(3.0), 0.0, -1.0),
    (lambda g: dist.ZeroInflatedPoisson(g, 2.0).log_prob(0.0), 1.0, 1.0 - np.exp(-2.0)),
    (lambda r: dist.Poisson(r).log_prob(0.0), 0.0, -1.0),
])  # fmt: skip
def test_gradients_at_zero_and_one(backend, score, point, slope):
    assert_close(grad(score, point), slope)


def test_a_category_of_probability_zero_leaves_gradients_finite(backend):
    """d log P / d w_k of normalised weights is x_k / p_k - n, here at weights that sum to one."""
    weights, counts = np.array([0.0, 0.4, 0.6]), np.array([0.0, 2.0, 1.0])
    expected = np.array([0.0, 2.0 / 0.4, 1.0 / 0.6]) - 3.0
    assert_close(grad(lambda w: dist.Multinomial(3, w).log_prob(counts), weights), expected)
    chosen = np.array([0.0, 0.0, 1.0])
    assert_close(grad(lambda w: dist.OneHotCategorical(w).log_prob(chosen), weights), np.array([0.0, 0.0, 1.0 / 0.6]) - 1.0)


# --- values outside ---


@pytest.mark.parametrize(("make", "outside"), [
    (lambda: dist.Bernoulli(0.3, validate_args=False), [-1.0, 2.0]),
    (lambda: dist.Bernoulli(logits=0.3, validate_args=False), [-1.0, 2.0]),
    (lambda: dist.Binomial(4, 0.3, validate_args=False), [-1.0, 5.0]),
    (lambda: dist.Categorical(PROBS, validate_args=False), [-1.0, 3.0]),
    (lambda: dist.Categorical(logits=PROBS, validate_args=False), [-1.0, 3.0]),
    (lambda: dist.Poisson(2.0, validate_args=False), [-1.0, -2.5]),
    (lambda: dist.Geometric(0.3, validate_args=False), [-1.0, -2.5]),
    (lambda: dist.NegativeBinomial(2.0, 0.3, validate_args=False), [-1.0, -2.5]),
    (lambda: dist.GammaPoisson(2.0, 0.3, validate_args=False), [-1.0, -2.5]),
    (lambda: dist.BetaBinomial(2.0, 0.3, 4, validate_args=False), [-1.0, 5.0]),
    (lambda: dist.OrderedLogistic(0.3, [0.0, 1.0], validate_args=False), [-1.0, 3.0]),
    (lambda: dist.OneHotCategorical(PROBS, validate_args=False), [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]),
    (lambda: dist.Multinomial(4, PROBS, validate_args=False), [[1.0, 1.0, 1.0], [5.0, -1.0, 0.0]]),
    (lambda: dist.DirichletMultinomial(PROBS, 4, validate_args=False), [[1.0, 1.0, 1.0], [5.0, -1.0, 0.0]]),
    (lambda: dist.DirichletMultinomial(PROBS, 4, True, validate_args=False), [[1.0, 1.0, 1.0], [5.0, -1.0, 0.0]]),
    (lambda: dist.ZeroInflatedPoisson(0.3, 2.0, validate_args=False), [-1.0, -2.5]),
])  # fmt: skip
def test_log_prob_outside_the_support_is_minus_infinity(backend, make, outside):
    assert_close(make().log_prob(np.array(outside)), np.full(2, -INF))


@pytest.mark.parametrize("name", ["Bernoulli", "Binomial", "Poisson", "Geometric", "NegativeBinomial", "GammaPoisson",
                                  "Categorical", "OrderedLogistic", "ZeroInflatedPoisson"])  # fmt: skip
def test_cdf_between_and_beyond_the_whole_numbers(backend, name):
    d, reference = {
        "Bernoulli": lambda: (dist.Bernoulli(0.3, validate_args=False), stats.bernoulli(0.3)),
        "Binomial": lambda: (dist.Binomial(3, 0.3, validate_args=False), stats.binom(3, 0.3)),
        "Poisson": lambda: (dist.Poisson(1.7, validate_args=False), stats.poisson(1.7)),
        "Geometric": lambda: (dist.Geometric(0.3, validate_args=False), stats.geom(0.3, loc=-1)),
        "NegativeBinomial": lambda: (dist.NegativeBinomial(2.5, 0.3, validate_args=False), stats.nbinom(2.5, 0.7)),
        "GammaPoisson": lambda: (dist.GammaPoisson(2.5, 3.0, validate_args=False), stats.nbinom(2.5, 0.75)),
        "Categorical": lambda: (dist.Categorical(PROBS, validate_args=False), stats.rv_discrete(values=(range(3), PROBS))),
        "OrderedLogistic": lambda: (
            dist.OrderedLogistic(0.0, [-1.0, 1.0], validate_args=False),
            stats.rv_discrete(values=(range(3), np.diff([0.0, *special.expit([-1.0, 1.0]), 1.0]))),
        ),
        "ZeroInflatedPoisson": lambda: (dist.ZeroInflatedPoisson(0.0, 1.7, validate_args=False), stats.poisson(1.7)),
    }[name]()
    points = np.array([-3.0, -0.5, 0.0, 0.5, 0.99, 1.5, 2.0, 2.5, 3.5, 7.0])
    assert_close(d.cdf(points), reference.cdf(points), rtol=1e-9)


def test_a_bernoulli_value_between_zero_and_one_is_a_cross_entropy(backend):
    value, logits = np.array([0.2, 0.9]), np.array([0.7, -3.0])
    probs = special.expit(logits)
    expected = value * np.log(probs) + (1.0 - value) * np.log1p(-probs)
    assert_close(dist.Bernoulli(logits=logits, validate_args=False).log_prob(value), expected)
    assert_close(dist.Bernoulli(probs, validate_args=False).log_prob(value), expected)
    assert_close(grad(lambda x: dist.Bernoulli(logits=x).log_prob(1.0), 0.0), 0.5)


# --- large counts ---


def _mpmath_log_mass():
    """Return log probabilities near the mean, in 50 digits."""
    with mpmath.workdps(50):
        log, gamma, n, half = mpmath.log, mpmath.loggamma, mpmath.mpf(MILLION), mpmath.mpf(0.3)

        def multisets(k, a):
            return gamma(a + k) - gamma(a) - gamma(k + 1)

        k = mpmath.mpf(300_500)
        binomial = multisets(k, n - k + 1) + k * log(half) + (n - k) * log(1 - half)
        p = mpmath.mpf(0.5)
        counts = [mpmath.mpf(x) for x in (200_100, 499_800, 300_100)]
        shares = [mpmath.mpf(x) / sum(mpmath.mpf(y) for y in PROBS.tolist()) for x in PROBS.tolist()]
        multinomial = gamma(n + 1) + sum(x * log(q) - gamma(x + 1) for x, q in zip(counts, shares, strict=True))
        concentration = [mpmath.mpf(x) for x in (20.0, 50.0, 3e5)]
        total = sum(concentration)
        polya = -multisets(n, total) + sum(multisets(x, a) for x, a in zip(counts, concentration, strict=True))
        return [float(x) for x in (
            binomial,
            (n + 700) * log(n) - n - gamma(n + 701),
            multisets(n, n) + n * log(p) + n * log(1 - p),
            multisets(n, mpmath.mpf(2e5)) - 2e5 * log(1 + 1 / mpmath.mpf(0.2)) - n * log(1 + mpmath.mpf(0.2)),
            multisets(k, mpmath.mpf(30)) + multisets(n - k, mpmath.mpf(7e5)) - multisets(n, mpmath.mpf(30) + 7 * 10**5),
            multinomial,
            polya,
        )]  # fmt: skip


def test_log_prob_at_counts_of_a_million(backend):
    counts = np.array([200_100.0, 499_800.0, 300_100.0])
    actual = [
        dist.Binomial(MILLION, 0.3).log_prob(300_500.0),
        dist.Poisson(float(MILLION)).log_prob(MILLION + 700.0),
        dist.NegativeBinomial(float(MILLION), 0.5).log_prob(float(MILLION)),
        dist.GammaPoisson(2e5, 0.2).log_prob(float(MILLION)),
        dist.BetaBinomial(30.0, 7e5, MILLION).log_prob(300_500.0),
        dist.Multinomial(MILLION, PROBS).log_prob(counts),
        dist.DirichletMultinomial([20.0, 50.0, 3e5], MILLION).log_prob(counts),
    ]
    assert_close(np.array([float(x) for x in actual]), np.array(_mpmath_log_mass()))


def test_the_textbook_formula_would_not_do_at_a_million(backend, rng):
    """The negative control: three log-gammas lose ten times the digits that one stable beta function does."""
    n, gammaln = float(MILLION), special.gammaln
    probs = rng.uniform(0.05, 0.95, 60)
    k = np.round(n * probs + rng.normal(size=60) * np.sqrt(n * probs * (1.0 - probs)))

    def in_fifty_digits(x, p):
        ways = mpmath.loggamma(MILLION + 1) - mpmath.loggamma(x + 1) - mpmath.loggamma(MILLION - x + 1)
        return float(ways + x * mpmath.log(p) + (MILLION - x) * mpmath.log(1 - p))

    with mpmath.workdps(50):
        exact = np.array([in_fifty_digits(mpmath.mpf(x), mpmath.mpf(p)) for x, p in zip(k, probs, strict=True)])
    textbook = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + k * np.log(probs) + (n - k) * np.log1p(-probs)
    actual = to_host(dist.Binomial(MILLION, probs).log_prob(k))
    assert np.abs(textbook / exact - 1.0).max() > 1e-10
    assert np.abs(actual / exact - 1.0).max() < 1e-10
    assert np.abs(actual - exact).mean() < 0.2 * np.abs(textbook - exact).mean()


# --- sums over the support ---


@pytest.mark.parametrize(("make", "largest"), [
    (lambda: dist.Geometric(0.2), 200), (lambda: dist.NegativeBinomial(0.7, 0.6), 200),
    (lambda: dist.NegativeBinomial(4.0, logits=0.3), 200), (lambda: dist.GammaPoisson(1.5, 0.4), 200),
    (lambda: dist.BetaBinomial(0.4, 2.0, 12), 12), (lambda: dist.ZeroInflatedNegativeBinomial(0.3, 2.0, 0.5), 200),
    (lambda: dist.ZeroInflatedPoisson(gate_logits=0.3, rate=4.0), 200),
])  # fmt: skip
def test_probabilities_of_all_counts_sum_to_one(backend, make, largest):
    assert_close(np.exp(to_host(make().log_prob(np.arange(largest + 1.0)))).sum(), 1.0, rtol=1e-9)


@pytest.mark.parametrize("name", ["Multinomial", "DirichletMultinomial"])
def test_moments_and_mass_of_vectors_of_counts(backend, name):
    every = compositions(5, 3)
    d = dist.Multinomial(5, PROBS) if name == "Multinomial" else dist.DirichletMultinomial([0.5, 2.0, 1.0], 5)
    mass = np.exp(to_host(d.log_prob(every)))
    mean = mass @ every
    assert_close(mass.sum(), 1.0)
    assert_close(d.mean, mean)
    assert_close(d.variance, mass @ every**2 - mean**2)
    assert_close(d.entropy(), -np.sum(mass * np.log(mass)))


# --- enumeration ---


def test_one_hot_vectors_enumerate_as_rows_of_the_identity(backend):
    d = dist.OneHotCategorical(np.tile(PROBS, (2, 1)))
    assert_close(d.enumerate_support(), np.broadcast_to(np.eye(3)[:, None], (3, 2, 3)))
    assert_close(d.enumerate_support(expand=False), np.eye(3)[:, None])


@pytest.mark.parametrize("make", [lambda n: dist.Binomial(n, 0.5), lambda n: dist.BetaBinomial(1.0, 2.0, n)])
def test_counts_enumerate_for_one_total(backend, make):
    values = make(np.array([3, 3])).enumerate_support()
    assert_close(values, np.tile(np.arange(4.0)[:, None], (1, 2)))
    with pytest.raises(GapError, match=r"inomial has enumerate_support only for one total_count; received counts from 2 to 3"):
        make(np.array([2, 3])).enumerate_support()


def test_entropy_of_counts_that_differ(backend):
    totals = np.array([2.0, 7.0])
    assert_close(dist.Binomial(totals, 0.3).entropy(), [stats.binom(n, 0.3).entropy() for n in (2, 7)])
    assert_close(dist.BetaBinomial(1.5, 2.0, totals).entropy(), [stats.betabinom(n, 1.5, 2.0).entropy() for n in (2, 7)])
    assert_close(dist.Multinomial(totals, PROBS).entropy(), [stats.multinomial(n, PROBS).entropy() for n in (2, 7)])
    assert_close(dist.Binomial(3, [0.0, 1.0]).entropy(), np.zeros(2))


def test_compositions_are_not_enumerated(backend):
    for d in (dist.Multinomial(3, PROBS), dist.DirichletMultinomial(PROBS, 3)):
        with pytest.raises(GapError, match="compositions"):
            d.enumerate_support()


# --- sampling ---


def test_covariance_of_multinomial_draws(backend):
    """Cov(x_i, x_j) is -n p_i p_j for the multinomial, times (n + A) / (1 + A) for the Dirichlet-multinomial."""
    totals, concentration = np.array([4.0, 1000.0]), np.array([1.0, 4.0, 2.5, 0.5])
    probs = concentration / concentration.sum()
    inflation = (totals + concentration.sum()) / (1.0 + concentration.sum())
    for d, factor in [(dist.Multinomial(totals, probs), 1.0), (dist.DirichletMultinomial(concentration, totals), inflation)]:
        draws = to_host(d.sample((10_000,)))
        assert (draws.sum(-1) == totals).all()
        assert np.array_equal(draws, np.round(draws))
        assert (draws >= 0).all()
        centred = draws - totals[:, None] * probs
        products = np.stack([centred[..., i] * centred[..., j] for i, j in itertools.combinations(range(4), 2)], axis=-1)
        pairs = np.array([probs[i] * probs[j] for i, j in itertools.combinations(range(4), 2)])
        exact = -(totals * factor)[:, None] * pairs
        assert np.abs(monte_carlo_z(products, exact)).max() < 4.9
        assert np.abs(monte_carlo_z(products, 1.3 * exact)).max() > 4.9
        marginal = stats.binom(4, probs[3]) if np.ndim(factor) == 0 else stats.betabinom(4, 0.5, 7.5)
        assert goodness_of_fit(draws[:, 0, 3], marginal.cdf, discrete=True) > 2e-5


def test_multinomial_draws_at_the_edges(backend):
    draws = to_host(dist.Multinomial(MILLION, [0.5, 0.0, 0.5, 0.0]).sample((200,)))
    assert (draws[:, [1, 3]] == 0).all()
    assert (draws.sum(-1) == MILLION).all()
    assert abs(monte_carlo_z(draws[:, 0], MILLION / 2)) < 4.9
    assert_close(dist.Multinomial(7, [1.0]).sample((2,)), np.full((2, 1), 7.0))
    assert_close(dist.Multinomial(0, PROBS).sample(), np.zeros(3))
    assert_close(dist.Multinomial([0.0, 3.0], [0.0, 0.0, 1.0]).sample(), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]))


def test_negative_binomial_of_no_failures_is_zero(backend):
    draws = to_host(dist.NegativeBinomial([0.0, 3.0], 0.5).sample((500,)))
    assert (draws[:, 0] == 0).all()
    assert abs(monte_carlo_z(draws[:, 1], 3.0)) < 4.9
    assert abs(monte_carlo_z(draws[:, 1], 4.0)) > 4.9


@pytest.mark.parametrize("make", [
    lambda p: dist.GammaPoisson(p, 1.0), lambda p: dist.NegativeBinomial(p, 0.5), lambda p: dist.BetaBinomial(p, 1.0, 5),
    lambda p: dist.Geometric(logits=p), lambda p: dist.ZeroInflatedPoisson(0.1, p),
    lambda p: dist.DirichletMultinomial(ops.stack([p, p]), 5),
])  # fmt: skip
def test_draws_carry_no_gradient(backend, make):
    assert grad(lambda p: ops.sum(make(p).sample((3,)) * 0.0 + make(p).sample((3,))) + p, 2.0) == 1.0


# --- the sparse mode ---


def test_sparse_counts_are_scored_from_those_above_zero(backend, rng, monkeypatch):
    concentration = rng.gamma(1.0, size=(3, 50)) + 0.1
    value = rng.multinomial(9, np.full(50, 0.02), size=(4, 3)).astype(float)
    frozen = [stats.dirichlet_multinomial(row, 9) for row in concentration]
    expected = np.array([[row.logpmf(x.astype(int)) for row, x in zip(frozen, rows, strict=True)] for rows in value])
    dense, sparse = (dist.DirichletMultinomial(concentration, 9, is_sparse) for is_sparse in (False, True))
    assert_close(dense.log_prob(value), expected)
    from ppl.distributions import dirichlet_multinomial

    sizes = []
    original = dirichlet_multinomial.log_multisets

    def spy(size, kinds):
        sizes.append(int(np.prod(np.shape(size))))
        return original(size, kinds)

    monkeypatch.setattr(dirichlet_multinomial, "log_multisets", spy)
    assert_close(sparse.log_prob(value), expected)
    assert max(sizes) == np.count_nonzero(value)
    sizes.clear()
    dense.log_prob(value)
    assert max(sizes) == value.size
    shifted = np.roll(value, 1, axis=-1)
    assert not np.allclose(to_host(sparse.log_prob(shifted)), expected)
    assert sparse.expand((4, 3)).is_sparse


# --- families of one spelling ---


@pytest.mark.parametrize(("name", "arguments"), [
    ("BernoulliLogits", {"logits": [0.3, -1.0]}), ("BernoulliProbs", {"probs": [0.3, 0.9]}),
    ("BinomialLogits", {"logits": [0.3, -1.0], "total_count": 4}), ("BinomialProbs", {"probs": [0.3, 0.9], "total_count": 4}),
    ("CategoricalLogits", {"logits": [[0.3, -1.0]]}), ("CategoricalProbs", {"probs": [[0.3, 0.7]]}),
    ("MultinomialLogits", {"logits": [[0.3, -1.0]], "total_count": 4}),
    ("MultinomialProbs", {"probs": [[0.3, 0.7]], "total_count": 4}),
])  # fmt: skip
def test_a_family_of_one_spelling_is_of_its_parent(backend, name, arguments):
    spelling = "logits" if name.endswith("Logits") else "probs"
    parent = getattr(dist, name.removesuffix("Logits").removesuffix("Probs"))
    d = getattr(dist, name)(**arguments)
    assert isinstance(d, parent)
    value = to_host(d.sample((2,)))
    expected = to_host(parent(**arguments).log_prob(value))
    twin = pickle.loads(pickle.dumps(d))
    wide = d.expand((3, *d.batch_shape))
    for same in (d, twin, wide):
        assert isinstance(same, getattr(dist, name))
        assert isinstance(same, parent)
        assert spelling in repr(same)
        assert ("probs" in repr(same)) is not ("logits" in repr(same))
        assert same.backend.name == backend
    assert_close(twin.log_prob(value), expected)
    assert_close(wide.log_prob(value[:, None]), np.broadcast_to(expected[:, None], (2, 3, *d.batch_shape)))
    other = "probs" if spelling == "logits" else "logits"
    with pytest.raises(TypeError, match=other):
        getattr(dist, name)(**{other: arguments[spelling]})


@pytest.mark.backends("torch")
def test_torchs_families_of_counts_are_torchs_classes(backend):
    import torch

    made = {
        "Geometric": dist.Geometric(0.3), "NegativeBinomial": dist.NegativeBinomial(2.0, 0.3),
        "OneHotCategorical": dist.OneHotCategorical(PROBS), "Multinomial": dist.Multinomial([2, 3], PROBS),
        "Bernoulli": dist.BernoulliLogits(0.3), "Binomial": dist.BinomialProbs(0.3, 4),
        "Categorical": dist.CategoricalLogits(PROBS),
    }  # fmt: skip
    for name, d in made.items():
        theirs = getattr(torch.distributions, name)
        assert isinstance(d, theirs), name
        assert isinstance(d.expand((2, *d.batch_shape)), theirs)
        assert isinstance(d.batch_shape, torch.Size)
    assert isinstance(dist.MultinomialLogits(PROBS), torch.distributions.Multinomial)
    p, q = dist.OneHotCategorical([0.5, 0.5]), dist.OneHotCategorical([0.25, 0.75])
    assert_close(torch.distributions.kl_divergence(p, q), 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75))


# --- zero inflation of any family ---


def test_zero_inflation_of_a_binomial(backend):
    gate, base = np.array([0.0, 0.25]), stats.binom(4, 0.6)
    d = dist.ZeroInflatedDistribution(dist.Binomial(4, 0.6), gate=gate)
    counts = np.arange(5.0)[:, None]
    mass = gate * (counts == 0) + (1.0 - gate) * base.pmf(counts)
    for same in (d, pickle.loads(pickle.dumps(d)), d.expand((2, 2))):
        assert isinstance(same, dist.ZeroInflatedDistribution)
        log_prob = same.log_prob(np.broadcast_to(counts[(...,) + (None,) * (len(same.batch_shape) - 1)], (5, *same.batch_shape)))
        assert_close(np.exp(to_host(log_prob)), np.broadcast_to(mass.reshape(5, *(1,) * (len(same.batch_shape) - 1), 2),
                                                               (5, *same.batch_shape)))  # fmt: skip
    by_logits = dist.ZeroInflatedDistribution(dist.Binomial(4, 0.6), gate_logits=np.log(0.25 / 0.75))
    assert_close(np.exp(to_host(by_logits.log_prob(counts[:, 0]))), mass[:, 1])
    mean = mass.T @ counts[:, 0]
    assert_close(d.mean, mean)
    assert_close(d.variance, mass.T @ counts[:, 0] ** 2 - mean**2)
    assert_close(d.entropy(), -np.sum(mass * np.log(mass), axis=0))
    assert_close(d.cdf(np.array([2.0, 3.0])), [mass[:3, 0].sum(), mass[:4, 1].sum()])
    assert_close(d.enumerate_support(), np.tile(counts, (1, 2)))
    draws = to_host(d.sample((10_000,)))[:, 1]
    assert goodness_of_fit(draws, Inflated(0.25, base).cdf, discrete=True) > 2e-5
    assert goodness_of_fit(draws, base.cdf, discrete=True) < 2e-5
    assert "Binomial" in repr(d)
    assert isinstance(dist.ZeroInflatedPoisson(0.2), dist.ZeroInflatedDistribution)


# --- bad input ---


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.Geometric(0.0), "Geometric: parameter 'probs'.*positive.*0.0"),
    (lambda: dist.NegativeBinomial(1.0, 1.0), r"NegativeBinomial: parameter 'probs'.*half_open_interval.*1.0"),
    (lambda: dist.NegativeBinomial(-1.0, 0.5), "NegativeBinomial: parameter 'total_count'.*nonnegative.*-1.0"),
    (lambda: dist.BinomialProbs(0.5, 2.5), "BinomialProbs: parameter 'total_count'.*nonnegative_integer.*2.5"),
    (lambda: dist.Multinomial(3, [-1.0, 2.0]), r"Multinomial: parameter 'probs'.*simplex.*\[-1.0, 2.0\]"),
    (lambda: dist.Multinomial(3), "Multinomial takes exactly one of probs, logits; received none"),
    (lambda: dist.OneHotCategorical([0.0, 0.0]), r"OneHotCategorical: parameter 'probs'.*simplex.*\[0.0, 0.0\]"),
    (lambda: dist.OrderedLogistic(0.0, [1.0, 1.0]), "OrderedLogistic: parameter 'cutpoints'.*ordered_vector"),
    (lambda: dist.Multinomial(3, PROBS).log_prob([1.0, 1.0, 0.0]), r"Multinomial: value.*multinomial.*\[1.0, 1.0, 0.0\]"),
    (lambda: dist.GammaPoisson(1.0).log_prob(0.5), "GammaPoisson: value.*nonnegative_integer.*0.5"),
    (lambda: dist.ZeroInflatedPoisson(rate=1.0), "ZeroInflatedPoisson takes exactly one of gate, gate_logits; received none"),
    (lambda: dist.ZeroInflatedPoisson(1.5), "ZeroInflatedPoisson: parameter 'gate'.*unit_interval.*1.5"),
    (lambda: dist.ZeroInflatedPoisson(0.5, -1.0), "ZeroInflatedPoisson: parameter 'rate'.*nonnegative.*-1.0"),
    (lambda: dist.ZeroInflatedNegativeBinomial(0.5, 1.0), "takes exactly one of probs, logits; received none"),
    (lambda: dist.ZeroInflatedDistribution(dist.Normal(0.0, 1.0), gate=0.5), r"ZeroInflatedDistribution: .*discrete.*Normal"),
    (lambda: dist.ZeroInflatedDistribution(dist.Multinomial(2, PROBS), gate=0.5), "expected a discrete family of empty event"),
])  # fmt: skip
def test_bad_input_gets_a_sentence(backend, make, sentence):
    with pytest.raises(ConstraintError, match=sentence):
        make()


# --- compiled code ---


@pytest.mark.backends("jax")
def test_draws_inside_compiled_code(backend):
    import jax
    import jax.numpy as jnp

    made = [
        lambda p: dist.Multinomial(jnp.array([5.0, 9.0]), probs=jnp.stack([p, 1.0 - p])), lambda p: dist.NegativeBinomial(3.0, p),
        lambda p: dist.DirichletMultinomial(jnp.stack([p, p, p]), 6, True), lambda p: dist.BetaBinomial(p, 2.0, 5),
        lambda p: dist.ZeroInflatedPoisson(p, 3.0), lambda p: dist.OrderedLogistic(p, jnp.array([0.0, 1.0])),
        lambda p: dist.OneHotCategorical(jnp.stack([p, 1.0 - p])), lambda p: dist.Geometric(p),
    ]  # fmt: skip
    for make in made:

        def draw(key, p, make=make):
            d = make(p)
            x = d.sample((3,), key)
            return x, d.log_prob(x), jax.grad(lambda q: jnp.sum(make(q).log_prob(x)))(p)

        x, log_prob, slope = jax.jit(draw)(jax.random.key(0), 0.4)
        d = make(jnp.asarray(0.4))
        assert tuple(x.shape) == tuple(d.shape((3,)))
        assert bool(jnp.all(d.support(x)))
        assert_close(log_prob, to_host(d.log_prob(x)))
        assert bool(jnp.isfinite(slope))
    keys = jax.random.split(jax.random.key(1), 50)
    apart = jax.vmap(lambda k: dist.Multinomial(100, PROBS).sample((), k))(keys)
    assert len(np.unique(to_host(apart), axis=0)) > 25


@pytest.mark.backends("jax")
def test_a_whole_total_is_enumerated_inside_compiled_code(backend):
    import jax

    assert_close(jax.jit(lambda p: dist.Binomial(3, p).enumerate_support())(0.5), np.arange(4.0))
    with pytest.raises(GapError, match="inside compiled code only if total_count is a Python int"):
        jax.jit(lambda n: dist.Binomial(n, 0.5).enumerate_support())(3.0)
