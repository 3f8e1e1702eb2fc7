"""Eight schools, non-centred, 10 dimensions: python benchmarks/eight_schools.py [--write]"""

import libraries
from common import main

EFFECT = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
STANDARD_ERROR = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]


def ppl_problem():
    import ppl
    from ppl import distributions as dist
    from ppl import ops

    def model(sigma, y):
        mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
        tau = ppl.sample("tau", dist.HalfCauchy(5.0))
        with ppl.plate("schools", 8):
            offset = ppl.sample("offset", dist.Normal(0.0, 1.0))
            ppl.sample("y", dist.Normal(mu + tau * offset, sigma), obs=y)

    return model, (ops.array(STANDARD_ERROR), ops.array(EFFECT))


def numpyro_problem():
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions as dist

    def model(sigma, y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
        with numpyro.plate("schools", 8):
            offset = numpyro.sample("offset", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(mu + tau * offset, sigma), obs=y)

    return model, (jnp.array(STANDARD_ERROR), jnp.array(EFFECT))


def pyro_problem():
    import pyro
    import torch
    from pyro import distributions as dist

    def model(sigma, y):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("schools", 8):
            offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mu + tau * offset, sigma), obs=y)

    return model, (torch.tensor(STANDARD_ERROR), torch.tensor(EFFECT))


def quantities(draws):
    """What the effective sample size is about: the population and the schools' effects, not the standardised ones."""
    mu, tau = draws["mu"], draws["tau"]
    return {"mu": mu, "tau": tau, "theta": mu[..., None] + tau[..., None] * draws["offset"]}


if __name__ == "__main__":
    main("Eight schools", "eight schools", libraries.contestants(ppl_problem, numpyro_problem, pyro_problem), quantities)
