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
