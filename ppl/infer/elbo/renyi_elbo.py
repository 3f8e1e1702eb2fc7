"""Bounds from Renyi's divergences, the importance weighted bound among them."""

from __future__ import annotations

import math
from typing import Any

from ppl import ops
from ppl.errors import InferenceError
from ppl.infer.elbo.weights import WeightedELBO
from ppl.infer.objective import Estimate
from ppl.ops import autodiff
from ppl.typing import Model


class RenyiELBO(WeightedELBO):
    r"""The bound of Renyi's :math:`\alpha`-divergence (Li and Turner 2016).

    .. math:: \mathcal{L}_\alpha = \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_{k=1}^K w_k^{1 - \alpha}, \quad
        w_k = \frac{p(x, z_k)}{q(z_k)}

    :param alpha: :math:`\alpha`, any number but 1. At 0 this is the bound of importance weighted autoencoders (Burda, Grosse and
        Salakhutdinov 2016); its expectation falls as :math:`\alpha` grows and is a lower bound for :math:`\alpha \ge 0`.
    :param num_particles: :math:`K`.
    :param max_plate_nesting: as for all bounds, see :class:`~ppl.infer.elbo.base.ELBO`, and so are the others.
    :param max_iarange_nesting: older name of ``max_plate_nesting``.
    :param vectorize_particles: whether the particles run at once.
    :param strict_enumeration_warning: has no effect.
    :raises InferenceError: if ``alpha`` is 1 or not finite; from the methods, if a plate is subsampled.

    A site that is not reparameterised has a score function, whose cost is the whole bound less the bound of the other particles
    (Mnih and Rezende 2016, with their leave-one-out signal).

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)
    >>> round(float(infer.RenyiELBO(alpha=0.5, num_particles=3).loss(model, lambda: None)), 4)
    1.0439
    """

    def __init__(
        self,
        alpha: float = 0.0,
        num_particles: int = 2,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        **options: Any,
    ) -> None:
        if not isinstance(alpha, (int, float)) or not math.isfinite(alpha) or alpha == 1:
            raise InferenceError(
                f"RenyiELBO needs a finite alpha other than 1, received {alpha!r}; try Trace_ELBO, which is the limit at alpha=1"
            )
        super().__init__(
            num_particles, max_plate_nesting, max_iarange_nesting, vectorize_particles, strict_enumeration_warning, **options
        )
        self.alpha = float(alpha)

    def estimate(
        self, model: Model, guide: Model, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, key: Any = None
    ) -> Estimate:
        """Return the estimate at the current parameters."""
        sums = self.particles(model, guide, args, {} if kwargs is None else kwargs, key)
        powers = (1.0 - self.alpha) * (sums.log_model - sums.log_guide)
        bound = self._bound(powers, self.num_particles)
        signal = autodiff.stop_gradient(bound - self._bound_of_others(powers))
        surrogate = bound + ops.sum(signal * sums.score)
        return Estimate(-autodiff.stop_gradient(bound), -surrogate, sums.terms)

    def _bound(self, powers: Any, num: int) -> Any:
        return (ops.logsumexp(powers, axis=-1) - math.log(num)) / (1.0 - self.alpha)

    def _bound_of_others(self, powers: Any) -> Any:
        """Return for each particle the bound of those beside it, which it does not influence; 0 if it is alone."""
        num = self.num_particles
        if num == 1:
            return 0.0
        largest = ops.max(powers)
        weights = ops.exp(powers - largest)
        # Summed from both sides rather than subtracted from the whole, which a dominant particle would cancel.
        nothing = ops.zeros((1,), dtype=weights.dtype)
        before = ops.cumsum(ops.concat([nothing, weights[:-1]]), axis=0)
        after = ops.flip(ops.cumsum(ops.concat([nothing, ops.flip(weights[1:], axis=0)]), axis=0), axis=0)
        tiny = float(ops.finfo(weights).tiny)
        others = ops.log(ops.maximum(before + after, ops.full_like(weights, tiny))) + largest
        return (others - math.log(num - 1)) / (1.0 - self.alpha)
