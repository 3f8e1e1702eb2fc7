"""Linear layers of the libraries of neural network modules, with known weights."""

import importlib
from typing import NamedTuple

import numpy

from ppl import ops

WEIGHT, BIAS = numpy.array([[1.0, -2.0]]), numpy.array([0.5])


class Layer(NamedTuple):
    """A module of two inputs and one output, the name of its weight, and whether that is stored as (inputs, outputs)."""

    module: object
    weight: str
    transposed: bool


def host(value):
    return ops.to_numpy(value)


def _torch():
    torch = importlib.import_module("torch")
    layer = torch.nn.Linear(2, 1).to(dtype=getattr(torch, str(ops.default_dtype()).removeprefix("torch.")))
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(WEIGHT))
        layer.bias.copy_(torch.as_tensor(BIAS))
    return Layer(layer, "weight", False)


def _pytree():
    jax = importlib.import_module("jax")

    class Linear:
        def __init__(self, weight, bias):
            self.weight, self.bias = weight, bias

        def __call__(self, x):
            return x @ self.weight.T + self.bias

    jax.tree_util.register_dataclass(Linear, ["weight", "bias"], [])
    return Layer(Linear(ops.array(WEIGHT), ops.array(BIAS)), "weight", False)


def _equinox():
    jax, equinox = importlib.import_module("jax"), importlib.import_module("equinox")

    class Rows(equinox.nn.Linear):
        """Equinox layers take one row at a time."""

        def __call__(self, x):
            return jax.vmap(super().__call__)(x)

    layer = Rows(2, 1, key=jax.random.key(0))
    layer = equinox.tree_at(lambda module: (module.weight, module.bias), layer, (ops.array(WEIGHT), ops.array(BIAS)))
    return Layer(layer, "weight", False)


def _flax():
    nnx = importlib.import_module("flax.nnx")
    layer = nnx.Linear(2, 1, rngs=nnx.Rngs(0), param_dtype=ops.default_dtype())
    layer.kernel.set_value(ops.array(WEIGHT.T))
    layer.bias.set_value(ops.array(BIAS))
    return Layer(layer, "kernel", True)


LIBRARIES = {"numpy": {}, "torch": {"torch": _torch}, "jax": {"pytree": _pytree, "equinox": _equinox, "flax": _flax}}


def linear_layers(backend):
    """Return library to :class:`Layer` with the weights ``WEIGHT`` and ``BIAS``, of each library of the backend."""
    return {library: make() for library, make in LIBRARIES[backend].items()}
