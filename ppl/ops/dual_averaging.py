"""Dual averaging: a parameter moved until the mean of a noisy statistic is zero.

Sources: Nesterov (2009), "Primal-dual subgradient methods for convex problems"; Hoffman and Gelman (2014), "The No-U-Turn
Sampler", sec. 3.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class DualAveragingState(NamedTuple):
    """Numbers or arrays: the current point, the average of the points, the average of the statistics, and their count."""

    point: Any
    average: Any
    statistic: Any
    count: Any


def advance(
    state: DualAveragingState,
    statistic: Any,
    prox_center: Any = 0.0,
    t0: float = 10.0,
    kappa: float = 0.75,
    gamma: float = 0.05,
) -> DualAveragingState:
    r"""Return the state after another statistic: a pure function, for numbers or arrays.

    .. math::
        \bar g_t = (1 - \tfrac{1}{t + t_0}) \bar g_{t - 1} + \tfrac{1}{t + t_0} g_t, \quad
        x_t = c - \tfrac{\sqrt t}{\gamma} \bar g_t, \quad
        \bar x_t = (1 - t^{-\kappa}) \bar x_{t - 1} + t^{-\kappa} x_t

    The parameters are those of :class:`DualAveraging`.
    """
    count = state.count + 1
    share = 1.0 / (count + t0)
    mean = (1.0 - share) * state.statistic + share * statistic
    point = prox_center - count**0.5 / gamma * mean
    weight = count**-kappa
    return DualAveragingState(point, weight * point + (1.0 - weight) * state.average, mean, count)


class DualAveraging:
    """Find where the mean of a statistic is zero, one noisy value after another; the average of the points converges.

    :param prox_center: the point that early steps are pulled to.
    :param t0: damps the first steps; not negative.
    :param kappa: how fast old points are forgotten by the average, in (0.5, 1].
    :param gamma: the larger, the smaller the steps.

    >>> from ppl.ops.dual_averaging import DualAveraging
    >>> scheme = DualAveraging(gamma=0.5)
    >>> for _ in range(200):
    ...     point, _ = scheme.get_state()
    ...     scheme.step(point - 3.0)
    >>> abs(float(scheme.get_state()[1]) - 3.0) < 0.1
    True
    """

    def __init__(self, prox_center: Any = 0, t0: float = 10, kappa: float = 0.75, gamma: float = 0.05) -> None:
        self.prox_center = prox_center
        self.t0 = t0
        self.kappa = kappa
        self.gamma = gamma
        self.reset()

    def reset(self) -> None:
        """Forget all statistics."""
        self._state = DualAveragingState(0.0, 0.0, 0.0, 0.0)

    def step(self, g: Any) -> None:
        """Take the next statistic or subgradient ``g`` into account."""
        self._state = advance(self._state, g, self.prox_center, self.t0, self.kappa, self.gamma)

    def get_state(self) -> tuple[Any, Any]:
        """Return the latest point and the average of all points."""
        return self._state.point, self._state.average
