"""A loss as a function of unconstrained parameters, and its gradients on each kind of backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ppl import handlers, ops, registry
from ppl.distributions import validation
from ppl.errors import InferenceError, PplError
from ppl.handlers.messenger import Handler
from ppl.infer.particles import run_pair
from ppl.ops import autodiff, host, random
from ppl.params import get_param_store
from ppl.primitives.validation import is_validation_enabled
from ppl.transforms import transform_to
from ppl.typing import Message, Model

AVERAGE = "__baseline_avg_"
"""How the names of the params begin that a loss keeps for itself: averages, which no optimizer moves."""


class Estimate(NamedTuple):
    """A Monte Carlo estimate of a loss.

    :param loss: the negative bound, a scalar.
    :param surrogate: a scalar whose gradient is the gradient estimate; its value means nothing.
    :param terms: log density of each site, a scalar each, to find the one that is not finite.
    :param updates: new unconstrained values of the params that the loss keeps for itself, to be stored if the step is taken.
    """

    loss: Any
    surrogate: Any
    terms: dict[str, Any]
    updates: dict[str, Any] = {}


class ParamNames(Handler):
    """Collect the names of the param sites inside, in order.

    :param known: names that are expected, or ``None`` for any.

    Another name than the known ones raises :class:`UnknownParam`: the function being differentiated or compiled does not
    have it among its arguments.
    """

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.known = known
        self.names: dict[str, None] = {}

    def on_param(self, message: Message) -> None:
        """Note the name."""
        name = message["name"]
        if self.known is not None and name not in self.known:
            raise UnknownParam(name)
        self.names[name] = None


class UnknownParam(InferenceError):
    """A param site appeared that the parameters so far do not contain.

    :param name: its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"param {name!r} appeared after the fit was set up; expected model and guide to have the same params at each step; "
            "try svi.step, or the torch or numpy backend, for a model whose params change"
        )
        self.name = name


def discover(
    model: Model,
    guide: Model,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: Any = None,
    loss: Any = None,
    ahead: Callable[[list[str]], None] | None = None,
) -> list[str]:
    """Run guide and model once, so that every param exists in the param store, and return the names.

    :param key: seeds the run and the initial values; ``None`` draws from the ambient source.
    :param loss: its method ``declare(guide_trace)``, if it has one, meets the params that the loss keeps for itself; its method
        ``prepare(model, guide, args, kwargs)`` looks at what it could not look at in compiled code.
    :param ahead: called with the names before ``prepare``, to begin what can be done beside it.
    """
    with ParamNames() as seen, host.preferred():
        if key is None:
            model_trace, guide_trace = run_pair(model, guide, args, kwargs)
        else:
            with random.scope(key):
                model_trace, guide_trace = run_pair(model, guide, args, kwargs, random.fold_in(key, "first run"))
        if hasattr(loss, "declare"):
            loss.declare(guide_trace)
    if hasattr(loss, "prepare"):
        if ahead is not None:
            ahead(list(seen.names))
        loss.prepare(model, guide, args, kwargs)
    if is_validation_enabled() and not _observations_inside(model_trace):
        # A compiled step checks no value, so the data are judged here; the densities say what is wrong with them.
        model_trace.compute_log_prob(lambda name, site: site["is_observed"])
    return list(seen.names)


def _observations_inside(model_trace: Any) -> bool:
    """Return whether all observed values are known to lie in their supports, which takes less work than their densities."""
    for site in model_trace.nodes.values():
        if site["type"] == "sample" and site["is_observed"]:
            support = getattr(site["fn"], "support", None)
            try:
                known = support is not None and validation.holds_throughout(support, site["value"])
                if not known and (support is None or not bool(ops.all(support.check(site["value"])))):
                    return False
            except (NotImplementedError, TypeError, ValueError, PplError):
                return False
    return True


class Objective:
    """A loss of model and guide: an ELBO, or a function ``loss(model, guide, *args, **kwargs)`` of the user.

    :param loss: an object with the method ``estimate(model, guide, args, kwargs, key)``, or the function.

    :raises InferenceError: if it is neither, or if model or guide cannot be called.
    """

    def __init__(self, model: Model, guide: Model, loss: Any) -> None:
        for role, part in (("model", model), ("guide", guide)):
            if not callable(part):
                raise InferenceError(
                    f"the {role} is an object of type {type(part).__name__}, which cannot be called; expected a function with "
                    "primitives; try SVI(model, guide, optim, loss), in this order"
                )
        if isinstance(loss, type) or (not hasattr(loss, "estimate") and not callable(loss)):
            received = f"the class {loss.__name__}" if isinstance(loss, type) else type(loss).__name__
            raise InferenceError(
                f"the loss is an ELBO or a function of (model, guide, *args), received {received}; try loss=Trace_ELBO()"
            )
        self.model = model
        self.guide = guide
        self.loss = loss

    def estimate(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None) -> Estimate:
        """Return the loss of ``model`` and ``guide``, which are this objective's own, perhaps under handlers."""
        if hasattr(self.loss, "estimate"):
            return self.loss.estimate(model, guide, args, kwargs, key)
        if key is None:
            value = self.loss(model, guide, *args, **kwargs)
        else:
            with random.scope(key):
                value = self.loss(model, guide, *args, **kwargs)
        return Estimate(autodiff.stop_gradient(ops.array(value)), value, {})

    def with_gradients(
        self,
        unconstrained: Mapping[str, Any],
        constraints: Mapping[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: Any = None,
    ) -> tuple[Estimate, dict[str, Any]]:
        """Return the estimate and its gradients in those of ``unconstrained`` that the run met; pure with explicit randomness.

        :raises UnknownParam: if another param site appears.
        """
        seen = ParamNames(unconstrained)

        def surrogate(free: dict[str, Any]) -> tuple[Any, Any]:
            # Around the whole loss, which may have params of its own.
            with seen, handlers.substitute(data=constrain(free, constraints)):
                estimate = self.estimate(self.model, self.guide, args, kwargs, key)
            return estimate.surrogate, autodiff.stop_gradient((estimate.loss, estimate.terms))

        if getattr(self.loss, "repetitive", False):
            surrogate = registry.active().infer.merged(surrogate)
        (value, (loss, terms)), gradients = autodiff.value_and_grad(surrogate, has_aux=True)(dict(unconstrained))
        gradients, updates = settle({name: gradients[name] for name in seen.names}, unconstrained)
        return Estimate(loss, value, terms, updates), gradients

    def backward(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], retain_graph: bool | None = None
    ) -> tuple[Estimate, dict[str, Any], dict[str, Any]]:
        """Return estimate, unconstrained parameters and their gradients by name, the gradients added to each array's ``grad``.

        :raises InferenceError: if the loss depends on no parameter.
        """
        with ParamNames() as seen:
            estimate = self.estimate(self.model, self.guide, args, kwargs)
        require_params(seen.names)
        if not getattr(estimate.surrogate, "requires_grad", False):
            raise InferenceError(
                f"the loss does not depend on the params {sorted(seen.names)}: nothing can be fitted; "
                "expected params that reach a sample site without .detach()"
            )
        estimate.surrogate.backward(retain_graph=retain_graph)
        leaves = leaves_of(seen.names)
        gradients, updates = settle(standing_gradients(leaves), leaves)
        for name in updates:
            leaves[name].grad = None
        return estimate._replace(updates=updates), leaves, gradients


def leaves_of(names: Iterable[str]) -> dict[str, Any]:
    """Return the param store's unconstrained arrays by name."""
    store = get_param_store()
    return {name: store.get_unconstrained(name) for name in names}


def constraints_of(names: Iterable[str]) -> dict[str, Any]:
    """Return the param store's constraints by name."""
    store = get_param_store()
    return {name: store.constraint(name) for name in names}


def standing_gradients(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in the ``grad`` of each array that has one."""
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def settle(gradients: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the gradients for the optimizer, and the new values of the params that the loss keeps for itself.

    The gradient of such a param is the distance from its new value to the present one.
    """
    own = {name for name in gradients if name.startswith(AVERAGE)}
    updates = {name: autodiff.stop_gradient(params[name] - gradients[name]) for name in sorted(own)}
    return {name: gradient for name, gradient in gradients.items() if name not in own}, updates


def constrain(unconstrained: Mapping[str, Any], constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Return constrained values of parameters."""
    return {name: host.evaluate(transform_to(constraints[name]), value) for name, value in unconstrained.items()}


def require_params(names: Iterable[str]) -> None:
    """Raise if there is nothing to fit."""
    if not names:
        raise InferenceError(
            "neither model nor guide has a param: nothing can be fitted; expected at least one ppl.param site; "
            "try an automatic guide, such as AutoDiagonalNormal(model)"
        )
