"""Models and backends that each have one fault, and the site where it must be found."""

import dataclasses
import types
from dataclasses import dataclass
from typing import Any

import numpy
from autograd.extend import defvjp, primitive

import ppl
from ppl import constraints, handlers, ops, registry, transforms
from ppl import distributions as dist
from ppl.transforms import biject_to

NUMBERS = numpy.random.default_rng(6)
X = NUMBERS.normal(size=(6, 2))
Y = NUMBERS.normal(size=6)
COINS = (NUMBERS.uniform(size=6) < 0.5).astype(float)


def planted_backend(name="planted", **changes):
    """Return a copy of the numpy backend: ``part={"function": other}`` replaces functions of its parts."""
    numpy_backend = registry.load("numpy")
    parts: dict[str, Any] = {field.name: getattr(numpy_backend, field.name) for field in dataclasses.fields(numpy_backend)}
    for part, functions in changes.items():
        module = types.ModuleType(f"planted_{part}")
        vars(module).update(vars(parts[part]))
        vars(module).update(functions)
        parts[part] = module
    return type(numpy_backend)(**{**parts, "name": name})


def hierarchy(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 2.0))
    tau = ppl.sample("tau", dist.Gamma(2.0, 3.0))
    with ppl.plate("rows", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, 1.0), obs=y)


class SwappedGamma(dist.Gamma):
    def log_prob(self, value):
        return dist.Gamma(self.rate, self.concentration).log_prob(value)


def swapped_arguments(y):
    rate = ppl.sample("rate", SwappedGamma(2.0, 5.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(0.0, 1.0 + rate), obs=y)


class PoissonWithoutFactorial(dist.Poisson):
    def log_prob(self, value):
        return value * ops.log(self.rate) - self.rate


def normalizer_left_out(y):
    rate = ppl.sample("rate", dist.Exponential(1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", PoissonWithoutFactorial(rate), obs=y)


class Ramp(dist.Distribution):
    """The density :math:`2x` on the unit interval, without its factor."""

    arg_constraints = {}
    support = constraints.unit_interval
    factor = 1.0

    def __init__(self, *, validate_args=None):
        super().__init__((), validate_args=validate_args)

    def sample(self, sample_shape=(), rng_key=None):
        return ops.sqrt(ops.random.uniform(rng_key, tuple(sample_shape)))

    def log_prob(self, value):
        return ops.log(self.factor * value)


class NormalizedRamp(Ramp):
    factor = 2.0


def unnormalized(y, family=Ramp):
    ramp = ppl.sample("ramp", family())
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(ramp, 1.0), obs=y)


class Cube(transforms.Transform):
    def __call__(self, x):
        return x + x**3

    def _inverse(self, y):
        # Cardano's formula for x^3 + x - y.
        root = ops.sqrt(y * y / 4.0 + 1.0 / 27.0)
        return _cube_root(y / 2.0 + root) + _cube_root(y / 2.0 - root)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return 0.0 * x


def _cube_root(x):
    return ops.sign(x) * ops.exp(ops.log(ops.abs(x)) / 3.0)


def missing_jacobian(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    skewed = ppl.sample("skewed", dist.TransformedDistribution(dist.Normal(mu, 1.0), Cube()))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(skewed, 1.0), obs=y)


class AboveOne(constraints.Constraint):
    event_dim = 0
    is_discrete = False

    def check(self, value):
        return value > 1.0


class ToAboveOne(transforms.ExpTransform):
    codomain = AboveOne()

    def __call__(self, x):
        return 1.0 + ops.exp(2.0 * x)

    def _inverse(self, y):
        return 0.5 * ops.log(y - 1.0)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return 2.0 * x


biject_to.register(AboveOne, lambda constraint: ToAboveOne())


class Shifted(dist.Exponential):
    support = AboveOne()

    def rsample(self, sample_shape=(), rng_key=None):
        return 1.0 + super().rsample(sample_shape, rng_key)

    def log_prob(self, value):
        return ops.log(self.rate) - self.rate * (value - 1.0)


def wrong_support_transform(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    scale = ppl.sample("scale", dist.Independent(Shifted(1.5), 0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, scale), obs=y)


def log_of_sigmoid(x):
    w = ppl.sample("w", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 6):
        ppl.factor("likelihood", ops.log(1.0 - 1.0 / (1.0 + ops.exp(-w * (1.0 + x[:, 0] ** 2)))))


def probabilities_near_one(x, y):
    w = ppl.sample("w", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(probs=1.0 / (1.0 + ops.exp(-(x @ w)))), obs=y)


def variance_by_squares(y):
    offset = ppl.sample("offset", dist.Normal(0.0, 1.0))
    far = y + 1000.0 + offset
    spread = ops.sum(far * far) / 6.0 - (ops.sum(far) / 6.0) ** 2
    ppl.sample("spread", dist.Exponential(1.0), obs=0.5)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(0.0, spread), obs=y)


def column_against_row(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc + ops.zeros((6, 1)), 1.0), obs=y)


def vector_without_plate(x, y):
    w = ppl.sample("w", dist.Normal(ops.zeros((2,)), 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ w, 1.0), obs=y)


def event_in_a_plate(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc + ops.zeros((6,)), 1.0).to_event(1), obs=y)


class EventNotSummed(dist.MultivariateNormal):
    def log_prob(self, value):
        return -0.5 * (value - self.loc) ** 2 + 0.0 * self.loc


def event_not_summed(y):
    state = ppl.sample("state", EventNotSummed(ops.zeros((2,)), scale_tril=ops.eye(2)))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(state[0], 1.0), obs=y)


def detached(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(ops.autodiff.stop_gradient(mu), 1.0), obs=y)


def nan_behind_where(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    scale = ops.where(mu * mu < 1e6, 1.0, ops.sqrt(mu * mu - 1e6))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, scale), obs=y)


def overflow_in_the_tails(y):
    slope = ppl.sample("slope", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.factor("evidence", ops.log(ops.exp(100.0 * slope) + ops.exp(y)) - 100.0 * slope)


def scaled_twice(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 6, subsample_size=2) as rows, handlers.scale(scale=3.0):
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


def always_the_first_rows(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 6, subsample_size=2):
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y[:2])


def entries_tied(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, 1.0))
        ppl.sample("y", dist.Normal(theta - ops.sum(theta) / 6.0, 1.0), obs=y)


def steps_tied(y):
    level = 0.0
    for step in ppl.plate("steps", 3):
        level = ppl.sample(f"level_{step}", dist.Normal(level, 1.0))
        ppl.sample(f"y_{step}", dist.Normal(level, 1.0), obs=y[step])


def narrow_numbers(x, y):
    w = ppl.sample("w", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    half = ppl.deterministic("half", ops.astype(0.5 * (x @ w), "float32"))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(half, 1.0), obs=y)


def missing_somewhere(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    if registry.active().name != "planted":
        ppl.sample("prior_of_scale", dist.Normal(0.0, 1.0), obs=0.3)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y)


def ordered_otherwise(y):
    names = ("first", "second")
    for name in names if registry.active().name != "planted" else reversed(names):
        ppl.sample(name, dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(0.0, 1.0), obs=y)


def wider_somewhere(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    wide = ops.zeros((1,)) if registry.active().name == "planted" else 0.0
    ppl.sample("shift", dist.Normal(mu + wide, 1.0), obs=0.3)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y)


def order_of_a_dict(data):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    weights = (1.0, 3.0)
    total = sum(weight * column for weight, column in zip(weights, data.values(), strict=True))
    with ppl.plate("rows", 6):
        ppl.sample("y", dist.Normal(mu * total, 1.0), obs=ops.zeros((6,)))


def hidden_randomness(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y + GENERATOR.normal())


GENERATOR = numpy.random.default_rng(0)


def written_in_place(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    means = ops.exp(mu + ops.zeros((6,)))
    if registry.active().name == "numpy" and isinstance(means, numpy.ndarray):
        means[0] = 0.0
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(means, 1.0), obs=y)


class DrawsBelowZero(dist.Exponential):
    def rsample(self, sample_shape=(), rng_key=None):
        return -super().rsample(sample_shape, rng_key)


def draws_outside(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    scale = ppl.sample("scale", DrawsBelowZero(1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, 1.0 + scale**2), obs=y)


def branching(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    scale = 1.0 if mu > 0.0 else 2.0
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, scale), obs=y)


def library_by_name(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    import torch

    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(torch.exp(mu), 1.0), obs=y)


def counts(y):
    rate = ppl.sample("rate", dist.Gamma(2.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(1.0 + rate), obs=y)


def with_zeros(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu + ops.zeros((6,)), 1.0), obs=y)


def standard(y):
    base = ppl.sample("base", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(base[0], 1.0), obs=y)


def exponential_mean(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(ops.exp(mu), 1.0), obs=y)


def _numpy_part(part, name):
    return getattr(getattr(registry.load("numpy"), part), name)


def ones_for_zeros(shape, dtype=None):
    return _numpy_part("ops", "zeros")(shape, dtype) + 1.0


def float32_zeros(shape, dtype=None):
    return _numpy_part("ops", "zeros")(shape, dtype).astype("float32")


@primitive
def exponential(x):
    return numpy.exp(x)


defvjp(exponential, lambda answer, x: lambda g: 0.5 * g * answer)


def gammaln_of_the_next(x):
    return _numpy_part("special", "gammaln")(x) + 0.01 * (x > 2.5)


class GammaByRate(dist.Gamma):
    def __init__(self, concentration, rate, *, validate_args=None):
        super().__init__(rate, concentration, validate_args=validate_args)


GammaByRate.__name__ = "Gamma"


@dataclass(frozen=True)
class Plant:
    """A fault.

    :param site: where it must be found, and by which ``check``.
    :param changes: what of numpy a second backend has otherwise.
    :param second: whether the model runs on a second backend at all.
    """

    model: Any
    args: tuple
    site: str
    check: str
    changes: dict = dataclasses.field(default_factory=dict)
    second: str = ""
    label: str = ""

    def __str__(self):
        return self.label or self.model.__name__

    def backends(self, others=()):
        """Return the backends to check on: numpy, those given, and the planted one."""
        planted = [planted_backend(**self.changes)] if self.changes or self.second == "planted" else []
        return ["numpy", *others, *planted]


PLANTS = [
    Plant(swapped_arguments, (Y,), "rate", "log density"),
    Plant(normalizer_left_out, (numpy.array([2.0, 3.0, 0.0, 1.0, 5.0, 2.0]),), "y", "log density"),
    Plant(unnormalized, (Y,), "ramp", "mass"),
    Plant(missing_jacobian, (Y,), "skewed", "Jacobian"),
    Plant(wrong_support_transform, (Y,), "scale", "Jacobian"),
    Plant(log_of_sigmoid, (X,), "likelihood", "float32"),
    Plant(probabilities_near_one, (3.0 * X, COINS), "y", "float32"),
    Plant(variance_by_squares, (Y,), "y", "float32"),
    Plant(column_against_row, (Y,), "y", "plates"),
    Plant(vector_without_plate, (X, Y), "w", "plates"),
    Plant(event_in_a_plate, (Y,), "y", "plates"),
    Plant(event_not_summed, (Y,), "state", "plates"),
    Plant(detached, (Y,), "y", "gradient"),
    Plant(nan_behind_where, (Y,), "y", "gradient"),
    Plant(overflow_in_the_tails, (Y,), "evidence", "finite"),
    Plant(scaled_twice, (Y,), "y", "scale"),
    Plant(always_the_first_rows, (Y,), "y", "scale"),
    Plant(entries_tied, (Y,), "y", "independence"),
    Plant(steps_tied, (Y,), "level_1", "independence"),
    Plant(narrow_numbers, (X, Y), "half", "dtype"),
    Plant(missing_somewhere, (Y,), "prior_of_scale", "presence", second="planted"),
    Plant(ordered_otherwise, (Y,), "first", "order", second="planted"),
    Plant(wider_somewhere, (Y,), "shift", "batch shape", second="planted"),
    Plant(order_of_a_dict, ({"b": X[:, 0], "a": X[:, 1]},), "y", "order"),
    Plant(hidden_randomness, (Y,), "y", "repetition"),
    Plant(written_in_place, (Y,), "y", "contract"),
    Plant(draws_outside, (Y,), "scale", "run"),
    Plant(library_by_name, (Y,), "y", "run"),
    Plant(with_zeros, (Y,), "y", "log density", {"ops": {"zeros": ones_for_zeros}}, label="ones_for_zeros"),
    Plant(standard, (Y,), "base", "dtype", {"ops": {"zeros": float32_zeros}}, label="narrow_zeros"),
    Plant(exponential_mean, (Y,), "y", "gradient", {"ops": {"exp": exponential}}, label="wrong_gradient_of_exp"),
    Plant(counts, (numpy.array([2.0, 3.0, 0.0, 1.0, 5.0, 2.0]),), "y", "log density",
          {"special": {"gammaln": gammaln_of_the_next}}, label="wrong_gammaln"),
    Plant(hierarchy, (Y,), "tau", "log density", {"distributions": {"NATIVE": {"Gamma": GammaByRate}}}, label="swapped_natively"),
]  # fmt: skip
