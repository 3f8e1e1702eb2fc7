"""Models and guides small enough that an estimator's mean and variance are sums over all it can draw.

A case lists every joint draw of its guide. Random choices are enumerated; a reparameterised normal draw is ``loc + scale * node``
at the nodes of Gauss-Hermite quadrature, which is exact here because densities are quadratic in it. The estimator runs once at
each draw; by hand in numpy stand the draw's probability and the densities, from which the exact loss follows.
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy
from scipy import special

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.distributions import constraints
from ppl.infer.objective import Objective, constraints_of, discover, leaves_of
from ppl.infer.particles import has_explicit_keys
from ppl.testing.numeric import numerical_gradient

NODES, WEIGHTS = numpy.polynomial.hermite_e.hermegauss(2)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
BITS = (0.0, 1.0)


class Fixed(handlers.Messenger):
    """Makes the guide draw ``values``: choices and indices as they are, normal draws at the given noise."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_sample(self, message):
        name, fn = message["name"], message["fn"]
        if name in self.values and message["value"] is None:
            value = self.values[name]
            value = fn.loc + fn.scale * value if fn.has_rsample else ops.broadcast_to(value, fn.shape())
            message["value"], message["done"] = value, True

    def on_subsample(self, message):
        if message["name"] in self.values:
            message["value"], message["done"] = self.values[message["name"]], True


@dataclass(frozen=True, eq=False)
class Exact:
    """A case.

    :param model: the model, as is the guide.
    :param point: unconstrained params by name, numpy arrays.
    :param draws: pairs of the probability of what does not depend on params, and all that the guide draws by name.
    :param choices: ``choices(point, draw)``, the log probability of the random choices.
    :param term: ``term(point, draw)``, the log density of the model less that of the guide, scaled and masked.
    """

    model: Callable
    guide: Callable
    point: dict
    draws: list
    choices: Callable
    term: Callable

    def loss(self, point):
        return -sum(weight * numpy.exp(self.choices(point, draw)) * self.term(point, draw) for weight, draw in self.draws)

    @functools.cached_property
    def gradient(self):
        return {
            name: numerical_gradient(lambda value, name=name: self.loss({**self.point, name: value}), start)
            for name, start in self.point.items()
        }

    @functools.cached_property
    def weights(self):
        return numpy.array([weight * numpy.exp(self.choices(self.point, draw)) for weight, draw in self.draws])

    def moments(self, elbo):
        """Return the mean of the loss, and means and variances of the gradients by name, over all draws."""
        losses, gradients = self.outcomes(elbo)
        weights = self.weights
        assert abs(weights.sum() - 1.0) < 1e-12
        mean = {name: numpy.tensordot(weights, rows, 1) for name, rows in gradients.items()}
        variance = {name: numpy.tensordot(weights, rows**2, 1) - mean[name] ** 2 for name, rows in gradients.items()}
        return weights @ losses, mean, variance

    def outcomes(self, elbo):
        """Return the loss and the gradients of the estimator at each draw, stacked."""
        names = discover(self.model, self.guide, (), {}, loss=elbo)
        guide = lambda: Fixed(current[0])(self.guide)()  # noqa: E731
        current = [None]
        objective = Objective(self.model, guide, elbo)

        def once(draw):
            current[0] = draw
            estimate, gradients = objective.with_gradients(leaves_of(names), constraints_of(names), (), {})
            return estimate.loss, gradients

        draws = [{name: numpy.asarray(value) for name, value in draw.items()} for _, draw in self.draws]
        if has_explicit_keys():
            stacked = {name: ops.array(numpy.stack([draw[name] for draw in draws])) for name in draws[0]}
            losses, gradients = ops.compile.compile(ops.autodiff.vmap(once))(stacked)
            return ops.to_numpy(losses), {name: ops.to_numpy(gradients[name]) for name in self.point}
        rows = [once({name: ops.array(value) for name, value in draw.items()}) for draw in draws]
        losses = numpy.array([float(ops.to_numpy(loss)) for loss, _ in rows])
        return losses, {name: numpy.stack([ops.to_numpy(gradients[name]) for _, gradients in rows]) for name in self.point}


def bernoulli(value, probs):
    return numpy.sum(special.xlogy(value, probs) + special.xlog1py(1.0 - numpy.asarray(value), -probs))


def normal(value, loc, scale=1.0):
    return numpy.sum(-0.5 * ((value - loc) / scale) ** 2 - numpy.log(scale) - 0.5 * math.log(2.0 * math.pi))


# ---- choices that depend on each other, in sequence ----

CHAIN_DATA = numpy.array([1.7, -0.4, 0.8])


def chain_model():
    previous = 0.0
    for step in range(3):
        previous = ppl.sample(f"bit_{step}", dist.Bernoulli(0.3 + 0.4 * previous))
        ppl.sample(f"x_{step}", dist.Normal(2.0 * previous, 1.0), obs=ops.array(CHAIN_DATA[step]))


def chain_guide():
    logits, previous = ppl.param("logits", ops.array([-0.4, 0.3, 0.1])), 0.0
    for step in range(3):
        previous = ppl.sample(f"bit_{step}", dist.Bernoulli(logits=logits[step] + 0.8 * previous))


def chain_guide_probs(point, draw):
    before = [0.0, draw["bit_0"], draw["bit_1"]]
    return [special.expit(point["logits"][step] + 0.8 * before[step]) for step in range(3)]


def chain_choices(point, draw):
    return sum(bernoulli(draw[f"bit_{step}"], probs) for step, probs in enumerate(chain_guide_probs(point, draw)))


def chain_term(point, draw):
    bits = [draw[f"bit_{step}"] for step in range(3)]
    prior = sum(bernoulli(bit, 0.3 + 0.4 * before) for bit, before in zip(bits, [0.0, *bits[:2]], strict=True))
    likelihood = sum(normal(CHAIN_DATA[step], 2.0 * bits[step]) for step in range(3))
    return prior + likelihood - chain_choices(point, draw)


CHAIN = Exact(
    chain_model,
    chain_guide,
    {"logits": numpy.array([-0.4, 0.3, 0.1])},
    [(1.0, {f"bit_{step}": bit for step, bit in enumerate(bits)}) for bits in itertools.product(BITS, repeat=3)],
    chain_choices,
    chain_term,
)


# ---- normal and discrete sites, nested plates, a minibatch, a mask, a scale ----

TABLE = numpy.array([[0.4, 2.6], [-0.3, 3.1]])
KEEP = numpy.array([[True, True], [False, True]])
FACTOR, BATCH = 0.5, 2.0


def nested_plates():
    return ppl.plate("columns", 2, dim=-1), ppl.plate("rows", 2, subsample_size=1, dim=-2)


def nested_model():
    mean = ppl.sample("mean", dist.Normal(0.0, 1.5))
    switch = ppl.sample("switch", dist.Bernoulli(0.4))
    columns, rows = nested_plates()
    with columns:
        group = ppl.sample("group", dist.Bernoulli(0.3 + 0.2 * switch))
        with rows as index, handlers.scale(scale=FACTOR), handlers.mask(mask=ops.take(ops.array(KEEP), index, axis=0)):
            kind = ppl.sample("kind", dist.Bernoulli(0.3 + 0.4 * group))
            ppl.sample("x", dist.Normal(mean + 2.0 * kind + switch, 1.0), obs=ops.take(ops.array(TABLE), index, axis=0))


NESTED_POINT = {
    "loc": numpy.array(0.2),
    "scale": numpy.array(numpy.log(0.5)),
    "switch_logit": numpy.array(0.3),
    "group_logits": numpy.array([-0.2, 0.6]),
    "kind_logits": numpy.array([[-0.5, 0.3], [0.2, 0.8]]),
}


def nested_guide():
    loc, scale = ppl.param("loc", 0.2), ppl.param("scale", 0.5, constraint=constraints.positive)
    ppl.sample("mean", dist.Normal(loc, scale))
    switch = ppl.sample("switch", dist.Bernoulli(logits=ppl.param("switch_logit", 0.3)))
    group_logits = ppl.param("group_logits", ops.array(NESTED_POINT["group_logits"]))
    kind_logits = ppl.param("kind_logits", ops.array(NESTED_POINT["kind_logits"]))
    columns, rows = nested_plates()
    with columns:
        group = ppl.sample("group", dist.Bernoulli(logits=group_logits + switch))
        with rows as index, handlers.scale(scale=FACTOR), handlers.mask(mask=ops.take(ops.array(KEEP), index, axis=0)):
            ppl.sample("kind", dist.Bernoulli(logits=ops.take(kind_logits, index, axis=0) + 0.7 * group))


def nested_probs(point, draw):
    kinds = special.expit(point["kind_logits"][draw["rows"]] + 0.7 * draw["group"])
    return special.expit(point["switch_logit"]), special.expit(point["group_logits"] + draw["switch"]), kinds


def nested_choices(point, draw):
    switch, group, kind = nested_probs(point, draw)
    return bernoulli(draw["switch"], switch) + bernoulli(draw["group"], group) + bernoulli(draw["kind"], kind)


def nested_term(point, draw):
    switch_probs, group_probs, kind_probs = nested_probs(point, draw)
    switch, group, keep = draw["switch"], draw["group"], KEEP[draw["rows"]]
    mean = point["loc"] + numpy.exp(point["scale"]) * draw["mean"]
    total = normal(mean, 0.0, 1.5) - normal(mean, point["loc"], numpy.exp(point["scale"]))
    total += bernoulli(switch, 0.4) - bernoulli(switch, switch_probs)
    total += bernoulli(group, 0.3 + 0.2 * switch) - bernoulli(group, group_probs)
    kind = draw["kind"][keep]
    local = bernoulli(kind, numpy.broadcast_to(0.3 + 0.4 * group, keep.shape)[keep]) - bernoulli(kind, kind_probs[keep])
    local += normal(TABLE[draw["rows"]][keep], mean + 2.0 * kind + switch)
    return total + FACTOR * BATCH * local


def nested_draws():
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        for row, switch in itertools.product((0, 1), BITS):
            for group in itertools.product(BITS, repeat=2):
                for kind in itertools.product(BITS, repeat=2):
                    yield (
                        weight / 2,
                        {
                            "mean": node,
                            "switch": switch,
                            "rows": numpy.array([row]),
                            "group": numpy.array(group),
                            "kind": numpy.array([kind]),
                        },
                    )


NESTED = Exact(nested_model, nested_guide, NESTED_POINT, list(nested_draws()), nested_choices, nested_term)


# ---- a choice outside of a plate that collects the choices inside, and the plate entered again ----

COLLECTED = numpy.array([0.9, 2.4])


def collecting_model():
    bits = ppl.plate("bits", 2)
    with bits:
        bit = ppl.sample("bit", dist.Bernoulli(0.4))
    many = ppl.sample("many", dist.Bernoulli(0.2 + 0.3 * ops.sum(bit, axis=-1, keepdims=True)))
    with bits:
        ppl.sample("x", dist.Normal(bit + 2.0 * many, 1.0), obs=ops.array(COLLECTED))


def collecting_guide():
    with ppl.plate("bits", 2):
        bit = ppl.sample("bit", dist.Bernoulli(logits=ppl.param("logits", ops.array([0.2, -0.3]))))
    ppl.sample("many", dist.Bernoulli(logits=ops.sum(bit, axis=-1, keepdims=True) - ppl.param("threshold", 0.8)))


def collecting_choices(point, draw):
    many = special.expit(draw["bit"].sum() - point["threshold"])
    return bernoulli(draw["bit"], special.expit(point["logits"])) + bernoulli(draw["many"], many)


def collecting_term(point, draw):
    bit, many = draw["bit"], draw["many"]
    total = bernoulli(bit, numpy.full(2, 0.4)) + bernoulli(many, 0.2 + 0.3 * bit.sum())
    return total + normal(COLLECTED, bit + 2.0 * many) - collecting_choices(point, draw)


COLLECTING = Exact(
    collecting_model,
    collecting_guide,
    {"logits": numpy.array([0.2, -0.3]), "threshold": numpy.array(0.8)},
    [(1.0, {"bit": numpy.array(bits), "many": numpy.array([many])}) for *bits, many in itertools.product(BITS, repeat=3)],
    collecting_choices,
    collecting_term,
)


# ---- steps of a plate used as a loop, after a choice of which the steps learn ----

STEP_DATA = numpy.array([0.2, 2.3])


def stepping_model():
    first = ppl.sample("first", dist.Bernoulli(0.6))
    for step in ppl.plate("steps", 2):
        bit = ppl.sample(f"bit_{step}", dist.Bernoulli(0.3 + 0.3 * first))
        ppl.sample(f"x_{step}", dist.Normal(2.0 * bit, 1.0), obs=ops.array(STEP_DATA[step]))


def stepping_guide():
    logits = ppl.param("logits", ops.array([0.5, -0.2, 0.3]))
    first = ppl.sample("first", dist.Bernoulli(logits=logits[2]))
    for step in ppl.plate("steps", 2):
        ppl.sample(f"bit_{step}", dist.Bernoulli(logits=logits[step] + first))


def stepping_choices(point, draw):
    total = bernoulli(draw["first"], special.expit(point["logits"][2]))
    return total + sum(bernoulli(draw[f"bit_{step}"], special.expit(point["logits"][step] + draw["first"])) for step in range(2))


def stepping_term(point, draw):
    total = bernoulli(draw["first"], 0.6) - stepping_choices(point, draw)
    for step in range(2):
        total += bernoulli(draw[f"bit_{step}"], 0.3 + 0.3 * draw["first"])
        total += normal(STEP_DATA[step], 2.0 * draw[f"bit_{step}"])
    return total


STEPPING = Exact(
    stepping_model,
    stepping_guide,
    {"logits": numpy.array([0.5, -0.2, 0.3])},
    [(1.0, dict(zip(("first", "bit_0", "bit_1"), bits, strict=True))) for bits in itertools.product(BITS, repeat=3)],
    stepping_choices,
    stepping_term,
)

CASES = {"chain": CHAIN, "nested plates": NESTED, "collecting site": COLLECTING, "loop": STEPPING}
