"""HMC and NUTS as a user configures them; the transitions themselves are pure functions in ``hmc.py`` and ``nuts.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from ppl.errors import InferenceError
from ppl.infer.adapt.step_size import StepSizeAdaptation
from ppl.infer.initialization import init_to_uniform
from ppl.infer.mcmc import hmc, nuts, trajectory
from ppl.infer.mcmc.metrics import Dense, Diagonal, Metric
from ppl.infer.mcmc.spelling import resolve
from ppl.infer.mcmc.state import Transition
from ppl.infer.potential import FunctionPotential, ModelArguments, Potential
from ppl.ops import compile
from ppl.typing import Model

LEAVES_A_DRAW = 8


class Kernel(ABC):
    """What HMC and NUTS share: the target, the metric and what is adapted.

    :param model: a callable with primitives, or ``None`` if ``log_density_fn`` is given.
    :param log_density_fn: ``fn(vector, *data) -> scalar``, a log density on unconstrained space, with ``dimension`` its size.
    :param step_size: first step size; found by search if ``None`` and adapted.
    :param adapt_step_size: whether warm-up tunes the step size by dual averaging.
    :param adapt_mass_matrix: whether warm-up estimates the metric in windows.
    :param full_mass: a dense metric instead of a diagonal one (``dense_mass`` is the same).
    :param target_accept_prob: the mean acceptance probability that the step size is tuned to, in (0, 1).
    :param init_strategy: where chains start: one of the ``init_to_...`` functions.
    :param initial_inverse_mass: inverse mass to begin with: ``(D,)`` variances or a ``(D, D)`` covariance.
    :raises InferenceError: for a value out of range or an unknown argument.
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        log_density_fn: Callable[..., Any] | None = None,
        dimension: int | None = None,
        step_size: float | None = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        full_mass: bool | None = None,
        target_accept_prob: float = 0.8,
        init_strategy: Callable[..., Any] | None = None,
        initial_inverse_mass: Any = None,
        **spellings: Any,
    ) -> None:
        self.potential: Callable[[ModelArguments], Potential | FunctionPotential]
        if model is not None and log_density_fn is None:
            self.potential = partial(Potential, model)
        elif model is None and log_density_fn is not None:
            if dimension is None:
                raise InferenceError(f"{type(self).__name__} with log_density_fn needs dimension=..., the length of its vector")
            self.potential = partial(FunctionPotential, log_density_fn, dimension)
        else:
            raise InferenceError(f"{type(self).__name__} needs either a model or log_density_fn=..., and only one of them")
        if not 0.0 < target_accept_prob < 1.0:
            raise InferenceError(f"target_accept_prob must lie strictly between 0 and 1, got {target_accept_prob}")
        if step_size is not None and not step_size > 0.0:
            raise InferenceError(f"step_size must be positive, got {step_size}")
        given = {"full_mass": full_mass, "init_strategy": init_strategy, "initial_inverse_mass": initial_inverse_mass}
        given = resolve(type(self).__name__, given, spellings)
        self.step_size = step_size
        self.adapt_step_size = adapt_step_size
        self.adapt_mass_matrix = adapt_mass_matrix
        self.target_accept_prob = target_accept_prob
        self.init_strategy = given["init_strategy"] or init_to_uniform
        self.initial_inverse_mass = given["initial_inverse_mass"]
        self.metric: Metric = Dense() if given["full_mass"] else Diagonal()

    def adaptation(self) -> StepSizeAdaptation:
        """Return what tunes the step size, and whatever else a kernel has, from one transition to the next."""
        return StepSizeAdaptation(self.target_accept_prob)

    @abstractmethod
    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return ``step(key, state, tuning, mass, data) -> (state, info)``, its repeated part compiled.

        :param num_draws: how many transitions will follow, which decides whether a slow compiler pays.
        """


class NUTS(Kernel):
    """The no-U-turn sampler: HMC whose trajectories end when they turn back (Hoffman and Gelman 2014; Betancourt 2017).

    :param max_tree_depth: a trajectory has at most ``2**max_tree_depth - 1`` leapfrog steps.

    The other parameters are those of :class:`Kernel`.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    >>> mcmc = infer.MCMC(infer.NUTS(model, max_tree_depth=3), num_samples=5, num_chains=2, progress_bar=False, seed=0).run()
    >>> tuple(mcmc.get_samples(group_by_chain=True)["x"].shape)
    (2, 5, 2)
    """

    def __init__(self, model: Model | None = None, *, max_tree_depth: int = 10, **options: Any) -> None:
        super().__init__(model, **options)
        if not (isinstance(max_tree_depth, int) and 1 <= max_tree_depth <= 20):
            raise InferenceError(f"max_tree_depth must be an int from 1 to 20, got {max_tree_depth!r}")
        self.max_tree_depth = max_tree_depth

    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return the NUTS transition of all chains."""
        leaf = trajectory.flat_leaf(trajectory.make_leaf(energy_and_gradient, self.metric))
        leaf = compile.compile(leaf, horizon=LEAVES_A_DRAW * num_draws)
        return nuts.make_step(self.metric, trajectory.structured_leaf(leaf), self.max_tree_depth)


class HMC(Kernel):
    """Hamiltonian Monte Carlo with a fixed trajectory length (Neal 2011).

    :param trajectory_length: integration time of a trajectory, two pi by default.
    :param num_steps: the number of leapfrog steps instead.

    The other parameters are those of :class:`Kernel`.

    >>> from ppl import infer, ops
    >>> hmc = infer.HMC(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=3, num_steps=4)
    >>> infer.MCMC(hmc, num_samples=5, progress_bar=False, seed=0).run().num_gradients > 0
    True
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        trajectory_length: float | None = None,
        num_steps: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        if trajectory_length is not None and num_steps is not None:
            raise InferenceError("HMC takes trajectory_length or num_steps, not both")
        if num_steps is not None and not (isinstance(num_steps, int) and num_steps > 0):
            raise InferenceError(f"num_steps must be a positive int, got {num_steps!r}")
        if trajectory_length is not None and not trajectory_length > 0.0:
            raise InferenceError(f"trajectory_length must be positive, got {trajectory_length!r}")
        self.num_steps = num_steps
        self.trajectory_length = trajectory_length if trajectory_length is not None else 6.283185307179586

    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return the HMC transition of all chains."""
        one_step = hmc.make_leapfrog(energy_and_gradient, self.metric)
        one_step = compile.compile(one_step, horizon=LEAVES_A_DRAW * num_draws)
        return hmc.make_step(self.metric, one_step, self.trajectory_length, self.num_steps)
