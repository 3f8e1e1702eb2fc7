"""Statistical utilities against arviz, numpy, scipy and closed forms, on arrays of each backend."""

import arviz
import numpy
import pytest
import scipy.stats
from arviz.stats.stats import _gpdfit

from ppl import ops
from ppl.errors import ConstraintError, ShapeError
from ppl.ops import stats
from ppl.testing import assert_close, to_host

pytestmark = pytest.mark.strict


def autoregressive(rng, shape, correlation):
    """Return stationary AR(1) draws of unit innovation, time along the last axis."""
    noise = rng.normal(size=shape)
    draws = numpy.zeros(shape)
    draws[..., 0] = noise[..., 0] / numpy.sqrt(1 - correlation**2)
    for t in range(1, shape[-1]):
        draws[..., t] = correlation * draws[..., t - 1] + noise[..., t]
    return draws


def per_column(statistic, draws):
    """Apply ``statistic`` of (chains, samples) to each of the trailing columns."""
    flat = draws.reshape(*draws.shape[:2], -1)
    return numpy.array([float(statistic(flat[:, :, k])) for k in range(flat.shape[2])]).reshape(draws.shape[2:])


@pytest.fixture
def draws(rng):
    """Chains of six quantities, one of them with chains apart, one constant."""
    values = numpy.moveaxis(autoregressive(rng, (4, 2, 3, 51), 0.7), -1, 1)
    values[0, :, 0, 1] += 2.0
    return values


@pytest.mark.parametrize(("name", "method"), [("gelman_rubin", "identity"), ("split_gelman_rubin", "split")])
def test_r_hat_equals_arviz(backend, draws, name, method):
    expected = per_column(lambda chains: arviz.rhat(chains, method=method), draws)
    assert_close(getattr(stats, name)(ops.array(draws)), expected, rtol=1e-10)
    moved = numpy.moveaxis(draws, (0, 1), (2, -1))
    assert_close(getattr(stats, name)(ops.array(moved), chain_dim=2, sample_dim=-1), expected, rtol=1e-10)


def test_effective_size_equals_arviz(backend, draws):
    draws[:, :, 1, 2] = 3.0
    expected = per_column(lambda chains: arviz.ess(chains, method="mean"), draws)
    halves = stats.split_chains(ops.array(draws))
    assert_close(stats.effective_sample_size(halves), expected, rtol=1e-8)
    assert_close(stats.effective_sample_size(ops.moveaxis(halves, 1, 0), chain_dim=1, sample_dim=0), expected, rtol=1e-8)
    assert float(stats.effective_sample_size(halves)[1, 2]) == 200.0


def test_effective_size_of_an_autoregressive_chain(backend, rng):
    """Correlation r makes n draws worth n (1 - r) / (1 + r)."""
    size = stats.effective_sample_size(ops.array(autoregressive(rng, (4, 20_000), 0.6)))
    assert float(size) == pytest.approx(80_000 * 0.4 / 1.6, rel=0.1)


@pytest.mark.parametrize("length", [2, 8, 33])
@pytest.mark.parametrize("bias", [False, True])
def test_autocovariance_by_its_definition(backend, rng, length, bias):
    x = rng.normal(size=(2, length, 3))
    centred = x - x.mean(1, keepdims=True)
    expected = numpy.stack(
        [(centred[:, : length - lag] * centred[:, lag:]).sum(1) / (length if bias else length - lag) for lag in range(length)],
        axis=1,
    )
    assert_close(stats.autocovariance(ops.array(x), dim=1, bias=bias), expected, rtol=1e-10, atol=1e-12)
    assert_close(stats.autocorrelation(ops.array(x), dim=1, bias=bias), expected / expected[:, :1], rtol=1e-9, atol=1e-11)


def test_autocorrelation_of_an_autoregressive_chain(backend, rng):
    """The lag-k correlation is r to the k; Bartlett's standard error is below (1 + r^2) / (1 - r^2) over n, squared."""
    found = to_host(stats.autocorrelation(ops.array(autoregressive(rng, (100_000,), 0.6))))
    error = numpy.sqrt((1 + 0.36) / (1 - 0.36) / 100_000)
    assert numpy.all(numpy.abs(found[:20] - 0.6 ** numpy.arange(20)) < 4.9 * error)


@pytest.mark.parametrize("probs", [0.3, 0.0, 1.0, [0.1, 0.5, 0.9], [0.25]])
@pytest.mark.parametrize("dim", [0, -1])
def test_quantile_equals_numpy(backend, rng, probs, dim):
    x = rng.normal(size=(7, 5, 4))
    expected = numpy.quantile(x, probs, axis=dim)
    if isinstance(probs, list):
        expected = numpy.moveaxis(expected, 0, dim)
        assert_close(stats.quantile(ops.array(x), ops.array(probs), dim), expected)
    assert_close(stats.quantile(ops.array(x), probs, dim), expected)


@pytest.mark.parametrize("prob", [0.0, 0.5, 0.89])
@pytest.mark.parametrize("dim", [0, -1])
def test_intervals(backend, rng, prob, dim):
    x = rng.gamma(2.0, size=(101, 3))
    x = x if dim == 0 else x.T
    central = numpy.quantile(x, [0.5 - prob / 2, 0.5 + prob / 2], axis=dim)
    assert_close(stats.pi(ops.array(x), prob, dim), numpy.moveaxis(central, 0, dim))
    columns = numpy.moveaxis(x, dim, 0)
    # Each interval between order statistics so many steps apart.
    ordered, steps = numpy.sort(columns, axis=0), int(prob * len(columns))
    narrowest = [min(((b - a, a, b) for a, b in zip(column, column[steps:], strict=False))) for column in ordered.T]
    expected = numpy.array([[a, b] for _, a, b in narrowest])
    assert_close(stats.hpdi(ops.array(x), prob, dim), expected if dim == -1 else expected.T)


def test_hpdi_equals_arviz(backend, rng):
    x = rng.gamma(2.0, size=1000)
    assert_close(stats.hpdi(ops.array(x), 0.8), arviz.hdi(x, hdi_prob=0.8), rtol=1e-12)


def test_intervals_of_an_exponential(backend, rng):
    """The narrowest interval of an exponential begins at zero, the central one does not."""
    x = rng.exponential(size=200_000)
    assert_close(stats.hpdi(ops.array(x), 0.9), [0.0, -numpy.log(0.1)], atol=0.03)
    assert_close(stats.pi(ops.array(x), 0.9), [-numpy.log(0.95), -numpy.log(0.05)], atol=0.05)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.filterwarnings("ignore:For one or more samples")
def test_waic_equals_arviz(backend, rng, dim):
    """arviz divides the variances by n, the publication by n - 1."""
    log_likelihood = rng.normal(size=(500, 8)) - 1.0
    theirs = arviz.waic(arviz.from_dict(posterior={"x": numpy.zeros((1, 500))}, log_likelihood={"y": log_likelihood[None]}))
    criterion, effective = stats.waic(ops.array(log_likelihood if dim == 0 else log_likelihood.T), dim=dim)
    assert_close(effective, theirs.p_waic * 500 / 499, rtol=1e-10)
    assert_close(criterion, -2 * (theirs.elpd_waic + theirs.p_waic - theirs.p_waic * 500 / 499), rtol=1e-10)
    terms, variances = stats.waic(ops.array(log_likelihood), pointwise=True)
    assert_close(variances, log_likelihood.var(axis=0, ddof=1), rtol=1e-10)
    assert_close(numpy.sum(to_host(terms)), criterion, rtol=1e-12)


def test_waic_of_weighted_draws(backend, rng):
    """A draw of no weight does not count, and the scale of the weights does not matter."""
    log_likelihood = rng.normal(size=(6, 3))
    weights = numpy.array([0.0, 0.0, 0.0, 0.0, -numpy.inf, -numpy.inf])
    whole = stats.waic(ops.array(log_likelihood), log_weights=ops.array(weights + 3.0), pointwise=True)
    part = stats.waic(ops.array(log_likelihood[:4]), pointwise=True)
    for got, wanted in zip(whole, part, strict=True):
        assert_close(got, to_host(wanted), rtol=1e-12)
    uneven = numpy.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    _, effective = stats.waic(ops.array(log_likelihood), log_weights=ops.array(numpy.log(uneven)), pointwise=True)
    mean = numpy.average(log_likelihood, axis=0, weights=uneven)
    spread = numpy.average((log_likelihood - mean) ** 2, axis=0, weights=uneven)
    assert_close(effective, spread / (1 - numpy.sum(uneven**2)), rtol=1e-12)


@pytest.mark.parametrize(("shape", "scale"), [(0.3, 2.0), (0.7, 1.0), (-0.2, 0.5)])
def test_generalized_pareto(backend, rng, shape, scale):
    x = scipy.stats.genpareto(shape, scale=scale).rvs(5000, random_state=rng)
    found = stats.fit_generalized_pareto(ops.array(x))
    with numpy.errstate(over="ignore"):
        assert found == pytest.approx(_gpdfit(numpy.sort(x)), rel=1e-8)
    # Asymptotic standard errors of the maximum likelihood estimates: (1 + k) and sigma sqrt(2 (1 + k)) over root n.
    assert abs(found[0] - shape) < 4.9 * (1 + shape) / 5000**0.5
    assert abs(found[1] - scale) < 4.9 * scale * (2 * (1 + shape)) ** 0.5 / 5000**0.5
    assert abs(found[0] - (shape + 0.2)) > 4.9 * (1 + shape) / 5000**0.5, "the control: another shape is told apart"


def test_resample_without_replacement(backend):
    x = ops.reshape(ops.arange(0.0, 12.0), (3, 4))
    drawn = to_host(stats.resample(x, 4, dim=1))
    assert drawn.shape == (3, 4)
    assert numpy.array_equal(numpy.sort(drawn, axis=1), to_host(x))
    assert to_host(stats.resample(x, 2, dim=-1)).shape == (3, 2)


def test_resample_with_replacement(backend):
    """Each of four values is drawn a quarter of the time; a lopsided draw is told apart."""
    drawn = to_host(stats.resample(ops.arange(0.0, 4.0), 20_000, replacement=True))
    counts = numpy.bincount(drawn.astype(int), minlength=4)
    assert scipy.stats.chisquare(counts).pvalue > 2e-5
    assert scipy.stats.chisquare(counts, 20_000 * numpy.array([0.28, 0.24, 0.24, 0.24])).pvalue < 2e-5


def test_results_keep_the_dtype(backend):
    x = ops.array(numpy.random.default_rng(0).normal(size=(2, 20)), dtype="float32")
    results = [stats.gelman_rubin(x), stats.split_gelman_rubin(x), stats.effective_sample_size(x), stats.autocovariance(x, 1)]
    results += [stats.autocorrelation(x, 1), stats.quantile(x, 0.3, 1), stats.hpdi(x, 0.5, 1), *stats.waic(x, dim=1)]
    assert [ops.dtype_name(result) for result in results] == ["float32"] * len(results)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: stats.gelman_rubin(x[:1]), ShapeError, "at least 2 chain"),
        (lambda x: stats.gelman_rubin(x[:, :1]), ShapeError, "of 2 samples, got 4 of 1"),
        (lambda x: stats.split_gelman_rubin(x[:, :3]), ShapeError, "of 4 samples"),
        (lambda x: stats.effective_sample_size(x[0]), ShapeError, r"try x\[None\]"),
        (lambda x: stats.effective_sample_size(x, 1, -1), ShapeError, "chain_dim=1"),
        (lambda x: stats.quantile(x, 1.5), ConstraintError, "1.5"),
        (lambda x: stats.hpdi(x, 1.0), ConstraintError, "hpdi"),
        (lambda x: stats.resample(x, 9), ShapeError, "replacement=True"),
        (lambda x: stats.fit_generalized_pareto(x), ShapeError, "fit_generalized_pareto"),
    ],
)
def test_bad_input(backend, call, error, words):
    with pytest.raises(error, match=words):
        call(ops.zeros((4, 6)))
