"""Use the neural network modules of the active backend's libraries in a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl import registry
from ppl.errors import ParamError
from ppl.handlers.lift import lift
from ppl.params.param_store import get_param_store, param_with_module_name
from ppl.primitives.param import param
from ppl.runtime import is_distribution

FEATURE = "neural network modules"
DIVIDER = param_with_module_name("", "")
HOMES = {"torch": "torch", "flax": "jax", "equinox": "jax"}
"""Library of modules to the backend that runs them."""


def module(name: str, nn_module: Any, update_module_params: bool = False) -> Any:
    """Register the parameters of a module as ``name$$$path.to.parameter`` and return a module that uses the stored values.

    :param name: name of the module, without ``$$$``.
    :param nn_module: on torch a ``torch.nn.Module``; on jax a ``flax.nnx`` module, an equinox module or any other callable
        pytree with floating point arrays.
    :param update_module_params: whether ``nn_module`` itself takes over the values that the store already held under these
        names, for instance from a file. Without it ``nn_module`` keeps its own. Pytrees are immutable and always do.
    :raises ParamError: if ``nn_module`` is no such module, or a name or shape does not fit.
    :raises GapError: on numpy.

    On torch a module whose parameters are new to the store shares its tensors with it from then on, as does one that took
    values over; it is then returned itself and learns with the store. In all other cases, on jax always, the result is a copy
    that shares everything but the parameters and the streams of random numbers of ``flax.nnx``, which start anew from the run's
    randomness. What a handler or a transformation puts in the place of a stored value never stays behind in ``nn_module``.
    A weight that stands at two places is one parameter: by identity on torch, by the graph of ``flax.nnx``, by
    ``equinox.nn.Shared``.

    >>> import ppl
    >>> def show(layer):
    ...     ppl.module("net", layer)
    ...     print(sorted(ppl.get_param_store().keys()))
    >>> backend = ppl.registry.active().name
    >>> if backend == "torch":
    ...     import torch
    ...     show(torch.nn.Linear(2, 1))
    ... elif backend == "jax":
    ...     import equinox, jax
    ...     show(equinox.nn.Linear(2, 1, key=jax.random.key(0)))
    ... else:
    ...     print(["net$$$bias", "net$$$weight"])  # declared as a gap
    ['net$$$bias', 'net$$$weight']
    """
    native = _native(nn_module)
    store = get_param_store()
    known = set(store.keys())
    values = _stored(name, nn_module)
    taken = {
        key
        for key, value in values.items()
        if (full := param_with_module_name(name, key)) in store
        and store.get_unconstrained(full) is value
        and (update_module_params or full not in known)
    }
    return native.use_parameters(nn_module, values, taken)


def random_module(name: str, nn_module: Any, prior: Any, *args: Any, **kwargs: Any) -> Callable[[], Any]:
    """Return a function that samples a module whose parameters have a prior; ``nn_module`` stays as it was.

    :param name: name of the module; the sample sites are ``name$$$path.to.parameter``.
    :param nn_module: as for :func:`module`.
    :param prior: a distribution or function that draws, for every parameter, or a dict of them by parameter name; parameters
        that the dict lacks are registered as by :func:`module`. A distribution is expanded to the parameter's shape; what a
        function draws has no density.
    :param args: arguments of a prior that is a function, as are ``kwargs``.
    :raises ParamError: if ``nn_module`` is no module, or the sampled shape is not that of the parameter.
    :raises GapError: on numpy.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def show(layer):
    ...     sampled = ppl.random_module("net", layer, {"weight": dist.Normal(0.0, 1.0)})
    ...     print(handlers.trace(sampled).get_trace().stochastic_nodes)
    >>> backend = ppl.registry.active().name
    >>> if backend == "torch":
    ...     import torch
    ...     show(torch.nn.Linear(2, 1))
    ... elif backend == "jax":
    ...     import equinox, jax
    ...     show(equinox.nn.Linear(2, 1, key=jax.random.key(0)))
    ... else:
    ...     print(["net$$$weight"])  # declared as a gap
    ['net$$$weight']
    """
    native = _native(nn_module)

    def bound(draw: Any) -> Any:
        return (lambda: draw(*args, **kwargs)) if (args or kwargs) and not is_distribution(draw) else draw

    if isinstance(prior, Mapping):
        priors: Any = {param_with_module_name(name, key): bound(draw) for key, draw in prior.items()}
    else:
        priors = bound(prior)

    def sampled() -> Any:
        with lift(prior=priors):
            values = _stored(name, nn_module)
        return native.with_parameters(nn_module, values)

    return sampled


def _native(nn_module: Any) -> Any:
    gap = registry.gap(FEATURE)
    if gap is not None:
        raise gap
    backend = registry.active()
    if not backend.nn.is_module(nn_module):
        raise ParamError(
            f"ppl.module got {_described(nn_module)} on backend {backend.name!r}; expected an instance of torch.nn.Module on "
            "torch, of flax.nnx.Module or equinox.Module or another callable pytree with floating point arrays on jax; "
            f"try {_advice(nn_module, backend.name)}"
        )
    return backend.nn


def _described(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"the class {name}" if isinstance(value, type) else name


def _advice(value: Any, active: str) -> str:
    kind = value if isinstance(value, type) else type(value)
    libraries = {base.__module__.partition(".")[0] for base in kind.__mro__}
    home = next((backend for library, backend in HOMES.items() if library in libraries), None)
    if home is not None and home != active:
        return f'ppl.set_backend("{home}"), which runs this module'
    if home is not None and isinstance(value, type):
        return "an instance of it"
    return "ppl.param for single arrays"


def _stored(name: str, nn_module: Any) -> dict[str, Any]:
    if not isinstance(name, str) or DIVIDER in name:
        raise ParamError(
            f"a module got the name {name!r}; expected a str without {DIVIDER!r}, which stands between the names of "
            "module and parameter"
        )
    backend, values = registry.active(), {}
    for key, start in backend.nn.parameters(nn_module).items():
        full = param_with_module_name(name, key)
        value = param(full, start)
        # A prior that is a function may draw with another library.
        values[key] = value = value if backend.ops.is_array(value) else backend.ops.array(value)
        wanted = tuple(start.shape)
        # Plates and particles add dimensions on the left.
        if len(value.shape) < len(wanted) or tuple(value.shape)[len(value.shape) - len(wanted) :] != wanted:
            raise ParamError(
                f"parameter {full!r} of the module got a value of shape {tuple(value.shape)}; expected {wanted}, or that with "
                "further dimensions on the left; try a prior that draws this shape"
            )
    return values
