"""The progress bar of sampling."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

LEAST_SECONDS = 0.1


class Progress:
    """A bar on the standard error stream, drawn anew at most ten times a second; silent where that stream is no terminal.

    :param total: number of transitions.
    :param shown: ``False`` for no bar at all.
    :param clock: seconds.
    """

    def __init__(self, total: int, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        # tqdm must not decide by itself when to draw: it would do so without the numbers of the last chunk.
        self._bar = tqdm(total=total, disable=None if shown else True, dynamic_ncols=True, miniters=1, mininterval=0.0)
        self._clock = clock
        self._drawn = -math.inf
        self._waiting = 0
        self._divergences = 0

    def update(self, count: int, draws: Any, warming_up: bool) -> None:
        """Advance by ``count`` transitions and show their step size, trajectory length and divergences."""
        if self._bar.disable:
            return
        if not warming_up:
            self._divergences += int(draws.divergent.sum())
        self._waiting += count
        if self._clock() - self._drawn < LEAST_SECONDS:
            return
        leapfrogs = float(draws.num_leapfrog_steps.mean())
        self._bar.set_description("warm-up" if warming_up else "sample", refresh=False)
        self._bar.set_postfix_str(
            f"step {float(draws.step_size[-1]):.3g}, {leapfrogs:.0f} leapfrogs a draw "
            f"(tree depth {math.log2(leapfrogs + 1.0):.1f}), {self._divergences} divergences",
            refresh=False,
        )
        self._draw()

    def skip(self, count: int) -> None:
        """Advance by transitions that were made elsewhere: before a resumption, or in another process."""
        if not self._bar.disable:
            self._waiting += count
            self._draw()

    def _draw(self) -> None:
        self._bar.update(self._waiting)
        self._drawn, self._waiting = self._clock(), 0

    def close(self) -> None:
        """End the bar."""
        if not self._bar.disable:
            self._draw()
        self._bar.close()
