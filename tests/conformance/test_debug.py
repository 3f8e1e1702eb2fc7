"""``ppl.debug``: it names the first wrong site of a model that fails, and nothing in one that does not."""

import math

import broken_models as broken
import numpy
import pytest
import sound_models as sound

import ppl
from ppl import distributions as dist
from ppl import ops, tree
from ppl.errors import DiagnosisError, PplError

BROKEN = [pytest.param(*row, id=row[0].__name__) for row in broken.BROKEN]
CRASHING = [row for row in broken.BROKEN if row[0] in (
    broken.negative_scale, broken.sizes_of_a_product, broken.observed_outside, broken.data_of_another_size,
    broken.twice_the_same_name, broken.plates_that_collide)]  # fmt: skip


def names(model, args, site, word):
    report = ppl.debug(model, *args)
    assert report.site == site, str(report)
    assert word in report.reason, str(report)
    return report


@pytest.mark.backends("numpy")
@pytest.mark.parametrize(("model", "args", "site", "word"), BROKEN)
def test_the_right_site_is_named(backend, model, args, site, word):
    names(model, args, site, word)


def wrong_before_a_site():
    ppl.sample("x", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(ops.reshape(ops.zeros((2, 3)), (5,)), 1.0))


def wrong_in_a_plate():
    with ppl.plate("rows", 3):
        ppl.sample("y", dist.Normal(ops.zeros((4,)), 1.0))


@pytest.mark.parametrize("model", [wrong_before_a_site, wrong_in_a_plate])
def test_the_line_is_one_of_the_model(backend, model):
    """Not one of the library that the model called, however deep the error arose."""
    line = model.__code__.co_firstlineno + 2
    with open(__file__) as file:
        text = file.readlines()[line - 1].strip()
    report = names(model, (), "y", f"(at test_debug.py:{line}: {text})")
    assert text.startswith('ppl.sample("y"'), str(report)


@pytest.mark.nightly
@pytest.mark.parametrize(("model", "args", "site", "word"), BROKEN)
def test_the_right_site_is_named_for_arrays_of_every_library(backend, model, args, site, word):
    names(model, tree.map(ops.array, args), site, word)


@pytest.mark.parametrize(("model", "args", "site", "word"), CRASHING[:2])
def test_a_model_that_failed_here_is_explained(backend, model, args, site, word):
    args = tree.map(ops.array, args)
    with pytest.raises((PplError, ValueError, RuntimeError, TypeError)):  # noqa: PT012
        for seed in range(20):
            trace = ppl.handlers.trace(ppl.handlers.seed(model, rng_seed=seed)).get_trace(*args)
            trace.log_prob_sum()
    names(model, args, site, word)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize(("model", "args"), sound.MODELS[::5])
def test_nothing_is_wrong_with_a_sound_model(backend, model, args):
    report = ppl.debug(model, *args)
    assert report.ok, str(report)
    assert report.site is None


def test_the_table_goes_on_to_the_failure(backend, capsys):
    report = names(broken.observed_outside, (broken.Y,), "coin", "outside of the support")
    assert capsys.readouterr().out == f"{report}\n"
    assert report.sites == ("bias", "coin", "after")
    lines = str(report).splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines[:4]] == [
        ("site", "verdict"), ("bias", "ok"), ("coin", "WRONG"), ("after", "ok")]  # fmt: skip
    assert lines[4].startswith("first: site 'coin': its value lies outside of the support boolean: -1.2 .. 2")
    assert lines[5].startswith("  probs: shape (4,), ")


def test_params_have_the_values_of_the_store(backend):
    ppl.get_param_store().setdefault("scale", 2.0, dist.constraints.positive)
    assert ppl.debug(broken.with_a_param, broken.Y).ok
    ppl.get_param_store().set_unconstrained("scale", ops.array(math.nan))
    report = ppl.debug(broken.with_a_param, broken.Y)
    assert (report.site, report.reason) == ("scale", "its value is not finite: nan")


def test_an_interrupted_run_shows_the_line(backend):
    report = names(broken.sizes_of_a_product, (broken.X, broken.Y), "y", "mean = x @ weights")
    assert report.sites == ("weights",)


def test_the_dtype_is_that_of_the_active_backend(backend):
    def model():
        big = ppl.sample("big", dist.Uniform(60.0, 61.0))
        ppl.sample("y", dist.Normal(0.0, ops.exp(2.0 * big)), obs=1.0)

    assert ppl.debug(model).ok
    ops.set_default_dtype("float32")
    try:
        report = ppl.debug(model)
    finally:
        ops.set_default_dtype("float64")
    assert (report.site, ops.default_dtype()) == ("y", "float64")
    assert "inf" in str(report)


def test_wrong_arguments_are_refused():
    with pytest.raises(DiagnosisError, match="expected a callable"):
        ppl.debug(numpy.zeros(3))
    with pytest.raises(DiagnosisError, match="missing a required argument: 'y'"):
        ppl.debug(broken.negative_scale)
