"""HMC and NUTS on targets whose moments are known in closed form, on every backend."""

import math
import os
import signal

import numpy
import pytest
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops, runtime
from ppl.errors import ConstraintError, InferenceError, InitializationError, PplWarning
from ppl.infer import diagnostics
from ppl.infer.mcmc.progress import Progress

MAX_Z = 4.9


def z_score(draws, truth, transform=lambda x: x):
    """Distance of the mean of ``transform(draws)``, (chains, draws), from ``truth`` in Monte Carlo standard errors."""
    values = transform(numpy.asarray(draws, dtype="float64"))
    return abs(values.mean() - truth) / diagnostics.mcse_mean(values)


def assert_moments(draws, mean, variance):
    """The mean and the variance are within MAX_Z standard errors of the truth, and these are small enough to mean something."""
    values = numpy.asarray(draws, dtype="float64")
    assert diagnostics.mcse_mean(values) < 0.05 * math.sqrt(variance)
    assert z_score(values, mean) < MAX_Z
    assert z_score(values, variance, lambda x: (x - mean) ** 2) < MAX_Z


def run(kernel, *args, samples=700, warmup=300, chains=4, **kwargs):
    mcmc = infer.MCMC(kernel, num_samples=samples, warmup_steps=warmup, num_chains=chains, progress_bar=False, seed=3)
    return mcmc.run(*args, **kwargs)


def normal_model(y):
    mu = ppl.sample("mu", dist.Normal(1.0, 2.0))
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.Normal(mu, 3.0), obs=y)


def normal_posterior(y):
    precision = 1 / 4 + len(y) / 9
    return (1 / 4 + y.sum() / 9) / precision, 1 / precision


@pytest.mark.strict
@pytest.mark.parametrize("make", [infer.NUTS, lambda model: infer.HMC(model, num_steps=5)], ids=["NUTS", "HMC"])
def test_conjugate_normal(backend, rng, make):
    y = rng.normal(2.0, 3.0, size=7)
    mean, variance = normal_posterior(y)
    draws = run(make(normal_model), y, samples=1000, warmup=400).get_samples(group_by_chain=True)["mu"]
    assert_moments(draws, mean, variance)
    assert z_score(draws, mean + 0.5 * math.sqrt(variance)) > MAX_Z


def test_beta_bernoulli(backend):
    y = numpy.array([1.0, 0, 1, 1, 0, 1, 1, 1])

    def model(y):
        p = ppl.sample("p", dist.Beta(2.0, 3.0))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Bernoulli(p), obs=y)

    posterior = scipy.stats.beta(2 + 6, 3 + 2)
    draws = run(infer.NUTS(model), y).get_samples(group_by_chain=True)["p"]
    assert_moments(draws, posterior.mean(), posterior.var())


def test_gamma_poisson(backend):
    y = numpy.array([3.0, 4, 1, 0, 6])

    def model(y):
        rate = ppl.sample("rate", dist.Gamma(2.0, 0.5))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Poisson(rate), obs=y)

    posterior = scipy.stats.gamma(2 + y.sum(), scale=1 / (0.5 + len(y)))
    draws = run(infer.NUTS(model), y).get_samples(group_by_chain=True)["rate"]
    assert_moments(draws, posterior.mean(), posterior.var())


def test_simplex_and_dependent_support(backend):
    def model():
        weights = ppl.sample("weights", dist.Dirichlet(ops.array([2.0, 3.0, 5.0])))
        ppl.sample("below", dist.Uniform(0.0, weights[..., 2]))

    samples = run(infer.NUTS(model), samples=1500).get_samples(group_by_chain=True)
    weights = numpy.asarray(samples["weights"])
    numpy.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-9)
    for index, concentration in enumerate([2.0, 3.0, 5.0]):
        marginal = scipy.stats.beta(concentration, 10 - concentration)
        assert_moments(weights[..., index], marginal.mean(), marginal.var())
    below = numpy.asarray(samples["below"])
    assert (below > 0).all()
    assert (below < weights[..., 2]).all()
    second = scipy.stats.beta(5, 5)
    assert_moments(below, 0.5 * second.mean(), second.moment(2) / 3 - 0.25 * second.mean() ** 2)


@pytest.mark.parametrize("full_mass", [False, True])
def test_correlated_normal(backend, full_mass):
    covariance = numpy.array([[2.0, 1.2, 0.1], [1.2, 1.0, 0.0], [0.1, 0.0, 4.0]])

    def model():
        ppl.sample("x", dist.MultivariateNormal(ops.zeros(3), covariance_matrix=ops.array(covariance)))

    mcmc = run(infer.NUTS(model, full_mass=full_mass), samples=1000)
    draws = numpy.asarray(mcmc.get_samples(group_by_chain=True)["x"])
    for index in range(3):
        assert_moments(draws[..., index], 0.0, covariance[index, index])
    product = draws[..., 0] * draws[..., 1]
    assert z_score(product, 1.2) < MAX_Z
    assert z_score(product, 0.0) > MAX_Z


def test_log_density_function(backend):
    def log_density(x, scale):
        return -0.5 * ops.sum((x / scale) ** 2)

    kernel = infer.NUTS(log_density_fn=log_density, dimension=2)
    draws = run(kernel, ops.array([1.0, 3.0])).get_samples(group_by_chain=True)["position"]
    assert_moments(draws[..., 0], 0.0, 1.0)
    assert_moments(draws[..., 1], 0.0, 9.0)


def test_deterministic_sites_are_kept(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.deterministic("twice", 2.0 * x)

    samples = run(infer.NUTS(model), samples=50, warmup=50).get_samples()
    assert samples["x"].shape == (200,)
    numpy.testing.assert_allclose(numpy.asarray(samples["twice"]), 2 * numpy.asarray(samples["x"]), rtol=1e-12)


def test_seed_reproduces_and_differs(backend, rng):
    y = rng.normal(size=5)
    first, again = (run(infer.NUTS(normal_model), y, samples=30, warmup=30).get_samples()["mu"] for _ in range(2))
    numpy.testing.assert_array_equal(numpy.asarray(first), numpy.asarray(again))
    mcmc = infer.MCMC(infer.NUTS(normal_model), 30, 30, 4, progress_bar=False, seed=4)
    assert not numpy.allclose(numpy.asarray(mcmc.run(y).get_samples()["mu"]), numpy.asarray(first))


def test_sequential_chains(backend, rng):
    y = rng.normal(size=5)
    mcmc = infer.MCMC(infer.NUTS(normal_model), 500, 200, 2, chain_method="sequential", progress_bar=False, seed=1)
    draws = numpy.asarray(mcmc.run(y).get_samples(group_by_chain=True)["mu"])
    assert draws.shape == (2, 500)
    assert abs(numpy.corrcoef(draws)[0, 1]) < 4.9 / math.sqrt(500)
    mean, _ = normal_posterior(y)
    assert z_score(draws, mean) < MAX_Z


def test_new_data_of_the_same_shape_give_the_new_posterior(backend, rng):
    mcmc = infer.MCMC(infer.NUTS(normal_model), 1000, 300, 4, progress_bar=False, seed=1)
    for shift in (0.0, 6.0):
        y = rng.normal(shift, 3.0, size=6)
        mean, variance = normal_posterior(y)
        assert_moments(mcmc.run(y).get_samples(group_by_chain=True)["mu"], mean, variance)
    assert len(mcmc._samplers) == 1


@pytest.mark.backends("jax")
def test_jax_compiles_once_for_data_of_one_shape(backend, rng):
    mcmc = infer.MCMC(infer.NUTS(normal_model), 20, 20, 2, progress_bar=False, seed=1)
    mcmc.run(rng.normal(size=6))
    sampler = next(iter(mcmc._samplers.values()))
    assert sampler._advance.compiled.num_programs() == 1
    mcmc.run(rng.normal(size=6))
    assert sampler._advance.compiled.num_programs() == 1


def test_keeps_its_backend(backend, rng):
    y = rng.normal(size=5)
    mcmc = infer.MCMC(infer.NUTS(normal_model), 20, 20, 2, progress_bar=False, seed=1)
    with ppl.pyro_backend("numpy"):
        samples = mcmc.run(y).get_samples()["mu"]
    assert ops.is_array(samples)


def test_both_spellings():
    mcmc = infer.MCMC(infer.NUTS(normal_model, dense_mass=True), num_samples=10, num_warmup=7)
    assert mcmc.warmup_steps == 7
    assert type(mcmc.kernel.metric).__name__ == "Dense"
    with pytest.raises(InferenceError, match="two spellings"):
        infer.MCMC(infer.NUTS(normal_model), num_samples=10, num_warmup=7, warmup_steps=7)
    with pytest.raises(InferenceError, match="unknown argument 'wamrup'"):
        infer.MCMC(infer.NUTS(normal_model), num_samples=10, wamrup=7)


def test_summary_prints_what_it_returns(backend, rng, capsys):
    mcmc = run(infer.NUTS(normal_model), rng.normal(size=5), samples=200, warmup=100)
    summary = mcmc.summary()
    text = capsys.readouterr().out
    draws = numpy.asarray(mcmc.get_samples()["mu"])
    assert summary["mu"]["mean"] == pytest.approx(draws.mean(), rel=1e-12)
    assert summary["mu"]["sd"] == pytest.approx(draws.std(ddof=1), rel=1e-12)
    assert summary["mu"]["low"] == pytest.approx(numpy.quantile(draws, 0.05), rel=1e-12)
    assert f"{draws.mean():.2f}" in text
    assert "divergences: 0" in text
    for column in ("mean", "sd", "5%", "95%", "ess_bulk", "ess_tail", "r_hat"):
        assert column in text


def test_divergences_are_counted(backend):
    def funnel():
        v = ppl.sample("v", dist.Normal(0.0, 3.0))
        with ppl.plate("dims", 9):
            ppl.sample("x", dist.Normal(0.0, ops.exp(0.5 * v)))

    mcmc = run(infer.NUTS(funnel, step_size=1.5, adapt_step_size=False), samples=100, warmup=0, chains=2)
    assert mcmc.get_extra_fields()["divergent"].sum() > 0
    assert sum(mcmc.diagnostics()["divergences"].values()) == mcmc.get_extra_fields()["divergent"].sum()


@pytest.mark.parametrize(("name", "value"), [("num_samples", 0), ("num_samples", -3), ("num_chains", 0), ("warmup_steps", -1)])
def test_numbers_out_of_range(name, value):
    arguments = {"num_samples": 10, "warmup_steps": 5, "num_chains": 1, name: value}
    with pytest.raises(InferenceError, match=f"{name} must be an int of at least"):
        infer.MCMC(infer.NUTS(normal_model), **arguments)


def test_model_without_latents(backend):
    def model():
        ppl.sample("y", dist.Normal(0.0, 1.0), obs=ops.array(0.3))

    with pytest.raises(InferenceError, match="no latent site"):
        run(infer.NUTS(model))
    assert not runtime.am_i_wrapped()


def test_discrete_latent_is_named(backend):
    def model():
        z = ppl.sample("z", dist.Poisson(0.5))
        ppl.sample("x", dist.Normal(z, 1.0))

    with pytest.raises(InferenceError, match="'z' is discrete"):
        run(infer.NUTS(model))
    assert not runtime.am_i_wrapped()


def test_subsampled_plate_is_refused(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 10, subsample_size=3):
            ppl.sample("y", dist.Normal(x, 1.0), obs=ops.zeros(3))

    with pytest.raises(InferenceError, match="'rows' is subsampled"):
        run(infer.NUTS(model))


def test_no_valid_start_names_the_site(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("broken", ops.log(-1.0 - x**2))

    with pytest.raises(InitializationError, match="broken") as caught:
        run(infer.NUTS(model))
    assert "x" in str(caught.value)
    assert "init_to" in str(caught.value)
    assert not runtime.am_i_wrapped()
    assert_moments(run(infer.NUTS(normal_model), numpy.array([0.0])).get_samples(group_by_chain=True)["mu"], 9 / 13, 36 / 13)


def test_start_is_retried_where_the_density_vanishes(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("positive", ops.where(x > 0.0, 0.0, -float("inf")))

    draws = run(infer.NUTS(model), samples=2000).get_samples(group_by_chain=True)["x"]
    assert (numpy.asarray(draws) > 0).all()
    assert z_score(draws, math.sqrt(2 / math.pi)) < MAX_Z


def test_points_without_a_cholesky_factor_are_refused_and_the_run_goes_on(backend):
    """A correlation with a normal prior, which reaches beyond 1: the mean by quadrature between the bounds."""
    y = numpy.array([[1.0, 0.8], [-0.9, -1.3], [0.4, 0.9]])

    def model(y):
        r = ppl.sample("r", dist.Normal(0.0, 1.0))
        covariance = ops.eye(2) + r * ops.array([[0.0, 1.0], [1.0, 0.0]])
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.MultivariateNormal(ops.zeros(2), covariance_matrix=covariance, validate_args=False), obs=y)

    grid = numpy.linspace(-1.0, 1.0, 20_002)[1:-1]
    shape = (y**2).sum() - 2 * grid * (y[:, 0] * y[:, 1]).sum()
    log_density = -(grid**2) / 2 - 1.5 * numpy.log(1 - grid**2) - shape / (2 * (1 - grid**2))
    weights = numpy.exp(log_density - log_density.max())
    draws = numpy.asarray(run(infer.NUTS(model), y, samples=400).get_samples(group_by_chain=True)["r"], dtype="float64")
    assert (numpy.abs(draws) < 1).all()
    mean = (weights * grid).sum() / weights.sum()
    assert z_score(draws, mean) < MAX_Z
    assert z_score(draws, mean - 0.3) > MAX_Z


@pytest.mark.parametrize(
    "strategy",
    [infer.init_to_uniform(radius=0.5), infer.init_to_sample, infer.init_to_median, infer.init_to_mean, infer.init_to_feasible],
    ids=["uniform", "sample", "median", "mean", "feasible"],
)
def test_initial_strategies(backend, strategy, rng):
    y = rng.normal(size=5)
    draws = run(infer.NUTS(normal_model, init_strategy=strategy), y, samples=500).get_samples(group_by_chain=True)["mu"]
    assert z_score(draws, normal_posterior(y)[0]) < MAX_Z


def test_init_to_value_starts_there(backend, rng):
    kernel = infer.NUTS(
        normal_model, init_strategy=infer.init_to_value(values={"mu": 41.0}), step_size=1e-9, adapt_step_size=False
    )
    draws = run(kernel, rng.normal(size=3), samples=1, warmup=0).get_samples()["mu"]
    numpy.testing.assert_allclose(numpy.asarray(draws), 41.0, atol=1e-3)


@pytest.mark.parametrize("during_warmup", [False, True])
def test_interrupt_keeps_the_draws_so_far(backend, rng, monkeypatch, during_warmup):
    real_update, handler = Progress.update, signal.getsignal(signal.SIGINT)

    def update_and_press_ctrl_c(self, count, draws, warming_up):
        real_update(self, count, draws, warming_up)
        if warming_up == during_warmup:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "update", update_and_press_ctrl_c)
    mcmc = infer.MCMC(infer.NUTS(normal_model), 5000, 50, 2, progress_bar=False, seed=1)
    message = "during warm-up: no draws" if during_warmup else "interrupted: .* of 5000 draws of 2 chain"
    with pytest.warns(PplWarning, match=message):
        mcmc.run(rng.normal(size=5))
    assert mcmc.interrupted
    if not during_warmup:
        assert 2 <= len(mcmc.get_samples()["mu"]) < 10_000
        assert "mu" in mcmc.summary()
    assert not runtime.am_i_wrapped()
    assert signal.getsignal(signal.SIGINT) is handler


def test_no_draws_before_a_run():
    with pytest.raises(InferenceError, match="there are no draws"):
        infer.MCMC(infer.NUTS(normal_model), 10).get_samples()


def test_parameter_outside_its_constraint_is_named(backend):
    def model(x):
        scale = ppl.sample("scale", dist.HalfCauchy(1.0))
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(0.0, scale - 100.0), obs=x)

    with pytest.raises((InitializationError, ConstraintError), match="scale") as caught:
        run(infer.NUTS(model), numpy.ones(3))
    assert "positive" in str(caught.value)
    assert not runtime.am_i_wrapped()
