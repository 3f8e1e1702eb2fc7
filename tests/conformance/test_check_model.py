"""``ppl.check_model``: it names the site of each planted fault, and finds nothing in models that are right."""

import numpy
import planted_models as planted
import pytest
import sound_models as sound

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, registry
from ppl.errors import DiagnosisError
from ppl.testing.diagnosis import check
from ppl.testing.diagnosis.agreement import installed

SOUND = [pytest.param(model, args, id=f"{model.__name__}_{index}") for index, (model, args) in enumerate(sound.MODELS)]
# It loads torch, whatever the backend.
LIGHT = [plant for plant in planted.PLANTS if plant.model is not planted.library_by_name]


def beside_numpy(backend):
    return ["numpy"] if backend == "numpy" else ["numpy", backend]


def finds(plant, others=()):
    report = check(plant.model, plant.args, backends=plant.backends(others))
    assert not report.ok
    assert (report.first.site, report.first.check) == (plant.site, plant.check), str(report)
    return report


@pytest.mark.nightly
@pytest.mark.parametrize(("model", "args"), SOUND)
def test_nothing_is_found_in_a_sound_model(backend, model, args):
    report = check(model, args, backends=beside_numpy(backend))
    assert report.ok, str(report)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize(("model", "args"), SOUND[::4])
def test_nothing_is_found_everyday(backend, model, args):
    report = check(model, args, backends=["numpy"])
    assert report.ok, str(report)
    names = tuple(name for name, node in handlers.trace(handlers.seed(model, rng_seed=0)).get_trace(*args).nodes.items()
                  if node["type"] in ("sample", "param", "subsample"))  # fmt: skip
    assert report.sites == names


@pytest.mark.backends("torch", "jax")
def test_a_small_model_is_the_same_beside_numpy(backend):
    def model(y):
        ppl.sample("y", dist.Normal(ppl.sample("loc", dist.Normal(0.0, 1.0)), 1.0), obs=y)

    report = check(model, (0.3,), backends=["numpy", backend])
    assert report.ok, str(report)
    assert report.backends == ("numpy", backend)


@pytest.mark.nightly
@pytest.mark.parametrize("plant", planted.PLANTS, ids=str)
def test_a_planted_fault_is_found(backend, plant):
    others = [] if backend == "numpy" else [backend]
    # Where torch runs the model, numpy alone fails on its functions; it is named all the same.
    finds(plant, others)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("plant", LIGHT, ids=str)
def test_a_planted_fault_is_found_everyday(backend, plant):
    finds(plant)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("plant", LIGHT[::6], ids=str)
def test_a_planted_fault_is_found_beside_torch(backend, plant):
    finds(plant, ["torch"])


@pytest.mark.nightly
@pytest.mark.parametrize("plant", [plant for plant in planted.PLANTS if plant.changes], ids=str)
def test_the_planted_backend_is_the_one_that_is_blamed(backend, plant):
    report = finds(plant, [] if backend == "numpy" else [backend])
    assert report.first.backends == ("planted",), str(report)


def test_negative_control_the_normalized_density_is_right():
    assert not check(planted.unnormalized, (planted.Y,), backends=["numpy"]).ok
    assert check(lambda y: planted.unnormalized(y, planted.NormalizedRamp), (planted.Y,), backends=["numpy"]).ok


def test_a_patched_family_disagrees_with_scipy(monkeypatch):
    def with_scale(self, value):
        return dist.Gamma(self.concentration, 1.0 / self.rate).log_prob(value)

    monkeypatch.setattr(planted.SwappedGamma, "log_prob", with_scale)
    report = check(planted.swapped_arguments, (planted.Y,), backends=["numpy"])
    assert (report.first.site, report.first.check) == ("rate", "log density")
    assert "scipy.stats.gamma says" in report.first.message


def test_check_model_prints_the_table_and_takes_registered_backends(monkeypatch, capsys):
    monkeypatch.setattr(registry, "_loaders", dict(registry._loaders))
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    registry.register("planted", planted.planted_backend(ops={"zeros": planted.ones_for_zeros}))
    monkeypatch.setattr(registry, "names", lambda: ["absent", "planted", "pyro", "numpy"])
    assert installed() == ["numpy", "planted"]
    report = ppl.check_model(planted.with_zeros, planted.Y)
    assert capsys.readouterr().out == f"{report}\n"
    lines = str(report).splitlines()
    assert lines[0] == "2 sites on numpy, planted: 1 FAULT"
    assert [line.split()[0] for line in lines[1:4]] == ["site", "mu", "y"]
    assert lines[3].split()[-2:] == ["log", "density"]
    assert lines[4].startswith("first: site 'y' on planted, log density: ")
    assert "scipy.stats.norm says" in lines[4]


def test_a_model_that_fails_everywhere_shows_the_sites_before_it():
    def model(x):
        w = ppl.sample("w", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
        mean = x @ w
        ppl.sample("y", dist.Normal(mean, 1.0).to_event(1), obs=ops.zeros((3,)))

    report = check(model, (numpy.ones((3, 4)),), backends=["numpy"])
    assert report.sites == ("w", "y")
    assert (report.first.site, report.first.check, report.first.backends) == ("y", "run", ("numpy",))
    assert "on the way to it" in report.first.message
    assert "mean = x @ w" in report.first.message
    assert "the sites before it: w" in report.first.message


@pytest.mark.nightly
@pytest.mark.backends("jax")
def test_a_branch_on_a_value_is_found_where_code_is_compiled(backend):
    report = check(planted.branching, (planted.Y,), backends=["numpy", "jax"])
    assert [(fault.site, fault.check, fault.backends) for fault in report.faults] == [("y", "tracing", ("jax",))], str(report)
    assert "scale = 1.0 if mu > 0.0 else 2.0" in report.first.message


@pytest.mark.backends("torch")
def test_a_model_of_one_library_is_named(backend):
    report = check(planted.library_by_name, (planted.Y,), backends=["numpy"])
    assert (report.first.site, report.first.check) == ("y", "run")
    assert "uses torch by name" in str(report)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'y'"),
        ((1.0, 2.0), {}, "too many positional arguments"),
        ((1.0,), {"z": 1.0}, "unexpected keyword argument 'z'"),
        ((iter([1.0]),), {}, "which one run would use up"),
        ((numpy.array(["a"]),), {}, "dtype <U1, which no backend holds"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused(args, kwargs, words):
    with pytest.raises(DiagnosisError, match=words):
        ppl.check_model(planted.hierarchy, *args, **kwargs)


@pytest.mark.parametrize("model", [None, 3.0, "model", {"model": 1}])
def test_what_is_no_function_is_refused(model):
    with pytest.raises(DiagnosisError, match=f"got {type(model).__name__}; expected a callable"):
        ppl.check_model(model)


def test_a_function_makes_the_arguments_on_each_backend():
    seen = []

    def make():
        seen.append(registry.active().name)
        return (ops.ones((4,)),), {}

    report = check(sound.conjugate, (make,), backends=["numpy", planted.planted_backend()])
    assert report.ok, str(report)
    assert {"numpy", "planted"} == set(seen)


def test_nothing_is_left_behind(backend):
    store, dtype = dict(ppl.get_param_store().items()), ops.default_dtype()
    state = numpy.random.get_state()[1].tolist()
    check(sound.with_params, (sound.Y,), backends=["numpy"])
    assert (dict(ppl.get_param_store().items()), ops.default_dtype()) == (store, dtype)
    assert numpy.random.get_state()[1].tolist() == state
    assert registry.active().name == backend
