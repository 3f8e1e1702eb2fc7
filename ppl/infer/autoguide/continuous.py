"""Guides that are one distribution over the flat unconstrained vector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from ppl import ops
from ppl.distributions import Delta
from ppl.errors import InferenceError
from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.latents import LatentSpace
from ppl.ops import autodiff
from ppl.primitives import sample


class AutoContinuous(AutoGuide):
    """Base of the guides of Kucukelbir et al. 2017: one distribution over all latent sites, in unconstrained space.

    See :class:`AutoGuide` for the parameters. A derived class gives :meth:`get_posterior` and :meth:`_quantile`. The model's
    latent sites must be continuous and always the same, and stand in no subsampled plate.

    The vector is the auxiliary site ``_auto_latent`` (after the prefix); each latent site follows as a point mass whose log
    density is minus the log Jacobian of its map.
    """

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Learn the latent sites and their places in the vector.

        :raises InferenceError: if a site is discrete or stands in a subsampled plate.
        """
        if self.prototype_trace is not None:
            return
        super().setup(*args, **kwargs)
        try:
            self._refuse_subsampling()
            self.latents = LatentSpace.from_trace(self.prototype_trace)
        except InferenceError:
            self.prototype_trace = None
            raise
        start = {name: site["value"] for name, site in self.sites.items()}
        self.initial = autodiff.stop_gradient(self.latents.unconstrain(start))

    def _refuse_subsampling(self) -> None:
        for frame in self.frames.values():
            if frame.full_size not in (None, frame.size):
                raise InferenceError(
                    f"{type(self).__name__} covers latent sites in the subsampled plate {frame.name!r}, of which each call sees "
                    f"{frame.size} of {frame.full_size} elements; expected whole plates around latent sites; try AutoDelta, or a "
                    "guide of your own for these sites"
                )

    @property
    def latent_dim(self) -> int:
        """Length of the unconstrained vector."""
        return self.latents.size

    @abstractmethod
    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        """Return the distribution over the unconstrained vector, event shape ``(latent_dim,)``."""

    @abstractmethod
    def _quantile(self, probability: Any) -> Any:
        """Return the quantile of each element of the vector on its own."""

    def sample_latent(self, *args: Any, **kwargs: Any) -> Any:
        """Return a draw of the unconstrained vector, as the auxiliary site."""
        with self.active():
            self.setup(*args, **kwargs)
            return sample(f"_{self.prefix}_latent", self.get_posterior(), infer={"is_auxiliary": True})

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        vector = self.sample_latent(*args, **kwargs)
        plates = self.plates(*args, **kwargs)
        values = {}
        unconstrained = self.latents.split(vector)
        for name, site in self.sites.items():
            value, log_density = self._map(name, site, unconstrained[name])
            with ExitStack() as stack:
                for frame in site["cond_indep_stack"]:
                    stack.enter_context(plates[frame.name])
                values[name] = sample(name, Delta(value, log_density, event_dim=site["fn"].event_dim))
        return values

    def _map(self, name: str, site: dict, point: Any) -> tuple[Any, Any]:
        """Return value and log density of a site at its unconstrained ``point``, aligned with the site's batch shape."""
        transform = self.latents.transforms[name]
        value = transform(point)
        event_dim = site["fn"].event_dim
        log_det = ops.sum_rightmost(transform.log_abs_det_jacobian(point, value), event_dim - transform.codomain.event_dim)
        rank = ops.ndim(site["value"])
        leading = ops.shape(value)[: ops.ndim(value) - rank]
        if leading:
            # An outer plate put its dimension left of all plates, and the vector has batch dimensions for those between.
            own = ops.shape(site["value"])
            batch = ops.broadcast_shapes(leading, own[: rank - event_dim])
            value = ops.reshape(value, (*batch, *own[rank - event_dim :]))
            log_det = ops.reshape(log_det, batch)
        return value, -log_det

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent site (elementwise in unconstrained space) by name."""
        with self.active(), self._with_params(args, kwargs):
            return self._constrained_quantile(0.5)

    def quantiles(self, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, list[Any]]:
        """Return, for each latent site, a list with its value at each of ``quantiles``, numbers in (0, 1).

        The quantiles are exact where a site's map acts on each element alone; for a simplex or a matrix they are images of
        unconstrained quantiles. Fitted params may stand before ``quantiles`` or after.
        """
        if isinstance(quantiles, Mapping):
            quantiles, args = args[0], (quantiles, *args[1:])
        with self.active(), self._with_params(args, kwargs):
            columns = [self._constrained_quantile(float(probability)) for probability in quantiles]
            return {name: [column[name] for column in columns] for name in self.latents.names}

    def _constrained_quantile(self, probability: float) -> dict[str, Any]:
        values = autodiff.stop_gradient(self.latents.constrain(self._quantile(probability)))
        return {name: ops.array(value) for name, value in values.items()}

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return self.latents.constrain(self.get_posterior().sample(shape))
