"""Fits by SVI reach what can be known by other means: closed-form posteriors and evidence, an EM fit, the true distribution.

The everyday fits are short; those of the night are the examples as they stand.
"""

import importlib.util
import itertools
import pathlib

import numpy
import pytest
from scipy import optimize, special, stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim
from ppl.distributions import constraints

ROOT = pathlib.Path(__file__).parents[2]
NIGHTLY = pytest.mark.nightly


def host(value):
    return ops.to_numpy(ops.array(value))


# ---- conjugate posteriors, with hand-written guides of the posterior's own family ----


class Conjugate:
    """A model of one latent site ``z``, its guide's start, exact posterior and log evidence."""

    def normal(self):
        data = numpy.array([0.4, 1.9, 1.1, 0.8, 2.3])
        precision = 0.25 + len(data)
        evidence = stats.multivariate_normal(numpy.zeros(5), numpy.eye(5) + 4.0).logpdf(data)
        exact = {"loc": data.sum() / precision, "scale": precision**-0.5}
        prior, likelihood = (lambda: dist.Normal(0.0, 2.0)), (lambda z: dist.Normal(z, 1.0))
        start = {"loc": 0.0, "scale": 1.0}
        return data, prior, likelihood, dist.Normal, start, exact, lambda p: stats.norm(p["loc"], p["scale"]), evidence

    def beta(self):
        data = numpy.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
        evidence = stats.betabinom(8, 2.0, 2.0).logpmf(6) - numpy.log(special.comb(8, 6))
        exact = {"concentration1": 8.0, "concentration0": 4.0}
        prior, start = (lambda: dist.Beta(2.0, 2.0)), {"concentration1": 4.0, "concentration0": 4.0}
        frozen = lambda p: stats.beta(p["concentration1"], p["concentration0"])  # noqa: E731
        return data, prior, dist.Bernoulli, dist.Beta, start, exact, frozen, evidence

    def gamma(self):
        data = numpy.array([0.3, 0.8, 0.1, 0.6, 0.4, 1.1])
        # The sum of exponential variables of a gamma rate is a multiple of a beta prime variable; their directions are uniform.
        total, count = data.sum(), len(data)
        evidence = stats.betaprime(count, 2.0).logpdf(total) + special.gammaln(count) - (count - 1) * numpy.log(total)
        exact = {"concentration": 2.0 + count, "rate": 1.0 + total}
        prior, start = (lambda: dist.Gamma(2.0, 1.0)), {"concentration": 4.0, "rate": 4.0}
        frozen = lambda p: stats.gamma(p["concentration"], scale=1.0 / p["rate"])  # noqa: E731
        return data, prior, dist.Exponential, dist.Gamma, start, exact, frozen, evidence


CONJUGATE = ("normal", "beta", "gamma")


@pytest.fixture
def conjugate(request):
    data, prior, likelihood, family, start, exact, frozen, evidence = getattr(Conjugate(), request.param)()

    def model(data):
        z = ppl.sample("z", prior())
        with ppl.plate("rows", data.shape[0]):
            ppl.sample("x", likelihood(z), obs=data)

    def guide_from(values):
        def guide(data):
            params = {
                name: ppl.param(name, value, constraint=constraints.real if name == "loc" else constraints.positive)
                for name, value in values.items()
            }
            ppl.sample("z", family(**params))

        return guide

    return ops.array(data), model, guide_from, start, exact, frozen, evidence


def divergence(found, exact):
    """The Kullback-Leibler divergence of two scipy distributions, integrated numerically."""
    return found.expect(lambda z: found.logpdf(z) - exact.logpdf(z))


@pytest.mark.parametrize("conjugate", CONJUGATE, indirect=True)
def test_at_the_posterior_each_draw_of_the_loss_is_the_evidence(backend, conjugate):
    data, model, guide_from, start, exact, _, evidence = conjugate
    svi = infer.SVI(model, guide_from(exact), optim.SGD(lr=0.0), infer.Trace_ELBO())
    losses = [svi.evaluate_loss(data) for _ in range(3)]
    numpy.testing.assert_allclose(losses, -evidence, rtol=1e-9)
    ppl.clear_param_store()
    elsewhere = infer.SVI(model, guide_from(start), optim.SGD(lr=0.0), infer.Trace_ELBO())
    assert abs(elsewhere.evaluate_loss(data) + evidence) > 1e-3


def fitted(model, guide, data, steps, particles):
    rate = optim.ClippedAdam({"lr": 0.1, "lrd": 0.02 ** (1.0 / steps)})
    bound = infer.Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    done = infer.SVI(model, guide, rate, bound).run(steps, data, progress_bar=False)
    return {name: float(value) for name, value in done.params.items()}, done.losses


@pytest.mark.parametrize(
    ("steps", "within"), [pytest.param(150, 0.02, id="short"), pytest.param(1500, 1e-3, id="long", marks=NIGHTLY)]
)
@pytest.mark.parametrize("conjugate", CONJUGATE, indirect=True)
def test_a_fit_reaches_the_posterior(backend, conjugate, steps, within):
    data, model, guide_from, start, exact, frozen, evidence = conjugate
    params, losses = fitted(model, guide_from(start), data, steps, particles=30)
    assert divergence(frozen(params), frozen(exact)) < within
    assert divergence(frozen(start), frozen(exact)) > 10 * within
    # The expected loss exceeds the negative log evidence by that divergence.
    last = losses[-40:]
    error = last.std(ddof=1) / len(last) ** 0.5
    assert -5.0 * error < last.mean() + evidence < 2.0 * within + 5.0 * error


# ---- the example models ----


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(example, **changed):
    chosen = example.read_options(["--no-progress"])
    for name, value in changed.items():
        setattr(chosen, name, value)
    return chosen


LENGTHS = [pytest.param("short"), pytest.param("as it stands", marks=NIGHTLY)]


@pytest.mark.parametrize("length", LENGTHS)
def test_bayesian_regression(backend, length):
    example = load("bayesian_regression")
    x, y = example.generate(100, seed=0)
    chosen = options(example, **({"steps": 200} if length == "short" else {}))
    params, loss = example.fit(x, y, chosen)
    mean, factor, shape, rate, evidence = example.exact_posterior(x, y)
    # Exact results by other ways: ridge regression, Student's t of the data, and residuals.
    augmented = numpy.vstack([x, numpy.eye(4) / example.PRIOR_SD])
    target = numpy.concatenate([y, numpy.zeros(4)])
    solved, residual = numpy.linalg.lstsq(augmented, target)[:2]
    numpy.testing.assert_allclose(mean, solved, rtol=1e-9)
    assert rate == pytest.approx(1.0 + residual[0] / 2.0, rel=1e-9)
    spread = (numpy.eye(100) + 9.0 * x @ x.T) * example.PRIOR_RATE / example.PRIOR_SHAPE
    assert evidence == pytest.approx(stats.multivariate_t(numpy.zeros(100), spread, df=4.0).logpdf(y), rel=1e-9)

    def distance(exact):
        """Differences of means in posterior standard deviations, and logarithms of ratios of those."""
        found = numpy.array(example.summary(params["loc"], params["factor"], float(params["shape"]), float(params["rate"])))
        exact = numpy.array(exact)
        return abs(found[:, 0] - exact[:, 0]) / exact[:, 1], abs(numpy.log(found[:, 1] / exact[:, 1]))

    means, deviations = distance(example.summary(mean, factor, shape, rate))
    assert means.max() < 0.35
    assert deviations[:-1].max() < 0.15
    # The width of the variance's posterior is what the bound feels least.
    assert deviations[-1] < (0.5 if length == "short" else 0.25)
    assert -0.05 < loss + evidence < (0.4 if length == "short" else 0.12)
    # Control: the posterior of half the rows is noticed in means and widths.
    means, deviations = distance(example.summary(*example.exact_posterior(x[:50], y[:50])[:4]))
    assert means.max() > 0.35
    assert deviations[:-1].max() > 0.15


@pytest.mark.parametrize("length", LENGTHS)
def test_hierarchical(backend, length):
    example = load("hierarchical")
    group, y = example.generate(8, seed=0)
    params, loss = example.fit(group, y, options(example, **({"steps": 300} if length == "short" else {})))

    def joint(spread, noise):
        same = group[:, None] == group
        return example.PRIOR_SD**2 + spread**2 * same + noise**2 * numpy.eye(len(y))

    def negative_evidence(logs):
        return -stats.multivariate_normal(numpy.zeros(len(y)), joint(*numpy.exp(logs))).logpdf(y)

    best = optimize.minimize(negative_evidence, numpy.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    found = numpy.array([params["spread"], params["noise"]])
    # The evidence is flat in the spread: its curvature there gives a standard deviation of 0.3 on the logarithmic scale.
    tolerance = numpy.array([0.06, 0.03]) if length == "short" else numpy.array([0.04, 0.015])
    assert (abs(numpy.log(found) - best.x) < tolerance).all(), (found, numpy.exp(best.x))
    assert (abs(numpy.log([0.5, 1.0]) - best.x) > tolerance).all()
    assert loss == pytest.approx(best.fun, abs=0.15 if length == "short" else 0.05)
    mean, covariance, evidence = example.exact_posterior(group, y, *found)
    assert evidence == pytest.approx(-negative_evidence(numpy.log(found)), rel=1e-10)
    # The same posterior from its precision matrix.
    counts = numpy.bincount(group)
    precision = numpy.diag(
        numpy.concatenate([[1 / example.PRIOR_SD**2 + 8 / found[0] ** 2], 1 / found[0] ** 2 + counts / found[1] ** 2])
    )
    precision[0, 1:] = precision[1:, 0] = -1 / found[0] ** 2
    sums = numpy.concatenate([[0.0], numpy.bincount(group, y) / found[1] ** 2])
    numpy.testing.assert_allclose(mean, numpy.linalg.solve(precision, sums), rtol=1e-8)
    numpy.testing.assert_allclose(covariance, numpy.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    deviations = numpy.diagonal(covariance) ** 0.5
    fitted_mean, fitted_deviations = example.summary(params)
    part = 0.2 if length == "short" else 0.1
    assert (abs(fitted_mean - mean) / deviations).max() < part
    assert abs(numpy.log(fitted_deviations / deviations)).max() < part
    averages = numpy.array([y[group == index].mean() for index in range(8)])
    assert (abs(averages - mean[1:]) / deviations[1:]).max() > part


def expectation_maximization(x, means, rounds=200):
    """The maximum of the likelihood of a mixture of one width (Dempster, Laird and Rubin 1977)."""
    weights, width = numpy.full(3, 1 / 3), 1.0
    for _ in range(rounds):
        scores = numpy.log(weights) + stats.norm(means, width).logpdf(x[:, None])
        share = numpy.exp(scores - special.logsumexp(scores, axis=1, keepdims=True))
        weights, means = share.mean(0), share.T @ x / share.sum(0)
        width = (share * (x[:, None] - means) ** 2).sum() ** 0.5 / len(x) ** 0.5
    return weights, means, width


@pytest.mark.parametrize("length", LENGTHS)
def test_gaussian_mixture(backend, length):
    example = load("gaussian_mixture")
    x, _ = example.generate(500, seed=0)
    chosen = options(example, **({"steps": 200} if length == "short" else {}))
    params, losses = example.fit(x, chosen)
    found, errors = example.summary(params), example.standard_errors(500)
    assert (abs(found["mean"][0] - example.MEANS) < 3.0 * errors["mean"]).all()
    assert (abs(found["weight"][0] - example.WEIGHTS) < 4.0 * errors["weight"]).all()
    assert (abs(found["width"][0] - example.WIDTH) < 3.0 * errors["width"]).all()
    weights, means, width = expectation_maximization(x, numpy.array([-2.0, 0.0, 2.0]))
    part = 0.7 if length == "short" else 0.5
    assert (abs(found["mean"][0] - means) < part * errors["mean"]).all()
    assert (abs(found["weight"][0] - weights) < part * errors["weight"]).all()
    assert abs(found["width"][0] - width) < part * errors["width"]
    # The components overlap little, so that the spread of each is nearly that of complete data.
    for kind in ("mean", "weight", "width"):
        assert abs(numpy.log(found[kind][1] / errors[kind])).max() < 0.4
    start = numpy.quantile(x, [0.2, 0.5, 0.9])
    assert (abs(start - means) > errors["mean"]).any()
    assert losses[-20:].mean() < losses[:20].mean()


@pytest.mark.parametrize("length", LENGTHS)
def test_variational_autoencoder(backend, length):
    example = load("vae")
    rng = numpy.random.default_rng(0)
    count, steps = (200, 200) if length == "short" else (600, 600)
    train, test = example.generate(count, rng), example.generate(count, rng)
    fitted, held_out = example.fit(train, test, options(example, images=count, steps=steps))
    baseline, best = example.independent_score(test), example.true_score(test)
    frequency = numpy.clip(test.mean(0), 1e-12, 1 - 1e-12)
    assert baseline == pytest.approx(stats.bernoulli(frequency).logpmf(test).sum(1).mean(), rel=1e-9)
    # 20 draws of each image leave an error far below that of the images themselves.
    error = best.std(ddof=1) / count**0.5
    assert held_out < best.mean() + 4.0 * error
    assert held_out > baseline + (2.0 if length == "short" else 4.0)
    assert fitted > held_out
    untrained = example.fit(train, test, options(example, images=count, steps=1))[1]
    assert untrained < baseline


def test_the_true_score_of_images_is_a_distribution(monkeypatch):
    """With two by two pixels it sums to one over all images; the frequency of flips is that of the images."""
    example = load("vae")
    rng = numpy.random.default_rng(0)
    noise = numpy.abs(example.generate(4000, rng)[:, None] - example.bars()).sum(-1).min(1).mean()
    assert abs(noise - 25 * example.FLIPPED) < 5.0 * (25 * 0.05 * 0.95 / 4000) ** 0.5
    monkeypatch.setattr(example, "SIDE", 2)
    images = numpy.array(list(itertools.product([0.0, 1.0], repeat=4)))
    assert numpy.exp(example.true_score(images)).sum() == pytest.approx(1.0, rel=1e-12)
