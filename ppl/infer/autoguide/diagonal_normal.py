"""A mean-field normal guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import constraints, ops
from ppl.distributions import Normal
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.scale import require_scale
from ppl.infer.initialization import init_to_median
from ppl.primitives import param
from ppl.typing import Model


class AutoDiagonalNormal(AutoContinuous):
    r"""Independent normals over the unconstrained vector: :math:`q(u) = \prod_i N(u_i \mid \mu_i, \sigma_i)`.

    See :class:`AutoGuide` for the parameters.

    :param init_scale: initial standard deviation of every element, positive.

    The params are ``auto_loc`` and ``auto_scale`` (after the prefix), both of shape ``(latent_dim,)``.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    >>> guide = infer.AutoDiagonalNormal(model, init_scale=0.1)
    >>> tuple(guide()["x"].shape), tuple(guide.get_posterior().event_shape)
    ((2,), (2,))
    """

    PARAMS = ("loc", "scale")

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
            scale = param(
                f"{self.prefix}_scale", lambda: ops.full_like(self.initial, self.init_scale), constraint=constraints.positive
            )
            return Normal(loc, scale).to_event(1)
