"""Divergences of numbers, counts and categories. Oracles: quadrature and sums over densities of scipy.stats."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kl_rows import COUNTED, MEASURED, expected_log_ratio, summed_log_ratio
from scipy import integrate, stats

from ppl import distributions as dist
from ppl import ops
from ppl.distributions.kl import RULES, has_kl, kl_divergence
from ppl.testing import assert_close, numerical_gradient, to_host

pytestmark = pytest.mark.strict

INF = np.inf


def families(table):
    """Return the pairs of names in ``table`` that have a rule of their own."""
    names = {(a.__name__, b.__name__) for a, b in RULES}
    return sorted(names & set(itertools.product(table, table)))


MEASURED_PAIRS, COUNTED_PAIRS = families(MEASURED), families(COUNTED)


@functools.cache
def measured_oracle(name_p, name_q):
    return expected_log_ratio(name_p, name_q, MEASURED[name_p][1], MEASURED[name_q][2])


@pytest.mark.parametrize("name_p", sorted({p for p, _ in MEASURED_PAIRS}))
def test_numbers_by_quadrature(backend, name_p):
    p = getattr(dist, name_p)(*MEASURED[name_p][1])
    for name_q in [q for other, q in MEASURED_PAIRS if other == name_p]:
        q = getattr(dist, name_q)(*MEASURED[name_q][2])
        expected = measured_oracle(name_p, name_q)
        assert has_kl(p, q)
        actual = to_host(kl_divergence(p, q))
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11, err_msg=f"{name_p}, {name_q}")
        if name_p == name_q and np.isfinite(expected):
            swapped = to_host(kl_divergence(q, p))
            assert abs(swapped - expected) > 1e-3 * expected or name_p in ("Cauchy", "HalfCauchy"), name_p


def test_the_quadrature_tells_finite_from_infinite():
    finite = [measured_oracle(*pair) for pair in [("Gamma", "Weibull"), ("Pareto", "Normal"), ("InverseGamma", "HalfNormal")]]
    assert np.isfinite(finite).all()
    for pair in [("Cauchy", "Normal"), ("HalfCauchy", "Exponential"), ("HalfCauchy", "InverseGamma"), ("Cauchy", "Gumbel"),
                 ("Normal", "Gamma"), ("Beta", "Pareto"), ("StudentT", "Gumbel")]:  # fmt: skip
        assert measured_oracle(*pair) == INF
    closed = np.log(1.4 / 0.9) + (0.9**2 + 0.7**2) / (2 * 1.4**2) - 0.5
    np.testing.assert_allclose(measured_oracle("Normal", "Normal"), closed, rtol=1e-12)


@pytest.mark.parametrize(
    ("name_p", "params_p", "name_q", "params_q"),
    [
        ("Uniform", (-0.1, 0.9), "Beta", (2.0, 3.0)),
        ("Uniform", (-0.1, 0.9), "Gamma", (2.0, 3.0)),
        ("Uniform", (-2.0, -1.0), "LogNormal", (0.0, 1.0)),
        ("Uniform", (0.0, 1.0), "InverseGamma", (2.0, 3.0)),
        ("Uniform", (0.0, 1.0), "Pareto", (0.1, 3.0)),
        ("Uniform", (0.0, 1.0), "Uniform", (0.1, 3.0)),
        ("Beta", (2.0, 3.0), "Uniform", (0.0, 0.9)),
        ("Kumaraswamy", (2.0, 3.0), "Uniform", (0.1, 1.0)),
        ("Pareto", (0.1, 3.0), "Pareto", (0.2, 3.0)),
        ("LogUniform", (0.1, 3.0), "LogUniform", (0.2, 3.0)),
        ("LogUniform", (0.1, 3.0), "Uniform", (0.2, 4.0)),
    ],
)
def test_infinite_where_the_support_exceeds_the_other(backend, name_p, params_p, name_q, params_q):
    def divergence(parameters):
        p = getattr(dist, name_p)(*(parameters[i] for i in range(len(params_p))))
        return kl_divergence(p, getattr(dist, name_q)(*params_q))

    assert to_host(divergence(ops.array(params_p))) == INF
    gradient = to_host(ops.autodiff.grad(lambda x: ops.where(divergence(x) < INF, divergence(x), 0.0))(ops.array(params_p)))
    assert not np.isnan(gradient).any()


@pytest.mark.parametrize(
    ("name_p", "params_p", "name_q", "params_q"),
    [
        ("Pareto", (0.1, 1.5), "Normal", (0.2, 3.0)),
        ("Pareto", (0.1, 0.9), "Exponential", (0.2,)),
        ("InverseGamma", (1.5, 1.0), "Normal", (0.0, 1.0)),
        ("FisherSnedecor", (3.0, 3.5), "Normal", (0.0, 1.0)),
        ("FisherSnedecor", (3.0, 1.5), "Gamma", (2.0, 1.0)),
        ("FisherSnedecor", (1.5, 7.0), "InverseGamma", (2.0, 1.0)),
        ("StudentT", (0.7, 0.0, 1.0), "Normal", (0.0, 1.0)),
        ("HalfCauchy", (1.0,), "HalfNormal", (1.0,)),
        ("InverseGamma", (0.5, 1.0), "Gamma", (2.0, 1.0)),
        ("StudentT", (1.5, 0.0, 1.0), "Normal", (0.0, 1.0)),
        ("Laplace", (0.0, 1.3), "Gumbel", (0.0, 1.2)),
        ("HalfCauchy", (1.0,), "Weibull", (1.0, 1.2)),
        ("Exponential", (1.0,), "InverseGamma", (2.0, 1.0)),
    ],
)
def test_infinite_where_the_expectation_diverges(backend, name_p, params_p, name_q, params_q):
    assert expected_log_ratio(name_p, name_q, params_p, params_q) == INF
    assert to_host(kl_divergence(getattr(dist, name_p)(*params_p), getattr(dist, name_q)(*params_q))) == INF


@pytest.mark.parametrize(
    ("name_p", "params_p", "name_q", "params_q"),
    [
        ("HalfNormal", (100.0,), "Gumbel", (0.0, 0.5)),
        ("HalfNormal", (100.0,), "Gumbel", (0.0, 1.999)),
        ("Uniform", (1.0, 1.001), "LogNormal", (0.0, 0.01)),
        ("Uniform", (1.0, 1.2), "LogNormal", (0.0, 0.01)),
        ("Uniform", (0.0, 1.2), "LogNormal", (0.0, 1.0)),
        ("Uniform", (0.0, 1.2), "Weibull", (0.7, 2.3)),
        ("Uniform", (2.0, 2.5), "Weibull", (1.5, 300.0)),
        ("Uniform", (0.999, 1.0), "Beta", (2.0, 3.0)),
        ("Exponential", (1.0,), "Laplace", (-2.0, 1.5)),
        ("HalfNormal", (1.0,), "AsymmetricLaplace", (-2.0, 1.5, 0.7)),
        ("Uniform", (0.0, 1.0), "Laplace", (3.0, 1.5)),
        ("SkewLaplace", (2.0, 0.6, 0.8), "SkewLaplace", (-1.0, 0.5, 0.9)),
    ],
)
def test_where_terms_cancel_or_change_their_form(backend, name_p, params_p, name_q, params_q):
    p, q = getattr(dist, name_p)(*params_p), getattr(dist, name_q)(*params_q)
    assert_close(kl_divergence(p, q), np.asarray(expected_log_ratio(name_p, name_q, params_p, params_q)))


@pytest.mark.parametrize("pair", COUNTED_PAIRS, ids="-".join)
def test_counts_by_summation(backend, pair):
    (params_p, _, oracle_p), (_, params_q, oracle_q) = (COUNTED[name] for name in pair)
    p, q = getattr(dist, pair[0])(*params_p), getattr(dist, pair[1])(*params_q)
    expected = summed_log_ratio(oracle_p(*params_p), oracle_q(*params_q))
    assert has_kl(p, q)
    assert_close(kl_divergence(p, q), np.asarray(expected))
    if pair[0] == pair[1]:
        assert abs(to_host(kl_divergence(q, p)) - expected) > 1e-3 * expected


@pytest.mark.parametrize(("n", "m"), [(3, 5), (5, 3), (4, 4), (0, 2), (2, 0)])
@pytest.mark.parametrize("chances", [(0.3, 0.6), (0.0, 0.6), (1.0, 0.6), (0.3, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_binomials_of_different_numbers_of_trials(backend, n, m, chances):
    p, q = stats.binom(n, chances[0]), stats.binom(m, chances[1])
    expected = summed_log_ratio(p, q, 10)
    assert_close(kl_divergence(dist.Binomial(n, chances[0]), dist.Binomial(m, chances[1])), np.asarray(expected))


def test_a_batch_of_binomials_of_different_numbers_of_trials(backend):
    n, m, probs = np.array([2.0, 5.0, 7.0]), np.array([[4.0], [5.0]]), np.array([0.2, 0.5, 0.7])
    actual = kl_divergence(dist.Binomial(n, probs), dist.Binomial(m, logits=0.3))
    chance = 1 / (1 + np.exp(-0.3))
    expected = [[summed_log_ratio(stats.binom(int(a), c), stats.binom(int(b), chance)) for a, c in zip(n, probs, strict=True)]
                for b in m[:, 0]]  # fmt: skip
    assert_close(actual, np.array(expected))


@pytest.mark.parametrize("spelling", ["probs", "logits"])
def test_probabilities_of_zero_and_one(backend, spelling):
    chances = np.array([0.0, 0.25, 1.0])

    def bernoulli(probs):
        with np.errstate(divide="ignore"):
            return dist.Bernoulli(**{spelling: probs if spelling == "probs" else np.log(probs) - np.log1p(-probs)},
                                  validate_args=False)  # fmt: skip

    mixed = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert_close(kl_divergence(bernoulli(chances), bernoulli(np.array(0.5))), np.array([np.log(2), mixed, np.log(2)]))
    table = to_host(kl_divergence(bernoulli(chances[:, None]), bernoulli(chances)))
    assert_close(table, np.array([[0, -np.log(0.75), INF], [INF, 0, INF], [INF, -np.log(0.25), 0]]))
    certain = dist.Poisson(np.array([0.0, 2.0]))
    assert_close(kl_divergence(certain, dist.Bernoulli(0.25)), np.array([-np.log(0.75), INF]))
    assert_close(kl_divergence(certain, dist.Poisson(1.5)), np.array([1.5, 2 * np.log(2 / 1.5) - 0.5]))
    assert_close(kl_divergence(certain, dist.Poisson(0.0)), np.array([0, INF]))
    assert_close(kl_divergence(dist.Geometric(1.0), dist.Binomial(3, 0.25)), -3 * np.log(0.75))


@pytest.mark.parametrize("family", ["Categorical", "OneHotCategorical"])
def test_categories_by_summation(backend, family):
    make = getattr(dist, family)
    p, q = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]]), np.array([0.6, 0.4, 0.0])
    assert_close(kl_divergence(make(p), make(q)), np.array([INF, np.log(1 / 0.4)]))
    logits = np.array([0.1, -0.7, 1.3])
    chance = np.exp(logits) / np.exp(logits).sum()
    expected = np.array([np.sum(row[row > 0] * np.log(row[row > 0] / chance[row > 0])) for row in p])
    assert_close(kl_divergence(make(p), make(logits=logits)), expected)
    assert_close(kl_divergence(make(logits=logits), make(p[0])), np.sum(chance * np.log(chance / p[0])))
    gradient = ops.autodiff.grad(lambda x: ops.sum(kl_divergence(make(x, validate_args=False), make(logits=logits))))(
        ops.array(p)
    )
    assert np.isfinite(to_host(gradient)).all()
    with pytest.raises(ValueError, match=r"3.*2"):
        kl_divergence(make(p), make(np.array([0.5, 0.5])))


def test_ordered_categories_by_summation(backend):
    edges = [np.concatenate([[-INF], cutpoints, [INF]]) for cutpoints in ([-1.0, 0.2, 1.5], [-0.5, 0.0, 2.0])]
    ordered = [np.diff(stats.logistic(predictor).cdf(edge)) for predictor, edge in zip((0.4, -0.3), edges, strict=True)]
    p, q = dist.OrderedLogistic(0.4, edges[0][1:-1]), dist.OrderedLogistic(-0.3, edges[1][1:-1])
    expected = np.sum(ordered[0] * np.log(ordered[0] / ordered[1]))
    assert_close(kl_divergence(p, q), expected)
    assert_close(kl_divergence(dist.Categorical(ordered[0]), q), expected)
    assert_close(kl_divergence(p, dist.Categorical(logits=np.log(ordered[1]))), expected)
    assert abs(to_host(kl_divergence(q, p)) - expected) > 1e-3 * expected


def test_multinomials_by_enumeration(backend):
    p, q = np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.3, 0.6])
    counts = np.array([x for x in itertools.product(range(5), repeat=3) if sum(x) == 4])
    log_p, log_q = (stats.multinomial(4, chance).logpmf(counts) for chance in (p, q))
    assert_close(kl_divergence(dist.Multinomial(4, p), dist.Multinomial(4, q)), np.sum(np.exp(log_p) * (log_p - log_q)))
    assert to_host(kl_divergence(dist.Multinomial(4, p), dist.Multinomial(5, q))) == INF


def test_von_mises_by_quadrature(backend):
    x = np.linspace(-np.pi, np.pi, 2001)[:-1]
    p, q = stats.vonmises(1.7, loc=0.4), stats.vonmises(0.6, loc=-1.1)
    expected = 2 * np.pi * np.mean(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)))
    assert_close(kl_divergence(dist.VonMises(0.4, 1.7), dist.VonMises(-1.1, 0.6)), expected)
    assert_close(kl_divergence(dist.VonMises(0.4, 1e4), dist.VonMises(0.4, 1e4)), 0.0)


BOUNDS = [(-1.0, 2.0), (None, 2.0), (-1.0, None), (None, None)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_truncated_normals_by_quadrature(backend, bounds):
    ends = [np.inf * side if bound is None else bound for side, bound in zip((-1, 1), bounds, strict=True)]

    def truncated(loc, scale, low, high):
        return stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)

    p, q = truncated(0.5, 0.9, *ends), stats.norm(-0.3, 1.4)
    x = np.linspace(max(ends[0], -9.0), min(ends[1], 10.0), 100_001)
    ours = dist.TruncatedNormal(0.5, 0.9, low=bounds[0], high=bounds[1])
    expected = integrate.simpson(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x=x)
    assert_close(kl_divergence(ours, dist.Normal(-0.3, 1.4)), np.asarray(expected))
    for other in BOUNDS:
        wider = [np.inf * side if bound is None else bound for side, bound in zip((-1, 1), other, strict=True)]
        q = truncated(-0.3, 1.4, *wider)
        held = wider[0] <= ends[0] and ends[1] <= wider[1]
        expected = integrate.simpson(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x=x) if held else INF
        assert_close(kl_divergence(ours, dist.TruncatedNormal(-0.3, 1.4, low=other[0], high=other[1])), np.asarray(expected))


@pytest.mark.parametrize("name", sorted(p for p, q in MEASURED_PAIRS + COUNTED_PAIRS if p == q))
def test_no_divergence_from_itself(backend, name):
    params = MEASURED[name][1] if name in MEASURED else COUNTED[name][0]
    d = getattr(dist, name)(*params)
    assert_close(kl_divergence(d, d), 0.0, atol=1e-13)


POSITIVE = st.floats(1e-2, 1e2)


@pytest.mark.parametrize("name", sorted({p for p, q in MEASURED_PAIRS if p == q} - {"LogUniform", "Uniform", "Kumaraswamy"}))
def test_never_negative(backend, name):
    count = len(MEASURED[name][1])

    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(st.lists(POSITIVE, min_size=8 * count, max_size=8 * count))
    def check(values):
        first, second = np.array(values).reshape(2, count, 4)
        divergence = to_host(kl_divergence(getattr(dist, name)(*first), getattr(dist, name)(*second)))
        assert not np.isnan(divergence).any()
        assert (divergence >= -1e-11 * np.maximum(1.0, np.max(values))).all()

    check()


SMOOTH = [("Normal", "Normal"), ("Gamma", "InverseGamma"), ("Gamma", "Exponential"), ("Beta", "Beta"), ("Laplace", "Gumbel"),
          ("Normal", "Laplace"), ("LogNormal", "Weibull"), ("Weibull", "Weibull"), ("Uniform", "LogNormal"), ("Uniform", "Beta"),
          ("Pareto", "Normal"), ("InverseGamma", "HalfNormal"), ("HalfCauchy", "Weibull"), ("Gumbel", "Gumbel"),
          ("Cauchy", "Cauchy"), ("Kumaraswamy", "Gamma"), ("HalfNormal", "Laplace"), ("LogUniform", "Pareto")]  # fmt: skip


@pytest.mark.parametrize("pair", SMOOTH, ids="-".join)
def test_gradients_are_those_of_finite_differences(backend, pair):
    split = len(MEASURED[pair[0]][1])
    point = np.array(MEASURED[pair[0]][1] + MEASURED[pair[1]][2])

    def divergence(parameters):
        values = [parameters[i] for i in range(len(point))]
        return kl_divergence(getattr(dist, pair[0])(*values[:split]), getattr(dist, pair[1])(*values[split:]))

    assert_close(ops.autodiff.grad(divergence)(ops.array(point)), numerical_gradient(divergence, point), "finite_difference")


@pytest.mark.parametrize("spelling", ["probs", "logits"])
def test_gradients_of_counts(backend, spelling):
    point = np.array([0.3, 0.45])

    def divergence(x):
        bernoullis = kl_divergence(dist.Bernoulli(**{spelling: x[0]}), dist.Bernoulli(**{spelling: x[1]}))
        binomials = kl_divergence(dist.Binomial(3, **{spelling: x[0]}), dist.Binomial(5, **{spelling: x[1]}))
        geometrics = kl_divergence(dist.Geometric(**{spelling: x[0]}), dist.Geometric(**{spelling: x[1]}))
        return bernoullis + 2.0 * binomials + 3.0 * geometrics + 4.0 * kl_divergence(dist.Poisson(x[0]), dist.Poisson(x[1]))

    assert_close(ops.autodiff.grad(divergence)(ops.array(point)), numerical_gradient(divergence, point), "finite_difference")
