"""Bad input gets a sentence, and nothing is lost: one table of mistakes, on every backend, through the public names alone.

Each row states the class of its error and four pieces of its message: what failed, what was expected, what was received and
what to try. After each of them the handler stack is empty, params, backend and switches are as they were, and the next model
has the log density that scipy gives it.
"""

import contextlib
import importlib
import math
import os
import signal
import warnings
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import scipy.stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim, registry
from ppl.errors import (
    BackendError,
    ConcreteValueError,
    ConstraintError,
    DuplicateSite,
    InferenceError,
    InitializationError,
    ParamError,
    PlateCollision,
    PlateError,
    PplWarning,
    RandomKeyError,
    ShapeError,
    SiteError,
)
from ppl.infer.mcmc.progress import Progress
from ppl.ops import compile as compiling
from ppl.poutine.runtime import am_i_wrapped

pytestmark = pytest.mark.strict


@dataclass(frozen=True)
class Row:
    """What a user does, and what the answer must say."""

    act: Any
    error: type | tuple[type, ...]
    failed: tuple[str, ...]
    expected: str
    received: str
    attempt: str
    backends: tuple[str, ...] = ("numpy", "torch", "jax", "strict")

    def __str__(self) -> str:
        return self.act.__name__


def fit(model, guide, *args):
    return infer.SVI(model, guide, optim.Adam(lr=0.1), infer.Trace_ELBO()).step(*args)


def sample_with_nuts(model, *args, kernel=infer.NUTS, num_samples=3):
    return infer.MCMC(kernel(model), num_samples, 2, progress_bar=False, seed=1).run(*args)


def density(model, *args):
    return handlers.trace(model).get_trace(*args).log_prob_sum()


def unknown_backend():
    with ppl.pyro_backend("jaxx"):
        pass


def unlike_any_backend():
    ppl.set_backend("tensorflow")


def missing_library():
    ppl.register_backend("absent", lambda: importlib.import_module("a_library_that_nobody_has").backend)
    ppl.set_backend("absent")


def two_sites_of_one_name():
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("x", dist.Normal(0.0, 2.0))

    density(model)


def param_named_as_a_site():
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.param("x", ops.array(1.0))

    density(model)


def two_sites_of_one_name_in_svi():
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("x", dist.Normal(0.0, 2.0))

    fit(model, lambda: ppl.sample("x", dist.Normal(ppl.param("loc", ops.array(0.0)), 1.0)))


def plates_that_collide():
    def model():
        with ppl.plate("rows", 3, dim=-1), ppl.plate("items", 2, dim=-1):
            ppl.sample("x", dist.Normal(0.0, 1.0))

    density(model)


def plate_entered_twice():
    def model():
        with ppl.plate("rows", 3), ppl.plate("rows", 3):
            ppl.sample("x", dist.Normal(0.0, 1.0))

    density(model)


def plate_of_another_size():
    def model():
        with ppl.plate("rows", 3):
            ppl.sample("x", dist.Normal(ops.zeros(4), 1.0))

    density(model)


def plate_of_another_size_in_nuts():
    def model():
        with ppl.plate("rows", 3):
            ppl.sample("x", dist.Normal(ops.zeros(4), 1.0))

    sample_with_nuts(model)


def subsample_larger_than_its_plate():
    ppl.plate("rows", 3, subsample_size=5)


def negative_plate():
    ppl.plate("rows", -2)


def undeclared_dimension():
    def guide():
        ppl.sample("mu", dist.Normal(ppl.param("loc", ops.zeros(3)), 1.0).to_event(1))

    fit(lambda: ppl.sample("mu", dist.Normal(ops.zeros(3), 1.0)), guide)


def undeclared_dimension_of_data():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(mu, 1.0), obs=y)

    fit(model, lambda y: ppl.sample("mu", dist.Normal(ppl.param("loc", ops.array(0.0)), 1.0)), ops.ones(3))


def undeclared_dimension_of_the_guide():
    def guide():
        ppl.sample("mu", dist.Normal(ppl.param("loc", ops.zeros(3)), 1.0))

    fit(lambda: ppl.sample("mu", dist.Normal(ops.zeros(3), 1.0).to_event(1)), guide)


def coin(y):
    p = ppl.sample("p", dist.Beta(2.0, 2.0))
    with ppl.plate("rows", 3):
        ppl.sample("y", dist.Bernoulli(p), obs=y)


def coin_guide(y):
    ppl.sample("p", dist.Beta(ppl.param("heads", ops.array(2.0)), 2.0))


def observed_outside_the_support():
    density(lambda: ppl.sample("y", dist.Gamma(2.0, 1.0), obs=ops.array(-1.5)))


def observed_outside_the_support_in_svi():
    fit(coin, coin_guide, numpy.array([0.0, 1.0, 2.0]))


def observed_outside_the_support_in_nuts():
    # Half a head has a finite density, the cross entropy, so that only the check can object.
    sample_with_nuts(coin, numpy.array([0.0, 1.0, 0.5]))


def observed_outside_the_support_where_the_density_vanishes():
    def model(y):
        rate = ppl.sample("rate", dist.Gamma(2.0, 2.0))
        with ppl.plate("rows", 2):
            ppl.sample("y", dist.Exponential(rate), obs=y)

    sample_with_nuts(model, numpy.array([-1.5, 1.0]))


def observed_of_a_wrong_length():
    def model():
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(0.0, 1.0), obs=ops.zeros(2))

    density(model)


def observed_of_a_wrong_event_shape():
    density(lambda: ppl.sample("y", dist.Dirichlet(ops.ones(2)), obs=ops.array([0.2, 0.3, 0.5])))


def observed_that_does_not_broadcast():
    density(lambda: ppl.sample("y", dist.Normal(ops.zeros(2), 1.0), obs=ops.zeros(3)))


def argument_outside_its_constraint():
    density(lambda: ppl.sample("y", dist.Normal(0.0, ops.array([1.0, -2.0]))))


def argument_outside_its_constraint_in_nuts():
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(0.0, -1.0 - x**2), obs=ops.array(0.5))

    sample_with_nuts(model)


def param_outside_its_constraint():
    density(lambda: ppl.param("width", ops.array(-2.5), constraint=dist.constraints.positive))


def param_of_another_shape():
    def model(n):
        ppl.param("loc", ops.zeros(n))

    density(model, 2)
    density(model, 3)


def param_without_a_value():
    density(lambda: ppl.param("loc"))


def branching():
    x = ppl.sample("x", dist.Normal(0.0, 1.0))
    if x > 0.0:
        x = 2.0 * x
    ppl.sample("y", dist.Normal(x, 1.0), obs=ops.array(1.0))


@contextlib.contextmanager
def where_it_runs_it_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@where_it_runs_it_warns()
def branch_on_a_value_in_nuts():
    sample_with_nuts(branching)


def branch_on_a_value_in_svi():
    fit(branching, infer.AutoNormal(branching))


@where_it_runs_it_warns()
def value_as_a_python_number_in_nuts():
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(math.exp(x), 1.0), obs=ops.array(1.0))

    sample_with_nuts(model)


def model_that_cannot_be_called():
    infer.SVI(3, lambda: None, optim.Adam(lr=0.1), infer.Trace_ELBO())


def start_is_nan():
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("broken", ops.log(-1.0 - x**2))

    sample_with_nuts(model)


def start_is_infinite():
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("impossible", x - math.inf)

    sample_with_nuts(model, kernel=infer.HMC)


def loss_is_nan():
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.factor("broken", ops.log(-1.0 - x**2))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model, lambda: ppl.sample("x", dist.Normal(ppl.param("loc", ops.array(0.0)), 1.0)))


def no_key_in_a_trace():
    def program(x):
        return handlers.trace(lambda: ppl.sample("noise", dist.Normal(x, 1.0))).get_trace().nodes["noise"]["value"]

    compiling.compile(program, ops.array(0.5))(ops.array(0.5))


def no_samples():
    infer.MCMC(infer.NUTS(good_model), num_samples=0)


def fewer_than_no_samples():
    infer.MCMC(infer.NUTS(good_model), num_samples=-7)


def no_predictions():
    infer.Predictive(good_model, num_samples=0)(numpy.zeros(2))


def no_particles():
    infer.Trace_ELBO(num_particles=0)


def no_steps():
    svi = infer.SVI(good_model, lambda y: None, optim.Adam(lr=0.1), infer.Trace_ELBO())
    svi.run(0, numpy.zeros(2), progress_bar=False)


ROWS = [
    Row(unknown_backend, BackendError, ("unknown backend",), "one of 'funsor', 'jax', 'numpy'", "'jaxx'", "did you mean 'jax'?"),
    Row(unlike_any_backend, BackendError, ("unknown backend",), "expected one of", "'tensorflow'", "try one of these"),
    Row(missing_library, BackendError, ("'absent'",), "needs the library 'a_library_that_nobody_has'", "not installed", "try: i"),
    Row(two_sites_of_one_name, DuplicateSite, ("'x'",), "expected distinct names", "first Normal(", "try ppl.plate"),
    Row(two_sites_of_one_name_in_svi, DuplicateSite, ("'x'",), "expected distinct names", "first Normal(", "try ppl.plate"),
    Row(param_named_as_a_site, DuplicateSite, ("'x'",), "expected one type", "a param site later", "try another name"),
    Row(plates_that_collide, PlateCollision, ("'rows'", "'items'"), "distinct dims", "both use dim=-1", "items', 2, dim=-2)"),
    Row(plate_entered_twice, PlateCollision, ("'rows'",), "expected each plate once", "entered twice", "try another name"),
    Row(plate_of_another_size, PlateError, ("'x'", "'rows'"), "expected size 1 or 3", "(4,)", "try ppl.plate('rows', 4)"),
    Row(plate_of_another_size_in_nuts, PlateError, ("'x'", "'rows'"), "size 1 or 3", "(4,)", "try ppl.plate('rows', 4)"),
    Row(subsample_larger_than_its_plate, PlateError, ("'rows'",), "at most 3", "subsample_size=5", "try subsample_size=3"),
    Row(negative_plate, PlateError, ("'rows'",), "expected zero or more", "size=-2", "try size=len(data)"),
    Row(undeclared_dimension, ShapeError, ("'mu'",), "expected a plate for each", "(3,)", "try .to_event(1)"),
    Row(undeclared_dimension_of_data, ShapeError, ("'y'",), "expected a plate for each", "(3,)", "ppl.plate('name', 3, dim=-1)"),
    Row(undeclared_dimension_of_the_guide, ShapeError, ("'mu'",), "expected a plate for each", "(3,)", "try .to_event(1)"),
    Row(observed_outside_the_support, SiteError, ("'y'", "Gamma"), "expected nonnegative", "received -1.5", "try another value"),
    Row(observed_outside_the_support_in_svi, SiteError, ("'y'", "Bernoulli"), "expected boolean", "2.0 at index (2,)", "try "),
    Row(observed_outside_the_support_in_nuts, SiteError, ("'y'", "Bernoulli"), "expected boolean", "0.5 at index (2,)", "try "),
    Row(observed_outside_the_support_where_the_density_vanishes, InitializationError, ("look at site 'y'", "Exponential"),
            "expected nonnegative", "-1.5 at index (0,)", "try "),
    Row(observed_of_a_wrong_length, PlateError, ("'y'", "'rows'"), "expected equal sizes", "size 2", "try ppl.plate('rows', 2)"),
    Row(observed_of_a_wrong_event_shape, ShapeError, ("'y'",), "event shape (2,)", "shape (3,)", "try to reshape"),
    Row(observed_that_does_not_broadcast, ShapeError, ("'y'",), "that broadcast", "batch shape (3,)", "try to reshape"),
    Row(argument_outside_its_constraint, ConstraintError, ("Normal", "'scale'"), "expected positive", "-2.0 at index (1,)",
            "try another value"),
    Row(argument_outside_its_constraint_in_nuts, (ConstraintError, InitializationError), ("Normal", "'scale'"),
            "expected positive", "received -", "try another value"),
    Row(param_outside_its_constraint, ConstraintError, ("'width'", "positive"), "expected every", "-2.5", "try another initial"),
    Row(param_of_another_shape, ParamError, ("'loc'",), "expected one shape", "shape (3,)", "try another name"),
    Row(param_without_a_value, ParamError, ("'loc'",), "an initial value", "has no parameter", "try to give it"),
    Row(branch_on_a_value_in_nuts, ConcreteValueError, ("`if x > 0.0:` (test_bad_input.py:",), "operations on arrays alone",
            "as a Python bool", "try ops.where for a choice", backends=("jax",)),
    Row(branch_on_a_value_in_svi, ConcreteValueError, ("`if x > 0.0:` (test_bad_input.py:",), "operations on arrays alone",
            "as a Python bool", "try ops.where for a choice", backends=("jax",)),
    Row(value_as_a_python_number_in_nuts, ConcreteValueError, ("value",), "operations on arrays alone",
            "a Python number", "try ops", backends=("numpy", "strict", "jax")),
    Row(model_that_cannot_be_called, InferenceError, ("the model",), "expected a function", "type int", "try SVI(model, guide"),
    Row(start_is_nan, InitializationError, ("look at site 'broken'",), "expected finite", "nan", "try init_strategy="),
    Row(start_is_infinite, InitializationError, ("look at site 'impossible'",), "expected finite", "-inf", "try init_strategy="),
    Row(loss_is_nan, InferenceError, ("model site broken",), "expected a finite loss", "the loss is nan", "try a smaller"),
    Row(no_key_in_a_trace, RandomKeyError, ("'noise'",), "expected one from a seed handler", "received none",
            "try ppl.handlers.seed", backends=("jax",)),
    Row(no_samples, InferenceError, ("num_samples",), "at least 1", "got 0", "try num_samples=1000"),
    Row(fewer_than_no_samples, InferenceError, ("num_samples",), "at least 1", "got -7", "try num_samples=1000"),
    Row(no_predictions, InferenceError, ("Predictive",), "1 or more", "num_samples=0", "try num_samples=1000"),
    Row(no_particles, InferenceError, ("num_particles",), "1 or more", "received 0", "try num_particles=1"),
    Row(no_steps, InferenceError, ("number of steps",), "1 or more", "received 0", "try svi.run(1000"),
]  # fmt: skip


def good_model(y):
    scale = ppl.sample("scale", dist.HalfNormal(2.0))
    with ppl.plate("rows", 2):
        ppl.sample("y", dist.Normal(1.0, scale), obs=y)


def good_log_density(scale, y):
    return scipy.stats.halfnorm(scale=2.0).logpdf(scale) + scipy.stats.norm(1.0, scale).logpdf(y).sum()


def assert_nothing_is_lost(backend):
    """The stack is empty, the switches stand, the params of before are there, and a correct model is scored rightly."""
    assert not am_i_wrapped()
    assert registry.active().name == backend
    assert ppl.primitives.is_validation_enabled()
    numpy.testing.assert_array_equal(ops.to_numpy(ppl.get_param_store()["kept"]), [0.25, 4.0])
    y, scale = numpy.array([0.3, -1.2]), 0.7
    trace = handlers.trace(handlers.substitute(good_model, data={"scale": ops.array(scale)})).get_trace(ops.array(y))
    assert [name for name in trace.nodes if trace.nodes[name]["type"] == "sample"] == ["scale", "y"]
    assert float(trace.log_prob_sum()) == pytest.approx(good_log_density(scale, y), rel=1e-10)


@pytest.fixture
def kept(backend, monkeypatch):
    """A param from before the mistake; what the mistake registers is forgotten afterwards."""
    monkeypatch.setattr(registry, "_loaders", dict(registry._loaders))
    ppl.param("kept", ops.array([0.25, 4.0]), constraint=dist.constraints.positive)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gets_a_sentence_and_loses_nothing(backend, kept, row):
    if backend not in row.backends:
        row.act()
    else:
        with pytest.raises(row.error) as caught:
            row.act()
        assert type(caught.value) in (row.error if isinstance(row.error, tuple) else (row.error,))
        message = str(caught.value)
        for part in (*row.failed, row.expected, row.received, row.attempt):
            assert part in message, message
    assert_nothing_is_lost(backend)


@pytest.mark.parametrize("kernel", [infer.NUTS, infer.HMC])
def test_samplers_accept_an_undeclared_dimension(backend, kernel):
    """They need the joint density alone, which no plate changes; the reference's chapter on inference samples such a model."""

    def model(y):
        mu = ppl.sample("mu", dist.Normal(ops.zeros(3), 1.0))
        ppl.sample("y", dist.Normal(mu, 2.0), obs=y)

    draws = sample_with_nuts(model, numpy.array([0.1, 0.2, 0.3]), kernel=kernel).get_samples()["mu"]
    assert ops.shape(draws) == (3, 3)
    assert not am_i_wrapped()


def test_checks_can_be_switched_off(backend):
    """The negative control of the rows on supports and dimensions: without the checks the same calls go through."""
    with ppl.validation_enabled(False):
        sample_with_nuts(coin, numpy.array([0.0, 1.0, 0.5]))
        undeclared_dimension()
    assert not am_i_wrapped()


def test_left_out_data_are_not_judged(backend):
    """What a mask leaves out may hold anything."""

    def model(y):
        p = ppl.sample("p", dist.Beta(2.0, 2.0))
        with ppl.plate("rows", 3), handlers.mask(mask=ops.array([True, True, False])):
            ppl.sample("y", dist.Bernoulli(p), obs=y)

    draws = sample_with_nuts(model, numpy.array([0.0, 1.0, 2.0])).get_samples()["p"]
    assert ops.shape(draws) == (3,)
    assert not am_i_wrapped()


def test_ctrl_c_keeps_the_draws_so_far(backend, kept, monkeypatch):
    real_update, handler = Progress.update, signal.getsignal(signal.SIGINT)

    def update_and_press_ctrl_c(self, count, draws, warming_up):
        real_update(self, count, draws, warming_up)
        if not warming_up:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "update", update_and_press_ctrl_c)
    mcmc = infer.MCMC(infer.NUTS(good_model), 300, 20, progress_bar=False, seed=1)
    with pytest.warns(PplWarning, match=r"of 300 draws of 1 chain\(s\) were kept; try run") as caught:
        mcmc.run(numpy.array([0.3, -1.2]))
    assert mcmc.interrupted
    draws = ops.to_numpy(mcmc.get_samples()["scale"])
    assert f"{len(draws)} of 300" in str(caught[0].message)
    assert 1 <= len(draws) < 300
    assert (draws > 0).all()
    assert signal.getsignal(signal.SIGINT) is handler
    assert_nothing_is_lost(backend)
