"""Use the neural network modules of the active backend's libraries in a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl import registry
from ppl.errors import ParamError
from ppl.handlers.lift import lift
from ppl.params.param_store import param_with_module_name
from ppl.primitives.param import param

FEATURE = "neural network modules"


def module(name: str, nn_module: Any, update_module_params: bool = False) -> Any:
    """Register the parameters of a module as ``name$$$parameter`` and return the module that uses the stored values.

    :param name: name of the module.
    :param nn_module: on torch a ``torch.nn.Module``, which from then on uses the store's tensors itself; on jax a callable
        pytree of arrays, for instance an equinox module, which stays as it was.
    :param update_module_params: whether the module's own tensors are overwritten with the stored values as well.
    :raises ParamError: if ``nn_module`` is no such module.
    :raises GapError: on numpy.
    """
    native = _native(nn_module)
    return native.use_parameters(nn_module, _stored(name, nn_module), update_module_params)


def random_module(name: str, nn_module: Any, prior: Any, *args: Any, **kwargs: Any) -> Callable[[], Any]:
    """Return a function that samples a module whose parameters have a prior; ``nn_module`` stays as it was.

    :param name: name of the module; the sample sites are ``name$$$parameter``.
    :param nn_module: as for :func:`module`.
    :param prior: a distribution or function that draws, or a dict of them by parameter name.
    :param args: arguments of a prior that is a function, as are ``kwargs``.
    :raises ParamError: if ``nn_module`` is no module.
    """
    native = _native(nn_module)

    def bound(draw: Any) -> Any:
        return (lambda: draw(*args, **kwargs)) if args or kwargs else draw

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
            f"ppl.module got {type(nn_module).__name__} on backend {backend.name!r}; expected a torch.nn.Module on torch, a "
            "callable pytree with floating point arrays on jax; try ppl.param for single arrays"
        )
    return backend.nn


def _stored(name: str, nn_module: Any) -> dict[str, Any]:
    found = registry.active().nn.parameters(nn_module)
    return {key: param(param_with_module_name(name, key), value) for key, value in found.items()}
