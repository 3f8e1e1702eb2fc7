"""Point estimates as a guide."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.distributions import Delta
from ppl.infer.autoguide.approximation import UnconstrainedNormal, joined, on_host
from ppl.infer.autoguide.base import AutoGuide, whole
from ppl.ops import autodiff
from ppl.primitives import param, sample
from ppl.transforms import biject_to


class AutoDelta(AutoGuide):
    """Maximum a posteriori estimates: a point mass, in constrained space, at each latent site.

    See :class:`AutoGuide` for the parameters. Site ``x`` has the param ``auto_x`` (after the prefix), whose constraint is
    the site's support; set it by ``ppl.param("auto_x", value, constraint=...)`` beforehand to start elsewhere. A site in a
    subsampled plate has one estimate for every element of the whole plate.

    :raises InferenceError: if a latent site is discrete.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> guide = infer.AutoDelta(lambda: ppl.sample("x", dist.HalfNormal(1.0)), init_loc_fn=infer.init_to_value(values={"x": 2.0}))
    >>> estimate = guide()
    >>> round(float(guide.median()["x"]), 4)
    2.0
    """

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._learn_continuous(args, kwargs)

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        plates = self.plates(*args, **kwargs)
        values = {}
        for name, site in self.sites.items():
            with self._inside(site, plates):
                values[name] = sample(name, Delta(self._location(name, site), event_dim=site["fn"].event_dim))
        return values

    def _location(self, name: str, site: dict) -> Any:
        fn = site["fn"]

        def start() -> Any:
            return whole(site, site["value"], fn.event_dim)

        return param(f"{self.prefix}_{name}", start, constraint=fn.support, event_dim=fn.event_dim)

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the estimate of each latent site, for the whole of every plate."""
        with self.active(), self._with_params(args, kwargs):
            return {name: ops.array(value) for name, value in autodiff.stop_gradient(self._quantile(0.5)).items()}

    def _quantile(self, level: float) -> dict[str, Any]:
        return {name: self._location(name, site) for name, site in self.sites.items()}

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        estimates = self._quantile(0.5)
        return {name: ops.broadcast_to(value, (*shape, *ops.shape(value))) for name, value in estimates.items()}

    def param_names(self) -> list[str]:
        """Return the names of the guide's params, once it has run."""
        return [f"{self.prefix}_{name}" for name in self.sites]

    def unconstrained_normal(self) -> UnconstrainedNormal:
        """Return the estimate as a point of unconstrained space.

        :raises InferenceError: if the guide has not been fitted.
        """
        with self.active():
            self._require_fitted()
            points = {name: biject_to(self.sites[name]["fn"].support).inv(value) for name, value in self._quantile(0.5).items()}
            parts = [
                UnconstrainedNormal({name: tuple(ops.shape(point))}, on_host(ops.reshape(point, (-1,))), None)
                for name, point in points.items()
            ]
            return joined(parts)
