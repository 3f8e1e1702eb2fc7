"""What a fit carries from step to step and what a run gives, with a picture of its losses."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl.errors import InferenceError


class SVIState(NamedTuple):
    """What a fit carries from step to step.

    :param params: unconstrained parameters by name.
    :param optim: the optimizer's state.
    :param key: source of randomness.
    """

    params: dict[str, Any]
    optim: Any
    key: Any


class SVIRunResult(NamedTuple):
    """What :meth:`SVI.run` gives.

    :param params: constrained parameters by name.
    :param state: the unconstrained state at the end.
    :param losses: the loss of each step taken, a numpy array.
    :param interrupted: whether Ctrl-C ended the run early.
    :param num_skipped: how many steps were left out because their loss was not finite (``stable_update``).
    :param stopped: why the run took fewer steps than it was asked for: ``"interrupted"``, ``"converged"`` (the loss settled, see
        :class:`EarlyStopping`) or ``"batches"`` (there were no more); empty if it took them all.
    """

    params: dict[str, Any]
    state: SVIState
    losses: Any
    interrupted: bool = False
    num_skipped: int = 0
    stopped: str = ""

    def plot_loss(self, ax: Any = None, *, window: int | None = None) -> Any:
        """Draw the loss of each step and its moving average with matplotlib.

        :param ax: axes to draw on; new ones by default.
        :param window: how many steps an average takes; a fiftieth of the run by default.
        :returns: the axes.
        :raises InferenceError: if matplotlib is not installed.
        """
        return plot_loss(self.losses, ax, window)


def plot_loss(losses: Any, ax: Any = None, window: int | None = None) -> Any:
    """Draw losses, a numpy array, by step; see :meth:`SVIRunResult.plot_loss`."""
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError:
            raise InferenceError("plot_loss needs matplotlib, which is not installed; try: pip install matplotlib") from None
        ax = pyplot.subplots()[1]
    count = len(losses)
    window = max(1, count // 50) if window is None else min(max(1, window), max(1, count))
    ax.plot(range(1, count + 1), losses, color="0.75", linewidth=0.8, label="loss")
    if window > 1:
        total = losses.cumsum()
        averages = total[window - 1 :].copy()
        averages[1:] -= total[:-window]
        ax.plot(range(window, count + 1), averages / window, label=f"mean of {window} steps")
        ax.legend()
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    return ax
