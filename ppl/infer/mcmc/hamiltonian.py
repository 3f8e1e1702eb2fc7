"""HMC, NUTS and ChEES as a user configures them; the transitions are pure functions in ``hmc.py``, ``nuts.py``, ``chees.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ppl.errors import InferenceError
from ppl.infer.adapt.trajectory_length import LengthAdaptation
from ppl.infer.mcmc import chees, hmc, nuts
from ppl.infer.mcmc.kernels import Kernel, require_count, require_positive
from ppl.infer.mcmc.mcmc_kernel import MCMCKernel
from ppl.infer.mcmc.state import Transition
from ppl.ops import compile
from ppl.typing import Model

LEAVES_A_DRAW = 8
TWO_PI = 2.0 * math.pi
# The target of the ChEES paper, sec. 3: optimal for HMC in the limit of many dimensions (Beskos et al. 2013).
HARMONIC_ACCEPTANCE = 0.651


class HMC(MCMCKernel):
    """Hamiltonian Monte Carlo with a fixed trajectory length (Neal 2011).

    :param trajectory_length: integration time of a trajectory; ``step_size * num_steps`` or two pi by default.
    :param num_steps: the number of leapfrog steps instead.
    :param jitter: whether each trajectory is shortened to a fraction drawn uniformly from (0, 1), which avoids the periods that a
        fixed length can meet; by default only where neither length nor number of steps is given, because two pi is the period of
        every normal target whose scales warm-up has found, so that whole trajectories would lead back to their starts.

    The other parameters are those of :class:`Kernel`. A length has ``int(trajectory_length / step_size)`` steps, at least one.

    >>> from ppl import infer, ops
    >>> hmc = infer.HMC(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=3, num_steps=4)
    >>> infer.MCMC(hmc, num_samples=5, progress_bar=False, seed=0).run().num_gradients > 0
    True
    """

    def __init__(
        self,
        model: Model | None = None,
        potential_fn: Callable[..., Any] | None = None,
        step_size: float | None = None,
        trajectory_length: float | None = None,
        num_steps: int | None = None,
        *,
        jitter: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, potential_fn, step_size=step_size, **options)
        if trajectory_length is not None and num_steps is not None:
            raise InferenceError("HMC takes trajectory_length or num_steps, not both")
        if num_steps is not None:
            require_count("num_steps", num_steps, 1, hmc.MAX_LEAPFROG_STEPS)
        require_positive("trajectory_length", trajectory_length)
        self._given_steps = num_steps
        self._given_length = trajectory_length
        self.jitter = trajectory_length is None and num_steps is None if jitter is None else jitter

    @property
    def trajectory_length(self) -> float:
        """Integration time of a whole trajectory; with a fixed number of steps, at the present step size."""
        if self._given_length is not None:
            return self._given_length
        if self._given_steps is not None and self.step_size is not None:
            return self._given_steps * self.step_size
        return TWO_PI

    @property
    def num_steps(self) -> int | None:
        """Leapfrog steps of a whole trajectory; ``None`` as long as they hang on a step size yet to be found."""
        if self._given_steps is not None or self.step_size is None:
            return self._given_steps
        return min(max(1, int(self.trajectory_length / self.step_size + hmc.ROUNDING)), hmc.MAX_LEAPFROG_STEPS)

    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return the HMC transition of all chains."""
        one_step = hmc.make_leapfrog(energy_and_gradient, self.metric)
        one_step = compile.compile(one_step, horizon=LEAVES_A_DRAW * num_draws)
        return hmc.make_step(self.metric, one_step, self.trajectory_length, self._given_steps, self.jitter)


class NUTS(MCMCKernel):
    """The no-U-turn sampler: HMC whose trajectories end when they turn back (Hoffman and Gelman 2014; Betancourt 2017).

    :param use_multinomial_sampling: ``True``: states of a trajectory are drawn by their weights; ``False``: by slice sampling.
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

    def __init__(
        self,
        model: Model | None = None,
        potential_fn: Callable[..., Any] | None = None,
        step_size: float | None = None,
        *,
        use_multinomial_sampling: bool = True,
        max_tree_depth: int = 10,
        **options: Any,
    ) -> None:
        super().__init__(model, potential_fn, step_size=step_size, **options)
        require_count("max_tree_depth", max_tree_depth, 1, 20)
        self.use_multinomial_sampling = use_multinomial_sampling
        self.max_tree_depth = max_tree_depth

    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return the NUTS transition of all chains."""

        def compiled(fn: Callable[..., Any], calls: int, beside: Any = None) -> Any:
            return compile.compile(fn, horizon=calls * num_draws, beside=beside)

        return nuts.make_step(self.metric, energy_and_gradient, self.max_tree_depth, self.use_multinomial_sampling, compiled)


class ChEES(Kernel):
    """HMC for many chains in lockstep, which find one trajectory length together (Hoffman, Radul and Sountsov 2021).

    :param trajectory_length: the integration time at first, from which warm-up goes on; eight leapfrog steps by default.
    :param target_accept_prob: the harmonic mean of acceptance probabilities over chains that the step size is tuned to.

    The other parameters are those of :class:`Kernel`; ``adapt_step_size=False`` keeps the length too. All chains take the same
    number of steps, so that they suit vectorized machines; each trajectory is shortened to a fraction from the
    Halton sequence. At least two chains must advance together; 16 or more make good use of it.

    >>> from ppl import infer, ops
    >>> chees = infer.ChEES(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=3)
    >>> mcmc = infer.MCMC(chees, num_samples=5, warmup_steps=20, num_chains=4, progress_bar=False, seed=0).run()
    >>> tuple(mcmc.get_samples(group_by_chain=True)["position"].shape)
    (4, 5, 3)
    """

    def __init__(
        self,
        model: Model | None = None,
        potential_fn: Callable[..., Any] | None = None,
        *,
        trajectory_length: float | None = None,
        target_accept_prob: float = HARMONIC_ACCEPTANCE,
        **options: Any,
    ) -> None:
        super().__init__(model, potential_fn, target_accept_prob=target_accept_prob, **options)
        require_positive("trajectory_length", trajectory_length)
        self.trajectory_length = trajectory_length

    def adaptation(self) -> LengthAdaptation:
        """Return what tunes the step size and the trajectory length."""
        return LengthAdaptation(self.target_accept_prob, self.trajectory_length)

    def transition(self, energy_and_gradient: Callable[..., Any], num_draws: int) -> Transition:
        """Return the transition of all chains."""
        one_step = hmc.make_leapfrog(energy_and_gradient, self.metric)
        one_step = compile.compile(one_step, horizon=LEAVES_A_DRAW * num_draws)
        return chees.make_step(self.metric, one_step)
