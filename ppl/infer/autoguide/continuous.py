"""Guides that are one distribution over the flat unconstrained vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ppl import ops
from ppl.distributions import Delta, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal
from ppl.errors import InferenceError
from ppl.infer.autoguide.approximation import UnconstrainedNormal, on_host
from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.latents import LatentSpace
from ppl.ops import autodiff
from ppl.primitives import sample
from ppl.transforms import AffineTransform, IndependentTransform, LowerCholeskyAffine


class AutoContinuous(AutoGuide, ABC):
    """Base of the guides of Kucukelbir et al. 2017: one distribution over all latent sites, in unconstrained space.

    See :class:`AutoGuide` for the parameters. A derived class gives :meth:`get_posterior`; where that is no normal distribution
    and no point, :meth:`_vector_quantile` too. The model's latent sites must be continuous and always the same, and stand in no
    subsampled plate.

    The vector is the auxiliary site ``_auto_latent`` (after the prefix); each latent site follows as a point mass whose log
    density is minus the log Jacobian of its map.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> class Wide(infer.autoguide.AutoContinuous):
    ...     def get_posterior(self, *args, **kwargs):
    ...         return dist.Normal(ppl.param("wide_loc", lambda: self.initial), 3.0).to_event(1)
    >>> guide = Wide(lambda: ppl.sample("x", dist.Normal(ops.zeros((2,)), 1.0).to_event(1)))
    >>> tuple(guide()["x"].shape), guide.latent_dim
    ((2,), 2)
    """

    PARAMS: ClassVar[tuple[str, ...]] = ()
    """What follows the prefix in the names of the params."""

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._learn_continuous(args, kwargs)
        self._refuse_subsampling()
        self.latents = LatentSpace.from_trace(trace)
        start = {name: site["value"] for name, site in self.sites.items()}
        self.initial = autodiff.stop_gradient(self.latents.unconstrain(start))

    def _refuse_subsampling(self) -> None:
        for frame in self.frames.values():
            if frame.full_size not in (None, frame.size):
                raise InferenceError(
                    f"{type(self).__name__} covers latent sites in the subsampled plate {frame.name!r}, of which each call sees "
                    f"{frame.size} of {frame.full_size} elements; expected whole plates around latent sites; try AutoNormal or "
                    "AutoDelta for these sites"
                )

    @property
    def latent_dim(self) -> int:
        """Length of the unconstrained vector."""
        return self.latents.size

    @abstractmethod
    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        """Return the distribution over the unconstrained vector, event shape ``(latent_dim,)``."""

    def get_base_dist(self) -> Any:
        """Return the standard normal that :meth:`get_transform` maps to the posterior.

        :raises InferenceError: if the guide has not run yet.
        """
        with self.active():
            self._ready((), {})
            return Normal(ops.zeros_like(self.initial), 1.0).to_event(1)

    def get_transform(self, *args: Any, **kwargs: Any) -> Any:
        """Return the transform from standard normal vectors to those of the posterior.

        :raises InferenceError: if the posterior is no normal distribution.
        """
        with self.active():
            posterior = _unwrapped(self.get_posterior(*args, **kwargs))
            if isinstance(posterior, Normal):
                return IndependentTransform(AffineTransform(posterior.loc, posterior.scale), 1)
            if isinstance(posterior, (MultivariateNormal, LowRankMultivariateNormal)):
                return LowerCholeskyAffine(posterior.loc, posterior.scale_tril)
            raise InferenceError(
                f"{type(self).__name__} is a {type(posterior).__name__}, which no transform makes of a standard normal; expected "
                "a normal distribution; try the guide that laplace_approximation() returns, or AutoMultivariateNormal"
            )

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
            with self._inside(site, plates):
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
        return {name: values[0] for name, values in self.quantiles([0.5], *args, **kwargs).items()}

    def _quantile(self, level: float) -> dict[str, Any]:
        return self.latents.constrain(self._vector_quantile(level))

    def _vector_quantile(self, level: float) -> Any:
        """Return the quantile of each element of the vector on its own."""
        loc, variance = self._moments(covariance=False)
        return loc if variance is None else loc + ops.sqrt(variance) * ops.ndtri(ops.array(level))

    def _moments(self, covariance: bool) -> tuple[Any, Any]:
        """Return the mean of the vector and its variances, or its covariance where there are correlations; none for a point."""
        posterior = _unwrapped(self.get_posterior())
        if isinstance(posterior, Delta):
            return posterior.v, None
        if isinstance(posterior, Normal) or (
            not covariance and isinstance(posterior, (MultivariateNormal, LowRankMultivariateNormal))
        ):
            return posterior.mean, posterior.variance
        if isinstance(posterior, (MultivariateNormal, LowRankMultivariateNormal)):
            return posterior.mean, posterior.covariance_matrix
        raise InferenceError(
            f"{type(self).__name__} is a {type(posterior).__name__}, of which neither quantiles nor a covariance are known; "
            "expected a normal distribution; try the draws of sample_posterior(...)"
        )

    def param_names(self) -> list[str]:
        """Return the names of the guide's params."""
        return [f"{self.prefix}_{name}" for name in self.PARAMS]

    def unconstrained_normal(self) -> UnconstrainedNormal:
        """Return the fitted guide as a normal distribution over unconstrained values, or a point.

        :raises InferenceError: if the guide has not been fitted, or is no such distribution.
        """
        with self.active():
            self._require_fitted()
            loc, covariance = self._moments(covariance=True)
            shapes = {site.name: site.unconstrained_shape for site in self.latents.sites}
            return UnconstrainedNormal(shapes, on_host(loc), None if covariance is None else on_host(covariance))

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return self.latents.constrain(self.get_posterior().sample(shape))


def _unwrapped(posterior: Any) -> Any:
    """Return a distribution without the wrapper that declares its batch dimensions one event."""
    while isinstance(posterior, Independent):
        posterior = posterior.base_dist
    return posterior
