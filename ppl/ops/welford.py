"""Variances and covariances of a stream of samples (Welford 1962; Knuth, The Art of Computer Programming, vol. 2, sec. 4.2.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl.errors import InferenceError
from ppl.ops import elementwise, linalg, shaping

# The Stan reference manual, "Euclidean metric": as if five more samples had shown this variance.
PRIOR_COUNT = 5.0
PRIOR_VARIANCE = 1e-3


class WelfordState(NamedTuple):
    """How many samples there were, their mean ``(D,)``, and the sum of squares or products about it, ``(D,)`` or ``(D, D)``."""

    count: Any
    mean: Any
    scatter: Any


def include(state: WelfordState, sample: Any) -> WelfordState:
    """Return the state after another sample of shape ``(D,)``: a pure function."""
    count = state.count + 1
    before = sample - state.mean
    mean = state.mean + before / count
    after = sample - mean
    diagonal = shaping.ndim(state.scatter) == 1
    return WelfordState(count, mean, state.scatter + (after * before if diagonal else linalg.outer(after, before)))


def shrink(covariance: Any, count: Any) -> Any:
    """Return a sample covariance or variances drawn towards a small multiple of the unit matrix, the less so the more samples.

    :param covariance: shape ``(D,)`` or ``(D, D)``, of ``count`` samples.

    >>> from ppl import ops
    >>> from ppl.ops.welford import shrink
    >>> round(float(shrink(ops.array([1.0]), 5)[0]), 6)
    0.5005
    """
    diagonal, size = shaping.ndim(covariance) == 1, shaping.shape(covariance)[-1]
    unit = 1.0 if diagonal else shaping.eye(size, dtype=shaping.dtype_name(covariance))
    return (count * covariance + PRIOR_COUNT * PRIOR_VARIANCE * unit) / (count + PRIOR_COUNT)


class WelfordCovariance:
    """The covariance of samples that arrive one after another, without keeping them.

    :param diagonal: whether only the variances are wanted.

    >>> from ppl import ops
    >>> from ppl.ops.welford import WelfordCovariance
    >>> scheme = WelfordCovariance()
    >>> for sample in ([1.0, 0.0], [3.0, 4.0], [2.0, 2.0]):
    ...     scheme.update(ops.array(sample))
    >>> [float(x) for x in scheme.get_covariance(regularize=False)]
    [1.0, 4.0]
    """

    def __init__(self, diagonal: bool = True) -> None:
        self.diagonal = diagonal
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._state: WelfordState | None = None

    def update(self, sample: Any) -> None:
        """Take another sample, of shape ``(D,)``, into account."""
        if self._state is None:
            mean = shaping.zeros_like(sample)
            self._state = WelfordState(0, mean, mean if self.diagonal else linalg.outer(mean, mean))
        self._state = include(self._state, sample)

    def get_covariance(self, regularize: bool = True) -> Any:
        """Return the sample variances ``(D,)`` or covariance ``(D, D)``, through :func:`shrink` if ``regularize``.

        :raises InferenceError: after fewer than two samples.
        """
        if self._state is None or self._state.count < 2:
            received = 0 if self._state is None else self._state.count
            raise InferenceError(f"WelfordCovariance needs at least two samples, got {received}; try update(sample) for more")
        covariance = elementwise.divide(self._state.scatter, self._state.count - 1.0)
        return shrink(covariance, self._state.count) if regularize else covariance
