"""A normal distribution for each site on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import constraints, ops
from ppl.distributions import Normal, TransformedDistribution
from ppl.infer.autoguide.approximation import UnconstrainedNormal, joined, on_host
from ppl.infer.autoguide.base import AutoGuide, whole
from ppl.infer.autoguide.scale import require_scale
from ppl.infer.initialization import init_to_median
from ppl.ops import autodiff
from ppl.primitives import param, sample
from ppl.transforms import IdentityTransform, IndependentTransform, Transform, biject_to
from ppl.typing import Model


class AutoNormal(AutoGuide):
    r"""Independent normals in unconstrained space, :math:`q(u) = \prod_{x,i} N(u_{x,i} \mid \mu_{x,i}, \sigma_{x,i})`, by sites.

    See :class:`AutoGuide` for the parameters.

    :param init_scale: initial standard deviation of every element, positive.
    :raises InferenceError: if a latent site is discrete.

    The family is that of :class:`AutoDiagonalNormal`, but each site keeps its plates, so that bounds know which terms are
    independent, and a minibatch of a subsampled plate touches its own rows alone. Site ``x`` has the params ``auto_x_loc`` and
    ``auto_x_scale`` (after the prefix), of its unconstrained shape for the whole of every plate. An unconstrained site is
    a plain :class:`~ppl.distributions.Normal`, of which divergences have a closed form.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     with ppl.plate("rows", 10, subsample_size=2):
    ...         return ppl.sample("x", dist.Exponential(1.0))
    >>> guide = infer.autoguide.AutoNormal(model)
    >>> tuple(guide()["x"].shape), tuple(guide.median()["x"].shape)
    ((2,), (10,))
    """

    def __init__(
        self,
        model: Model,
        prefix: str = "auto",
        init_loc_fn: Callable[[dict], Any] = init_to_median,
        init_scale: float = 0.1,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model, prefix, init_loc_fn, create_plates)
        self.init_scale = require_scale(init_scale)

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._learn_continuous(args, kwargs)
        self.transforms = {name: biject_to(site["fn"].support) for name, site in self.sites.items()}
        self._event_dims = {name: self._unconstrained_event_dim(name) for name in self.sites}

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        plates = self.plates(*args, **kwargs)
        values = {}
        for name, site in self.sites.items():
            with self._inside(site, plates):
                values[name] = sample(name, self._distribution(name))
        return values

    def _distribution(self, name: str) -> Any:
        loc, scale = self._loc_scale(name)
        normal = Normal(loc, scale).to_event(self._event_dims[name])
        transform = self.transforms[name]
        # The draw's own unconstrained value is its density's: inverting a map that saturates would lose it.
        return normal if _is_identity(transform) else TransformedDistribution(normal, transform.with_cache())

    def _loc_scale(self, name: str) -> tuple[Any, Any]:
        """Return the params of a site, for the minibatch of the plates around the call or for whole plates."""
        event_dim = self._event_dims[name]

        def start() -> Any:
            site = self.sites[name]
            return autodiff.stop_gradient(whole(site, self.transforms[name].inv(site["value"]), event_dim))

        def start_scale() -> Any:
            return ops.full_like(start(), self.init_scale)

        loc = param(f"{self.prefix}_{name}_loc", start, event_dim=event_dim)
        scale = param(f"{self.prefix}_{name}_scale", start_scale, constraint=constraints.positive, event_dim=event_dim)
        return loc, scale

    def _unconstrained_event_dim(self, name: str) -> int:
        """Return the number of event dimensions of the unconstrained value, which a matrix's map changes."""
        transform = self.transforms[name]
        return int(self.sites[name]["fn"].event_dim + transform.domain.event_dim - transform.codomain.event_dim)

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent site (elementwise in unconstrained space), for the whole of every plate."""
        return {name: values[0] for name, values in self.quantiles([0.5], *args, **kwargs).items()}

    def _quantile(self, level: float) -> dict[str, Any]:
        values = {}
        for name, transform in self.transforms.items():
            loc, scale = self._loc_scale(name)
            values[name] = transform(loc + scale * ops.ndtri(ops.array(level)))
        return values

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {name: transform(Normal(*self._loc_scale(name)).sample(shape)) for name, transform in self.transforms.items()}

    def param_names(self) -> list[str]:
        """Return the names of the guide's params, once it has run."""
        return [f"{self.prefix}_{name}_{part}" for name in self.sites for part in ("loc", "scale")]

    def unconstrained_normal(self) -> UnconstrainedNormal:
        """Return the fitted guide as a normal distribution over unconstrained values, plates whole.

        :raises InferenceError: if the guide has not been fitted.
        """
        with self.active():
            self._require_fitted()
            parts = []
            for name in self.sites:
                loc, scale = self._loc_scale(name)
                flat = [on_host(ops.reshape(value, (-1,))) for value in (loc, scale)]
                parts.append(UnconstrainedNormal({name: tuple(ops.shape(loc))}, flat[0], flat[1] ** 2))
            return joined(parts)


def _is_identity(transform: Transform) -> bool:
    while isinstance(transform, IndependentTransform):
        transform = transform.base_transform
    return isinstance(transform, IdentityTransform)
