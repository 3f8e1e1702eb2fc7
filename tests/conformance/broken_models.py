"""Models that fail, each with its arguments, the site that is wrong and a word of the reason."""

import numpy

import ppl
from ppl import constraints, ops
from ppl import distributions as dist

Y = numpy.array([0.3, -1.2, 0.8, 2.0])
X = numpy.array([[1.0, 2.0, 0.5], [0.3, -1.0, 0.7], [0.2, 0.1, 0.4], [1.5, 0.6, -0.3]])


def negative_scale(y):
    scale = ppl.sample("scale", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(0.0, scale), obs=y)


def sizes_of_a_product(x, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    mean = x @ weights
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mean, 1.0), obs=y)


def logarithm_of_a_negative(y):
    scale = ppl.sample("scale", dist.HalfNormal(1.0))
    mean = ppl.deterministic("mean", ops.log(-1.0 - scale))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mean, 1.0), obs=y)


def observed_outside(y):
    bias = ppl.sample("bias", dist.Beta(1.0, 1.0))
    with ppl.plate("rows", 4):
        ppl.sample("coin", dist.Bernoulli(bias), obs=y)
    ppl.sample("after", dist.Normal(0.0, 1.0), obs=0.2)


def probability_above_one(y):
    odds = ppl.sample("odds", dist.Gamma(2.0, 1.0))
    with ppl.plate("rows", 4):
        ppl.sample("coin", dist.Bernoulli(probs=1.0 + odds), obs=y)


def data_of_another_size(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 5):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y)


def twice_the_same_name(y):
    for value in y[:2]:
        loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(loc, 1.0), obs=value)


def overflowing_rate(y):
    slope = ppl.sample("slope", dist.Uniform(500.0, 600.0))
    with ppl.plate("rows", 4):
        ppl.sample("count", dist.Poisson(ops.exp(3.0 * slope)), obs=ops.floor(ops.abs(y)))


def covariance_of_wrong_sign(y):
    spread = ppl.sample("spread", dist.HalfNormal(1.0))
    ppl.sample("y", dist.MultivariateNormal(ops.zeros((4,)), -(0.1 + spread) * ops.eye(4)), obs=y)


def vector_without_plate(x, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((3,)), 1.0))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(x @ weights, 1.0), obs=y)


def plates_that_collide(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 4, dim=-1):
        with ppl.plate("columns", 4, dim=-1):
            ppl.sample("y", dist.Normal(loc, 1.0), obs=y)


def key_that_is_missing(data):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    values = data["z"]
    ppl.sample("y", dist.Normal(loc, 1.0), obs=values[0])


def data_with_a_hole(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y)


def gradient_behind_where(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(0.0, ops.where(loc < 1e3, 1.0, ops.sqrt(loc - 1e3))), obs=y)


def weights_that_do_not_sum(y):
    a = ppl.sample("a", dist.Normal(0.0, 1.0))
    ppl.sample("which", dist.Dirichlet(ops.ones((3,)) * a * a - 50.0), obs=y[:3] * 0.0 + 1.0 / 3.0)


def with_a_param(y):
    scale = ppl.param("scale", 1.0, constraint=constraints.positive)
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(0.0, scale), obs=y)


HOLE = numpy.array([0.3, numpy.nan, 0.8, 2.0])
BROKEN = [
    (negative_scale, (Y,), "y", "'scale'"),
    (sizes_of_a_product, (X, Y), "y", "on the way"),
    (logarithm_of_a_negative, (Y,), "mean", "not finite"),
    (observed_outside, (Y,), "coin", "outside of the support"),
    (probability_above_one, (abs(Y) > 1.0,), "coin", "'probs'"),
    (data_of_another_size, (Y,), "y", "plate 'rows'"),
    (twice_the_same_name, (Y,), "loc", "two sample sites"),
    (overflowing_rate, (Y,), "count", "inf"),
    (covariance_of_wrong_sign, (Y,), "y", "covariance_matrix"),
    (vector_without_plate, (X, Y), "weights", "no plate"),
    (plates_that_collide, (Y,), "y", "dim=-1"),
    (key_that_is_missing, ({"y": Y},), "y", "KeyError"),
    (data_with_a_hole, (HOLE,), "y", "not finite"),
    (gradient_behind_where, (Y,), "y", "gradient"),
    (weights_that_do_not_sum, (Y,), "which", "'concentration'"),
]
