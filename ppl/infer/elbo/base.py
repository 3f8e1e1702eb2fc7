"""What the evidence lower bounds share: particles, checks, and the ways to ask for a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf, isfinite
from typing import Any, ClassVar

from ppl import handlers, ops, registry
from ppl.errors import InferenceError, ParamError
from ppl.infer.elbo.matching import check_match
from ppl.infer.objective import Estimate, Objective, constraints_of, discover, leaves_of
from ppl.infer.particles import PARTICLE_PLATE, deepest_plate, has_explicit_keys, in_plate, map_over_keys, run_pair
from ppl.ops import autodiff, random
from ppl.params import get_param_store
from ppl.primitives.validation import check_site_shapes, is_validation_enabled
from ppl.typing import Model, Tree

__all__ = ["ELBO", "PARTICLE_PLATE", "check_match"]


class ELBO(ABC):
    """Base of the evidence lower bounds, the losses of :class:`ppl.infer.SVI`.

    :param num_particles: how many runs of guide and model an estimate averages.
    :param max_plate_nesting: how many batch dimensions the plates of model and guide take; guessed by one run if absent.
    :param max_iarange_nesting: older name of ``max_plate_nesting``.
    :param vectorize_particles: whether the particles run at once: mapped over keys on jax, in an outer plate elsewhere, which
        needs a model whose operations broadcast on the left.
    :param strict_enumeration_warning: whether enumeration warns where it is not used; has no effect on other bounds.
    :param ignore_jit_warnings: accepted; the library's compilers do not warn about it.
    :param jit_options: accepted; the backend chooses its compiler's options.
    :param retain_graph: whether torch keeps the graph after :meth:`loss_and_grads`.
    :param tail_adaptive_beta: exponent in [-1, 0) of the tail-adaptive bound.
    :raises InferenceError: if ``num_particles`` is not a positive int.
    """

    jit: ClassVar[bool] = False
    """Whether a step with this loss is worth compiling on a backend that otherwise runs it as it is."""

    repetitive: ClassVar[bool] = False
    """Whether runs do the same operations again and again, as those of a chain do, so that it is worth to look for them."""

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float = inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        ignore_jit_warnings: bool = False,
        jit_options: dict[str, Any] | None = None,
        retain_graph: bool | None = None,
        tail_adaptive_beta: float = -1.0,
    ) -> None:
        if not isinstance(num_particles, int) or num_particles < 1:
            raise InferenceError(f"num_particles must be an int of 1 or more, received {num_particles!r}; try num_particles=1")
        self.num_particles = num_particles
        nesting = max_plate_nesting if max_iarange_nesting is None else max_iarange_nesting
        if nesting != inf and (not isinstance(nesting, int) or nesting < 0):
            raise InferenceError(f"max_plate_nesting must be an int of 0 or more, received {nesting!r}; try to leave it out")
        self.max_plate_nesting = nesting
        self.vectorize_particles = vectorize_particles and num_particles > 1
        self.strict_enumeration_warning = strict_enumeration_warning
        self.ignore_jit_warnings = ignore_jit_warnings
        self.jit_options = jit_options
        self.retain_graph = retain_graph
        self.tail_adaptive_beta = tail_adaptive_beta
        self.gradients: dict[str, Any] = {}

    @abstractmethod
    def particle(self, model_trace: Any, guide_trace: Any) -> Estimate:
        """Return the estimate from one pair of traces (of a plate of particles: their sum)."""

    def estimate(
        self, model: Model, guide: Model, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, key: Any = None
    ) -> Estimate:
        """Return the estimate at the current parameters; pure in ``key`` where randomness is explicit.

        :raises InferenceError: if the sites of model and guide do not match.
        :raises ShapeError: if a site has a batch dimension that no plate declares.
        """
        kwargs = {} if kwargs is None else kwargs
        num = self.num_particles
        if not self.vectorize_particles:
            keys = [key] * num if key is None or num == 1 else random.split(key, num)
            return _average([self._one(model, guide, args, kwargs, own) for own in keys], num)
        if has_explicit_keys():
            stacked = self._mapped(lambda own: tuple(self._one(model, guide, args, kwargs, own)), model, guide, args, kwargs, key)
            return _average(
                [Estimate(ops.sum(stacked[0]), ops.sum(stacked[1]), {n: ops.sum(v) for n, v in stacked[2].items()})], num
            )
        model, guide, _ = self._in_plates(model, guide, args, kwargs)
        return _average([self._one(model, guide, args, kwargs, key)], num)

    def _one(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any) -> Estimate:
        model_trace, guide_trace = run_pair(model, guide, args, kwargs, key)
        check_match(model_trace, guide_trace)
        estimate = self.particle(model_trace, guide_trace)
        check_plates(model_trace, guide_trace)
        return estimate

    def _mapped(
        self, run: Callable[[Any], Tree], model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any
    ) -> Tree:
        """Return ``run(key)`` of all particles, mapped over keys and stacked."""
        key = random.next_key("particles") if key is None else key
        try:
            return map_over_keys(run, key, self.num_particles)
        except ParamError:
            if autodiff.is_tracing():
                raise
            # A param that is new cannot be stored from within the map.
            discover(model, guide, args, kwargs, loss=self)
            return map_over_keys(run, key, self.num_particles)

    def _in_plates(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Model, Model, int]:
        """Return model and guide, each in the plate of particles, and the dimension of that plate."""
        nesting = self._nesting(model, guide, args, kwargs)
        around = [in_plate(fn, PARTICLE_PLATE, self.num_particles, nesting) for fn in (model, guide)]
        return around[0], around[1], -1 - nesting

    def _nesting(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        if not isfinite(self.max_plate_nesting):
            with handlers.block():
                self.max_plate_nesting = deepest_plate(run_pair(model, guide, args, kwargs))
        return int(self.max_plate_nesting)

    def loss(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> float:
        """Return an estimate of the loss, the negative bound, as a float; the arguments go to model and guide."""
        return float(ops.to_numpy(self.estimate(model, guide, args, kwargs).loss))

    def differentiable_loss(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> Any:
        """Return an array whose value is the loss and whose gradient is the gradient estimate."""
        estimate = self.estimate(model, guide, args, kwargs)
        return estimate.surrogate + autodiff.stop_gradient(estimate.loss - estimate.surrogate)

    def loss_and_grads(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> float:
        """Return the loss as a float and leave the gradients of the unconstrained parameters behind.

        On torch they are added to the ``grad`` of the param store's entries; elsewhere arrays have none, and
        they stand in :attr:`gradients` by name.
        """
        objective = Objective(model, guide, self)
        if registry.active().optim.STEP == "leaves":
            estimate, _, self.gradients = objective.backward(args, kwargs, self.retain_graph)
        else:
            names = discover(model, guide, args, kwargs, loss=self)
            key = random.next_key("loss_and_grads")
            estimate, self.gradients = objective.with_gradients(leaves_of(names), constraints_of(names), args, kwargs, key)
        for name, value in estimate.updates.items():
            get_param_store().set_unconstrained(name, value)
        return float(ops.to_numpy(estimate.loss))


def _average(estimates: list[Estimate], num: int) -> Estimate:
    if num == 1 and len(estimates) == 1:
        return estimates[0]
    loss = sum(estimate.loss for estimate in estimates) / num
    surrogate = sum(estimate.surrogate for estimate in estimates) / num
    return Estimate(loss, surrogate, estimates[0].terms if len(estimates) == 1 else _add_terms(estimates))


def _add_terms(estimates: list[Estimate]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for estimate in estimates:
        for name, term in estimate.terms.items():
            total[name] = total.get(name, 0.0) + term
    return total


def check_plates(*traces: Any) -> None:
    """Raise, where sites are checked, if a site has a batch dimension that no plate declares.

    :raises ShapeError: naming the site, its batch shape and its plates.
    """
    if is_validation_enabled():
        for trace in traces:
            for site in trace.nodes.values():
                check_site_shapes(site)
