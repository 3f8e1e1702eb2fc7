"""ChEES-HMC: many chains in lockstep find the trajectory length together (Hoffman, Radul and Sountsov 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.errors import InferenceError
from ppl.infer.mcmc import hmc
from ppl.infer.mcmc.integrators import Phase
from ppl.infer.mcmc.metrics import Metric
from ppl.infer.mcmc.state import ChainState, Mass, StepInfo, Transition, Tuning
from ppl.ops import random

LEAST_CHAINS = 2


def make_step(metric: Metric, one_step: Callable[..., Phase]) -> Transition:
    """Return the transition ``step(key, state, tuning, mass, data) -> (state, info)`` of all chains.

    ``info.for_adaptation`` is the gradient of the criterion with respect to the log of the length, estimated from this step.

    :param one_step: what :func:`ppl.infer.mcmc.hmc.make_leapfrog` returns, compiled or not.
    """

    def step(key: Any, state: ChainState, tuning: Tuning, mass: Mass, data: Any) -> tuple[ChainState, StepInfo]:
        """One transition of HMC with one length for all chains, which adaptation has jittered."""
        refuse_few_chains(ops.shape(state.position)[0])
        key_momentum, key_accept = random.split(key)
        momentum = metric.draw(key_momentum, mass, ops.shape(state.position))
        length = tuning.trajectory_length
        count = hmc.steps_of_part(length / tuning.step_size)
        end, energy_change = hmc.integrate(metric, one_step, state, momentum, tuning.step_size, count, mass, data)
        moved, info = hmc.metropolis(key_accept, state, end, energy_change, count)
        gradient = length_gradient(metric, mass, state.position, end.position, end.momentum, info.accept_prob, length)
        return moved, info._replace(for_adaptation=(gradient,))

    return step


def refuse_few_chains(num_chains: int) -> None:
    """Raise unless there are chains to compare.

    :raises InferenceError: for fewer than two.
    """
    if num_chains < LEAST_CHAINS:
        raise InferenceError(
            f"ChEES finds the trajectory length by comparing chains that advance together: expected at least {LEAST_CHAINS}, got "
            f"{num_chains}; try num_chains=16 with chain_method='vectorized', or infer.NUTS for a single chain"
        )


def length_gradient(metric: Metric, mass: Mass, start: Any, end: Any, momentum: Any, accept_prob: Any, length: Any) -> Any:
    r"""Return the derivative of the ChEES criterion with respect to the log of the trajectory length: a scalar.

    .. math:: \frac14 E\left[(\|x' - E x'\|^2 - \|x - E x\|^2)^2\right], \quad
        \hat g = t \sum_c \frac{a_c}{\sum a} (\|x'_c - \bar x'\|^2 - \|x_c - \bar x\|^2) (x'_c - \bar x')^T p'_c

    The norm is that of the metric, in which momenta are standard normal (Hoffman, Radul and Sountsov 2021, sec. 3). Means are
    over chains; ends, which may be far off, count as much as they are likely to be accepted.

    :param start: positions ``(C, D)`` before the trajectory, and ``end`` after it with ``momentum`` there.
    :param accept_prob: acceptance probability :math:`a` of each chain, shape ``(C,)``.
    :param length: the integration time :math:`t` of this trajectory.
    """
    usable = accept_prob > 0.0
    end, momentum = (ops.where(usable[:, None], part, start) for part in (end, momentum))
    weight = accept_prob / ops.maximum(ops.sum(accept_prob), 1e-30)
    from_start = start - ops.mean(start, axis=0)
    from_end = end - ops.sum(weight[:, None] * end, axis=0)
    growth = metric.squared_norm(mass, from_end) - metric.squared_norm(mass, from_start)
    return length * ops.sum(weight * growth * ops.sum(from_end * momentum, axis=-1))
