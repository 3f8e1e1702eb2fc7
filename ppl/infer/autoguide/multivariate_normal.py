"""A normal guide with a full covariance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import constraints, ops
from ppl.distributions import MultivariateNormal
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.scale import require_scale
from ppl.infer.initialization import init_to_median
from ppl.primitives import param
from ppl.typing import Model


class AutoMultivariateNormal(AutoContinuous):
    r"""A normal distribution with any covariance over the unconstrained vector: :math:`q(u) = N(u \mid \mu, L L^T)`.

    See :class:`AutoGuide` for the parameters.

    :param init_scale: initial standard deviation of every element, positive; there are no correlations at first.

    The params are ``auto_loc`` of shape ``(latent_dim,)`` and ``auto_scale_tril`` of shape ``(latent_dim, latent_dim)``, lower
    triangular with a positive diagonal (after the prefix).

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     x = ppl.sample("x", dist.Normal(0.0, 1.0))
    ...     return ppl.sample("y", dist.Normal(x, 1.0))
    >>> guide = infer.AutoMultivariateNormal(model, init_scale=0.5)
    >>> draw = guide()
    >>> ops.to_numpy(guide.get_posterior().covariance_matrix).tolist()
    [[0.25, 0.0], [0.0, 0.25]]
    """

    PARAMS = ("loc", "scale_tril")

    def __init__(
        self,
        model: Model,
        prefix: str = "auto",
        init_loc_fn: Callable[[dict], Any] = init_to_median,
        init_scale: float = 1.0,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model, prefix, init_loc_fn, create_plates)
        self.init_scale = require_scale(init_scale)

    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        """Return the normal distribution over the unconstrained vector; arguments are the model's, or fitted params."""
        with self.active(), self._with_params(args, kwargs):
            loc = param(f"{self.prefix}_loc", lambda: self.initial)
            scale_tril = param(f"{self.prefix}_scale_tril", self._start, constraint=constraints.lower_cholesky)
            return MultivariateNormal(loc, scale_tril=scale_tril)

    def _start(self) -> Any:
        return self.init_scale * ops.eye(self.latent_dim, dtype=ops.dtype_name(self.initial))
