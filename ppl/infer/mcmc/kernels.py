"""What samplers share: the target, the metric and what warm-up tunes. A kernel is configuration; its transitions are pure."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ppl import handlers, ops
from ppl.errors import InferenceError
from ppl.infer.adapt import windows
from ppl.infer.adapt.step_size import StepSizeAdaptation
from ppl.infer.adapt.windows import Window
from ppl.infer.enum.elimination import ParallelElimination
from ppl.infer.initialization import init_to_uniform
from ppl.infer.mcmc.blocks import Block, as_groups, block_mask
from ppl.infer.mcmc.energy import EnergyPotential, init_to_params
from ppl.infer.mcmc.given_transform import GivenTransform
from ppl.infer.mcmc.metrics import Dense, Diagonal, Metric, automatic
from ppl.infer.mcmc.spelling import resolve
from ppl.infer.mcmc.state import Transition
from ppl.infer.mcmc.warm_start import WarmStart
from ppl.infer.potential import Elimination, FunctionPotential, ModelArguments, Potential
from ppl.typing import Model

MASS_ESTIMATES = ("gradients", "draws")


class Kernel(ABC):
    """What HMC, NUTS and ChEES share.

    :param model: a callable with primitives; or one of the next two instead.
    :param potential_fn: ``fn({name: value}) -> scalar``, a potential energy (minus the log density) of unconstrained values,
        whose names and shapes ``initial_params`` tells.
    :param log_density_fn: ``fn(vector, *data) -> scalar``, a log density on unconstrained space, with ``dimension`` its size.
    :param step_size: first step size; found by search if ``None`` and adapted.
    :param adapt_step_size: whether warm-up tunes the step size by dual averaging.
    :param adapt_mass_matrix: whether warm-up estimates the metric in windows.
    :param full_mass: ``True``: a dense metric; ``False``: a diagonal one; ``None``: the draws of warm-up decide, beyond
        128 dimensions on a diagonal one with few corrected directions; a list of tuples of site names such as
        ``[("a", "b"), ("c",)]``: dense within each tuple, diagonal elsewhere (``dense_mass`` is the same).
    :param transforms: a dict from site name to the transform from its support to unconstrained space, in place of the usual one;
        such a site is sampled as ``<name>_unconstrained``.
    :param max_plate_nesting: the number of dimensions that plates use, left of which discrete sites take all their values; found
        by a run of the model if ``None``.
    :param target_accept_prob: the mean acceptance probability that the step size is tuned to, in (0, 1).
    :param init_strategy: where chains start: one of the ``init_to_...`` functions.
    :param init: a fitted automatic guide instead, of any backend: chains start at draws of it, and its covariance is the inverse
        mass to begin with. What it was fitted to is read here and now.
    :param initial_params: a dict of unconstrained values from which :meth:`MCMCKernel.sample` or ``potential_fn`` starts.
    :param initial_inverse_mass: inverse mass to begin with: ``(D,)`` variances or a ``(D, D)`` covariance.
    :param mass_estimate: ``"gradients"``: the metric is estimated from draws and their gradients in short windows, so that a
        third of the usual warm-up suffices; ``"draws"``: from draws alone, in Stan's windows.
    :raises InferenceError: for a value out of range or an unknown argument.

    ``jit_compile``, ``jit_options`` and ``ignore_jit_warnings`` are accepted and have no effect: what repeats is always compiled.
    """

    elimination: ClassVar[Elimination | None] = ParallelElimination()
    """What sums discrete latent sites out of a model; ``None`` refuses them."""

    def __init__(
        self,
        model: Model | None = None,
        potential_fn: Callable[..., Any] | None = None,
        *,
        log_density_fn: Callable[..., Any] | None = None,
        dimension: int | None = None,
        step_size: float | None = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        full_mass: bool | Sequence[Any] | None = None,
        transforms: Mapping[str, Any] | None = None,
        max_plate_nesting: int | None = None,
        target_accept_prob: float = 0.8,
        init_strategy: Callable[..., Any] | None = None,
        init: Any = None,
        initial_params: Mapping[str, Any] | None = None,
        initial_inverse_mass: Any = None,
        mass_estimate: str = "gradients",
        **spellings: Any,
    ) -> None:
        name = type(self).__name__
        given = {"full_mass": full_mass, "init_strategy": init_strategy, "initial_inverse_mass": initial_inverse_mass}
        given = resolve(name, given, spellings)
        if sum(target is not None for target in (model, potential_fn, log_density_fn)) != 1:
            raise InferenceError(f"{name} needs either a model or log_density_fn=... or potential_fn=..., and only one of them")
        if log_density_fn is not None and not (isinstance(dimension, int) and dimension > 0):
            raise InferenceError(f"{name} with log_density_fn needs dimension=..., the length of its vector; got {dimension!r}")
        if transforms and model is None:
            raise InferenceError(f"{name} takes transforms= of the sites of a model; a density of one's own has no constraints")
        if not 0.0 < target_accept_prob < 1.0:
            raise InferenceError(f"target_accept_prob must lie strictly between 0 and 1, got {target_accept_prob}")
        require_positive("step_size", step_size)
        if max_plate_nesting is not None and not (isinstance(max_plate_nesting, int) and max_plate_nesting >= 0):
            raise InferenceError(f"max_plate_nesting must be an int of at least 0, got {max_plate_nesting!r}")
        if init is not None and (model is None or given["init_strategy"] is not None):
            raise InferenceError(f"{name} takes init=, a fitted guide, with a model and in place of init_strategy, not beside it")
        self.model: Any = model
        self.potential_fn = potential_fn
        self.log_density_fn = log_density_fn
        self.dimension: Any = dimension
        self.step_size = step_size
        self.adapt_step_size = adapt_step_size
        self.adapt_mass_matrix = adapt_mass_matrix
        self.transforms = dict(transforms or {})
        self.max_plate_nesting = max_plate_nesting
        self.target_accept_prob = target_accept_prob
        warm = None if init is None else WarmStart(init, name)
        self.init_strategy: Any = warm or given["init_strategy"] or (init_to_params if potential_fn else init_to_uniform)
        self.initial_params = initial_params
        self.initial_inverse_mass = given["initial_inverse_mass"]
        full_mass = given["full_mass"]
        self.groups = () if full_mass is None or isinstance(full_mass, bool) else as_groups(full_mass)
        if mass_estimate not in MASS_ESTIMATES:
            raise InferenceError(f"mass_estimate must be one of {', '.join(map(repr, MASS_ESTIMATES))}, got {mass_estimate!r}")
        self.full_mass = full_mass
        self.mass_estimate = mass_estimate
        self.metric: Metric = Dense() if full_mass else Diagonal()
        self._strategies = {site: GivenTransform(transform) for site, transform in self.transforms.items()}

    def potential(self, arguments: ModelArguments) -> Any:
        """Return the target given the arguments of a run.

        :raises InferenceError: if the model cannot be sampled, or names given to the kernel are no sites of it.
        """
        if self.log_density_fn is not None:
            return FunctionPotential(self.log_density_fn, self.dimension, arguments)
        if self.potential_fn is not None:
            return EnergyPotential(self.potential_fn, self.initial_params, arguments)
        model = handlers.reparam(self.model, config=self._strategies) if self._strategies else self.model
        return Potential(model, arguments, self.elimination, self.max_plate_nesting)

    def bind(self, potential: Any) -> Kernel:
        """Return the kernel for one target: a copy whose metric is chosen for its size and the places of its sites.

        :raises InferenceError: if ``full_mass`` names no site of it, or ``initial_inverse_mass`` has another size.
        """
        by_gradients = self.mass_estimate == "gradients"
        bound = copy.copy(self)
        given = () if self.initial_inverse_mass is None else ops.shape(ops.array(self.initial_inverse_mass))
        if self.groups:
            bound.metric = Block(block_mask(self.groups, getattr(potential, "sites", ())), by_gradients)
        elif self.full_mass is None and by_gradients:
            bound.metric = automatic(potential.size, matrix=len(given) == 2)
        else:
            bound.metric = Dense(by_gradients) if self.full_mass else Diagonal(by_gradients)
        if self.initial_inverse_mass is not None:
            size = potential.size
            allowed = [(size,)] if isinstance(bound.metric, Diagonal) else [(size,), (size, size)]
            if given not in allowed:
                raise InferenceError(
                    f"initial_inverse_mass has shape {given}; expected {' or '.join(map(str, allowed))}: variances, or the "
                    "covariance of a metric that is not diagonal"
                )
        elif isinstance(self.init_strategy, WarmStart):
            has_matrix = isinstance(bound.metric, (Dense, Block))
            bound.initial_inverse_mass = self.init_strategy.inverse_mass(potential, has_matrix)
        return bound

    def schedule(self, num_warmup: int) -> list[Window]:
        """Return the windows of warm-up."""
        return windows.short(num_warmup) if self.mass_estimate == "gradients" else windows.schedule(num_warmup)

    def adaptation(self) -> Any:
        """Return what tunes the step size, and whatever else a kernel has, from one transition to the next."""
        return StepSizeAdaptation(self.target_accept_prob)

    @abstractmethod
    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return ``step(key, state, tuning, mass, data) -> (state, info)``, its repeated part compiled.

        :param num_draws: how many transitions will follow, which decides whether a slow compiler pays.
        """


def require_positive(name: str, value: float | None) -> None:
    """Raise unless ``value`` is ``None`` or a positive finite number.

    :raises InferenceError: naming it.
    """
    if value is not None and not 0.0 < value < float("inf"):
        raise InferenceError(f"{name} must be positive and finite, got {value!r}")


def require_count(name: str, value: Any, least: int, most: int) -> None:
    """Raise unless ``value`` is an int of the range.

    :raises InferenceError: naming it.
    """
    if isinstance(value, bool) or not (isinstance(value, int) and least <= value <= most):
        raise InferenceError(f"{name} must be an int from {least} to {most}, got {value!r}")
