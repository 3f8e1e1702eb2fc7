"""Params, an estimator, a fit and a sampler on a model whose posterior has a closed form."""

from __future__ import annotations

import numpy as np
import scipy.stats as st

from ppl import constraints, distributions, infer, ops, optim
from ppl.ops import random
from ppl.params import get_param_store
from ppl.primitives import param, plate, sample, set_rng_seed
from ppl.testing.numeric import assert_close
from ppl.testing.posterior import assert_posterior_close
from ppl.testing.suites.check import asked, checks_of

DATA = np.array([0.3, -0.2, 1.1, 0.9])
# mean ~ Normal(0, 1), data ~ Normal(mean, 1): precisions add
VARIANCE = 1 / (1 + len(DATA))
MEAN = VARIANCE * DATA.sum()
GIVEN = "mean ~ Normal(0, 1), four data ~ Normal(mean, 1)"


def _model() -> None:
    mean = sample("mean", distributions.Normal(0.0, 1.0))
    with plate("rows", len(DATA)):
        sample("data", distributions.Normal(mean, 1.0), obs=ops.array(DATA))


def _exact() -> None:
    sample("mean", distributions.Normal(float(MEAN), float(np.sqrt(VARIANCE))))


def _guide() -> None:
    loc = param("loc", lambda: ops.array(0.0))
    scale = param("scale", lambda: ops.array(1.0), constraint=constraints.positive)
    sample("mean", distributions.Normal(loc, scale))


@asked("param", "a constrained param", "2.5, positive")
def _param() -> None:
    value = param("scale", lambda: ops.array(2.5), constraint=constraints.positive)
    assert_close(value, np.asarray(2.5), rtol=1e-12)
    store = get_param_store()
    store["scale"] = ops.array(0.5)
    assert_close(param("scale"), np.asarray(0.5), rtol=1e-12)


@asked("Trace_ELBO", "the loss of the exact posterior", GIVEN)
def _evidence() -> None:
    """With the posterior as the guide each draw's ELBO is the log evidence, a normal density of the data."""
    covariance = np.eye(len(DATA)) + np.ones((len(DATA), len(DATA)))
    evidence = st.multivariate_normal(np.zeros(len(DATA)), covariance).logpdf(DATA)
    with random.scope(31):
        for _ in range(3):
            assert_close(np.asarray(infer.Trace_ELBO().loss(_model, _exact)), np.asarray(-evidence), rtol=1e-9)


@asked("SVI", "a fit of the posterior", GIVEN)
def _fit() -> None:
    """The ELBO is highest at the posterior itself; the last steps average over a few hundred draws."""
    elbo = infer.Trace_ELBO(num_particles=10, vectorize_particles=True)
    set_rng_seed(32)
    svi = infer.SVI(_model, _guide, optim.ClippedAdam({"lr": 0.1, "lrd": 0.98}), elbo)
    for _ in range(250):
        svi.step()
    assert_close(param("loc"), np.asarray(MEAN), rtol=0.0, atol=0.1 * np.sqrt(VARIANCE))
    assert_close(param("scale"), np.asarray(np.sqrt(VARIANCE)), rtol=0.1)


@asked("MCMC", "draws of the posterior by NUTS", GIVEN)
def _sampler() -> None:
    set_rng_seed(33)
    mcmc = infer.MCMC(infer.NUTS(_model), num_samples=400, warmup_steps=150, disable_progbar=True)
    mcmc.run()
    assert_posterior_close(mcmc, {"mean": (MEAN, np.sqrt(VARIANCE))}, most_error=0.2)


CHECKS = checks_of(globals())
