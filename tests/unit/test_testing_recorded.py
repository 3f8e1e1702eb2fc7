"""Recorded draws: another backend or a second run gets the same numbers, and another order of draws is named."""

import importlib.util

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import infer, ops
from ppl.errors import RecordingError
from ppl.ops import autodiff, random
from ppl.testing import RecordedRandom, assert_close

OTHERS = [name for name in ("numpy", "torch", "jax") if importlib.util.find_spec(name)]


@pytest.fixture
def double():
    """Run a block of each backend in float64."""
    before = {}

    def enter(name):
        with ppl.pyro_backend(name):
            before[name] = ops.default_dtype()
            ops.set_default_dtype("float64")
        return name

    yield enter
    for name, dtype in before.items():
        with ppl.pyro_backend(name):
            ops.set_default_dtype(dtype)


def model():
    scale = ppl.sample("scale", dist.Gamma(2.0, 1.0))
    with ppl.plate("rows", 3):
        x = ppl.sample("x", dist.Normal(1.0, scale))
        kind = ppl.sample("kind", dist.Categorical(ops.array([0.2, 0.3, 0.5])))
        count = ppl.sample("count", dist.Poisson(4.0))
    place = ppl.sample("place", dist.MultivariateNormal(ops.zeros(2), ops.eye(2)))
    part = ppl.sample("part", dist.Beta(2.0, 3.0))
    return [ops.to_numpy(value) for value in (scale, x, kind, count, place, part)]


@pytest.mark.parametrize("played", OTHERS)
def test_the_draws_of_one_backend_are_those_of_another(played, double):
    recorded = RecordedRandom(double("numpy"))
    with ppl.pyro_backend(recorded):
        first = model()
    again = recorded.on(double(played))
    assert again.remaining == len(recorded.draws) == 6
    with ppl.pyro_backend(again):
        second = model()
    assert again.remaining == 0
    for found, expected in zip(second, first, strict=True):
        numpy.testing.assert_allclose(found, expected, rtol=1e-14)
        assert found.dtype.kind == expected.dtype.kind


@pytest.mark.parametrize("source", [name for name in OTHERS if name != "numpy"])
def test_other_backends_record_too(source, double):
    recorded = RecordedRandom(double(source))
    with ppl.pyro_backend(recorded):
        first = model()
    with ppl.pyro_backend(recorded.on(double("numpy"))):
        second = model()
    for found, expected in zip(second, first, strict=True):
        numpy.testing.assert_allclose(found, expected, rtol=1e-14)


def test_negative_control_without_a_recording_runs_differ():
    with ppl.pyro_backend("numpy"):
        assert not numpy.array_equal(model()[1], model()[1])


def test_a_draw_is_described():
    recorded = RecordedRandom("numpy")
    with ppl.pyro_backend(recorded):
        value = random.beta(random.key(0), ops.array([2.0, 3.0], dtype="float32"), 1.0, (4, 2))
        random.randint(random.key(0), (2,), -1, 5)
        random.choice(random.key(0), 10, 3)
    beta, integers, choice = recorded.draws
    assert (beta.function, beta.dtype) == ("beta", "float32")
    assert beta.shapes == {"concentration1": (2,), "concentration0": ()}
    assert str(beta) == "beta(concentration1 of shape (2,), concentration0 of shape (), shape=(4, 2))"
    assert str(integers) == "randint(shape=(2,), low=-1, high=5)"
    assert str(choice) == "choice(n=10, size=3)"
    numpy.testing.assert_array_equal(beta.value, value)
    with pytest.raises(ValueError, match="read-only"):
        beta.value[0] = 0.0


def one_normal():
    return random.normal(random.key(0), (2,))


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            lambda: random.uniform(None, (2,)),
            r"draw 1 is uniform\(shape=\(2,\)\), in the recording it is normal\(shape",
        ),
        (lambda: random.normal(None, (3,)), r"draw 1 is normal\(shape=\(3,\)\), in the recording it is normal\(shape=\(2,\)\)"),
        (
            lambda: random.gamma(None, ops.ones(2), (2,)),
            r"draw 1 is gamma\(concentration of shape \(2,\), shape=\(2,\)\), in",
        ),
        (
            lambda: (one_normal(), one_normal()),
            r"draw 2 is normal\(shape=\(2,\)\), but the recording ends after 1; expected",
        ),
    ],
    ids=["family", "shape", "parameters", "end"],
)
def test_another_order_is_named(other, sentence):
    recorded = RecordedRandom("numpy")
    with ppl.pyro_backend(recorded):
        one_normal()
    with ppl.pyro_backend(recorded.on("numpy")), pytest.raises(RecordingError, match=sentence):
        other()


def test_fewer_draws_remain():
    recorded = RecordedRandom("numpy")
    with ppl.pyro_backend(recorded):
        one_normal()
        one_normal()
    again = recorded.on("numpy")
    with ppl.pyro_backend(again):
        one_normal()
    assert (again.remaining, recorded.remaining) == (1, 0)


def test_draws_take_the_dtype_of_the_run_that_plays_them():
    recorded = RecordedRandom("numpy")
    with ppl.pyro_backend(recorded):
        random.normal(None, (2,), "float64")
    with ppl.pyro_backend(recorded.on("numpy")):
        assert ops.dtype_name(random.normal(None, (2,), "float32")) == "float32"


def data_model():
    mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
    ppl.sample("data", dist.Normal(mean, 1.0), obs=ops.array(0.7))


def guide():
    ppl.sample("mean", dist.Normal(ppl.param("loc", 0.3), 0.5))


def elbo():
    return float(infer.Trace_ELBO(num_particles=3).loss(data_model, guide))


@pytest.mark.parametrize("played", OTHERS)
def test_an_estimate_of_the_elbo_is_the_same_number(played, double):
    """By hand: the mean over the recorded draws of log q - log p."""
    recorded = RecordedRandom(double("numpy"))
    with ppl.pyro_backend(recorded):
        elbo()
    z = numpy.array([float(draw.value) for draw in recorded.draws])
    x = 0.3 + 0.5 * z
    log_q = -0.5 * z**2 - numpy.log(0.5)
    log_p = -0.5 * x**2 - 0.5 * (0.7 - x) ** 2 - 0.5 * numpy.log(2 * numpy.pi)
    with ppl.pyro_backend(recorded.on(double(played))):
        ppl.clear_param_store()
        assert elbo() == pytest.approx(float(numpy.mean(log_q - log_p)), rel=1e-9)
        ppl.clear_param_store()


def test_gradients_flow_past_played_draws():
    recorded = RecordedRandom("numpy")
    with ppl.pyro_backend(recorded):
        dist.Normal(0.0, 2.0).sample((3,))
    with ppl.pyro_backend(recorded.on("numpy")):
        gradient = autodiff.grad(lambda scale: ops.sum(dist.Normal(0.0, scale).rsample((3,))))(ops.array(2.0))
        assert_close(gradient, recorded.draws[0].value.sum())


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "numpy"])
def test_draws_of_a_trace_are_refused(name):
    with (
        ppl.pyro_backend(RecordedRandom(name)),
        pytest.raises(RecordingError, match="normal draws inside of compiled code or vmap"),
    ):
        autodiff.vmap(lambda x: x + random.normal(random.key(0), ()))(ops.ones(3))
