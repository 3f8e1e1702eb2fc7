"""Runs of SVI: batches, early stopping, histories and pictures, compiled steps, and fits that go on from a file."""

import io
import sys

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import ops, optim
from ppl.distributions import constraints
from ppl.errors import CheckpointError, InferenceError
from ppl.infer import autoguide
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.elbo.jit_elbo import JitTrace_ELBO
from ppl.infer.svi import SVI, EarlyStopping, programs
from ppl.infer.svi.stopping import Watch

QUIET = {"progress_bar": False}
RATE = 0.01


def value(name):
    return ops.to_numpy(ppl.get_param_store()[name]).copy()


def point_model(x, total=6):
    with ppl.plate("rows", total, subsample_size=x.shape[0]):
        ppl.sample("x", dist.Normal(ppl.param("loc", 0.0), 1.0), obs=x)


def no_guide(x, total=6):
    return None


def point_fit(loss=None, **options):
    return SVI(point_model, no_guide, optim.SGD(lr=RATE), loss or Trace_ELBO(), **options)


def descent(batches, total=6, start=0.0):
    """Return where gradient descent on the negative log likelihood of a normal mean goes, and its losses, by hand."""
    loc, losses = start, []
    for batch in batches:
        weight = total / len(batch)
        losses.append(-weight * stats.norm(loc, 1.0).logpdf(batch).sum())
        loc += RATE * weight * (batch - loc).sum()
    return loc, losses


# ---- batches ----


def test_a_list_of_batches_begins_again(backend, rng):
    batches = [rng.normal(1.0, 1.0, 3), rng.normal(2.0, 1.0, 3), rng.normal(3.0, 1.0, 2)]
    result = point_fit().run(7, batches=batches, **QUIET)
    loc, losses = descent((batches * 3)[:7])
    numpy.testing.assert_allclose(result.losses, losses, rtol=1e-10)
    assert value("loc") == pytest.approx(loc, rel=1e-10)
    assert result.stopped == ""
    assert abs(descent(batches[:1] * 7)[0] - loc) > 1e-3


def test_an_iterator_ends_the_run(backend, rng):
    batches = [rng.normal(1.0, 1.0, 3) for _ in range(3)]
    svi = point_fit()
    result = svi.run(100, batches=iter(batches), **QUIET)
    loc, losses = descent(batches)
    numpy.testing.assert_allclose(result.losses, losses, rtol=1e-10)
    assert result.stopped == "batches"
    one_pass = svi.run(batches=batches, **QUIET)
    assert len(one_pass.losses) == 3
    assert one_pass.stopped == ""
    assert value("loc") == pytest.approx(descent(batches, start=loc)[0], rel=1e-10)


def test_ways_to_give_a_batch(backend, rng):
    x = rng.normal(1.0, 1.0, 3)
    batches = [(x, 6), [x, 12], {"x": x, "total": 3}, x]
    point_fit().run(batches=batches, **QUIET)
    loc = 0.0
    for total in (6, 12, 3, 6):
        loc = descent([x], total, loc)[0]
    assert value("loc") == pytest.approx(loc, rel=1e-10)
    ppl.clear_param_store()
    point_fit().run(1, x, batches=[(12,)], **QUIET)
    assert value("loc") == pytest.approx(descent([x], 12)[0], rel=1e-10)


def test_batches_that_give_none(backend):
    for batches in ([], iter(())):
        with pytest.raises(InferenceError, match=r"the batches gave none.*fresh generator"):
            point_fit().run(3, batches=batches, **QUIET)
    for batches in (5, "abc", {"x": 1}):
        with pytest.raises(InferenceError, match="batches is an iterable whose items are the arguments"):
            point_fit().run(3, batches=batches, **QUIET)


@pytest.mark.backends("jax")
def test_batches_of_one_shape_compile_nothing(backend, rng):
    calls = []

    def model(x):
        calls.append(1)
        point_model(x)

    svi = SVI(model, no_guide, optim.SGD(lr=RATE), Trace_ELBO())
    batches = [rng.normal(size=3) for _ in range(4)]
    svi.run(4, batches=batches, **QUIET)
    before = len(calls)
    svi.run(9, batches=batches, **QUIET)
    assert len(calls) == before
    svi.run(1, batches=[rng.normal(size=2)], **QUIET)
    assert len(calls) > before


# ---- early stopping and histories ----


def stop_of(losses, patience, tolerance, window):
    """Return after how many steps the rule of the documentation ends a run, over all blocks at once."""
    means = [numpy.mean(losses[start : start + window]) for start in range(0, len(losses) - window + 1, window)]
    progress = [index == 0 or mean < min(means[:index]) - tolerance * abs(min(means[:index])) for index, mean in enumerate(means)]
    for index in range(len(means)):
        if index >= patience and not any(progress[index - patience + 1 : index + 1]):
            return (index + 1) * window
    return len(losses)


def test_a_run_ends_when_the_loss_has_settled(backend, rng):
    x = rng.normal(1.0, 1.0, 6)
    losses = descent([x] * 300)[1]
    expected = stop_of(losses, 3, 1e-3, 7)
    assert 28 < expected < 300
    result = point_fit().run(300, x, early_stopping=EarlyStopping(patience=3, relative_tolerance=1e-3, window=7), **QUIET)
    assert len(result.losses) == expected
    assert result.stopped == "converged"
    assert value("loc") == pytest.approx(descent([x] * expected)[0], rel=1e-10)
    patient = point_fit().run(40, x, early_stopping=EarlyStopping(patience=30, window=7), **QUIET)
    assert len(patient.losses) == 40


def test_rules_that_make_no_sense():
    for bad in ({"patience": 0}, {"window": 2.5}, {"window": True}, {"relative_tolerance": -1.0}):
        with pytest.raises(InferenceError, match=f"EarlyStopping needs {next(iter(bad))}"):
            EarlyStopping(**bad)


def test_wrong_rule(backend):
    with pytest.raises(InferenceError, match="early_stopping is an EarlyStopping or None, received int"):
        point_fit().run(3, numpy.zeros(6), early_stopping=5, **QUIET)


def test_losses_are_kept(backend, rng):
    x = rng.normal(1.0, 1.0, 6)
    svi = point_fit()
    assert svi.losses.shape == (0,)
    svi.step(x)
    svi.run(3, x, **QUIET)
    assert svi.num_steps_taken == 4
    numpy.testing.assert_allclose(svi.losses, descent([x] * 4)[1], rtol=1e-10)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_bar_shows_the_loss(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    watch = Watch(20, True)
    watch.note([4.0, 2.0], 1)
    watch.close(1)
    assert "loss 3, 1 skipped" in stream.getvalue()
    assert "2/20" in stream.getvalue()
    silent = Terminal()
    monkeypatch.setattr(sys, "stderr", silent)
    watch = Watch(20, False)
    watch.note([4.0, 2.0], 1)
    watch.close(0)
    assert silent.getvalue() == ""


def test_picture_of_the_losses(backend, rng, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    result = point_fit().run(10, rng.normal(1.0, 1.0, 6), **QUIET)
    axes = result.plot_loss(figure.subplots(), window=4)
    losses, means = (line.get_ydata() for line in axes.get_lines())
    numpy.testing.assert_array_equal(losses, result.losses)
    numpy.testing.assert_allclose(means, [result.losses[start : start + 4].mean() for start in range(7)], rtol=1e-10)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr("matplotlib.pyplot", raising=False)
    with pytest.raises(InferenceError, match=r"plot_loss needs matplotlib.*pip install matplotlib"):
        result.plot_loss()


# ---- compiled steps ----


@pytest.fixture
def recorded_only(monkeypatch):
    """Keep torch from going on to its compiler, which takes seconds: the recorded graph is the same function."""
    monkeypatch.setattr(programs, "ALWAYS", None)


@pytest.mark.backends("numpy", "torch")
def test_a_jit_loss_runs_the_model_no_more(backend, rng, recorded_only):
    x = rng.normal(1.0, 1.0, 6)
    calls = []

    def model(x):
        calls.append(1)
        point_model(x)

    svi = SVI(model, no_guide, optim.SGD(lr=RATE), JitTrace_ELBO())
    svi.step(x)
    before = len(calls)
    losses = svi.run(20, x, **QUIET).losses
    svi.step(x + 1.0)
    assert len(calls) == before
    loc, expected = descent([x] * 21)
    numpy.testing.assert_allclose(losses, expected[1:], rtol=1e-10)
    assert value("loc") == pytest.approx(descent([x + 1.0], start=loc)[0], rel=1e-10)
    svi.step(x[:3])
    assert len(calls) > before


def normal_model(x):
    mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", 40, subsample_size=4) as index:
        ppl.sample("x", dist.Normal(mean, 1.0), obs=ops.take(x, index, axis=0))


def normal_guide(x):
    loc = ppl.param("loc", 0.0)
    scale = ppl.param("scale", 0.3, constraint=constraints.positive)
    ppl.sample("mean", dist.Normal(loc, scale))


@pytest.mark.backends("numpy", "torch")
def test_compiled_steps_draw_anew(backend, rng, recorded_only):
    x = rng.normal(1.0, 1.0, 40)
    svi = SVI(normal_model, normal_guide, optim.Adam(lr=0.02), JitTrace_ELBO())
    svi.run(300, x, rng_key=0, **QUIET)
    tail = []
    for start in range(1, 301):
        svi.run(1, x, rng_key=start, **QUIET)
        tail.append(value("loc"))
    precision = 0.25 + len(x)
    assert len(set(numpy.round(svi.losses, 9))) > 500
    assert abs(numpy.mean(tail) - x.sum() / precision) < 1.5 * precision**-0.5
    assert abs(numpy.mean(tail)) > 1.5 * precision**-0.5


@pytest.mark.backends("numpy", "torch")
def test_compiled_steps_refuse_what_is_not_finite(backend, recorded_only):
    def model(x):
        with ppl.validation_enabled(False):
            ppl.sample("bad", dist.Normal(ppl.param("loc", 0.5), ops.sqrt(x)), obs=ops.array(0.5))

    with ppl.validation_enabled(False):
        svi = SVI(model, no_guide, optim.SGD(lr=0.1), JitTrace_ELBO())
        svi.step(ops.array(1.0))
        with pytest.raises(InferenceError, match=r"the loss is nan at step 1.*model site bad.*loc = 0.5"):
            svi.step(ops.array(-1.0))
        assert value("loc") == 0.5


@pytest.mark.backends("numpy", "torch")
def test_params_may_appear_later_in_compiled_steps(backend, recorded_only):
    def model(count):
        for index in range(count):
            ppl.sample(f"x{index}", dist.Normal(ppl.param(f"loc{index}", 0.0), 1.0), obs=ops.array(3.0))

    svi = SVI(model, lambda count: None, optim.SGD(lr=0.5), JitTrace_ELBO())
    svi.step(1)
    svi.step(2)
    assert value("loc0") == pytest.approx(2.25)
    assert value("loc1") == pytest.approx(1.5)


@pytest.mark.nightly
@pytest.mark.backends("torch")
def test_steps_through_the_compiler(backend, rng, tmp_path):
    """The compiled trajectory is the one by hand, and goes on from a file with the same bits."""
    x = rng.normal(1.0, 1.0, 6)
    svi = point_fit(JitTrace_ELBO())
    losses = svi.run(30, x, **QUIET).losses
    numpy.testing.assert_allclose(losses, descent([x] * 30)[1], rtol=1e-8)
    (gradient,) = svi._gradients.values()
    assert [program.stage for program in gradient._run.programs.values()] == ["compiled"]
    svi.save(tmp_path / "fit")
    expected = svi.run(5, x, **QUIET).losses
    other = point_fit(JitTrace_ELBO())
    other.load(tmp_path / "fit", x)
    numpy.testing.assert_array_equal(other.run(5, x, **QUIET).losses, expected)


# ---- fits that go on from a file ----


def auto_fit(loss=None, optimizer=None):
    return SVI(normal_model, autoguide.AutoDiagonalNormal(normal_model), optimizer or optim.Adam(lr=0.05), loss or Trace_ELBO())


@pytest.mark.parametrize("loss", [Trace_ELBO, pytest.param(JitTrace_ELBO, marks=pytest.mark.backends("numpy", "torch"))])
def test_a_resumed_fit_continues_with_the_same_bits(backend, rng, tmp_path, recorded_only, loss):
    x = rng.normal(1.0, 1.0, 40)
    ppl.set_rng_seed(3)
    first = auto_fit(loss())
    first.run(5, x, **QUIET)
    first.save(tmp_path / "fit")
    expected = [first.run(6, x, **QUIET).losses, numpy.array([first.step(x)])]
    params = {name: value(name) for name in ppl.get_param_store().keys()}
    ppl.clear_param_store()
    ppl.set_rng_seed(4)
    second = auto_fit(loss())
    second.load(tmp_path / "fit", x)
    assert second.num_steps_taken == 5
    numpy.testing.assert_array_equal(second.run(6, x, **QUIET).losses, expected[0])
    numpy.testing.assert_array_equal([second.step(x)], expected[1])
    for name, known in params.items():
        numpy.testing.assert_array_equal(value(name), known)
    numpy.testing.assert_array_equal(second.losses, first.losses)
    assert not numpy.array_equal(second.run(6, x, **QUIET).losses, expected[0])


def contents():
    store = ppl.get_param_store()
    return {name: ops.to_numpy(store.get_unconstrained(name)).tolist() for name in store.keys()}


def test_a_fit_of_another_model_is_refused_whole(backend, rng, tmp_path):
    x = rng.normal(1.0, 1.0, 6)
    saved = point_fit()
    saved.run(3, x, **QUIET)
    saved.save(tmp_path / "fit")

    def other_model(x, total=6):
        ppl.sample("x", dist.Normal(ppl.param("other", 0.25), 1.0).expand((6,)).to_event(1), obs=x)

    def positive_model(x, total=6):
        ppl.sample("x", dist.Normal(ppl.param("loc", 0.5, constraint=constraints.positive), 1.0).expand((6,)).to_event(1), obs=x)

    others = [
        (other_model, optim.SGD(lr=RATE), r"is of another model.*'loc'.*'other'"),
        (positive_model, optim.SGD(lr=RATE), r"is of another model.*'real'.*'positive'"),
        (point_model, optim.Adam(lr=RATE), "holds the state of optimizer 'PyroOptim sgd', but this fit has 'PyroOptim adam'"),
    ]
    for model, optimizer, match in others:
        svi = SVI(model, no_guide, optimizer, Trace_ELBO())
        ppl.clear_param_store()
        ppl.param("kept", 2.0)
        before, stream = contents(), repr(ops.random.get_state())
        with pytest.raises(CheckpointError, match=match):
            svi.load(tmp_path / "fit", x)
        assert contents() == before
        assert repr(ops.random.get_state()) == stream
        assert svi.num_steps_taken == 0


def test_a_damaged_file_is_refused(backend, rng, tmp_path):
    x = rng.normal(1.0, 1.0, 6)
    svi = point_fit()
    with pytest.raises(CheckpointError, match="there is no fit to save"):
        svi.save(tmp_path / "fit")
    with pytest.raises(CheckpointError, match="there is no file"):
        svi.load(tmp_path / "absent", x)
    svi.run(3, x, **QUIET)
    svi.save(tmp_path / "fit")
    content = (tmp_path / "fit").read_bytes()
    before = contents()
    damaged = {
        "is truncated or damaged": content[: len(content) // 2],
        "its checksum is not that of its contents": content[:-1] + bytes([content[-1] ^ 1]),
        "holds no fit": content.replace(b"ppl.svi", b"ppl.xyz"),
        "has schema 9, but": content.replace(b'"schema":"1"', b'"schema":"9"'),
    }
    for match, wrong in damaged.items():
        assert wrong != content
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(CheckpointError, match=match):
            svi.load(tmp_path / "wrong", x)
        assert contents() == before
    assert svi.num_steps_taken == 3


# ---- optimizers of a library ----


@pytest.mark.backends("torch")
def test_a_class_of_torch_is_an_optimizer(backend, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(1.0, 1.0, 6)
    with pytest.raises(InferenceError, match=r"SVI needs an optimizer.*an instance of 'SGD' of library 'torch'"):
        SVI(point_model, no_guide, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE), Trace_ELBO())
    svi = SVI(point_model, no_guide, optim.PyroOptim(torch.optim.SGD, {"lr": RATE}), Trace_ELBO())
    svi.run(3, x, **QUIET)
    assert value("loc") == pytest.approx(descent([x] * 3)[0], rel=1e-10)


@pytest.mark.backends("jax")
def test_a_transformation_of_optax_is_an_optimizer(backend, rng):
    optax = pytest.importorskip("optax")
    x = rng.normal(1.0, 1.0, 6)
    SVI(point_model, no_guide, optax.sgd(RATE), Trace_ELBO()).run(3, x, **QUIET)
    assert value("loc") == pytest.approx(descent([x] * 3)[0], rel=1e-10)


def test_an_optimizer_of_another_library(backend):
    class Foreign:
        pass

    with pytest.raises(InferenceError, match=r"SVI needs an optimizer of ppl\.optim.*'Foreign'.*try"):
        SVI(point_model, no_guide, Foreign(), Trace_ELBO())


def test_an_optimizer_state_that_does_not_fit_is_refused_whole(backend, rng, tmp_path, monkeypatch):
    """The last thing that is looked at; params that were put in place by then go back."""
    x = rng.normal(1.0, 1.0, 6)
    saved = SVI(point_model, no_guide, optim.Adam(lr=RATE), Trace_ELBO())
    saved.run(3, x, **QUIET)
    state = saved.optim.get_state()
    entry = [key for key, number in state["loc"].items() if hasattr(number, "shape")][-1]
    state["loc"][entry] = numpy.zeros((2, 3))
    monkeypatch.setattr(saved.optim, "get_state", lambda: state)
    saved.save(tmp_path / "fit")
    ppl.clear_param_store()
    ppl.param("loc", 4.0)
    fresh = SVI(point_model, no_guide, optim.Adam(lr=RATE), Trace_ELBO())
    with pytest.raises(CheckpointError, match=r"does not fit this model: optimizer state of param 'loc'"):
        fresh.load(tmp_path / "fit", x)
    assert value("loc") == 4.0
    assert fresh.num_steps_taken == 0
    fresh.step(x)
    assert value("loc") != 4.0
