"""The parts of a gradient estimator of an expectation under a distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl import ops


class ScoreParts(NamedTuple):
    """What an ELBO estimator needs of one site.

    :param log_prob: the log density.
    :param score_function: the part whose gradient weighs the cost of a draw that is not reparameterised.
    :param entropy_term: the part whose gradient flows pathwise.

    >>> from ppl import distributions as dist, ops
    >>> parts = dist.Poisson(3.0).score_parts(ops.array(2.0))
    >>> round(float(parts.log_prob), 4), round(float(parts.score_function), 4)
    (-1.4959, -1.4959)
    """

    log_prob: Any
    score_function: Any
    entropy_term: Any

    def scale_and_mask(self, scale: Any = 1.0, mask: Any = None) -> ScoreParts:
        """Return the parts scaled, and zero where ``mask`` is false; the score function stays as it is.

        A draw decides what follows from it whatever its own density counts for, so its score is neither scaled nor masked.
        """
        log_prob, entropy_term = (scale_and_mask(part, scale, mask) for part in (self.log_prob, self.entropy_term))
        return ScoreParts(log_prob, self.score_function, entropy_term)


def is_zero(part: Any) -> bool:
    """Return whether a part is the number zero: it was never computed and need not be."""
    return isinstance(part, (int, float)) and part == 0


def scale_and_mask(value: Any, scale: Any = 1.0, mask: Any = None) -> Any:
    """Return ``scale * value``, and zero where ``mask`` is false.

    >>> from ppl import distributions as dist, ops
    >>> float(dist.scale_and_mask(ops.array(2.0), scale=3.0))
    6.0
    """
    if is_zero(value):
        return value
    if not (isinstance(scale, (int, float)) and scale == 1.0):
        value = scale * value
    if mask is None or mask is True:
        return value
    if mask is False:
        return ops.zeros_like(value)
    return ops.where(ops.astype(mask, "bool"), value, ops.zeros_like(value))
