"""Neural network modules in models: names in the store, fits against least squares, priors on weights."""

import importlib

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim, registry
from ppl.errors import GapError, ParamError, PplWarning

WEIGHT, BIAS = numpy.array([[1.0, -2.0]]), numpy.array([0.5])


def host(value):
    return ops.to_numpy(value)


def linear(backend):
    """Return a linear layer of the backend's library with known weights."""
    if backend == "torch":
        torch = importlib.import_module("torch")
        layer = torch.nn.Linear(2, 1).to(dtype=getattr(torch, str(ops.default_dtype()).removeprefix("torch.")))
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(WEIGHT))
            layer.bias.copy_(torch.as_tensor(BIAS))
        return layer
    jax = importlib.import_module("jax")

    class Linear:
        def __init__(self, weight, bias):
            self.weight, self.bias = weight, bias

        def __call__(self, x):
            return x @ self.weight.T + self.bias

    jax.tree_util.register_dataclass(Linear, ["weight", "bias"], [])
    return Linear(ops.array(WEIGHT), ops.array(BIAS))


def needs_modules(backend):
    if "neural network modules" in registry.active().gaps:
        with pytest.raises(GapError, match=r"try ppl\.param"):
            ppl.module("net", object())
        return False
    return True


def test_parameters_are_stored_under_documented_names_and_used(backend):
    if not needs_modules(backend):
        return
    ppl.clear_param_store()
    layer = linear(backend)
    ppl.module("net", layer)
    store = ppl.get_param_store()
    assert set(store.keys()) == {"net$$$weight", "net$$$bias"}
    store["net$$$bias"] = ops.array([7.0])
    x = numpy.array([[1.0, 1.0], [0.0, 3.0]])
    result = ppl.module("net", layer)(ops.array(x))
    numpy.testing.assert_allclose(host(result), x @ WEIGHT.T + 7.0, rtol=1e-5)


def test_saved_values_are_used_after_loading(backend, tmp_path):
    if not needs_modules(backend):
        return
    ppl.clear_param_store()
    ppl.module("net", linear(backend))
    store = ppl.get_param_store()
    store["net$$$weight"] = ops.array([[3.0, 4.0]])
    store.save(tmp_path / "store")
    store.clear()
    store.load(tmp_path / "store")
    result = ppl.module("net", linear(backend), update_module_params=True)(ops.array([[1.0, 2.0]]))
    numpy.testing.assert_allclose(host(result), [[11.5]], rtol=1e-5)


def test_random_module_draws_sites_with_the_density_of_the_prior(backend):
    if not needs_modules(backend):
        return
    layer = linear(backend)
    sampler = ppl.random_module("net", layer, {"weight": dist.Normal(ops.array([[0.0, 0.0]]), 2.0).to_event(2)})
    ppl.set_rng_seed(0)
    traces = [handlers.trace(sampler).get_trace() for _ in range(2)]
    drawn = [host(trace.nodes["net$$$weight"]["value"]) for trace in traces]
    assert traces[0].nodes["net$$$weight"]["type"] == "sample"
    assert not numpy.allclose(*drawn)
    expected = stats.norm(0.0, 2.0).logpdf(drawn[0]).sum()
    assert float(host(traces[0].log_prob_sum())) == pytest.approx(expected, rel=1e-4)
    numpy.testing.assert_allclose(host(layer.weight), WEIGHT, rtol=1e-6)


def test_bad_input_is_named(backend):
    if not needs_modules(backend):
        return
    with pytest.raises(ParamError, match=r"got int.*try ppl\.param"):
        ppl.module("net", 3)
    with pytest.warns(PplWarning, match="wieght"):
        ppl.random_module("net", linear(backend), {"wieght": dist.Normal(0.0, 1.0)})()


def test_svi_fits_the_least_squares_solution(backend):
    if not needs_modules(backend):
        return
    ppl.clear_param_store()
    ppl.set_rng_seed(0)
    generator = numpy.random.default_rng(0)
    x = generator.normal(size=(40, 2))
    y = x @ numpy.array([[2.0], [1.0]]) - 1.0 + 0.1 * generator.normal(size=(40, 1))
    design = numpy.hstack([x, numpy.ones((40, 1))])
    best = numpy.linalg.lstsq(design, y, rcond=None)[0][:, 0]
    layer, inputs, outputs = linear(backend), ops.array(x), ops.array(y)

    def model():
        net = ppl.module("net", layer)
        ppl.sample("y", dist.Normal(net(inputs), 1.0).to_event(2), obs=outputs)

    svi = infer.SVI(model, lambda: None, optim.Adam({"lr": 0.05}), infer.Trace_ELBO())
    for _ in range(500):
        svi.step()
    store = ppl.get_param_store()
    fitted = numpy.append(host(store["net$$$weight"]), host(store["net$$$bias"]))
    numpy.testing.assert_allclose(fitted, best, atol=2e-3)
