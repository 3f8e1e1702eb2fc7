"""The schedule of warm-up: a fast phase, doubling windows that estimate the metric, a fast phase.

It is that of the Stan reference manual, sec. 15.2.
"""

from __future__ import annotations

from typing import NamedTuple

FIRST_BUFFER = 75
LAST_BUFFER = 50
BASE_WINDOW = 25

SHORTEST = 10
GROWTH = 1.5


class Window(NamedTuple):
    """Iterations ``start`` to ``end`` (exclusive); at its end the metric is estimated from its draws if ``slow``."""

    start: int
    end: int
    slow: bool


def short(num_warmup: int) -> list[Window]:
    """Return windows that each estimate the metric, growing by half from :data:`SHORTEST`, and a last one for the step size."""
    if num_warmup < 20:
        return [Window(0, num_warmup, False)] if num_warmup else []
    last = max(min(num_warmup // 6, LAST_BUFFER), 5)
    windows, start, length = [], 0, float(SHORTEST)
    while start < num_warmup - last:
        end = start + int(length)
        length *= GROWTH
        if end + int(length) > num_warmup - last:
            end = num_warmup - last
        windows.append(Window(start, end, True))
        start = end
    return [*windows, Window(start, num_warmup, False)]


def schedule(num_warmup: int) -> list[Window]:
    """Return the windows that cover ``num_warmup`` iterations."""
    if num_warmup < 20:
        return [Window(0, num_warmup, False)] if num_warmup else []
    first, last, base = FIRST_BUFFER, LAST_BUFFER, BASE_WINDOW
    if first + base + last > num_warmup:
        first, last = int(0.15 * num_warmup), int(0.1 * num_warmup)
        base = num_warmup - first - last
    windows, start = [Window(0, first, False)], first
    while start < num_warmup - last:
        end = start + base
        if end + 2 * base > num_warmup - last:
            end = num_warmup - last
        windows.append(Window(start, end, True))
        start, base = end, 2 * base
    return [*windows, Window(num_warmup - last, num_warmup, False)]
