"""Neural network modules in models: names in the store, sharing, fits against least squares, priors on weights."""

import importlib.util

import numpy
import pytest
from layers import BIAS, LIBRARIES, WEIGHT, host, linear_layers
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim, registry
from ppl.errors import GapError, ParamError, PplWarning
from ppl.infer import diagnostics
from ppl.ops import autodiff

MAX_Z = 4.9
X = numpy.array([[1.0, 1.0], [0.0, 3.0]])


def layers_of(backend):
    """Return the layers of the backend; one without any shows that it declares so, in a sentence."""
    found = linear_layers(backend)
    if not found:
        gap = rf"^neural network modules is not available on backend '{backend}' \(.+\): .* no library of them; try ppl.param"
        for use in (ppl.module, lambda *args: ppl.random_module(*args, dist.Normal(0.0, 1.0))):
            with pytest.raises(GapError, match=gap):
                use("net", object())
    return found


def test_every_backend_without_modules_declares_a_gap(backend):
    assert bool(LIBRARIES[backend]) != ("neural network modules" in registry.active().gaps)


def stored_as(layer, weight):
    return ops.array(numpy.asarray(weight, dtype="float64").T if layer.transposed else weight)


def test_parameters_are_stored_under_documented_names_and_used(backend):
    for library, layer in layers_of(backend).items():
        ppl.clear_param_store()
        ppl.module("net", layer.module)
        store = ppl.get_param_store()
        assert set(store.keys()) == {f"net$$${layer.weight}", "net$$$bias"}, library
        store["net$$$bias"] = ops.array([7.0])
        result = ppl.module("net", layer.module)(ops.array(X))
        numpy.testing.assert_allclose(host(result), X @ WEIGHT.T + 7.0, rtol=1e-5, err_msg=library)


def test_update_module_params_decides_whether_the_module_itself_takes_stored_values_over(backend):
    for library, layer in layers_of(backend).items():
        ppl.clear_param_store()
        ppl.module("net", layer.module)
        ppl.get_param_store()["net$$$bias"] = ops.array([7.0])
        before, after = X @ WEIGHT.T + BIAS, X @ WEIGHT.T + 7.0
        for update in (False, True):
            result = ppl.module("net", layer.module, update_module_params=update)
            numpy.testing.assert_allclose(host(result(ops.array(X))), after, rtol=1e-5, err_msg=library)
            # Pytrees, of equinox too, are immutable.
            own = after if update and library in ("torch", "flax") else before
            numpy.testing.assert_allclose(host(layer.module(ops.array(X))), own, rtol=1e-5, err_msg=library)


def test_saved_values_are_used_after_loading(backend, tmp_path):
    for library, layer in layers_of(backend).items():
        ppl.clear_param_store()
        ppl.module("net", layer.module)
        store = ppl.get_param_store()
        store[f"net$$${layer.weight}"] = stored_as(layer, [[3.0, 4.0]])
        store.save(tmp_path / library)
        store.clear()
        store.load(tmp_path / library)
        result = ppl.module("net", LIBRARIES[backend][library]().module, update_module_params=True)
        numpy.testing.assert_allclose(host(result(ops.array([[1.0, 2.0]]))), [[11.5]], rtol=1e-5)


def test_a_store_written_on_one_backend_loads_into_a_module_of_another(backend, tmp_path):
    if not layers_of(backend):
        return
    weights = numpy.array([[3.0, 4.0]])
    for writer in ("torch", "jax"):
        if importlib.util.find_spec(writer) is None:
            continue
        library = "torch" if writer == "torch" else "equinox"
        with registry.using(writer):
            before = ops.default_dtype()
            ops.set_default_dtype("float64")
            try:
                ppl.clear_param_store()
                ppl.module("net", LIBRARIES[writer][library]().module)
                ppl.get_param_store()["net$$$weight"] = ops.array(weights)
                ppl.get_param_store().save(tmp_path / writer)
            finally:
                ppl.clear_param_store()
                ops.set_default_dtype(before)
        for reader in sorted({"torch", "equinox", "pytree"} & set(LIBRARIES[backend])):
            ppl.get_param_store().load(tmp_path / writer)
            result = ppl.module("net", LIBRARIES[backend][reader]().module)(ops.array(X))
            numpy.testing.assert_allclose(host(result), X @ weights.T + BIAS, rtol=1e-12, err_msg=f"{writer} to {reader}")


def test_random_module_draws_sites_with_the_density_of_the_prior(backend):
    for library, layer in layers_of(backend).items():
        site = f"net$$${layer.weight}"
        prior = {layer.weight: dist.Normal(stored_as(layer, [[0.0, 0.0]]), 2.0).to_event(2)}
        sampler = ppl.random_module("net", layer.module, prior)
        ppl.set_rng_seed(0)
        traces = [handlers.trace(sampler).get_trace() for _ in range(2)]
        drawn = [host(trace.nodes[site]["value"]) for trace in traces]
        assert traces[0].nodes[site]["type"] == "sample", library
        assert traces[0].nodes["net$$$bias"]["type"] == "param", library
        assert not numpy.allclose(*drawn)
        expected = stats.norm(0.0, 2.0).logpdf(drawn[0]).sum()
        assert float(host(traces[0].log_prob_sum())) == pytest.approx(expected, rel=1e-4)
        numpy.testing.assert_allclose(host(layer.module(ops.array(X))), X @ WEIGHT.T + BIAS, rtol=1e-6)


def test_one_prior_serves_every_parameter(backend):
    for library, layer in layers_of(backend).items():
        trace = handlers.trace(ppl.random_module("net", layer.module, dist.Normal(0.0, 1.0))).get_trace()
        assert set(trace.stochastic_nodes) == {f"net$$${layer.weight}", "net$$$bias"}, library
        weight, bias = (host(trace.nodes[f"net$$${key}"]["value"]) for key in (layer.weight, "bias"))
        result = host(trace.nodes["_RETURN"]["value"](ops.array(X)))
        numpy.testing.assert_allclose(result, X @ (weight if layer.transposed else weight.T) + bias, rtol=1e-6)


def test_a_prior_may_be_a_function_of_arguments(backend):
    for library, layer in layers_of(backend).items():
        received = []

        def draw(scale, shift=0.0, *, layer=layer, received=received):
            received.append((scale, shift))
            return stored_as(layer, [[scale, shift]])

        prior = {layer.weight: draw, "bias": dist.Delta(ops.array([3.5])).to_event(1)}
        net = ppl.random_module("net", layer.module, prior, 5.0, shift=-1.0)()
        assert received == [(5.0, -1.0)], library
        # The distribution beside it takes no arguments.
        numpy.testing.assert_allclose(host(net(ops.array(X))), X @ [[5.0], [-1.0]] + 3.5, rtol=1e-6)


def test_a_prior_of_another_shape_is_named(backend):
    for layer in layers_of(backend).values():
        sampler = ppl.random_module("net", layer.module, {layer.weight: lambda: ops.zeros((3, 5))})
        with pytest.raises(ParamError, match=rf"net\$\$\${layer.weight}' of the module got a value of shape \(3, 5\)"):
            sampler()


def test_values_of_handlers_and_transformations_never_stay_in_the_module(backend):
    for library, layer in layers_of(backend).items():
        name = f"net$$${layer.weight}"
        ppl.clear_param_store()
        if backend == "torch":
            ppl.module("net", layer.module)
        own = [id(array) for array in registry.active().nn.parameters(layer.module).values()]

        def output(weight, layer=layer, name=name):
            with handlers.substitute(data={name: weight}):
                return ops.sum(ppl.module("net", layer.module, update_module_params=True)(ops.array(X)))

        ppl.module("net", layer.module)
        five = stored_as(layer, [[5.0, 5.0]])
        expected = (X @ [[5.0], [5.0]] + BIAS).sum()
        assert float(host(output(five))) == pytest.approx(expected), library
        gradient = autodiff.grad(output)(five)
        numpy.testing.assert_allclose(host(gradient).reshape(-1), X.sum(0), rtol=1e-6)
        assert float(host(ops.compile.compile(output)(five))) == pytest.approx(expected)

        def failing(layer=layer):
            ppl.module("net", layer.module)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            handlers.lift(failing, prior=dist.Normal(0.0, 1.0))()
        ppl.random_module("net", layer.module, dist.Normal(0.0, 1.0))()
        numpy.testing.assert_allclose(host(layer.module(ops.array(X))), X @ WEIGHT.T + BIAS, rtol=1e-6, err_msg=library)
        if library != "flax":  # which has taken over, by request, the store's equal copy of what was not replaced
            assert own == [id(array) for array in registry.active().nn.parameters(layer.module).values()], library


def test_bad_input_is_named(backend):
    for layer in layers_of(backend).values():
        with pytest.raises(ParamError, match=r"got int .*expected an instance of torch\.nn\.Module.*try ppl\.param"):
            ppl.module("net", 3)
        with pytest.raises(ParamError, match=r"got the class .*; try"):
            ppl.module("net", type(layer.module))
        with pytest.raises(ParamError, match=r"got the name 'a\$\$\$b'; expected a str without"):
            ppl.module("a$$$b", layer.module)
        with pytest.warns(PplWarning, match="wieght"):
            ppl.random_module("net", layer.module, {"wieght": dist.Normal(0.0, 1.0)})()
        assert "wieght" not in str(list(ppl.get_param_store().keys()))


def test_a_module_of_another_backends_library_names_that_backend(backend):
    if not layers_of(backend):
        return
    other = "jax" if backend == "torch" else "torch"
    if importlib.util.find_spec(other) is None:
        return
    with registry.using(other):
        foreign = {library: layer.module for library, layer in linear_layers(other).items() if library != "pytree"}
    assert foreign
    for library, layer in foreign.items():
        with pytest.raises(ParamError, match=rf'got \S*(Linear|Rows) on backend .{backend}.*try ppl.set_backend\("{other}"\)'):
            ppl.module("net", layer)
        with pytest.raises(ParamError, match=rf'try ppl.set_backend\("{other}"\), which runs this module'):
            ppl.random_module("net", layer, dist.Normal(0.0, 1.0))
        assert not ppl.get_param_store(), library


def test_svi_fits_the_least_squares_solution(backend):
    generator = numpy.random.default_rng(0)
    x = generator.normal(size=(40, 2))
    y = x @ numpy.array([[2.0], [1.0]]) - 1.0 + 0.1 * generator.normal(size=(40, 1))
    design = numpy.hstack([x, numpy.ones((40, 1))])
    best = numpy.linalg.lstsq(design, y, rcond=None)[0][:, 0]
    for library, layer in layers_of(backend).items():
        ppl.clear_param_store()
        ppl.set_rng_seed(0)
        inputs, outputs = ops.array(x), ops.array(y)

        def model(layer=layer, inputs=inputs, outputs=outputs):
            net = ppl.module("net", layer.module)
            ppl.sample("y", dist.Normal(net(inputs), 1.0).to_event(2), obs=outputs)

        svi = infer.SVI(model, lambda: None, optim.Adam({"lr": 0.05}), infer.Trace_ELBO())
        svi.run(500, progress_bar=False)
        store = ppl.get_param_store()
        fitted = numpy.append(host(store[f"net$$${layer.weight}"]), host(store["net$$$bias"]))
        numpy.testing.assert_allclose(fitted, best, atol=2e-3, err_msg=library)
        if library == "torch":  # whose module shares its tensors with the store
            numpy.testing.assert_allclose(host(layer.module(inputs)), design @ best[:, None], atol=1e-2)


PRIOR_SCALE, WRONG_SCALE = 0.5, 2.0


def weight_posterior(x, y, prior_scale):
    """Mean and covariance of the weights of ``y = x w + noise``, unit noise, normal prior (Bishop 2006, eq. 3.53 and 3.54)."""
    covariance = numpy.linalg.inv(numpy.eye(x.shape[1]) / prior_scale**2 + x.T @ x)
    return covariance @ x.T @ y, covariance


def largest_z(draws, mean, covariance):
    """Largest distance of first and second moments of (chain, draw, weight) from the truth, in Monte Carlo standard errors."""
    scores = []
    for k in range(draws.shape[-1]):
        centred = draws[..., k] - mean[k]
        for values, truth in ((centred, 0.0), (centred**2, covariance[k, k])):
            scores.append(abs(values.mean() - truth) / diagnostics.mcse_mean(values))
    return max(scores)


def test_nuts_finds_the_posterior_of_bayesian_linear_regression(backend):
    generator = numpy.random.default_rng(5)
    x = generator.normal(size=(8, 2))
    y = x @ numpy.array([1.5, -1.0]) + generator.normal(size=8)
    for library, layer in layers_of(backend).items():

        def model(x, y, layer=layer):
            prior = {layer.weight: dist.Normal(0.0, PRIOR_SCALE), "bias": lambda: ops.zeros((1,))}
            net = ppl.random_module("net", layer.module, prior)()
            ppl.sample("y", dist.Normal(net(x)[..., 0], 1.0).to_event(1), obs=y)

        kernel = infer.NUTS(handlers.block(model, hide=["net$$$bias"]))
        mcmc = infer.MCMC(kernel, 600, warmup_steps=200, num_chains=2, progress_bar=False, seed=3)
        draws = mcmc.run(ops.array(x), ops.array(y)).get_samples(group_by_chain=True)[f"net$$${layer.weight}"]
        draws = host(draws).reshape(2, 600, 2)
        assert largest_z(draws, *weight_posterior(x, y, PRIOR_SCALE)) < MAX_Z, library
        assert largest_z(draws, *weight_posterior(x, y, WRONG_SCALE)) > MAX_Z, library
