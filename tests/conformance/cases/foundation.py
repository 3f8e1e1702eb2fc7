"""The families that most models use."""

import numpy as np
from scipy import stats

from cases.oracles import (
    beta,
    categorical,
    dirichlet,
    expit,
    first_normal,
    gamma,
    half_cauchy,
    log_normal,
    multivariate_normal,
    uniform,
)
from ppl.testing.case import Case

COVARIANCE = [[2.0, 0.3, -0.4], [0.3, 0.5, 0.1], [-0.4, 0.1, 1.2]]
FACTOR = [[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.2, 0.9]]
LOC = [0.5, -1.0, 2.0]
ONES = [1.0, 1.0, 1.0]

CASES = [
    Case("Normal", {"loc": 0.3, "scale": 1.7}, stats.norm),
    Case("Normal", {"loc": [0.0, -2.0, 3.0], "scale": 0.4}, stats.norm, (3,)),
    Case("Bernoulli", {"probs": 0.3}, lambda probs: stats.bernoulli(probs)),
    Case("Bernoulli", {"logits": [-1.2, 0.0, 2.5]}, lambda logits: stats.bernoulli(expit(logits)), (3,), label="logits"),
    Case("Beta", {"concentration1": 2.5, "concentration0": 0.8}, beta),
    Case("Beta", {"concentration1": [0.6, 4.0], "concentration0": [1.0, 7.5]}, beta, (2,)),
    Case("Gamma", {"concentration": 2.2, "rate": 3.1}, gamma),
    Case("Gamma", {"concentration": [0.4, 1.0, 30.0], "rate": [[0.5], [2.0]]}, gamma, (2, 3)),
    Case("Exponential", {"rate": 2.5}, lambda rate: stats.expon(scale=1.0 / rate)),
    Case("Exponential", {"rate": [0.2, 4.0]}, lambda rate: stats.expon(scale=1.0 / rate), (2,)),
    Case("Uniform", {"low": -1.5, "high": 2.0}, uniform),
    Case("Uniform", {"low": [0.0, 5.0], "high": [1.0, 5.5]}, uniform, (2,)),
    Case("LogNormal", {"loc": 0.4, "scale": 0.6}, log_normal),
    Case("LogNormal", {"loc": [-0.5, 1.0], "scale": [0.2, 0.9]}, log_normal, (2,)),
    Case("HalfNormal", {"scale": 1.4}, lambda scale: stats.halfnorm(scale=scale)),
    Case("HalfNormal", {"scale": [0.1, 20.0]}, lambda scale: stats.halfnorm(scale=scale), (2,)),
    Case("HalfCauchy", {"scale": 1.4}, half_cauchy),
    Case("HalfCauchy", {"scale": [0.1, 20.0]}, half_cauchy, (2,)),
    Case("StudentT", {"df": 5.5, "loc": 0.3, "scale": 1.7}, stats.t),
    Case("StudentT", {"df": [3.5, 50.0], "loc": [0.0, 1.0], "scale": 0.4}, stats.t, (2,)),
    Case("Poisson", {"rate": 3.3}, lambda rate: stats.poisson(rate)),
    Case("Poisson", {"rate": [0.2, 1.0, 40.0]}, lambda rate: stats.poisson(rate), (3,)),
    Case("Binomial", {"total_count": 9, "probs": 0.35}, lambda total_count, probs: stats.binom(total_count, probs)),
    Case("Binomial", {"total_count": [3.0, 40.0], "logits": [0.5, -2.0]},
         lambda total_count, logits: stats.binom(np.asarray(total_count, int), expit(logits)), (2,), smooth=("logits",),
         label="logits", mixed_counts=True),
    Case("Categorical", {"probs": [0.2, 0.5, 0.3]}, categorical, smooth=(), dtype="int64", moments=False),
    Case("Categorical", {"logits": [[0.0, 1.0, -2.0, 0.5], [1.0, 1.0, 1.0, 3.0]]}, categorical, (2,), label="logits",
         dtype="int64", moments=False),
    Case("Dirichlet", {"concentration": [0.7, 2.0, 5.0]}, dirichlet, (), (3,),
         marginal=lambda concentration: stats.beta(concentration[0], concentration[1:].sum())),
    Case("Dirichlet", {"concentration": [[1.0, 2.0], [8.0, 0.5]]}, dirichlet, (2,), (2,)),
    Case("MultivariateNormal", {"loc": LOC, "covariance_matrix": COVARIANCE}, multivariate_normal, (), (3,), smooth=("loc",),
         marginal=first_normal, label="covariance"),
    Case("MultivariateNormal", {"loc": LOC, "precision_matrix": COVARIANCE}, multivariate_normal, (), (3,), smooth=("loc",),
         marginal=first_normal, label="precision"),
    Case("MultivariateNormal", {"loc": [LOC, ONES], "scale_tril": FACTOR}, multivariate_normal, (2,), (3,), smooth=("loc",),
         label="factor"),
]  # fmt: skip
