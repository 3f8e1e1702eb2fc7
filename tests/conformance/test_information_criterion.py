"""WAIC, leave-one-out cross-validation and Pareto smoothing, against arviz and scipy."""

import warnings

import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops
from ppl.errors import InferenceError, PplWarning
from ppl.infer import pareto

arviz = pytest.importorskip("arviz")


def heavy(rng, draws, shape):
    """Log likelihoods of a few observations far from the rest, so that their weights have heavy tails."""
    location = numpy.linspace(0.0, 3.0, int(numpy.prod(shape))).reshape(shape)
    return stats.norm(location, 0.7).logpdf(rng.normal(size=(*draws, *(1 for _ in shape))))


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def arvizs(criterion, log_likelihood, **options):
    data = arviz.from_dict(posterior={"x": numpy.zeros(log_likelihood.shape[:2])}, log_likelihood={"y": log_likelihood})
    return quietly(criterion, data, pointwise=True, scale="log", **options)


SHAPES = {
    "a vector": ((2, 200), (9,)),
    "a table": ((4, 50), (3, 2)),
    "a single chain": ((1, 400), (5,)),
    "few draws": ((2, 8), (6,)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_waic_is_arvizs(backend, rng, case):
    values = heavy(rng, *SHAPES[case])
    expected = arvizs(arviz.waic, values)
    found = quietly(infer.waic, ops.array(values), batch_ndims=2)
    assert (found.elpd, found.standard_error, found.num_parameters) == pytest.approx(
        (expected["elpd_waic"], expected["se"], expected["p_waic"]), rel=1e-8
    )
    numpy.testing.assert_allclose(found.pointwise, expected["waic_i"], rtol=1e-8)


@pytest.mark.parametrize("efficiency", [1.0, 0.3])
@pytest.mark.parametrize("case", SHAPES)
def test_loo_is_arvizs(backend, rng, case, efficiency):
    values = heavy(rng, *SHAPES[case])
    expected = arvizs(arviz.loo, values, reff=efficiency)
    found = quietly(infer.loo, ops.array(values), batch_ndims=2, relative_efficiency=efficiency)
    assert (found.elpd, found.standard_error, found.num_parameters) == pytest.approx(
        (expected["elpd_loo"], expected["se"], expected["p_loo"]), rel=1e-8
    )
    numpy.testing.assert_allclose(found.pointwise, expected["loo_i"], rtol=1e-8)
    numpy.testing.assert_allclose(found.pareto_k, expected["pareto_k"], rtol=1e-8)
    assert (found.pareto_k.max() > 0.7) == (case != "few draws" or numpy.isinf(found.pareto_k).any())


STRANGE = {
    "equal weights": lambda rng: numpy.zeros((40, 1)),
    "ties": lambda rng: rng.integers(5, size=(200, 3)).astype("float64"),
    "one weight holds all": lambda rng: numpy.where(numpy.arange(100) == 7, 0.0, -1000.0)[:, None] + rng.normal(size=(100, 1)),
    "weights below the smallest number": lambda rng: -2000.0 * rng.uniform(size=(300, 2)),
    "bounded weights": lambda rng: numpy.log(rng.uniform(0.9, 1.0, size=(500, 2))),
    "no tail": lambda rng: rng.normal(size=(3, 2)),
    "one draw": lambda rng: rng.normal(size=(1, 2)),
    "infinite variance": lambda rng: rng.pareto(1.2, size=(1000, 2)),
}


@pytest.mark.parametrize("case", STRANGE)
def test_smoothing_is_arvizs(backend, rng, case):
    log_weights = STRANGE[case](rng)
    found, shape = pareto.smooth(ops.array(log_weights), 0.8)
    if case == "one draw":
        numpy.testing.assert_array_equal(found, numpy.zeros((1, 2)))
        assert numpy.isinf(shape).all()
        return
    smoothed, expected = quietly(arviz.psislw, log_weights.T.copy(), reff=0.8)
    numpy.testing.assert_allclose(shape, expected, rtol=1e-8)
    numpy.testing.assert_allclose(found, numpy.asarray(smoothed).T, rtol=1e-8, atol=1e-10)


def test_quantiles_of_the_tail_are_scipys(backend):
    probability = numpy.linspace(0.01, 0.99, 9)
    for shape in (-0.4, 0.0, 0.3, 1.5):
        exact = stats.genpareto(shape, scale=2.5).ppf(probability)
        numpy.testing.assert_allclose(pareto.generalized_pareto_quantile(probability, shape, 2.5), exact, rtol=1e-12)


@pytest.mark.parametrize("shape", [0.2, 0.9])
def test_the_shape_of_a_known_tail_is_found(rng, shape):
    """Hosking and Wallis (1987): the estimator's standard error is near (1 + k) / sqrt(n) for n excesses."""
    log_weights = numpy.log(stats.genpareto(shape).rvs(size=20_000, random_state=rng) + 1.0 / shape)
    excesses = numpy.ceil(3 * 20_000**0.5)
    error = (1 + shape) / excesses**0.5
    _, found = pareto.smooth(log_weights)
    assert abs(found - shape) < 4.9 * error
    assert abs(found - shape - 0.6) > 4.9 * error


def test_smoothed_weights_improve_a_mean(rng):
    """The mean of a normal of twice the proposal's width, whose weights have infinite variance; the truth is zero."""
    raw, smoothed = [], []
    for _ in range(60):
        draws = rng.normal(size=300)
        log_weights = stats.norm(0.5, 1.6).logpdf(draws) - stats.norm.logpdf(draws)
        raw.append(special.softmax(log_weights) @ draws - 0.5)
        smoothed.append(numpy.exp(pareto.smooth(log_weights)[0]) @ draws - 0.5)
    assert numpy.square(smoothed).mean() < numpy.square(raw).mean()


def test_weights_stand_for_repeated_draws(backend, rng):
    values, times = rng.normal(-1.0, 0.3, size=(6, 4)), numpy.array([1, 3, 1, 2, 1, 4])
    weighted = infer.waic(ops.array(values), log_weights=ops.array(numpy.log(times)))
    repeated = infer.waic(ops.array(numpy.repeat(values, times, axis=0)))
    assert weighted.elpd == pytest.approx(repeated.elpd, rel=1e-12)
    numpy.testing.assert_allclose(weighted.pointwise_parameters, repeated.pointwise_parameters, rtol=1e-10)
    plain = infer.waic(ops.array(values))
    assert abs(plain.elpd - repeated.elpd) > 1e-3


def test_sites_are_summed(backend, rng):
    first, second = rng.normal(-1.0, 0.3, size=(50, 4)), rng.normal(-1.0, 0.3, size=(50, 2, 3))
    both = infer.waic({"a": ops.array(first), "b": ops.array(second)})
    assert both.elpd == pytest.approx(infer.waic(first).elpd + infer.waic(second).elpd, rel=1e-12)
    assert both.pointwise.shape == (10,)


def normal_model(y):
    mean = ppl.sample("mean", dist.Normal(0.0, 5.0))
    with ppl.plate("rows", 6):
        ppl.sample("y", dist.Normal(mean, 1.0), obs=y)


def test_posteriors_give_arvizs_criteria_on_the_deviance_scale(backend, rng):
    y = 0.5 * rng.normal(size=6)
    exact = stats.norm(y.sum() / (6 + 1 / 25), (6 + 1 / 25) ** -0.5)
    posterior = infer.Posterior({"mean": exact.rvs(size=(4, 250), random_state=rng)}, model=normal_model, args=(y,))
    data = posterior.to_arviz()
    for method, criterion in (("waic", arviz.waic), ("loo", arviz.loo)):
        expected = criterion(data, pointwise=True, scale="deviance")
        total, each = (posterior.information_criterion(pointwise=flag, method=method) for flag in (False, True))
        assert list(total)[:2] == [method, f"p_{method}"]
        numpy.testing.assert_allclose(float(total[method]), expected[f"elpd_{method}"], rtol=1e-8)
        numpy.testing.assert_allclose(float(total[f"p_{method}"]), expected[f"p_{method}"], rtol=1e-8)
        numpy.testing.assert_allclose(ops.to_numpy(each[method]), expected[f"{method}_i"], rtol=1e-8)
        assert tuple(ops.shape(each[f"p_{method}"])) == (6,)
    numpy.testing.assert_allclose(ops.to_numpy(each["pareto_k"]), expected["pareto_k"], rtol=1e-8)


def test_loo_is_that_of_the_refitted_models(rng):
    """With normal noise of unit variance, each observation's density given the others is known in closed form."""
    y = rng.normal(size=8)

    def posterior(data):
        precision = len(data) + 1 / 25
        return data.sum() / precision, precision**-0.5

    refits = [posterior(numpy.delete(y, index)) for index in range(8)]
    exact = sum(stats.norm(mean, (1 + sd**2) ** 0.5).logpdf(value) for value, (mean, sd) in zip(y, refits, strict=True))
    mean, sd = posterior(y)
    found = [quietly(infer.loo, stats.norm(mean + sd * rng.normal(size=(400, 1)), 1.0).logpdf(y)) for _ in range(30)]
    elpd, error = numpy.mean([f.elpd for f in found]), numpy.std([f.elpd for f in found]) / 30**0.5
    assert abs(elpd - exact) < 4.9 * error
    assert error < 0.02
    in_sample = numpy.mean([f.elpd + f.num_parameters for f in found])
    assert abs(in_sample - exact) > 4.9 * error


@pytest.mark.backends("numpy", "torch")
def test_traces_give_the_same_as_their_draws(backend, rng):
    posterior = infer.Posterior({"mean": 0.1 * rng.normal(size=(1, 30))}, model=normal_model, args=(rng.normal(size=6),))

    class Bag(infer.TracePosterior):
        def _traces(self):
            yield from ((trace, 0.0) for trace in posterior.exec_traces)

    expected, found = posterior.information_criterion(), Bag().run().information_criterion()
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-12
    )


def test_one_draw_has_no_variance(rng):
    values = rng.normal(-1.0, 0.3, size=(3, 4))
    for log_likelihood, log_weights in ((values[:1], None), (values, numpy.array([0.0, -numpy.inf, -numpy.inf]))):
        with pytest.raises(InferenceError, match="at least two draws that weigh something, received one; try more draws"):
            infer.waic(log_likelihood, log_weights)


def test_unreliable_estimates_are_said_to_be(rng):
    values = heavy(rng, (2, 200), (9,))
    with pytest.warns(PplWarning, match=r"of \d of 9 observations has a posterior variance above 0.4"):
        infer.waic(values, batch_ndims=2)
    with pytest.warns(PplWarning, match=r"tail shape of \d of 9 observations is above 0.62"):
        infer.loo(values, batch_ndims=2)


def test_bad_tables_are_refused(rng):
    with pytest.raises(InferenceError, match="elements that are NaN"):
        infer.loo(numpy.array([[0.0], [numpy.nan]]))
    with pytest.raises(InferenceError, match="no log likelihood: expected at least one"):
        infer.waic(numpy.zeros((0, 3)))
    with pytest.raises(InferenceError, match=r"'b' has shape \(4, 2\); expected draws along the first 1 dimensions"):
        infer.waic({"a": numpy.zeros((5, 2)), "b": numpy.zeros((4, 2))})
    with pytest.raises(InferenceError, match="log_weights has 3 elements for 5 draws"):
        infer.waic(numpy.zeros((5, 2)), log_weights=numpy.zeros(3))
    with pytest.raises(InferenceError, match="relative_efficiency must be positive, got 0"):
        infer.loo(numpy.zeros((5, 2)), relative_efficiency=0)
    with pytest.raises(InferenceError, match="method must be one of 'waic', 'loo', got 'dic'"):
        infer.Posterior({"mean": numpy.zeros((1, 4))}, model=normal_model, args=(rng.normal(size=6),)).information_criterion(
            method="dic"
        )
