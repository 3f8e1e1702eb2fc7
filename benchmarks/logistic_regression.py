"""Logistic regression on scikit-learn's breast-cancer table, 31 dimensions: python benchmarks/logistic_regression.py [--write]"""

import libraries
from common import main


def data():
    """The standardised features and the labels, in the libraries' common default precision."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32"), y.astype("float32")


def ppl_problem():
    import ppl
    from ppl import distributions as dist
    from ppl import ops

    def model(x, y):
        intercept = ppl.sample("intercept", dist.Normal(0.0, 5.0))
        coefficients = ppl.sample("coefficients", dist.Normal(ops.zeros(x.shape[-1]), 1.0).to_event(1))
        with ppl.plate("rows", x.shape[0]):
            ppl.sample("y", dist.Bernoulli(logits=intercept + x @ coefficients), obs=y)

    x, y = data()
    return model, (ops.array(x, dtype=ops.default_dtype()), ops.array(y, dtype=ops.default_dtype()))


def numpyro_problem():
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions as dist

    def model(x, y):
        intercept = numpyro.sample("intercept", dist.Normal(0.0, 5.0))
        coefficients = numpyro.sample("coefficients", dist.Normal(jnp.zeros(x.shape[-1]), 1.0).to_event(1))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Bernoulli(logits=intercept + x @ coefficients), obs=y)

    x, y = data()
    return model, (jnp.asarray(x), jnp.asarray(y))


def pyro_problem():
    import pyro
    import torch
    from pyro import distributions as dist

    def model(x, y):
        intercept = pyro.sample("intercept", dist.Normal(0.0, 5.0))
        coefficients = pyro.sample("coefficients", dist.Normal(torch.zeros(x.shape[-1]), 1.0).to_event(1))
        with pyro.plate("rows", x.shape[0]):
            pyro.sample("y", dist.Bernoulli(logits=intercept + x @ coefficients), obs=y)

    x, y = data()
    return model, (torch.tensor(x), torch.tensor(y))


if __name__ == "__main__":
    main("Logistic regression", "logistic regression", libraries.contestants(ppl_problem, numpyro_problem, pyro_problem))
