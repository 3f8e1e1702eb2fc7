"""Models that mean the same with all values of their discrete sites at once, with the rightmost dimension that is free."""

import numpy

import ppl
from ppl import constraints, handlers, ops
from ppl import distributions as dist
from ppl.ops.indexing import Vindex

PARALLEL = {"enumerate": "parallel"}


class Tables:
    """Arrays of fixed numbers for the models, in the default dtype."""

    def __init__(self):
        numbers = numpy.random.default_rng(0)
        self.three = self._array(numbers.dirichlet(numpy.ones(3)))
        self.square = self._array(numbers.dirichlet(numpy.ones(3), size=3))
        self.four = self._array(numbers.dirichlet(numpy.ones(4), size=3))
        self.two = self._array(numbers.dirichlet(numpy.ones(2), size=(3, 4)))
        self.means = self._array(numbers.normal(size=(3, 4)))
        self.data = self._array(numbers.normal(size=5))

    @staticmethod
    def _array(numbers):
        return ops.array(numbers, dtype=ops.default_dtype())


def category(name, probs, **infer):
    return ppl.sample(name, dist.Categorical(probs), infer={**PARALLEL, **infer})


def floating(x):
    return ops.astype(x, ops.default_dtype())


def tree(t):
    a = category("a", t.three)
    b = category("b", t.four[a])
    c = category("c", t.two[a, b])
    ppl.sample("y", dist.Normal(t.means[a, b] + c, 1.0), obs=0.3)


def plate(t, expand=False):
    a = category("a", t.three, expand=expand)
    with ppl.plate("p", 5):
        b = category("b", t.four[a], expand=expand)
        ppl.sample("y", dist.Normal(t.means[a, b], 1.0), obs=t.data)


def expanded(t):
    plate(t, expand=True)


def nested_plates(t):
    a = category("a", t.three)
    with ppl.plate("p", 5):
        b = category("b", t.four[a])
        with ppl.plate("q", 3):
            c = category("c", t.two[a, b])
            ppl.sample("y", dist.Normal(t.means[a, b] + c, 1.0), obs=ops.zeros((3, 5)))


def minibatch(t):
    rates = ops.reshape(ops.arange(100), (50, 2)) * 0.1
    with ppl.plate("p", 50, subsample_size=5) as rows:
        b = category("b", t.three)
        ppl.sample("y", dist.Normal(rates[rows, 0] + b, 1.0), obs=t.data)


def mixture(t):
    weights = ppl.sample("weights", dist.Dirichlet(ops.ones(3)))
    with ppl.plate("components", 3):
        loc = ppl.sample("loc", dist.Normal(0.0, 3.0))
        scale = ppl.sample("scale", dist.Gamma(2.0, 2.0))
    with ppl.plate("p", 5):
        z = category("z", weights)
        ppl.sample("y", dist.Normal(loc[z], scale[z]), obs=t.data)


def continuous_below_discrete(t):
    a = category("a", t.three)
    with ppl.plate("p", 5):
        x = ppl.sample("x", dist.Normal(floating(a), 1.0))
        b = category("b", t.four[a])
        ppl.sample("y", dist.Normal(x * b, 1.0), obs=t.data)
    ppl.deterministic("twice", 2.0 * x)


def events(t):
    a = category("a", t.three)
    means = ops.reshape(ops.arange(15) * 1.0, (3, 5))
    ppl.sample("y", dist.Normal(means[a], 1.0).to_event(1), obs=t.data)
    h = ppl.sample("h", dist.OneHotCategorical(t.three), infer=PARALLEL)
    ppl.sample("z", dist.Normal(ops.sum(h * ops.array([1.0, 2.0, 4.0]), axis=-1), 1.0), obs=0.3)
    ppl.sample("simplex", dist.Dirichlet(means[a] + 1.0))


def chain(t, history):
    states = []
    for step in ppl.markov(range(5), history=history):
        seen = states[len(states) - history :] if history else []
        states.append(category(f"x{step}", sum((t.square[x] for x in seen), t.square[0]) / (1.0 + len(seen))))
        ppl.sample(f"y{step}", dist.Normal(t.means[:, 0][states[-1]], 1.0), obs=0.1 * step)


def chain_0(t):
    chain(t, 0)


def chain_1(t):
    chain(t, 1)


def chain_2(t):
    chain(t, 2)


def chain_3(t):
    chain(t, 3)


def masked_chains(t):
    with ppl.plate("p", 5) as rows:
        x = None
        for step in ppl.markov(range(4)):
            with handlers.mask(mask=rows > step):
                x = category(f"x{step}", t.square[0] if x is None else t.square[x])
                ppl.sample(f"y{step}", dist.Normal(t.means[:, 0][x], 1.0), obs=t.data)


def masks_and_scales(t):
    a = category("a", t.three)
    with handlers.scale(scale=2.5), ppl.plate("p", 5):
        with handlers.mask(mask=t.data > 0):
            ppl.sample("y", dist.Normal(floating(a), 1.0), obs=t.data)
        ppl.sample("z", dist.Normal(floating(a), 1.0).mask(t.data < 0), obs=t.data)
    with handlers.mask(mask=a > 0):
        ppl.sample("w", dist.Normal(floating(a), 1.0), obs=0.2)


def factors(t):
    a = category("a", t.three)
    ppl.factor("f", -0.3 * a)
    b = ppl.sample("b", dist.Bernoulli(0.2 + 0.2 * a), infer=PARALLEL)
    ppl.factor("g", ops.where(b > 0, -1.0, 0.5 * a))


def impossible_values(t):
    a = category("a", ops.array([0.5, 0.5, 0.0]))
    b = category("b", ops.eye(3)[a])
    ppl.sample("y", dist.Bernoulli(ops.where(b == 1, 1.0, 0.0)), obs=1.0)


def parameters(t):
    rows = ppl.param("rows", ops.ones((2, 3)) / 3.0, constraint=constraints.simplex)
    chances = ppl.param("chances", lambda: ops.ones(3) * 0.5, constraint=constraints.unit_interval)
    r = ppl.sample("r", dist.Bernoulli(0.3), infer=PARALLEL)
    a = category("a", rows[ops.astype(r, "int64")])
    ppl.sample("y", dist.Bernoulli(chances[a]), obs=1.0)


def counts(t):
    n = ppl.sample("n", dist.Binomial(4, 0.3), infer=PARALLEL)
    ppl.sample("y", dist.Normal(n, 1.0), obs=2.0)
    ppl.sample("k", dist.Binomial(n, 0.4), obs=0.0)


def draws(t):
    n = ppl.sample("n", dist.Normal(0.0, 1.0), infer={**PARALLEL, "num_samples": 6})
    a = category("a", t.three)
    ppl.sample("y", dist.Normal(n + a, 1.0), obs=2.0)


def improper_prior(t):
    scale = ppl.sample("scale", dist.ImproperUniform(constraints.positive, (), ()))
    a = category("a", t.three)
    ppl.sample("y", dist.Normal(a * scale, scale), obs=2.0)


def sequential_plate(t):
    a = category("a", t.three)
    for i in ppl.plate("p", 3):
        b = category(f"b{i}", t.four[a])
        ppl.sample(f"y{i}", dist.Normal(t.means[a, b], 1.0), obs=t.data[i])


def discrete_sites_that_are_drawn(t):
    a = category("a", t.three)
    k = ppl.sample("k", dist.Poisson(2.0 + a))
    b = ppl.sample("b", dist.Bernoulli(0.5))
    ppl.sample("y", dist.Normal(k + b * a, 1.0), obs=2.0)


def noise_outside_of_sites(t):
    a = category("a", t.three)
    noise = ops.random.normal(ops.random.next_key(), ())
    ppl.sample("y", dist.Normal(a + noise, 1.0), obs=2.0)


def handlers_inside(t):
    with handlers.condition(data={"x": ops.array(0.3)}):
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
    with handlers.substitute(data={"w": ops.array(1.0)}):
        w = ppl.sample("w", dist.Normal(0.0, 1.0))
    a = category("a", t.three)
    ppl.sample("y", dist.Normal(t.three[a] * w, 1.0), obs=x)


def vindexed(t):
    a = category("a", t.three)
    b = category("b", t.four[a])
    c = category("c", Vindex(t.two)[a, b, :])
    ppl.sample("y", dist.Normal(Vindex(t.means)[a, 1] + Vindex(t.means)[2, b] + c, 1.0), obs=0.3)


def mixture_distribution(t):
    a = category("a", t.three)
    with ppl.plate("p", 5):
        family = dist.MixtureSameFamily(dist.Categorical(t.four[a]), dist.Normal(t.means[a], 1.0))
        ppl.sample("y", family, obs=t.data)


def whole_numbers(t):
    a = category("a", t.three)
    ppl.sample("y", dist.Poisson(1.0 + a), obs=3.0)
    ppl.sample("z", dist.Categorical(t.four[a]), obs=ops.array(2))


MODELS = {
    -1: (tree, chain_0, chain_1, chain_2, chain_3, factors, impossible_values, parameters, counts, draws, improper_prior,
         sequential_plate, discrete_sites_that_are_drawn, noise_outside_of_sites, handlers_inside, vindexed,
         whole_numbers),
    -2: (plate, expanded, minibatch, mixture, continuous_below_discrete, events, masked_chains, masks_and_scales,
         mixture_distribution),
    -3: (nested_plates,),
}  # fmt: skip
