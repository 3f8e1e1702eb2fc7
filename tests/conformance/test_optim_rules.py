"""Every rule against torch.optim on fixed gradients; the rules that torch lacks against their formulas in numpy."""

import importlib

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim, registry
from ppl.errors import InferenceError

STEPS = 100
RULES = {
    "adamw": ("AdamW", {"lr": 0.05}),
    "adamw-all": (
        "AdamW",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2, "amsgrad": True, "maximize": True},
    ),
    "adagrad": ("Adagrad", {"lr": 0.3}),
    "adagrad-all": (
        "Adagrad",
        {"lr": 0.3, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-4, "maximize": True},
    ),
    "adadelta": ("Adadelta", {}),
    "adadelta-all": ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    "adamax": ("Adamax", {"lr": 0.05}),
    "adamax-all": ("Adamax", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    "asgd": ("ASGD", {"lr": 0.05}),
    "asgd-all": ("ASGD", {"lr": 0.05, "lambd": 0.1, "alpha": 0.6, "t0": 20, "weight_decay": 0.1, "maximize": True}),
    "rprop": ("Rprop", {"lr": 0.05}),
    "rprop-all": ("Rprop", {"lr": 0.05, "etas": (0.4, 1.5), "step_sizes": (0.01, 0.2), "maximize": True}),
    "rmsprop": ("RMSprop", {"lr": 0.05}),
    "rmsprop-all": ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.8, "maximize": True}),
    "rmsprop-centered": ("RMSprop", {"lr": 0.02, "alpha": 0.9, "momentum": 0.5, "centered": True}),
    "sparse-adam": ("SparseAdam", {"lr": 0.05, "betas": (0.8, 0.95)}),
    "sparse-adam-maximize": ("SparseAdam", {"lr": 0.05, "eps": 1e-4, "maximize": True}),
    "lbfgs": ("LBFGS", {"lr": 0.1, "history_size": 5}),
    "lbfgs-default": ("LBFGS", {}),
}
START = {"a": numpy.array([1.0, -2.0, 0.5]), "b": numpy.arange(4.0).reshape(2, 2)}
CURVATURE = numpy.array([0.5, 1.0, 2.0])


def gradients_for(rng, name):
    gradients = {"a": rng.normal(size=(STEPS, 3)), "b": rng.normal(size=(STEPS, 2, 2)) + 0.3}
    if name == "SparseAdam":
        for value in gradients.values():
            value[rng.uniform(size=value.shape) < 0.6] = 0.0
    return gradients


def gradient_at(name, step, params, gradients):
    """Return the gradients of a step: L-BFGS learns from those of a bowl, all others get what is fixed."""
    if name == "LBFGS":
        return {"a": CURVATURE * params["a"] + 0.1 * params["a"] ** 3, "b": 3.0 * (params["b"] - 1.0)}
    return {key: value[step] for key, value in gradients.items()}


def torch_trajectory(name, arguments, gradients):
    torch = pytest.importorskip("torch")
    params = {key: torch.tensor(value, requires_grad=True) for key, value in START.items()}
    extra = {"max_iter": 1} if name == "LBFGS" else {}
    optimizer = getattr(torch.optim, name)(list(params.values()), **arguments, **extra)
    rows = []
    for step in range(STEPS):
        plain = {key: value.detach().numpy() for key, value in params.items()}
        for key, gradient in gradient_at(name, step, plain, gradients).items():
            gradient = torch.tensor(gradient)
            params[key].grad = gradient.to_sparse() if name == "SparseAdam" else gradient
        optimizer.step(lambda: torch.zeros(()))
        rows.append({key: value.detach().numpy().copy() for key, value in params.items()})
    return rows


def own_trajectory(optimizer, name, gradients):
    params = {key: ops.array(value) for key, value in START.items()}
    state = optimizer.init(params)
    update = ops.compile.compile(optimizer.update) if registry.active().optim.STEP == "compiled" else optimizer.update
    rows = []
    for step in range(STEPS):
        plain = {key: ops.to_numpy(value) for key, value in params.items()}
        now = {key: ops.array(value) for key, value in gradient_at(name, step, plain, gradients).items()}
        params, state = update(now, state, params)
        rows.append({key: ops.to_numpy(value).copy() for key, value in params.items()})
    return rows


def furthest(rows, others):
    return max(numpy.abs(row[key] - other[key]).max() for row, other in zip(rows, others, strict=True) for key in row)


@pytest.mark.parametrize("rule", RULES)
def test_trajectory_equals_torch(backend, rng, rule):
    name, arguments = RULES[rule]
    gradients = gradients_for(rng, name)
    rows = own_trajectory(getattr(optim, name)(arguments), name, gradients)
    assert furthest(rows, torch_trajectory(name, arguments, gradients)) < 1e-6


@pytest.mark.parametrize(
    ("name", "arguments", "wrong"),
    [
        ("AdamW", {"lr": 0.05}, {"lr": 0.05, "weight_decay": 0.02}),
        ("RMSprop", {"lr": 0.05}, {"lr": 0.05, "alpha": 0.98}),
        ("Rprop", {"lr": 0.05}, {"lr": 0.05, "etas": (0.5, 1.25)}),
    ],
)
def test_trajectory_of_other_arguments_differs(backend, rng, name, arguments, wrong):
    gradients = gradients_for(rng, name)
    rows = own_trajectory(getattr(optim, name)(wrong), name, gradients)
    assert furthest(rows, torch_trajectory(name, arguments, gradients)) > 1e-3


def clipped_adam_by_formula(gradients, lr, betas, eps, weight_decay, clip_norm, lrd):
    params, rows = {key: value.copy() for key, value in START.items()}, []
    first = {key: numpy.zeros_like(value) for key, value in params.items()}
    second = {key: numpy.zeros_like(value) for key, value in params.items()}
    for step in range(1, STEPS + 1):
        for key, value in params.items():
            gradient = numpy.clip(gradients[key][step - 1], -clip_norm, clip_norm) + weight_decay * value
            first[key] = betas[0] * first[key] + (1 - betas[0]) * gradient
            second[key] = betas[1] * second[key] + (1 - betas[1]) * gradient**2
            rate = lr * lrd**step * numpy.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
            params[key] = value - rate * first[key] / (numpy.sqrt(second[key]) + eps)
        rows.append(dict(params))
    return rows


def adagrad_rmsprop_by_formula(gradients, eta, delta, t):
    params, total, rows = {key: value.copy() for key, value in START.items()}, {}, []
    for step in range(1, STEPS + 1):
        for key, value in params.items():
            gradient = gradients[key][step - 1]
            total[key] = t * gradient**2 + (1 - t) * total[key] if step > 1 else gradient**2
            params[key] = value - eta * step ** (-0.5 + delta) * gradient / (1 + numpy.sqrt(total[key]))
        rows.append(dict(params))
    return rows


def test_clipped_adam_by_its_formula(backend, rng):
    gradients = gradients_for(rng, "ClippedAdam")
    arguments = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "clip_norm": 0.5, "lrd": 0.98}
    expected = clipped_adam_by_formula(gradients, **arguments)
    assert furthest(own_trajectory(optim.ClippedAdam(arguments), "ClippedAdam", gradients), expected) < 1e-10
    unclipped = own_trajectory(optim.ClippedAdam({**arguments, "clip_norm": 5.0}), "ClippedAdam", gradients)
    assert furthest(unclipped, expected) > 1e-3


def test_adagrad_rmsprop_by_its_formula(backend, rng):
    gradients = gradients_for(rng, "AdagradRMSProp")
    arguments = {"eta": 0.7, "delta": 0.01, "t": 0.3}
    expected = adagrad_rmsprop_by_formula(gradients, **arguments)
    assert furthest(own_trajectory(optim.AdagradRMSProp(arguments), "AdagradRMSProp", gradients), expected) < 1e-10
    uphill = own_trajectory(
        optim.AdagradRMSProp(**arguments, maximize=True), "AdagradRMSProp", {key: -value for key, value in gradients.items()}
    )
    assert furthest(uphill, expected) < 1e-10


def test_lbfgs_finds_the_minimum_of_a_quadratic(backend):
    matrix = numpy.array([[3.0, 1.0, 0.2], [1.0, 2.0, 0.1], [0.2, 0.1, 0.5]])
    target = numpy.array([1.0, -1.0, 2.0])
    solution = numpy.linalg.solve(matrix, target)
    params = {"u": ops.array(numpy.zeros(2)), "v": ops.array(numpy.zeros(1))}
    optimizer = optim.LBFGS(tolerance_change=0.0)
    for _ in range(30):
        point = numpy.concatenate([ops.to_numpy(params["u"]), ops.to_numpy(params["v"])])
        gradient = matrix @ point - target
        params = optimizer.step({"u": ops.array(gradient[:2]), "v": ops.array(gradient[2:])}, params)
    numpy.testing.assert_allclose(numpy.concatenate([ops.to_numpy(params[key]) for key in "uv"]), solution, atol=1e-6)


def conjugate_model(data):
    loc = ppl.sample("loc", dist.Normal(0.0, 10.0))
    with ppl.plate("data", 4):
        ppl.sample("x", dist.Normal(loc, 1.0), obs=data)


def point_guide(data):
    ppl.sample("loc", dist.Delta(ppl.param("point", lambda: ops.array(0.0))))


def test_lbfgs_fits_a_model(backend):
    data = ops.array([1.0, 2.0, 3.0, 4.0])
    infer.SVI(conjugate_model, point_guide, optim.LBFGS(), infer.Trace_ELBO()).run(12, data, progress_bar=False)
    assert abs(float(ops.to_numpy(ppl.param("point"))) - 10.0 / 4.01) < 1e-4


def test_rates_by_parameter_are_refused_by_lbfgs(backend):
    optimizer = optim.LBFGS(lambda name: {"lr": 0.1 if name == "a" else 0.2})
    with pytest.raises(InferenceError, match="moves all params as one vector"):
        optimizer.init({"a": ops.array(1.0), "b": ops.array(1.0)})


def test_single_precision_stays_single(backend):
    params = {"a": ops.array([1.0, 2.0], dtype="float32")}
    for name in ("Adam", "ClippedAdam", "SparseAdam", "AdagradRMSProp", "Rprop", "ASGD", "Adagrad", "LBFGS", "RMSprop"):
        optimizer = getattr(optim, name)()
        new = optimizer.step({"a": ops.array([1.0, 0.5], dtype="float32")}, params)
        again = optimizer.step({"a": ops.array([0.5, 0.2], dtype="float32")}, new)
        assert ops.dtype_name(again["a"]) == "float32", name
        assert float(again["a"][0]) < 1.0, name


@pytest.mark.parametrize("name", ["ClippedAdam", "SparseAdam", "AdagradRMSProp", "ASGD", "Rprop", "RMSprop", "Adadelta", "LBFGS"])
def test_state_survives_a_file(backend, rng, tmp_path, name):
    gradients = gradients_for(rng, name)

    def walk(optimizer, params, steps):
        for step in steps:
            plain = {key: ops.to_numpy(value) for key, value in params.items()}
            now = {key: ops.array(value) for key, value in gradient_at(name, step, plain, gradients).items()}
            params = optimizer.step(now, params)
        return {key: ops.array(ops.to_numpy(value).copy()) for key, value in params.items()}

    make, half = getattr(optim, name), 3 if name == "LBFGS" else 20
    first, second = make(), make()
    middle = walk(first, {key: ops.array(value) for key, value in START.items()}, range(half))
    first.save(tmp_path / "optimizer.safetensors")
    second.load(tmp_path / "optimizer.safetensors")
    resumed = walk(second, middle, range(half, 2 * half))
    whole = walk(first, middle, range(half, 2 * half))
    forgetful = walk(make(), middle, range(half, 2 * half))
    for key in START:
        numpy.testing.assert_allclose(ops.to_numpy(resumed[key]), ops.to_numpy(whole[key]), rtol=0, atol=1e-12)
    assert furthest([{key: ops.to_numpy(value) for key, value in forgetful.items()}],
                    [{key: ops.to_numpy(value) for key, value in whole.items()}]) > 1e-6  # fmt: skip


def test_state_reaches_params_that_come_later(backend):
    one = ops.array(1.0)
    source = optim.Adam(lr=0.1)
    source.step({"a": one, "b": one}, {"a": one, "b": one})
    state = source.get_state()
    target = optim.Adam(lr=0.1)
    target.set_state(state)
    target.step({"a": one}, {"a": one})
    assert sorted(target.get_state()) == ["a", "b"]
    late = target.step({"a": one, "b": ops.array(-0.5)}, {"a": one, "b": one})["b"]
    expected = source.step({"a": one, "b": ops.array(-0.5)}, {"a": one, "b": one})["b"]
    fresh = optim.Adam(lr=0.1).step({"b": ops.array(-0.5)}, {"b": one})["b"]
    assert abs(float(late) - float(expected)) < 1e-12
    assert abs(float(late) - float(fresh)) > 1e-3


def damage(content, where):
    changed = bytearray(content)
    changed[where] ^= 0xFF
    return bytes(changed)


def shown(optimizer):
    return [(name, entry, repr(value)) for name, own in optimizer.get_state().items() for entry, value in sorted(own.items())]


def test_bad_file_is_refused_whole(backend, tmp_path):
    path, one = tmp_path / "optimizer.safetensors", ops.array(1.0)
    optimizer = optim.Adam(lr=0.1)
    optimizer.step({"a": one}, {"a": one})
    optimizer.save(path)
    before, content = shown(optimizer), path.read_bytes()
    plain = importlib.import_module("safetensors.numpy").save({"a": numpy.ones(2)})
    for bad, message in [
        (damage(content, -1), "checksum"),
        (content[: len(content) // 2], "not a readable optimizer file"),
        (b"\\x80\\x04\\x95 pickled", "not a readable optimizer file"),
        (plain, "holds no optimizer state"),
    ]:
        path.write_bytes(bad)
        with pytest.raises(InferenceError, match=message):
            optimizer.load(path)
        assert shown(optimizer) == before
    with pytest.raises(InferenceError, match="there is no optimizer file"):
        optimizer.load(tmp_path / "absent")
    path.write_bytes(content)
    with pytest.raises(InferenceError, match="state of optimizer 'adam', expected 'sgd'"):
        optim.SGD(lr=0.1).load(path)
    optimizer.load(path)
    assert shown(optimizer) == before


def test_state_of_another_backend_is_refused(backend, tmp_path):
    path, one = tmp_path / "optimizer.safetensors", ops.array(1.0)
    optimizer = optim.Adam(lr=0.1)
    optimizer.step({"a": one}, {"a": one})
    optimizer.save(path)
    other = "torch" if registry.active().name == "numpy" else "numpy"
    with registry.using(other), pytest.raises(InferenceError, match="state of backend"):
        optim.Adam(lr=0.1).load(path)


@pytest.mark.backends("numpy", "jax")
def test_torch_optimizer_is_refused_elsewhere(backend):
    torch = pytest.importorskip("torch")
    with pytest.raises(
        InferenceError, match=r"'RMSprop' of library 'torch' is not an optimizer of backend .*; try ppl.optim.RMSprop"
    ):
        optim.PyroOptim(torch.optim.RMSprop, {"lr": 0.1}).init({"a": ops.array(1.0)})


@pytest.mark.backends("numpy", "torch")
def test_optax_transformation_is_refused_elsewhere(backend):
    optax = pytest.importorskip("optax")
    with pytest.raises(InferenceError, match=r"of library 'optax' is not an optimizer of backend .*; try one of ppl.optim"):
        optim.PyroOptim(optax.sgd(0.1)).init({"a": ops.array(1.0)})


@pytest.mark.backends("torch")
def test_torch_instances_and_closures_are_refused(backend):
    torch = pytest.importorskip("torch")
    built = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    with pytest.raises(InferenceError, match="an instance of 'Adam' of library 'torch'"):
        optim.PyroOptim(built).init({"a": ops.array(1.0)})
    with pytest.raises(InferenceError, match=r"try ppl.optim.LBFGS"):
        optim.PyroOptim(torch.optim.LBFGS).init({"a": ops.array(1.0)})


@pytest.mark.backends("torch")
def test_sparse_gradients_of_torch(backend):
    torch = pytest.importorskip("torch")
    rows = torch.sparse_coo_tensor([[1]], torch.tensor([[1.0, 0.0]], dtype=torch.float64), (3, 2), check_invariants=True)
    value = torch.ones(3, 2, dtype=torch.float64)
    new = optim.SparseAdam(lr=0.1).step({"a": rows}, {"a": value})["a"]
    expected = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    expected.grad = rows
    torch.optim.SparseAdam([expected], lr=0.1).step()
    numpy.testing.assert_array_equal(new.numpy(), expected.detach().numpy())
    numpy.testing.assert_array_equal(new.numpy()[[0, 2]], numpy.ones((2, 2)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: optim.AdamW({"lr": 0.1, "momentum": 0.9}), "no argument 'momentum'"),
        (lambda: optim.ClippedAdam(clip_norm=0.0), "clip_norm above zero"),
        (lambda: optim.AdagradRMSProp(lr=0.1), "no argument 'lr'"),
        (lambda: optim.Rprop(etas=(1.2, 0.5)), "Rprop needs etas"),
        (lambda: optim.Rprop(step_sizes=(1.0, 0.5)), "Rprop needs step_sizes"),
        (lambda: optim.RMSprop(alpha=1.5), "a decay rate"),
        (lambda: optim.Adadelta(eps=-1.0), "eps of zero or more"),
        (lambda: optim.LBFGS(max_iter=20), "no argument 'max_iter'"),
        (lambda: optim.Adagrad(0.1, lr=0.2), "given twice"),
        (lambda: optim.Adamax(betas=0.9), "two decay rates"),
    ],
)
def test_bad_arguments(backend, build, message):
    with pytest.raises(InferenceError, match=message):
        build()
