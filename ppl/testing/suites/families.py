"""A row for each of the common families, native or shared: density, gradients, draws and shapes against scipy."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import scipy.stats as st

from ppl import distributions, ops
from ppl.ops import autodiff, random
from ppl.testing.case import Case
from ppl.testing.goodness_of_fit import assert_samples_match_cdf
from ppl.testing.numeric import assert_close, assert_equal, numerical_gradient, to_host
from ppl.testing.suites.check import Check, short
from ppl.testing.suites.draws import seed_of

N = 2000
BATCH = (2,)


def _case(name: str, oracle: Any, **params: Any) -> Case:
    return Case(name, params, oracle, batch_shape=np.broadcast_shapes(*(np.shape(value) for value in params.values())))


CASES = (
    _case("Normal", lambda loc, scale: st.norm(loc, scale), loc=[0.5, -1.0], scale=1.5),
    _case("LogNormal", lambda loc, scale: st.lognorm(scale, scale=np.exp(loc)), loc=0.3, scale=[0.5, 0.8]),
    _case("HalfNormal", lambda scale: st.halfnorm(scale=scale), scale=[0.7, 2.0]),
    _case("Uniform", lambda low, high: st.uniform(low, high - low), low=-1.0, high=[2.0, 3.0]),
    _case("Exponential", lambda rate: st.expon(scale=1 / rate), rate=[0.5, 2.0]),
    _case("Gamma", lambda concentration, rate: st.gamma(concentration, scale=1 / rate), concentration=[0.7, 4.0], rate=1.5),
    _case(
        "Beta",
        lambda concentration1, concentration0: st.beta(concentration1, concentration0),
        concentration1=[0.7, 4.0],
        concentration0=2.0,
    ),
    _case("StudentT", st.t, df=[3.0, 8.0], loc=0.5, scale=2.0),
    _case("Cauchy", st.cauchy, loc=[0.0, 1.0], scale=0.7),
    _case("HalfCauchy", lambda scale: st.halfcauchy(scale=scale), scale=[0.7, 2.0]),
    _case("Laplace", st.laplace, loc=[0.0, 1.0], scale=0.7),
    _case("Gumbel", st.gumbel_r, loc=[0.0, 1.0], scale=0.7),
    _case("Bernoulli", lambda probs: st.bernoulli(probs), probs=[0.2, 0.7]),
    _case("Poisson", lambda rate: st.poisson(rate), rate=[0.7, 6.0]),
    _case("Geometric", lambda probs: st.geom(probs, loc=-1), probs=[0.3, 0.6]),
)  # fmt: skip


def _build(case: Case, **replaced: Any) -> Any:
    params = {name: ops.array(value) for name, value in case.arrays.items()}
    return getattr(distributions, case.name)(**{**params, **replaced})


def check_density(case: Case) -> None:
    """``log_prob`` is the oracle's, and so are its gradients by finite differences of the oracle."""
    values = case.draw((3,), np.random.default_rng(1))
    assert_close(_build(case).log_prob(ops.array(values)), case.log_density(values), rtol=1e-8)
    for name in case.differentiable:
        point = case.arrays[name]

        def total(x: Any, name: str = name) -> Any:
            reference = case.oracle(**{**case.arrays, name: x})
            return (reference.logpdf if hasattr(reference, "logpdf") else reference.logpmf)(values).sum()

        def log_prob(x: Any, name: str = name) -> Any:
            return ops.sum(_build(case, **{name: x}).log_prob(ops.array(values)))

        assert_close(autodiff.grad(log_prob)(ops.array(point)), numerical_gradient(total, point), "finite_difference")


def check_draws(case: Case) -> None:
    """Draws have sample and batch shape, the dtype of the parameters and the oracle's distribution function."""
    with random.scope(seed_of(case.name)):
        draws = _build(case).sample((N,))
    assert_equal(tuple(draws.shape), (N, *BATCH))
    assert_equal(ops.dtype_name(draws), "float64")
    for k, column in enumerate(to_host(draws).T):
        params = {name: value[k] if np.ndim(value) else value for name, value in case.arrays.items()}
        assert_samples_match_cdf(column, case.oracle(**params).cdf, hasattr(case.reference, "pmf"))


def _checks(case: Case) -> tuple[Check, ...]:
    given = ", ".join(f"{name}={short(value)}" for name, value in case.params.items())
    return (
        Check(case.name, "density and gradients", given, functools.partial(check_density, case)),
        Check(case.name, f"{N} draws", given, functools.partial(check_draws, case)),
    )


CHECKS = tuple(check for case in CASES for check in _checks(case))
