"""Optimizers that differentiate the loss themselves, as often as they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppl import registry
from ppl.errors import InferenceError
from ppl.ops import autodiff
from ppl.ops.newton import newton_step
from ppl.optim.base import PyroOptim
from ppl.params import get_param_store

Commit = Callable[[], dict[str, Any]]
"""Moves the parameters as planned and returns them."""


class MultiOptimizer:
    """Base class of optimizers that get the loss instead of its gradients.

    A loss is a scalar-valued function of the parameters, a dict of arrays by name; on torch it may be the loss itself, a scalar
    tensor computed from parameters that require gradients. A derived class implements :meth:`get_step`.
    """

    def get_step(self, loss: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters after one step, differentiable with respect to what the loss was computed from.

        :param loss: see the class.
        :param params: unconstrained values by name.
        :raises InferenceError: if this optimizer has no differentiable step.
        """
        raise InferenceError(
            f"{type(self).__name__} has no differentiable step; expected optim.Newton or a mixture of it; try step(loss, params)"
        )

    def step(self, loss: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take one step to lower ``loss`` and return the new values, detached.

        :param loss: see the class.
        :param params: unconstrained values by name, as in the param store. On torch they move in place; elsewhere the entries of
            the param store with these names are replaced.
        """
        return self._plan(loss, params)()

    def _plan(self, loss: Any, params: Mapping[str, Any]) -> Commit:
        """Return what to do once every derivative of the old values has been taken."""
        values = autodiff.stop_gradient(self.get_step(loss, params))
        return lambda: _stored(registry.active().optim.assign(params, values))


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    store = get_param_store()
    for name, value in values.items():
        if name in store and store.get_unconstrained(name) is not value:
            store.set_unconstrained(name, value)
    return values


class PyroMultiOptimizer(MultiOptimizer):
    """A first-order optimizer that takes the loss and differentiates it once.

    :param optim: a :class:`~ppl.optim.PyroOptim`.
    :raises InferenceError: if it is none.

    >>> from ppl import ops, optim
    >>> optimizer = optim.PyroMultiOptimizer(optim.SGD(lr=0.25))
    >>> float(optimizer.step(lambda params: params["x"] ** 2, {"x": ops.array(2.0)})["x"])
    1.0
    """

    def __init__(self, optim: Any) -> None:
        if not isinstance(optim, PyroOptim):
            raise InferenceError(f"expected an optimizer of ppl.optim, received {type(optim).__name__}; try optim.Adam(lr=0.01)")
        self.optim = optim

    def _plan(self, loss: Any, params: Mapping[str, Any]) -> Commit:
        if callable(loss):
            gradients = autodiff.grad(loss)(dict(params))
        else:
            found = _gradients_of_array(loss, list(params.values()))
            gradients = dict(zip(params, found, strict=True))
        return lambda: _stored(self.optim.step(gradients, dict(params)))


def _gradients_of_array(loss: Any, arrays: list[Any]) -> list[Any]:
    gap = registry.gap("derivatives of an array")
    if gap is not None:
        raise gap
    return list(registry.active().optim.gradients_of(loss, arrays, False))


class TorchMultiOptimizer(PyroMultiOptimizer):
    """An optimizer of the active library that takes the loss.

    :param optim_constructor: what :class:`~ppl.optim.PyroOptim` takes: an optimizer of :mod:`ppl.optim`, a ``torch.optim`` class
        on torch, an optax transformation on jax.
    :param optim_args: its arguments.

    >>> from ppl import ops, optim
    >>> optimizer = optim.TorchMultiOptimizer(optim.SGD, {"lr": 0.25})
    >>> float(optimizer.step(lambda params: params["x"] ** 2, {"x": ops.array(2.0)})["x"])
    1.0
    """

    def __init__(self, optim_constructor: Any, optim_args: Any = None) -> None:
        super().__init__(PyroOptim(optim_constructor, optim_args))


class MixedMultiOptimizer(MultiOptimizer):
    """Different optimizers for different parameters; all of them start from the same point.

    :param parts: pairs of a list of names and the :class:`MultiOptimizer` or :class:`~ppl.optim.PyroOptim` for them.
    :raises InferenceError: if two parts share a name, or a part is no such pair.

    >>> from ppl import ops, optim
    >>> optimizer = optim.MixedMultiOptimizer([(["x"], optim.Newton()), (["y"], optim.SGD(lr=0.25))])
    >>> new = optimizer.step(lambda p: ops.sum((p["x"] - 3.0) ** 2) + p["y"] ** 2, {"x": ops.zeros((1,)), "y": ops.array(2.0)})
    >>> round(float(new["x"][0]), 3), float(new["y"])
    (3.0, 1.0)
    """

    def __init__(self, parts: Sequence[tuple[Sequence[str], Any]]) -> None:
        self.parts: list[tuple[list[str], MultiOptimizer]] = []
        owners: dict[str, int] = {}
        for index, (names, optim) in enumerate(parts):
            if isinstance(names, str):
                raise InferenceError(f"part {index} needs a list of names, received the string {names!r}; try [{names!r}]")
            for name in names:
                if name in owners:
                    raise InferenceError(
                        f"parameter {name!r} is optimized by part {owners[name]} and by part {index}; expected one of them"
                    )
                owners[name] = index
            self.parts.append((list(names), optim if isinstance(optim, MultiOptimizer) else PyroMultiOptimizer(optim)))

    def get_step(self, loss: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters after one step of each part.

        :param loss: see :class:`MultiOptimizer`.
        :param params: unconstrained values by name.
        :raises InferenceError: if the parts and ``params`` have different names, or a part has no differentiable step.
        """
        found: dict[str, Any] = {}
        for optim, own, own_loss in self._split(loss, params):
            found.update(optim.get_step(own_loss, own))
        return {name: found[name] for name in params}

    def _plan(self, loss: Any, params: Mapping[str, Any]) -> Commit:
        commits = [optim._plan(own_loss, own) for optim, own, own_loss in self._split(loss, params)]

        def commit() -> dict[str, Any]:
            found: dict[str, Any] = {}
            for one in commits:
                found.update(one())
            return {name: found[name] for name in params}

        return commit

    def _split(self, loss: Any, params: Mapping[str, Any]) -> list[tuple[MultiOptimizer, dict[str, Any], Any]]:
        known = [name for names, _ in self.parts for name in names]
        absent, strangers = sorted(set(known) - set(params)), sorted(set(params) - set(known))
        if absent or strangers:
            raise InferenceError(
                f"the parts of MixedMultiOptimizer and the params differ: without value {absent}, without part {strangers}; "
                "expected the same names"
            )
        return [
            (optim, {name: params[name] for name in names}, _restricted(loss, params) if callable(loss) else loss)
            for names, optim in self.parts
        ]


def _restricted(loss: Callable[[dict[str, Any]], Any], params: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda own: loss({**params, **own})


class Newton(MultiOptimizer):
    """Newton's method for batches of small parameters, each apart from the others; see :func:`ppl.ops.newton.newton_step`.

    :param trust_radii: by parameter name, how far a member of its batch may move in a step; a missing name may move any distance.

    Parameters have shape ``(..., D)``: the last dimension is solved for, the others are a batch.

    >>> from ppl import ops, optim
    >>> optimizer = optim.Newton({"x": 0.5})
    >>> new = optimizer.get_step(lambda params: ops.sum((params["x"] - 3.0) ** 2), {"x": ops.zeros((1,))})
    >>> round(float(new["x"][0]), 3)
    0.5
    """

    def __init__(self, trust_radii: Mapping[str, float] | None = None) -> None:
        self.trust_radii = dict(trust_radii or {})

    def get_step(self, loss: Any, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters after one Newton step each, differentiable.

        :param loss: see :class:`MultiOptimizer`.
        :param params: unconstrained values by name, each of shape ``(..., D)``.
        """
        found = {}
        for name, value in params.items():
            own = _as_function_of(loss, params, name) if callable(loss) else loss
            found[name], _ = newton_step(own, value, self.trust_radii.get(name))
        return found


def _as_function_of(loss: Callable[[dict[str, Any]], Any], params: Mapping[str, Any], name: str) -> Callable[[Any], Any]:
    return lambda value: loss({**params, name: value})
