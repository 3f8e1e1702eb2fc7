"""Diagnostics against arviz, and their meaning on chains whose correlation is known."""

import arviz
import numpy
import pytest

from ppl.infer import diagnostics


def autoregressive(rng, chains, length, correlation):
    draws = numpy.zeros((chains, length))
    noise = rng.normal(size=(chains, length))
    draws[:, 0] = noise[:, 0] / numpy.sqrt(1 - correlation**2)
    for t in range(1, length):
        draws[:, t] = correlation * draws[:, t - 1] + noise[:, t]
    return draws


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.6, 0.97])
@pytest.mark.parametrize("length", [7, 10, 101, 1000])
@pytest.mark.parametrize("rounded", [False, True])
def test_equal_to_arviz(rng, correlation, length, rounded):
    draws = autoregressive(rng, 4, length, correlation)
    if rounded:
        draws = numpy.round(draws, 1)
    assert diagnostics.ess_bulk(draws) == pytest.approx(float(arviz.ess(draws, method="bulk")), rel=1e-8)
    assert diagnostics.ess_tail(draws) == pytest.approx(float(arviz.ess(draws, method="tail")), rel=1e-8)
    assert diagnostics.ess_mean(draws) == pytest.approx(float(arviz.ess(draws, method="mean")), rel=1e-8)
    assert diagnostics.r_hat(draws) == pytest.approx(float(arviz.rhat(draws)), rel=1e-8)
    assert diagnostics.mcse_mean(draws) == pytest.approx(float(arviz.mcse(draws, method="mean")), rel=1e-8)
    assert diagnostics.ess_sd(draws) == pytest.approx(float(arviz.ess(draws, method="sd")), rel=1e-8)
    assert diagnostics.mcse_sd(draws) == pytest.approx(float(arviz.mcse(draws, method="sd")), rel=1e-8)
    for prob in (0.05, 0.3, 0.5, 0.95):
        size, error = (getattr(arviz, name)(draws, method="quantile", prob=prob) for name in ("ess", "mcse"))
        assert diagnostics.ess_quantile(draws, prob) == pytest.approx(float(size), rel=1e-8)
        assert diagnostics.mcse_quantile(draws, prob) == pytest.approx(float(error), rel=1e-8)


@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_standard_errors_are_the_spread_of_estimates(rng, prob):
    """The estimates of 400 runs scatter as widely as each run claims."""
    runs = [autoregressive(rng, 2, 400, 0.5) for _ in range(400)]
    estimators = {
        "mcse_mean": numpy.mean,
        "mcse_sd": lambda draws: numpy.std(draws, ddof=1),
        "mcse_quantile": lambda draws: numpy.quantile(draws, prob),
    }
    for name, estimator in estimators.items():
        arguments = (prob,) if name == "mcse_quantile" else ()
        claimed = numpy.mean([getattr(diagnostics, name)(draws, *arguments) for draws in runs[:50]])
        assert numpy.std([estimator(draws) for draws in runs], ddof=1) == pytest.approx(claimed, rel=0.2), name


def test_constant_and_broken_draws():
    constant, broken = numpy.ones((2, 10)), numpy.full((2, 10), numpy.nan)
    assert numpy.isnan(diagnostics.r_hat(constant))
    assert diagnostics.ess_bulk(constant) == 20.0
    for statistic in (diagnostics.r_hat, diagnostics.ess_bulk, diagnostics.ess_tail, diagnostics.ess_sd):
        assert numpy.isnan(statistic(broken))
        assert numpy.isnan(statistic(numpy.zeros((2, 3))))
    assert numpy.isnan(diagnostics.mcse_quantile(broken, 0.5))


def test_size_of_an_autoregressive_chain(rng):
    """An AR(1) chain of correlation r is worth (1 - r) / (1 + r) of its length."""
    draws = autoregressive(rng, 4, 20_000, 0.6)
    assert diagnostics.ess_mean(draws) == pytest.approx(80_000 * 0.4 / 1.6, rel=0.1)


def test_r_hat_sees_chains_apart(rng):
    draws = rng.normal(size=(4, 500))
    assert diagnostics.r_hat(draws) < 1.01
    draws[0] += 1.0
    assert diagnostics.r_hat(draws) > 1.05


def test_summary_of_shapes(rng):
    summary = diagnostics.summarize({"a": rng.normal(size=(2, 50)), "b": rng.normal(size=(2, 50, 3, 2))}, prob=0.8)
    assert summary["a"]["mean"].shape == ()
    assert summary["b"]["r_hat"].shape == (3, 2)
    lines = summary.table().splitlines()
    assert len(lines) == 1 + 1 + 6
    assert lines[-1].startswith("b[2,1]")
    assert "10%" in lines[0]
    assert "90%" in lines[0]


def test_summary_equals_arviz(rng):
    """Each element of a site by itself, and a site without elements."""
    draws = numpy.stack([autoregressive(rng, 4, 100, correlation) for correlation in (0.0, 0.9)], axis=2)
    summary = diagnostics.summarize({"x": draws, "nothing": numpy.ones((4, 100, 0))})
    for k in range(2):
        column = draws[:, :, k]
        assert summary["x"]["ess_bulk"][k] == pytest.approx(float(arviz.ess(column)), rel=1e-8)
        assert summary["x"]["ess_tail"][k] == pytest.approx(float(arviz.ess(column, method="tail")), rel=1e-8)
        assert summary["x"]["r_hat"][k] == pytest.approx(float(arviz.rhat(column)), rel=1e-8)
    assert summary["nothing"]["r_hat"].shape == (0,)
