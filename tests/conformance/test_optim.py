"""Optimizers against the trajectories of torch.optim on fixed gradients."""

import json

import numpy
import pytest

import ppl
from ppl import ops, optim, registry
from ppl.errors import BackendError, InferenceError

STEPS = 100
RULES = {
    "adam": ("Adam", {"lr": 0.05}),
    "adam-all": ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adam-amsgrad": ("Adam", {"lr": 0.05, "amsgrad": True}),
    "adam-maximize": ("Adam", {"lr": 0.05, "maximize": True, "weight_decay": 0.1}),
    "sgd": ("SGD", {"lr": 0.05}),
    "sgd-momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd-nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "sgd-damped": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
}


def fixed_gradients(rng):
    return {"a": rng.normal(size=(STEPS, 3)), "b": rng.normal(size=(STEPS, 2, 2)) + 0.3}


def start():
    return {"a": numpy.array([1.0, -2.0, 0.5]), "b": numpy.arange(4.0).reshape(2, 2)}


def torch_trajectory(name, arguments, gradients):
    torch = pytest.importorskip("torch")
    params = {key: torch.tensor(value, requires_grad=True) for key, value in start().items()}
    optimizer = getattr(torch.optim, name)(list(params.values()), **arguments)
    rows = []
    for step in range(STEPS):
        for key, value in params.items():
            value.grad = torch.tensor(gradients[key][step])
        optimizer.step()
        rows.append({key: value.detach().numpy().copy() for key, value in params.items()})
    return rows


def own_trajectory(optimizer, gradients, steps=range(STEPS), params=None):
    params = {key: ops.array(value) for key, value in start().items()} if params is None else params
    state = optimizer.init(params)
    update = ops.compile.compile(optimizer.update) if registry.active().optim.STEP == "compiled" else optimizer.update
    rows = []
    for step in steps:
        params, state = update({key: ops.array(value[step]) for key, value in gradients.items()}, state, params)
        rows.append({key: ops.to_numpy(value) for key, value in params.items()})
    return rows


def furthest(rows, others):
    return max(numpy.abs(row[key] - other[key]).max() for row, other in zip(rows, others, strict=True) for key in row)


@pytest.mark.parametrize("rule", RULES)
def test_trajectory_equals_torch(backend, rng, rule):
    name, arguments = RULES[rule]
    gradients = fixed_gradients(rng)
    rows = own_trajectory(getattr(optim, name)(arguments), gradients)
    assert furthest(rows, torch_trajectory(name, arguments, gradients)) < 1e-6


def test_trajectory_of_another_rule_differs(backend, rng):
    gradients = fixed_gradients(rng)
    rows = own_trajectory(optim.Adam({"lr": 0.05, "betas": (0.9, 0.9)}), gradients)
    assert furthest(rows, torch_trajectory("Adam", {"lr": 0.05}, gradients)) > 1e-3


def test_spellings_of_arguments(backend):
    expected = optim.Adam({"lr": 0.01}).arguments("x")
    for made in (optim.Adam(lr=0.01), optim.Adam(0.01), optim.Adam(step_size=0.01), optim.Adam(lambda name: {"lr": 0.01})):
        assert made.arguments("x") == expected


def test_caller_keeps_its_arrays(backend):
    params = {"a": ops.array([1.0, 2.0])}
    optimizer = optim.Adam(lr=0.1)
    new, _ = optimizer.update({"a": ops.array([1.0, 1.0])}, optimizer.init(params), params)
    numpy.testing.assert_array_equal(ops.to_numpy(params["a"]), [1.0, 2.0])
    assert abs(ops.to_numpy(new["a"])[0] - 0.9) < 1e-6


def test_trees_of_parameters(backend):
    params = {"layers": [ops.array([1.0]), {"bias": ops.array([2.0])}], "scale": ops.array(3.0)}
    optimizer = optim.SGD(lr=0.5)
    new, _ = optimizer.update(params, optimizer.init(params), params)
    assert float(new["layers"][0][0]) == 0.5
    assert float(new["layers"][1]["bias"][0]) == 1.0
    assert float(new["scale"]) == 1.5


def test_arguments_by_parameter(backend):
    seen = []

    def by_name(module, name):
        seen.append((module, name))
        return {"lr": 1.0 if name == "fast" else 0.0}

    optimizer = optim.SGD(by_name)
    params = {"fast": ops.array(1.0), "net$$$slow": ops.array(1.0)}
    new = optimizer.step(params, params)
    assert float(new["fast"]) == 0.0
    assert float(new["net$$$slow"]) == 1.0
    assert seen == [("fast", "fast"), ("net", "slow")]


def test_parameters_may_appear_later(backend):
    optimizer, alone = optim.Adam(lr=0.1), optim.Adam(lr=0.1)
    one, gradient = ops.array(1.0), ops.array(2.0)
    first = optimizer.step({"a": gradient}, {"a": one})
    both = optimizer.step({"a": gradient, "b": gradient}, {"a": first["a"], "b": one})
    assert abs(float(both["b"]) - float(alone.step({"b": gradient}, {"b": one})["b"])) < 1e-12
    assert float(both["a"]) < float(first["a"])


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_state_survives_a_file(backend, rng, tmp_path, name):
    arguments = {"lr": 0.05} if name == "Adam" else {"lr": 0.05, "momentum": 0.9}
    gradients = fixed_gradients(rng)
    whole = own_trajectory(getattr(optim, name)(arguments), gradients)

    def walk(optimizer, params, steps):
        for step in steps:
            params = optimizer.step({key: ops.array(value[step]) for key, value in gradients.items()}, params)
        return params

    first, second = getattr(optim, name)(arguments), getattr(optim, name)(arguments)
    middle = walk(first, {key: ops.array(value) for key, value in start().items()}, range(50))
    first.save(tmp_path / "optimizer.safetensors")
    second.load(tmp_path / "optimizer.safetensors")
    assert json.dumps(sorted(second.get_state())) == json.dumps(["a", "b"])
    end = walk(second, middle, range(50, STEPS))
    forgetful = walk(getattr(optim, name)(arguments), middle, range(50, STEPS))
    for key in ("a", "b"):
        numpy.testing.assert_allclose(ops.to_numpy(end[key]), whole[-1][key], rtol=0, atol=1e-12)
        assert numpy.abs(ops.to_numpy(forgetful[key]) - whole[-1][key]).max() > 1e-4


def test_foreign_state_is_refused(backend):
    params = {"a": ops.array([1.0, 2.0])}
    small = optim.Adam(lr=0.1)
    small.step({"a": ops.array([1.0])}, {"a": ops.array([1.0])})
    large = optim.Adam(lr=0.1)
    large.set_state(small.get_state())
    with pytest.raises(InferenceError, match="optimizer state of param 'a' does not fit"):
        large.step(params, params)
    with pytest.raises(InferenceError, match="dict of dicts"):
        large.set_state([1.0])


def test_bad_arguments(backend):
    for build, message in [
        (lambda: optim.Adam({"learning": 1.0}), "no argument 'learning'"),
        (lambda: optim.Adam(lr=-1.0), "zero or more, received lr=-1.0"),
        (lambda: optim.Adam(lr="fast"), "zero or more, received lr='fast'"),
        (lambda: optim.Adam(betas=(0.9, 1.5)), "decay rates"),
        (lambda: optim.SGD(nesterov=True), "Nesterov"),
        (lambda: optim.Adam({"lr": 0.1}, eps=1.0), "both"),
        (lambda: optim.PyroOptim(optim.ADAM, "fast"), "a dict or a callable"),
    ]:
        with pytest.raises(InferenceError, match=message):
            build()


def test_call_moves_the_param_store(backend):
    ppl.param("x", ops.array(1.0))
    optimizer = optim.SGD(lr=0.5)
    optimizer(["x"], {"x": ops.array(1.0)})
    assert float(ops.to_numpy(ppl.param("x"))) == 0.5
    with pytest.raises(InferenceError, match="no parameter has a gradient"):
        optimizer(["x"])


@pytest.mark.backends("torch")
def test_torch_gradients_and_own_constructor(backend):
    torch = pytest.importorskip("torch")
    value = ppl.param("x", torch.tensor(1.0))
    (3.0 * value).backward()
    leaf = ppl.get_param_store().get_unconstrained("x")
    optimizer = optim.PyroOptim(torch.optim.RMSprop, {"lr": 0.1})
    optimizer([leaf])
    expected = torch.tensor(1.0, requires_grad=True)
    expected.grad = torch.tensor(3.0)
    torch.optim.RMSprop([expected], lr=0.1).step()
    assert ppl.param("x").item() == expected.item()
    assert leaf is ppl.get_param_store().get_unconstrained("x")


@pytest.mark.backends("jax")
def test_own_optax_transformation(backend):
    optax = pytest.importorskip("optax")
    transformation = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    params = {"a": ops.array(0.0), "b": ops.array(0.0)}
    new = optim.PyroOptim(transformation).step({"a": ops.array(3.0), "b": ops.array(4.0)}, params)
    assert abs(float(new["a"]) + 0.6) < 1e-12
    assert abs(float(new["b"]) + 0.8) < 1e-12


def test_optimizer_of_another_library(backend):
    with pytest.raises(InferenceError, match="is not an optimizer of backend"):
        optim.PyroOptim(object()).init({"a": ops.array(1.0)})


@pytest.mark.backends("torch", "jax")
def test_state_stays_with_its_backend(backend):
    optimizer = optim.Adam(lr=0.1)
    optimizer.step({"a": ops.array(1.0)}, {"a": ops.array(1.0)})
    with registry.using("numpy"), pytest.raises(BackendError, match="holds state of backend"):
        optimizer.step({"a": ops.array(1.0)}, {"a": ops.array(1.0)})
