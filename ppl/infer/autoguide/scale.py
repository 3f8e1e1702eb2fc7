"""The initial standard deviation of a guide."""

from __future__ import annotations

from ppl.errors import InferenceError


def require_scale(init_scale: float) -> float:
    """Return ``init_scale``.

    :raises InferenceError: unless it is positive and finite.
    """
    if not 0.0 < init_scale < float("inf"):
        raise InferenceError(f"init_scale must be positive and finite, received {init_scale!r}; try init_scale=0.1")
    return init_scale
