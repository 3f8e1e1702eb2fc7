"""The progress bar of sampling."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm


class Progress:
    """A bar on the standard error stream, updated once a chunk; silent where that stream is no terminal.

    :param total: number of transitions.
    :param shown: ``False`` for no bar at all.
    """

    def __init__(self, total: int, shown: bool) -> None:
        self._bar = tqdm(total=total, disable=None if shown else True, dynamic_ncols=True)
        self._divergences = 0

    def update(self, count: int, draws: Any, warming_up: bool) -> None:
        """Advance by ``count`` transitions and show their step size, trajectory length and divergences."""
        if self._bar.disable:
            return
        if not warming_up:
            self._divergences += int(draws.divergent.sum())
        self._bar.set_description("warm-up" if warming_up else "sample", refresh=False)
        self._bar.set_postfix_str(
            f"step {float(draws.step_size[-1]):.3g}, {float(draws.num_leapfrog_steps.mean()):.0f} leapfrogs a draw, "
            f"{self._divergences} divergences",
            refresh=False,
        )
        self._bar.update(count)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
