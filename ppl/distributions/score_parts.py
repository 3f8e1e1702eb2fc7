"""The parts of a gradient estimator of an expectation under a distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl import ops


class ScoreParts(NamedTuple):
    """What an ELBO estimator needs of one site.

    :param log_prob: the log density.
    :param score_function: the part whose gradient weighs the cost of a draw that is not reparameterised.
    :param entropy_term: the part whose gradient flows pathwise.
    """

    log_prob: Any
    score_function: Any
    entropy_term: Any

    def scale_and_mask(self, scale: Any = 1.0, mask: Any = None) -> ScoreParts:
        """Return the parts scaled, and zero where ``mask`` is false; the score function is masked but not scaled."""
        return ScoreParts(
            scale_and_mask(self.log_prob, scale, mask),
            scale_and_mask(self.score_function, 1.0, mask),
            scale_and_mask(self.entropy_term, scale, mask),
        )


def scale_and_mask(value: Any, scale: Any = 1.0, mask: Any = None) -> Any:
    """Return ``scale * value``, and zero where ``mask`` is false."""
    if isinstance(value, (int, float)) and value == 0:
        return value
    if not (isinstance(scale, (int, float)) and scale == 1.0):
        value = scale * value
    if mask is None or mask is True:
        return value
    if mask is False:
        return ops.zeros_like(value)
    return ops.where(ops.astype(mask, "bool"), value, ops.zeros_like(value))
