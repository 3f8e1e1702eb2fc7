"""What each library of modules brings of its own: nesting, shared weights, graphs, buffers, streams of random numbers."""

import importlib
import sys

import numpy
import pytest
from layers import BIAS, LIBRARIES, WEIGHT, host

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim
from ppl.errors import ParamError
from ppl.ops import autodiff

X = numpy.array([[1.0, 1.0], [0.0, 3.0]])


def torch_nested():
    torch = importlib.import_module("torch")
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2, dtype=torch.float64), torch.nn.Tanh())
    return torch.nn.Sequential(inner, torch.nn.Linear(2, 1, bias=False, dtype=torch.float64))


def equinox_nested():
    jax, equinox = importlib.import_module("jax"), importlib.import_module("equinox")

    class Outer(equinox.Module):
        inner: dict[str, object]
        head: object

        def __call__(self, x):
            return jax.vmap(lambda row: self.head(jax.numpy.tanh(self.inner["first"](row))))(x)

    keys = jax.random.split(jax.random.key(0), 2)
    first = equinox.nn.Linear(2, 2, key=keys[0], dtype=float)
    return Outer({"first": first}, equinox.nn.Linear(2, 1, use_bias=False, key=keys[1], dtype=float))


def flax_nested():
    jax, nnx = importlib.import_module("jax"), importlib.import_module("flax.nnx")

    class Outer(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.inner = nnx.List([nnx.Linear(2, 2, rngs=rngs, param_dtype=float)])
            self.head = nnx.Linear(2, 1, use_bias=False, rngs=rngs, param_dtype=float)

        def __call__(self, x):
            return self.head(jax.numpy.tanh(self.inner[0](x)))

    return Outer()


# Library: its module, and the names of the first weight, the first bias and the second weight.
NESTED = {
    "torch": (torch_nested, ("0.0.weight", "0.0.bias", "1.weight")),
    "equinox": (equinox_nested, ("inner.first.weight", "inner.first.bias", "head.weight")),
    "flax": (flax_nested, ("inner.0.kernel", "inner.0.bias", "head.kernel")),
}


@pytest.mark.backends("torch", "jax")
def test_nested_modules_have_dotted_names(backend):
    first, bias, second = numpy.array([[0.5, -1.0], [2.0, 0.3]]), numpy.array([0.1, -0.2]), numpy.array([[1.5, -0.5]])
    expected = numpy.tanh(X @ first.T + bias) @ second.T
    tested = [library for library in NESTED if library in LIBRARIES[backend]]
    assert tested
    for library in tested:
        make, names = NESTED[library]
        net = make()
        ppl.clear_param_store()
        ppl.module("net", net)
        store = ppl.get_param_store()
        assert set(store.keys()) == {f"net$$${name}" for name in names}, library
        values = (first.T, bias, second.T) if library == "flax" else (first, bias, second)
        for name, value in zip(names, values, strict=True):
            store[f"net$$${name}"] = ops.array(value)
        numpy.testing.assert_allclose(host(ppl.module("net", net)(ops.array(X))), expected, rtol=1e-6, err_msg=library)
        prior = {names[2]: dist.Normal(0.0, 1.0)}
        trace = handlers.trace(ppl.random_module("net", net, prior)).get_trace()
        drawn = host(trace.nodes[f"net$$${names[2]}"]["value"]).reshape(-1)
        result = host(trace.nodes["_RETURN"]["value"](ops.array(X)))[:, 0]
        numpy.testing.assert_allclose(result, numpy.tanh(X @ first.T + bias) @ drawn, rtol=1e-6, err_msg=library)


def torch_tied():
    torch = importlib.import_module("torch")

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
            self.decoder = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
            self.decoder.weight = self.encoder.weight
            self.again = self.encoder

        def forward(self, x):
            return self.decoder(self.encoder(x))

    return Tied(), "encoder.weight"


def equinox_tied():
    jax, equinox = importlib.import_module("jax"), importlib.import_module("equinox")

    class Tied(equinox.Module):
        shared: object

        def __init__(self):
            key = jax.random.key(0)
            pair = tuple(equinox.nn.Linear(2, 2, use_bias=False, key=key, dtype=float) for _ in range(2))
            self.shared = equinox.nn.Shared(pair, where=lambda pair: pair[1].weight, get=lambda pair: pair[0].weight)

        def __call__(self, x):
            encoder, decoder = self.shared()
            return jax.vmap(lambda row: decoder(encoder(row)))(x)

    return Tied(), "shared.pytree.0.weight"


def flax_tied():
    nnx = importlib.import_module("flax.nnx")

    class Tied(nnx.Module):
        def __init__(self):
            self.encoder, self.decoder = (nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0), param_dtype=float) for _ in range(2))
            self.decoder.kernel = self.encoder.kernel
            self.again = self.encoder

        def __call__(self, x):
            return self.decoder(self.encoder(x))

    # The first place in the alphabetical order of flax.
    return Tied(), "again.kernel"


TIED = {"torch": torch_tied, "equinox": equinox_tied, "flax": flax_tied}


@pytest.mark.backends("torch", "jax")
def test_shared_weights_stay_shared_and_their_gradient_counts_each_place(backend):
    """The gradient of ``sum(x W W)`` by the product rule, ``x^T 1 (W 1)^T`` with each factor once; half of it is no answer."""
    weight = numpy.array([[0.5, -1.0], [2.0, 0.3]])
    ones = numpy.ones((2, 2))
    for_encoder = X.T @ ones @ weight.T
    for_decoder = weight.T @ X.T @ ones
    expected = for_encoder + for_decoder
    assert not numpy.allclose(expected, for_encoder)
    for library in (name for name in TIED if name in LIBRARIES[backend]):
        net, name = TIED[library]()
        stored = weight if library == "flax" else weight.T
        ppl.clear_param_store()
        ppl.module("net", net)
        assert list(ppl.get_param_store().keys()) == [f"net$$${name}"], library

        def total(value, net=net, name=name):
            with handlers.substitute(data={f"net$$${name}": value}):
                return ops.sum(ppl.module("net", net)(ops.array(X)))

        gradient = host(autodiff.grad(total)(ops.array(stored)))
        numpy.testing.assert_allclose(gradient if library == "flax" else gradient.T, expected, rtol=1e-6, err_msg=library)
        ppl.get_param_store()[f"net$$${name}"] = ops.array(stored)
        used = ppl.module("net", net, update_module_params=True)
        numpy.testing.assert_allclose(host(used(ops.array(X))), X @ weight @ weight, rtol=1e-6, err_msg=library)
        if library != "equinox":
            numpy.testing.assert_allclose(host(net(ops.array(X))), X @ weight @ weight, rtol=1e-6, err_msg=library)
            drawn = ppl.random_module("net", net, {name: lambda stored=stored: ops.array(-stored)})()
            assert drawn.again is drawn.encoder is not net.encoder
            numpy.testing.assert_allclose(host(drawn(ops.array(X))), X @ weight @ weight, rtol=1e-6, err_msg=library)


@pytest.mark.backends("torch")
def test_torch_module_shares_its_tensors_with_the_store_and_learns_without_its_return_value(backend):
    torch = importlib.import_module("torch")
    net = LIBRARIES["torch"]["torch"]().module
    x, y = torch.as_tensor(X), torch.zeros(2, 1, dtype=torch.float64)

    def model():
        ppl.module("net", net)
        ppl.sample("y", dist.Normal(net(x), 1.0).to_event(2), obs=y)

    svi = infer.SVI(model, lambda: None, optim.Adam({"lr": 0.05}), infer.Trace_ELBO())
    svi.run(300, progress_bar=False)
    assert net.weight is ppl.get_param_store()["net$$$weight"]
    assert ppl.module("net", net) is net
    # Two rows and three weights: the fit is exact.
    numpy.testing.assert_allclose(host(net(x)), 0.0, atol=1e-3)


@pytest.mark.backends("torch")
def test_torch_module_keeps_only_leaves_of_the_store(backend):
    torch = importlib.import_module("torch")
    net = LIBRARIES["torch"]["torch"]().module
    before = dict(net.named_parameters())
    replaced = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True) * 2.0
    with handlers.substitute(data={"net$$$weight": replaced}):
        used = ppl.module("net", net, update_module_params=True)
    assert used is not net
    assert used.weight is replaced
    assert net.weight is before["weight"]
    # The bias was not replaced, so that the module and the store share it.
    assert net.bias is used.bias is ppl.get_param_store()["net$$$bias"]
    used.extra = "of the copy"
    assert not hasattr(net, "extra")


@pytest.mark.backends("torch")
def test_torch_modules_that_keep_their_weights_elsewhere_too(backend):
    torch = importlib.import_module("torch")
    double = torch.float64
    row = torch.ones(3, 2, dtype=double)
    lstm = torch.nn.LSTM(2, 2, dtype=double)
    zeros = {name: (lambda shape=value.shape: torch.zeros(shape, dtype=double)) for name, value in lstm.named_parameters()}
    numpy.testing.assert_array_equal(host(ppl.random_module("lstm", lstm, zeros)()(row)[0].detach()), 0.0)
    ppl.module("lstm", lstm)
    for name, make in zeros.items():
        ppl.get_param_store()[f"lstm$$${name}"] = make()
    assert bool((lstm(row)[0] != 0.0).any())
    numpy.testing.assert_array_equal(host(ppl.module("lstm", lstm, update_module_params=True)(row)[0].detach()), 0.0)
    numpy.testing.assert_array_equal(host(lstm(row)[0].detach()), 0.0)

    class Listed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2, dtype=double))
            self.weights = [self.weight]

        def forward(self, x):
            return x @ self.weights[0]

    listed = Listed()
    drawn = ppl.random_module("listed", listed, {"weight": lambda: torch.tensor([3.0, 4.0], dtype=double)})()
    numpy.testing.assert_array_equal(host(drawn(row)), 7.0)
    numpy.testing.assert_array_equal(host(listed(row).detach()), 2.0)

    # weight = g v / |v| (Salimans and Kingma 2016, eq. 2).
    normalized = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 1, bias=False, dtype=double))
    path = "parametrizations.weight.original"
    prior = {f"{path}0": lambda: torch.full((1, 1), 10.0, dtype=double), f"{path}1": lambda: torch.tensor([[3.0, 4.0]]).double()}
    drawn = ppl.random_module("normalized", normalized, prior)()
    numpy.testing.assert_allclose(host(drawn(row).detach()), 14.0)

    compiled = torch.compile(LIBRARIES["torch"]["torch"]().module, backend="eager")
    prior = {"_orig_mod.weight": lambda: torch.tensor([[3.0, 4.0]]).double()}
    drawn = ppl.random_module("compiled", compiled, prior)()
    numpy.testing.assert_allclose(host(drawn(row).detach())[:, 0], 7.0 + BIAS[0])


@pytest.mark.backends("torch")
def test_torch_copies_share_buffers_and_leave_frozen_parameters_alone(backend):
    torch = importlib.import_module("torch")
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).double()
    net[0].weight.requires_grad_(False)
    drawn = ppl.random_module("net", net, {"0.bias": lambda: torch.tensor([1.0, 2.0]).double()})()
    assert "net$$$0.weight" not in ppl.get_param_store()
    assert drawn[0].weight is net[0].weight
    inputs = torch.as_tensor(X)
    drawn(inputs)
    mean = (X @ host(net[0].weight).T + [1.0, 2.0]).mean(0)
    numpy.testing.assert_allclose(host(net[1].running_mean), 0.1 * mean)


@pytest.mark.backends("torch")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torch_module_in_compiled_code_learns_and_refuses_a_copy(backend):
    torch = importlib.import_module("torch")
    scripted = torch.jit.script(LIBRARIES["torch"]["torch"]().module)
    assert ppl.module("net", scripted) is scripted
    ppl.get_param_store()["net$$$bias"] = ops.array([7.0])
    used = ppl.module("net", scripted, update_module_params=True)
    numpy.testing.assert_allclose(host(used(torch.as_tensor(X)).detach()), X @ WEIGHT.T + 7.0)
    with pytest.raises(ParamError, match=r"holds its parameters in compiled code.*before torch\.jit"):
        ppl.random_module("net", scripted, dist.Normal(0.0, 1.0))()


@pytest.mark.backends("jax")
def test_jax_modules_work_inside_jit_and_grad(backend):
    jax = importlib.import_module("jax")
    for library, make in LIBRARIES["jax"].items():
        layer = make()
        ppl.clear_param_store()
        ppl.module("net", layer.module)

        @jax.jit
        def outside(x, layer=layer):
            return ppl.module("net", layer.module, update_module_params=True)(x)

        @jax.jit
        @jax.grad
        def slope(bias, layer=layer):
            with handlers.substitute(data={"net$$$bias": bias}):
                return (ppl.module("net", layer.module)(ops.array(X)) ** 2).sum()

        numpy.testing.assert_allclose(host(outside(ops.array(X))), X @ WEIGHT.T + BIAS, err_msg=library)
        expected = 2.0 * (X @ WEIGHT.T + BIAS).sum()
        numpy.testing.assert_allclose(host(slope(ops.array(BIAS))), [expected], err_msg=library)
        numpy.testing.assert_allclose(host(layer.module(ops.array(X))), X @ WEIGHT.T + BIAS, err_msg=library)


@pytest.mark.backends("jax")
def test_jax_module_new_to_the_store_inside_compiled_code_is_named(backend):
    jax = importlib.import_module("jax")
    for make in LIBRARIES["jax"].values():
        layer = make()
        with pytest.raises(ParamError, match=r"'net\$\$\$\w+' is met for the first time inside compiled code"):
            jax.jit(lambda x, layer=layer: ppl.module("net", layer.module)(x))(ops.array(X))


@pytest.mark.backends("jax")
def test_nnx_copies_share_statistics_and_have_fresh_streams(backend):
    jax, nnx = importlib.import_module("jax"), importlib.import_module("flax.nnx")

    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.norm = nnx.BatchNorm(2, momentum=0.9, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.norm(x) * 0.0 + 1.0)

    net = Net()
    with handlers.seed(rng_seed=0):
        used = ppl.module("net", net)
        used(jax.numpy.asarray(X, "float32"))
    numpy.testing.assert_allclose(host(net.norm.mean.get_value()), 0.1 * X.mean(0), rtol=1e-6)
    assert set(ppl.get_param_store().keys()) == {"net$$$norm.scale", "net$$$norm.bias"}

    dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    @jax.jit
    def masks(seed):
        with handlers.seed(rng_seed=seed):
            layer = ppl.module("dropout", dropout)
            return layer(ops.ones((64,))), layer(ops.ones((64,)))

    first, second, third = (numpy.array(masks(jax.random.key(seed))) for seed in (0, 1, 0))
    # A mask repeats by chance with probability 2^-64.
    assert not numpy.array_equal(first[0], first[1])
    assert not numpy.array_equal(first, second)
    numpy.testing.assert_array_equal(first, third)


@pytest.mark.backends("jax")
def test_jax_backend_needs_neither_library(backend, monkeypatch):
    for library in ("flax", "flax.nnx", "equinox"):
        monkeypatch.setitem(sys.modules, library, None)
    layer = LIBRARIES["jax"]["pytree"]().module
    numpy.testing.assert_allclose(host(ppl.module("net", layer)(ops.array(X))), X @ WEIGHT.T + BIAS)


@pytest.mark.backends("jax")
def test_pytree_with_ambiguous_paths_is_named(backend):
    jax = importlib.import_module("jax")

    @jax.tree_util.register_pytree_with_keys_class
    class Twice:
        def tree_flatten_with_keys(self):
            key = jax.tree_util.GetAttrKey("a")
            return ((key, ops.ones(())), (key, ops.ones(()))), None

        @classmethod
        def tree_unflatten(cls, auxiliary, children):
            return cls()

        def __call__(self):
            return 0.0

    with pytest.raises(ParamError, match=r"two parameters of Twice have the path 'a'; expected distinct paths"):
        ppl.module("net", Twice())
