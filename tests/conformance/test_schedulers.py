"""Learning-rate schedules against torch.optim.lr_scheduler, by hand and inside compiled runs."""

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim, registry
from ppl.errors import InferenceError

STEPS = 100
SCHEDULES = {
    "lambda": ("LambdaLR", {"lr_lambda": lambda epoch: 1.0 / (1.0 + 0.1 * epoch)}),
    "step": ("StepLR", {"step_size": 7, "gamma": 0.7}),
    "multi-step": ("MultiStepLR", {"milestones": [5, 20, 20, 60], "gamma": 0.5}),
    "exponential": ("ExponentialLR", {"gamma": 0.97}),
    "cosine": ("CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01}),
    "restarts": ("CosineAnnealingWarmRestarts", {"T_0": 9, "eta_min": 0.001}),
    "restarts-longer": ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2}),
    "cyclic": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 8, "step_size_down": 5}),
    "cyclic-halved": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "mode": "triangular2"}),
    "cyclic-range": (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "mode": "exp_range", "gamma": 0.98, "cycle_momentum": False},
    ),
    "cyclic-scaled": (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "scale_fn": lambda cycle: 1.0 / cycle, "scale_mode": "cycle"},
    ),
    "plateau": ("ReduceLROnPlateau", {"factor": 0.5, "patience": 2, "cooldown": 3, "min_lr": 1e-3}),
    "plateau-max": (
        "ReduceLROnPlateau",
        {"mode": "max", "factor": 0.6, "patience": 1, "threshold_mode": "abs", "threshold": 0.3},
    ),
}
OPTIMIZERS = {"SGD": {"lr": 0.1, "momentum": 0.9}, "Adam": {"lr": 0.1}}
START = numpy.array([1.0, -2.0, 0.5])


def torch_trajectory(name, arguments, optimizer, gradients, metrics):
    torch = pytest.importorskip("torch")
    param = torch.tensor(START, requires_grad=True)
    inner = getattr(torch.optim, optimizer)([param], **OPTIMIZERS[optimizer])
    schedule = getattr(torch.optim.lr_scheduler, name)(inner, **arguments)
    rows, rates = [], []
    for step in range(STEPS):
        param.grad = torch.tensor(gradients[step])
        inner.step()
        schedule.step(*([metrics[step]] if name == "ReduceLROnPlateau" else []))
        rows.append(param.detach().numpy().copy())
        rates.append(inner.param_groups[0]["lr"])
    return numpy.array(rows), numpy.array(rates)


def build(name, arguments, optimizer, **keywords):
    chosen = getattr(optim, optimizer)
    return getattr(optim, name)({"optimizer": chosen, "optim_args": OPTIMIZERS[optimizer], **arguments, **keywords})


def compiled_update(optimizer):
    return ops.compile.compile(optimizer.update) if registry.active().optim.STEP == "compiled" else optimizer.update


def by_hand(optimizer, gradients, metrics):
    """Step as a user does: the optimizer's step, then the schedule's."""
    params, update = {"a": ops.array(START)}, compiled_update(optimizer)
    optimizer.state_for(params)
    follows = optimizer.schedule.react is not None
    rows, rates = [], []
    for step in range(STEPS):
        params, optimizer.state = update({"a": ops.array(gradients[step])}, optimizer.state, params)
        optimizer.step(*([metrics[step]] if follows else []))
        rows.append(ops.to_numpy(params["a"]).copy())
        rates.append(optimizer.get_last_lr()["a"])
    return numpy.array(rows), numpy.array(rates)


def by_steps(optimizer, gradients):
    params, update = {"a": ops.array(START)}, compiled_update(optimizer)
    state, rows = optimizer.init(params), []
    for step in range(STEPS):
        params, state = update({"a": ops.array(gradients[step])}, state, params)
        rows.append(ops.to_numpy(params["a"]).copy())
    return numpy.array(rows)


@pytest.fixture
def gradients(rng):
    return rng.normal(size=(STEPS, 3))


@pytest.fixture
def metrics(rng):
    return numpy.exp(-0.1 * numpy.arange(STEPS)) + 0.1 * rng.normal(size=STEPS)


@pytest.mark.parametrize("row", SCHEDULES)
def test_schedule_by_hand_equals_torch(backend, gradients, metrics, row):
    name, arguments = SCHEDULES[row]
    expected, expected_rates = torch_trajectory(name, arguments, "SGD", gradients, metrics)
    rows, rates = by_hand(build(name, arguments, "SGD"), gradients, metrics)
    numpy.testing.assert_allclose(rates, expected_rates, rtol=0, atol=1e-6)
    assert numpy.abs(rows - expected).max() < 1e-6
    constant, _ = by_hand(build("LambdaLR", {"lr_lambda": lambda epoch: 1.0}, "SGD"), gradients, metrics)
    assert numpy.abs(constant - expected).max() > 1e-3


@pytest.mark.parametrize("row", [row for row in SCHEDULES if not row.startswith("plateau")])
def test_schedule_of_steps_equals_torch(backend, gradients, metrics, row):
    name, arguments = SCHEDULES[row]
    expected, _ = torch_trajectory(name, arguments, "SGD", gradients, metrics)
    assert numpy.abs(by_steps(build(name, arguments, "SGD", steps_per_epoch=1), gradients) - expected).max() < 1e-6


@pytest.mark.parametrize("row", ["step", "cyclic"])
def test_schedule_of_adam_equals_torch(backend, gradients, metrics, row):
    name, arguments = SCHEDULES[row]
    expected, _ = torch_trajectory(name, arguments, "Adam", gradients, metrics)
    rows, _ = by_hand(build(name, arguments, "Adam"), gradients, metrics)
    assert numpy.abs(rows - expected).max() < 1e-6


def test_epochs_of_several_steps(backend, gradients):
    arguments = {"gamma": 0.5}
    automatic = by_steps(build("ExponentialLR", arguments, "SGD", steps_per_epoch=10), gradients)
    manual = build("ExponentialLR", arguments, "SGD")
    params = {"a": ops.array(START)}
    for step in range(STEPS):
        params = manual.step({"a": ops.array(gradients[step])}, params)
        numpy.testing.assert_allclose(ops.to_numpy(params["a"]), automatic[step], rtol=0, atol=1e-9)
        assert abs(manual.get_last_lr()["a"] - 0.1 * 0.5 ** (step // 10)) < 1e-9
        if step % 10 == 9:
            manual.step()


def model(data):
    loc = ppl.sample("loc", dist.Normal(0.0, 10.0))
    with ppl.plate("data", 4):
        ppl.sample("x", dist.Normal(loc, 1.0), obs=data)


def guide(data):
    ppl.sample("loc", dist.Delta(ppl.param("point", lambda: ops.array(0.0))))


def moves(optimizer, num_steps):
    """Return how far the param moves at each step: gradients of one sign and size, so the rates themselves."""
    ppl.clear_param_store()
    fit = infer.SVI(lambda: None, guide_of_constant_slope, optimizer, slope_loss)
    points = [0.0]
    for _ in range(num_steps):
        fit.step()
        points.append(float(ops.to_numpy(ppl.param("point"))))
    return -numpy.diff(points)


def guide_of_constant_slope():
    return ppl.param("point", lambda: ops.array(0.0))


def slope_loss(model, guide):
    return 1.0 * guide()


def test_rates_within_svi_steps(backend):
    steps = moves(optim.ExponentialLR(optimizer=optim.SGD, optim_args={"lr": 0.8}, gamma=0.5, steps_per_epoch=1), 4)
    numpy.testing.assert_allclose(steps, [0.8, 0.4, 0.2, 0.1], rtol=1e-5)
    numpy.testing.assert_allclose(moves(optim.SGD(0.8), 4), [0.8] * 4, rtol=1e-5)


def test_rates_within_a_compiled_run(backend):
    optimizer = optim.StepLR(
        {"optimizer": optim.SGD, "optim_args": {"lr": 1.0}, "step_size": 2, "gamma": 0.5, "steps_per_epoch": 1}
    )
    fit = infer.SVI(lambda: None, guide_of_constant_slope, optimizer, slope_loss)
    result = fit.run(6, progress_bar=False)
    numpy.testing.assert_allclose(result.losses, [0.0, -1.0, -2.0, -2.5, -3.0, -3.25], rtol=1e-5)
    assert abs(optimizer.get_last_lr()["point"] - 0.125) < 1e-9


def test_schedule_between_runs(backend):
    optimizer = optim.ExponentialLR({"optimizer": optim.SGD, "optim_args": {"lr": 1.0}, "gamma": 0.5})
    fit = infer.SVI(lambda: None, guide_of_constant_slope, optimizer, slope_loss)
    ends = []
    for _ in range(3):
        fit.run(2, progress_bar=False)
        ends.append(float(ops.to_numpy(ppl.param("point"))))
        optimizer.step()
    numpy.testing.assert_allclose(ends, [-2.0, -3.0, -3.5], rtol=1e-5)


def test_fit_of_a_model_ends_at_its_mean(backend):
    data = ops.array([1.0, 2.0, 3.0, 4.0])
    optimizer = optim.CosineAnnealingLR(
        {"optimizer": optim.Adam, "optim_args": {"lr": 0.3}, "T_max": 250, "eta_min": 0.0, "steps_per_epoch": 1}
    )
    infer.SVI(model, guide, optimizer, infer.Trace_ELBO()).run(250, data, progress_bar=False)
    assert abs(float(ops.to_numpy(ppl.param("point"))) - 10.0 / 4.01) < 1e-3


def test_later_params_begin_at_their_first_epoch(backend):
    optimizer, one = build("ExponentialLR", {"gamma": 0.5}, "SGD"), ops.array(1.0)
    optimizer.step({"a": one}, {"a": one})
    optimizer.step()
    new = optimizer.step({"a": one, "b": one}, {"a": one, "b": one})
    rates = optimizer.get_last_lr()
    assert abs(rates["a"] - 0.05) < 1e-9
    assert abs(rates["b"] - 0.1) < 1e-9
    assert abs(float(new["b"]) - 0.9) < 1e-6
    assert abs(float(new["a"]) - (1.0 - 0.05 * 1.9)) < 1e-6


@pytest.mark.parametrize("row", ["exponential", "cyclic", "plateau"])
def test_state_survives_a_file(backend, gradients, metrics, tmp_path, row):
    name, arguments = SCHEDULES[row]
    follows = name == "ReduceLROnPlateau"

    def walk(optimizer, params, steps):
        for step in steps:
            params = optimizer.step({"a": ops.array(gradients[step])}, params)
            optimizer.step(*([metrics[step]] if follows else []))
        return {"a": ops.array(ops.to_numpy(params["a"]).copy())}

    first, second = build(name, arguments, "SGD"), build(name, arguments, "SGD")
    middle = walk(first, {"a": ops.array(START)}, range(30))
    first.save(tmp_path / "optimizer.safetensors")
    second.load(tmp_path / "optimizer.safetensors")
    resumed, whole = walk(second, middle, range(30, 45)), walk(first, middle, range(30, 45))
    forgetful = walk(build(name, arguments, "SGD"), middle, range(30, 45))
    numpy.testing.assert_allclose(ops.to_numpy(resumed["a"]), ops.to_numpy(whole["a"]), rtol=0, atol=1e-12)
    assert numpy.abs(ops.to_numpy(forgetful["a"]) - ops.to_numpy(whole["a"])).max() > 1e-4
    with pytest.raises(InferenceError, match="state of optimizer"):
        optim.SGD(lr=0.1).load(tmp_path / "optimizer.safetensors")


def test_epoch_between_load_and_step_counts(backend, tmp_path):
    first, second, one = (
        build("ExponentialLR", {"gamma": 0.5}, "SGD"),
        build("ExponentialLR", {"gamma": 0.5}, "SGD"),
        ops.array(1.0),
    )
    first.step({"a": one}, {"a": one})
    first.save(tmp_path / "optimizer.safetensors")
    second.load(tmp_path / "optimizer.safetensors")
    second.step()
    second.step({"a": one}, {"a": one})
    assert abs(second.get_last_lr()["a"] - 0.05) < 1e-9


@pytest.mark.backends("torch")
def test_classes_of_torch_are_taken(backend, gradients, metrics):
    torch = pytest.importorskip("torch")
    name, arguments = SCHEDULES["step"]
    expected, _ = torch_trajectory(name, arguments, "SGD", gradients, metrics)
    given = {"optimizer": torch.optim.SGD, "optim_args": OPTIMIZERS["SGD"], **arguments}
    rows, _ = by_hand(optim.PyroLRScheduler(torch.optim.lr_scheduler.StepLR, given), gradients, metrics)
    assert numpy.abs(rows - expected).max() < 1e-6
    with pytest.raises(InferenceError, match="OneCycleLR is not a schedule"):
        optim.PyroLRScheduler(torch.optim.lr_scheduler.OneCycleLR, given)


@pytest.mark.backends("jax")
def test_function_that_cannot_be_compiled(backend):
    given = {"lr_lambda": lambda epoch: 1.0 if epoch < 3 else 0.1, "steps_per_epoch": 1}
    fit = infer.SVI(lambda: None, guide_of_constant_slope, build("LambdaLR", given, "SGD"), slope_loss)
    with pytest.raises(InferenceError, match="function of schedule LambdaLR cannot be compiled"):
        fit.step()


INNER = {"optimizer": optim.SGD, "optim_args": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.ExponentialLR({"gamma": 0.5}), "needs the key 'optimizer'"),
        (lambda: optim.ExponentialLR(INNER), "needs the argument 'gamma'"),
        (lambda: optim.ExponentialLR({**INNER, "gamma": 0.5, "speed": 1}), "no argument 'speed'"),
        (lambda: optim.StepLR({**INNER, "step_size": 0}), "step_size above zero"),
        (lambda: optim.CyclicLR({**INNER, "base_lr": 0.1, "max_lr": 0.2, "mode": "square"}), "no mode 'square'"),
        (lambda: optim.ReduceLROnPlateau({**INNER, "threshold_mode": "square"}), "no threshold_mode"),
        (lambda: optim.ReduceLROnPlateau({**INNER, "steps_per_epoch": 1}), "follows a metric"),
        (lambda: optim.LambdaLR({**INNER, "lr_lambda": 0.5}), "needs a function"),
        (lambda: optim.StepLR({**INNER, "step_size": 1, "steps_per_epoch": 0}), "int of 1 or more"),
        (lambda: optim.StepLR({**INNER, "step_size": 1, "steps_per_epoch": 1}).step(), "would count twice"),
        (lambda: optim.StepLR({**INNER, "step_size": 1}).step(0.5), "takes no argument"),
        (lambda: optim.ReduceLROnPlateau(INNER).step(), "takes the metric"),
        (lambda: optim.PyroLRScheduler(max, INNER), "is not a schedule"),
        (
            lambda: optim.ExponentialLR({"optimizer": optim.AdagradRMSProp, "gamma": 0.5}).arguments("a"),
            "moves the learning rate",
        ),
        (lambda: optim.CyclicLR(optimizer=optim.Adagrad, base_lr=0.1, max_lr=0.2).arguments("a"), "moves the momentum"),
    ],
)
def test_bad_arguments(backend, call, message):
    with pytest.raises(InferenceError, match=message):
        call()
