"""The models of ``benchmarks/mcmc.py`` in three languages: each the same program, data as arguments.

The data are made here, by fixed seeds. The regression of 434 rows has the form of Gelman and Hill's test scores of children
(2007, ch. 3), its predictors not centred: intercept, whether the mother finished high school, her IQ. Their coefficients depend
strongly on each other.
"""

from collections.abc import Callable
from typing import NamedTuple

import eight_schools
import numpy


class Problem(NamedTuple):
    """One model: functions that import what they need and return ``(model, arguments)``.

    ``quantities`` gives the draws whose effective sample size counts, from all draws; default: all of them.
    """

    ppl: Callable
    numpyro: Callable
    pyro: Callable
    quantities: Callable | None = None


def test_scores():
    """434 rows: intercept, high school, IQ."""
    rng = numpy.random.default_rng(434)
    high_school = (rng.uniform(size=434) < 0.79).astype(float)
    iq = rng.normal(92.0 + 10.0 * high_school, 14.0)
    score = 25.7 + 6.0 * high_school + 0.56 * iq + rng.normal(0.0, 18.0, 434)
    return numpy.stack([numpy.ones(434), high_school, iq], axis=1), score


def seven_predictors():
    """476 rows: intercept and seven predictors of pairwise correlation 0.9, with different means and spreads."""
    rng = numpy.random.default_rng(476)
    common, own = rng.normal(size=(476, 1)), rng.normal(size=(476, 7))
    spreads, means = numpy.array([1.0, 0.5, 2.0, 4.0, 1.0, 3.0, 0.3]), numpy.array([2.0, 5.0, 0.0, 10.0, -3.0, 1.0, 4.0])
    x = means + spreads * (numpy.sqrt(0.9) * common + numpy.sqrt(0.1) * own)
    coefficients = numpy.array([1.0, 0.5, -1.0, 0.3, 0.2, 0.0, -0.4, 1.5])
    x = numpy.concatenate([numpy.ones((476, 1)), x], axis=1)
    return x, x @ coefficients + rng.normal(0.0, 2.0, 476)


def labels():
    """10000 rows of 20 predictors and labels that depend on them."""
    rng = numpy.random.default_rng(20)
    x = rng.normal(size=(10_000, 20))
    logits = 0.3 + x @ (0.5 * rng.normal(size=20))
    return x, (rng.uniform(size=10_000) < 1.0 / (1.0 + numpy.exp(-logits))).astype(float)


def grouped():
    """1000 rows in 100 groups: group of each row, predictor, outcome."""
    rng = numpy.random.default_rng(100)
    group, x = numpy.repeat(numpy.arange(100), 10), rng.normal(size=1000)
    effect = rng.normal(1.0, 0.7, 100)
    return group, x, effect[group] + 0.5 * x + rng.normal(0.0, 1.0, 1000)


def precision():
    """A draw of a Wishart law with as many degrees of freedom as dimensions, as in Hoffman and Gelman (2014), sec. 4.1."""
    a = numpy.random.default_rng(50).normal(size=(50, 50))
    return (a @ a.T,)


def single(arrays):
    """Return floating arrays in the libraries' common default precision."""
    return [a.astype("float32") if a.dtype.kind == "f" else a for a in arrays]


def in_ppl(model_of, data):
    def problem():
        import ppl
        from ppl import distributions, ops

        arrays = [ops.array(a, dtype=ops.default_dtype() if a.dtype.kind == "f" else None) for a in single(data())]
        return model_of(ppl, distributions, ops.zeros), arrays

    return problem


def in_numpyro(model_of, data):
    def problem():
        import jax.numpy as jnp
        import numpyro
        from numpyro import distributions

        return model_of(numpyro, distributions, jnp.zeros), [jnp.asarray(a) for a in single(data())]

    return problem


def in_pyro(model_of, data):
    def problem():
        import pyro
        import torch
        from pyro import distributions

        return model_of(pyro, distributions, torch.zeros), [torch.tensor(a) for a in single(data())]

    return problem


def problem(model_of, data, quantities=None):
    """Return a problem whose program is the same in the three languages: ``model_of(language, distributions, zeros)``."""
    return Problem(in_ppl(model_of, data), in_numpyro(model_of, data), in_pyro(model_of, data), quantities)


def linear_regression(language, dist, zeros):
    def model(x, y):
        coefficients = language.sample("coefficients", dist.Normal(zeros(x.shape[-1]), 100.0).to_event(1))
        spread = language.sample("spread", dist.HalfCauchy(2.5))
        with language.plate("rows", x.shape[0]):
            language.sample("y", dist.Normal(x @ coefficients, spread), obs=y)

    return model


def logistic_regression(language, dist, zeros):
    def model(x, y):
        intercept = language.sample("intercept", dist.Normal(0.0, 2.5))
        coefficients = language.sample("coefficients", dist.Normal(zeros(x.shape[-1]), 2.5).to_event(1))
        with language.plate("rows", x.shape[0]):
            language.sample("y", dist.Bernoulli(logits=intercept + x @ coefficients), obs=y)

    return model


def hierarchical(language, dist, zeros):
    def model(group, x, y):
        mean = language.sample("mean", dist.Normal(0.0, 5.0))
        between = language.sample("between", dist.HalfNormal(2.0))
        slope = language.sample("slope", dist.Normal(0.0, 2.0))
        within = language.sample("within", dist.HalfNormal(2.0))
        with language.plate("groups", 100):
            offset = language.sample("offset", dist.Normal(0.0, 1.0))
        with language.plate("rows", x.shape[0]):
            language.sample("y", dist.Normal(mean + between * offset[group] + slope * x, within), obs=y)

    return model


def group_effects(draws):
    """The groups' effects, not the standardised ones."""
    effect = draws["mean"][..., None] + draws["between"][..., None] * draws["offset"]
    return {**{name: draws[name] for name in ("mean", "between", "slope", "within")}, "effect": effect}


def correlated_normal(language, dist, zeros):
    def model(precision):
        language.sample("x", dist.MultivariateNormal(zeros(precision.shape[-1]), precision_matrix=precision))

    return model


PROBLEMS = {
    "eight schools": Problem(
        eight_schools.ppl_problem, eight_schools.numpyro_problem, eight_schools.pyro_problem, eight_schools.quantities
    ),
    "regression 434": problem(linear_regression, test_scores),
    "regression 476": problem(linear_regression, seven_predictors),
    "logistic 10000 x 20": problem(logistic_regression, labels),
    "hierarchical 100": problem(hierarchical, grouped, group_effects),
    "normal 50": problem(correlated_normal, precision),
}
