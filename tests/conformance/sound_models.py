"""More than thirty models that are right, each with its arguments: a check of them finds nothing."""

import numpy

import ppl
from ppl import constraints, handlers, ops
from ppl import distributions as dist
from ppl.infer.reparam import LocScaleReparam

NUMBERS = numpy.random.default_rng(5)
X = NUMBERS.normal(size=(7, 3))
Y = NUMBERS.normal(size=7)
COUNTS = NUMBERS.poisson(3.0, size=7)
COINS = (NUMBERS.uniform(size=7) < 0.5).astype(float)
POSITIVE = NUMBERS.gamma(2.0, size=7)
UNIT = NUMBERS.uniform(0.1, 0.9, size=7)


def conjugate(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y)


def location_and_scale(y):
    loc = ppl.sample("loc", dist.Cauchy(0.0, 1.0))
    scale = ppl.sample("scale", dist.HalfCauchy(1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.StudentT(4.0, loc, scale), obs=y)


def coin(y):
    bias = ppl.sample("bias", dist.Beta(2.0, 3.0))
    with ppl.plate("flips", len(y)):
        ppl.sample("flip", dist.Bernoulli(bias), obs=y)


def regression(x, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((3,)), 1.0).to_event(1))
    intercept = ppl.sample("intercept", dist.Normal(0.0, 1.0))
    scale = ppl.sample("scale", dist.Exponential(1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ weights + intercept, scale), obs=y)


def logistic(x, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((3,)), 1.0).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def poisson_regression(x, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((3,)), 0.3).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(ops.exp(0.1 * (x @ weights))), obs=y)


def binomial_regression(x, y):
    with ppl.plate("features", 3):
        weights = ppl.sample("weights", dist.Laplace(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Binomial(12, logits=x @ weights), obs=y)


def schools(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def schools_not_centered(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfNormal(5.0))
    with ppl.plate("schools", len(y)):
        theta = ppl.deterministic("theta", mu + tau * ppl.sample("base", dist.Normal(0.0, 1.0)))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


schools_reparam = handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)})


def nested_plates(y):
    rate = ppl.sample("rate", dist.Gamma(2.0, 1.0))
    with ppl.plate("columns", 4, dim=-1):
        effect = ppl.sample("effect", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 7, dim=-2):
            ppl.sample("y", dist.Normal(effect, 1.0 + rate), obs=y)


def crossed(y):
    scale = ppl.sample("scale", dist.LogNormal(0.0, 0.5))
    with ppl.plate("rows", 7, dim=-2):
        row = ppl.sample("row", dist.Normal(0.0, 1.0))
    with ppl.plate("columns", 4, dim=-1):
        column = ppl.sample("column", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 7, dim=-2), ppl.plate("columns", 4, dim=-1):
        ppl.sample("y", dist.Normal(row + column, scale), obs=y)


def mixture(y):
    weights = ppl.sample("weights", dist.Dirichlet(ops.ones((3,))))
    with ppl.plate("components", 3):
        loc = ppl.sample("loc", dist.Normal(0.0, 3.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, 1.0)), obs=y)


def discrete_mixture(y):
    weights = ppl.sample("weights", dist.Dirichlet(2.0 * ops.ones((2,))))
    with ppl.plate("components", 2):
        loc = ppl.sample("loc", dist.Normal(0.0, 3.0))
    with ppl.plate("rows", len(y)):
        which = ppl.sample("which", dist.Categorical(weights), infer={"enumerate": "parallel"})
        ppl.sample("y", dist.Normal(loc[which], 1.0), obs=y)


def hidden_markov(y):
    with ppl.plate("states", 2):
        rows = ppl.sample("rows", dist.Dirichlet(ops.ones((2,))))
        loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
    state = 0
    for step in ppl.markov(range(4)):
        state = ppl.sample(f"state_{step}", dist.Categorical(rows[state]))
        ppl.sample(f"y_{step}", dist.Normal(loc[state], 1.0), obs=y[step])


def random_walk(y):
    scale = ppl.sample("scale", dist.HalfNormal(1.0))
    level = 0.0
    for step in ppl.markov(range(4)):
        level = ppl.sample(f"level_{step}", dist.Normal(level, scale))
        ppl.sample(f"y_{step}", dist.Normal(level, 0.5), obs=y[step])


def correlated(y):
    scales = ppl.sample("scales", dist.HalfNormal(ops.ones((3,))).to_event(1))
    factor = ppl.sample("factor", dist.LKJCholesky(3, 2.0))
    tril = scales[:, None] * factor
    with ppl.plate("rows", 7):
        ppl.sample("y", dist.MultivariateNormal(ops.zeros((3,)), scale_tril=tril), obs=y)


def multinomial(y):
    probs = ppl.sample("probs", dist.Dirichlet(ops.array([1.0, 2.0, 3.0])))
    ppl.sample("y", dist.Multinomial(12, probs), obs=y)


def minibatches(x, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((3,)), 1.0).to_event(1))
    with ppl.plate("rows", 7, subsample_size=3) as rows:
        ppl.sample("y", dist.Normal(x[rows] @ weights, 1.0), obs=y[rows])


def minibatches_of_local_choices(y):
    scale = ppl.sample("scale", dist.Gamma(3.0, 2.0))
    with ppl.plate("rows", 7, subsample_size=2) as rows:
        local = ppl.sample("local", dist.Normal(0.0, scale))
        ppl.sample("y", dist.Normal(local, 1.0), obs=y[rows])


def masked(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)), handlers.mask(mask=y > 0):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y)


def missing_data(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, 1.0).mask(ops.isfinite(y)), obs=y)


def scaled(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with handlers.scale(scale=0.5), ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y)


def penalized(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 10.0))
    ppl.factor("penalty", -ops.abs(loc))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y)
        ppl.factor("tilt", 0.1 * y * loc)


def survival(y):
    shape = ppl.sample("shape", dist.Gamma(4.0, 4.0))
    scale = ppl.sample("scale", dist.InverseGamma(3.0, 3.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Gamma(2.0 + 0.1 * shape, 1.0 / (1.0 + scale)), obs=y)


def overdispersed(y):
    mean = ppl.sample("mean", dist.Exponential(0.5))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.GammaPoisson(2.0, 2.0 / (0.5 + mean)), obs=y)


def fractions(y):
    low = ppl.sample("low", dist.Uniform(0.5, 2.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Beta(low, 1.5), obs=y)


def ordinal(y):
    cuts = ppl.sample("cuts", dist.TransformedDistribution(
        dist.Normal(ops.zeros((2,)), 1.0).to_event(1), dist.transforms.OrderedTransform()))  # fmt: skip
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.OrderedLogistic(ops.zeros((7,)), cuts), obs=y)


def with_params(y):
    loc = ppl.param("loc", 0.5)
    scale = ppl.param("scale", 2.0, constraint=constraints.positive)
    with ppl.plate("rows", len(y)):
        local = ppl.sample("local", dist.Normal(loc, scale))
        ppl.sample("y", dist.Normal(local, 1.0), obs=y)


def transformed(y):
    drift = ppl.sample("drift", dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [dist.transforms.AffineTransform(1.0, 0.5), dist.transforms.TanhTransform()]))  # fmt: skip
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(drift, 1.0), obs=y)


def named_columns(data):
    total = 0.0
    for name in sorted(data):
        total = total + ppl.sample(f"weight_{name}", dist.Normal(0.0, 1.0)) * data[name]
    with ppl.plate("rows", 7):
        ppl.sample("y", dist.Normal(total, 1.0), obs=ops.zeros((7,)))


def steps(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    for step in ppl.plate("steps", 3):
        local = ppl.sample(f"local_{step}", dist.Normal(loc, 1.0))
        ppl.sample(f"y_{step}", dist.Normal(local, 1.0), obs=y[step])


GRID = NUMBERS.normal(size=(7, 4))
SIGMA = 1.0 + POSITIVE
MODELS = [
    (conjugate, (Y,)),
    (location_and_scale, (Y,)),
    (coin, (COINS,)),
    (regression, (X, Y)),
    (logistic, (X, COINS)),
    (poisson_regression, (X, COUNTS)),
    (binomial_regression, (X, COUNTS)),
    (schools, (Y, SIGMA)),
    (schools_not_centered, (Y, SIGMA)),
    (schools_reparam, (Y, SIGMA)),
    (nested_plates, (GRID,)),
    (crossed, (GRID,)),
    (mixture, (Y,)),
    (discrete_mixture, (Y,)),
    (hidden_markov, (Y,)),
    (random_walk, (Y,)),
    (correlated, (X,)),
    (multinomial, (numpy.array([2.0, 4.0, 6.0]),)),
    (minibatches, (X, Y)),
    (minibatches_of_local_choices, (Y,)),
    (masked, (Y,)),
    (missing_data, (numpy.where(Y > 0.5, numpy.nan, Y),)),
    (scaled, (Y,)),
    (penalized, (Y,)),
    (survival, (POSITIVE,)),
    (overdispersed, (COUNTS,)),
    (fractions, (UNIT,)),
    (ordinal, (COUNTS % 3,)),
    (with_params, (Y,)),
    (transformed, (Y,)),
    (named_columns, ({"b": X[:, 0], "a": X[:, 1]},)),
    (steps, (Y,)),
]
