"""A normal guide whose covariance is a diagonal plus a matrix of low rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ppl import constraints, ops
from ppl.distributions import LowRankMultivariateNormal
from ppl.errors import InferenceError
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.scale import require_scale
from ppl.infer.initialization import init_to_median
from ppl.ops import random
from ppl.primitives import param
from ppl.typing import Model


class AutoLowRankMultivariateNormal(AutoContinuous):
    r"""A normal distribution over the unconstrained vector with covariance :math:`W W^T + D` (Ong, Nott and Smith 2018).

    See :class:`AutoGuide` for the parameters.

    :param rank: number of columns of :math:`W`, from 1 to the length of the vector; ``None`` for the square root of that length.
    :param init_scale: initial standard deviation, on average over the random :math:`W`, of every element; positive. Half of the
        variance is the diagonal's.
    :raises InferenceError: if the rank is out of range; the length is known when the guide first runs.

    The params are ``auto_loc`` of shape ``(latent_dim,)``, ``auto_cov_factor`` of shape ``(latent_dim, rank)`` and the positive
    ``auto_cov_diag`` of shape ``(latent_dim,)`` (after the prefix).

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(ops.zeros((4,)), 1.0).to_event(1))
    >>> guide = infer.AutoLowRankMultivariateNormal(model, rank=2)
    >>> draw = guide()
    >>> tuple(guide.get_posterior().cov_factor.shape)
    (4, 2)
    """

    PARAMS = ("loc", "cov_factor", "cov_diag")

    def __init__(
        self,
        model: Model,
        prefix: str = "auto",
        init_loc_fn: Callable[[dict], Any] = init_to_median,
        rank: int | None = 1,
        init_scale: float = 1.0,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model, prefix, init_loc_fn, create_plates)
        self.init_scale = require_scale(init_scale)
        if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or rank < 1):
            raise InferenceError(f"rank must be an int of 1 or more, or None, received {rank!r}; try rank=10")
        self.rank = rank

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super()._learn(trace, args, kwargs)
        if self.rank is None:
            self.rank = round(math.sqrt(self.latent_dim))
        if self.rank > self.latent_dim:
            raise InferenceError(
                f"rank is {self.rank}, but the latent sites {self.latents.names} have {self.latent_dim} unconstrained elements "
                f"together; expected a rank from 1 to {self.latent_dim}; try AutoMultivariateNormal for any covariance"
            )

    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        """Return the normal distribution over the unconstrained vector; arguments are the model's, or fitted params."""
        with self.active(), self._with_params(args, kwargs):
            loc = param(f"{self.prefix}_loc", lambda: self.initial)
            factor = param(f"{self.prefix}_cov_factor", self._random_factor)
            diagonal = param(f"{self.prefix}_cov_diag", self._half_variance, constraint=constraints.positive)
            return LowRankMultivariateNormal(loc, factor, diagonal)

    def _random_factor(self, key: Any) -> Any:
        # The expectation of its product with its transpose is half the variance times the identity.
        rank = self.rank or 1
        return random.normal(key, (self.latent_dim, rank), ops.dtype_name(self.initial)) * self.init_scale * math.sqrt(0.5 / rank)

    def _half_variance(self) -> Any:
        return ops.full_like(self.initial, 0.5 * self.init_scale**2)
