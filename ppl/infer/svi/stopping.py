"""When a run has taken enough steps, and what is shown meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ppl.errors import InferenceError

CHUNK = 256
"""Compiled steps between two looks at the progress bar, Ctrl-C and a failed step."""

LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class EarlyStopping:
    r"""Ends a run once its loss has settled: ``svi.run(10_000, *args, early_stopping=EarlyStopping())``.

    :param patience: after how many blocks in a row without progress the run ends.
    :param relative_tolerance: what counts as progress: a block's mean loss at least this share of :math:`|best|` below the best
        mean so far.
    :param window: steps in a block. Steps that were left out because their loss was not finite do not count in its mean.
    :raises InferenceError: for numbers out of range.

    The loss is looked at block by block, so that a run ends after the same step on every backend that has the same losses.

    >>> from ppl import infer
    >>> infer.EarlyStopping(patience=2).window
    100
    """

    patience: int = 5
    relative_tolerance: float = 1e-3
    window: int = 100

    def __post_init__(self) -> None:
        for name in ("patience", "window"):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise InferenceError(f"EarlyStopping needs {name}, an int of 1 or more, received {number!r}; try {name}=5")
        if not (0.0 <= self.relative_tolerance < math.inf):
            raise InferenceError(
                f"EarlyStopping needs relative_tolerance, zero or more, received {self.relative_tolerance!r}; try 1e-3"
            )


class Watch:
    """Follows the losses of one run: keeps them, shows them, and says when to stop.

    :param total: number of steps to come, ``None`` if unknown.
    :param shown: whether there is a progress bar; it is silent where the standard error stream is no terminal.
    :param rule: when to end early.
    :param clock: seconds.
    """

    def __init__(
        self, total: int | None, shown: bool, rule: EarlyStopping | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.losses: list[float] = []
        self.converged = False
        self._rule = rule
        self._best = math.inf
        self._idle = 0
        # tqdm must not decide by itself when to draw: it would do so without the latest loss.
        self._bar = tqdm(total=total, disable=None if shown else True, desc="SVI", leave=True, miniters=1, mininterval=0.0)
        self._clock = clock
        self._drawn = -math.inf
        self._waiting = 0

    def room(self) -> int:
        """Return how many steps may be taken before the next look."""
        return CHUNK if self._rule is None else min(CHUNK, self._rule.window - len(self.losses) % self._rule.window)

    def note(self, losses: Sequence[float], num_skipped: int) -> None:
        """Take in the losses of the latest steps, at most :meth:`room` of them."""
        self.losses.extend(losses)
        if self._rule is not None and losses and len(self.losses) % self._rule.window == 0:
            self._look(self._rule)
        if not self._bar.disable:
            self._waiting += len(losses)
            if self._clock() - self._drawn >= LEAST_SECONDS:
                self._draw(num_skipped)

    def _look(self, rule: EarlyStopping) -> None:
        finite = [loss for loss in self.losses[-rule.window :] if math.isfinite(loss)]
        mean = math.fsum(finite) / len(finite) if finite else math.inf
        if mean < self._best - rule.relative_tolerance * abs(self._best) or self._best == math.inf:
            self._best, self._idle = min(mean, self._best), 0
            return
        self._best, self._idle = min(mean, self._best), self._idle + 1
        self.converged = self._idle >= rule.patience

    def _draw(self, num_skipped: int) -> None:
        recent = self.losses[-CHUNK:]
        skipped = f", {num_skipped} skipped" if num_skipped else ""
        if recent:
            self._bar.set_postfix_str(f"loss {math.fsum(recent) / len(recent):.5g}{skipped}", refresh=False)
        self._bar.update(self._waiting)
        self._drawn, self._waiting = self._clock(), 0

    def close(self, num_skipped: int) -> None:
        """End the bar."""
        if not self._bar.disable:
            self._draw(num_skipped)
        self._bar.close()


def as_rule(early_stopping: Any) -> EarlyStopping | None:
    """Return the argument of :meth:`SVI.run` if it is one.

    :raises InferenceError: if not.
    """
    if early_stopping is None or isinstance(early_stopping, EarlyStopping):
        return early_stopping
    raise InferenceError(
        f"early_stopping is an EarlyStopping or None, received {type(early_stopping).__name__}; "
        "try early_stopping=EarlyStopping(patience=5)"
    )
