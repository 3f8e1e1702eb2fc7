"""The continuous latent sites of a model as one flat vector of unconstrained numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ppl import ops
from ppl.errors import InferenceError
from ppl.transforms import biject_to
from ppl.typing import Shape


def is_latent(site: dict) -> bool:
    """Return whether a site of a trace is an unobserved random choice (a deterministic site is not)."""
    infer = site.get("infer") or {}
    return site["type"] == "sample" and not site["is_observed"] and not infer.get("_deterministic")


@dataclass(frozen=True)
class LatentSite:
    """One latent site's place in the flat vector.

    :param name: the site's name.
    :param shape: shape of the constrained value.
    :param unconstrained_shape: shape of the unconstrained value.
    :param offset: index of its first element in the vector.
    """

    name: str
    shape: Shape
    unconstrained_shape: Shape
    offset: int

    @property
    def size(self) -> int:
        """Number of unconstrained elements."""
        return math.prod(self.unconstrained_shape)


def split_vector(sites: list[LatentSite], vector: Any) -> dict[str, Any]:
    """Return the part of ``vector`` that belongs to each site, in its unconstrained shape; leading dimensions are batches."""
    batch = ops.shape(vector)[:-1]
    return {
        site.name: ops.reshape(vector[..., site.offset : site.offset + site.size], (*batch, *site.unconstrained_shape))
        for site in sites
    }


class LatentSpace:
    """A bijection between values of a model's continuous latent sites and one vector in :math:`R^n`.

    :param sites: the places, in order of the sites in the model.
    :param supports: constraint of each site by name.
    :raises InferenceError: if a site is discrete (through :meth:`from_trace`).
    """

    def __init__(self, sites: list[LatentSite], supports: dict[str, Any]) -> None:
        self.sites = sites
        self.supports = supports
        self.transforms = {name: biject_to(support) for name, support in supports.items()}

    @classmethod
    def from_trace(cls, trace: Any) -> LatentSpace:
        """Build the space of the latent sites of ``trace``."""
        sites, supports, offset = [], {}, 0
        for name, site in trace.nodes.items():
            if not is_latent(site):
                continue
            support = site["fn"].support
            refuse_discrete(name, support)
            shape = ops.shape(site["value"])
            place = LatentSite(name, shape, tuple(biject_to(support).inverse_shape(shape)), offset)
            sites.append(place)
            supports[name] = support
            offset += place.size
        return cls(sites, supports)

    @property
    def names(self) -> list[str]:
        """Names of the sites, in the order of the vector."""
        return [site.name for site in self.sites]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(site.size for site in self.sites)

    @property
    def site_slices(self) -> dict[str, slice]:
        """Where each site lies in the vector."""
        return {site.name: slice(site.offset, site.offset + site.size) for site in self.sites}

    def split(self, vector: Any) -> dict[str, Any]:
        """Return the unconstrained value of each site; leading dimensions of ``vector`` are batches."""
        return split_vector(self.sites, vector)

    def join(self, unconstrained: dict[str, Any]) -> Any:
        """Return the vector of unconstrained values: the inverse of :meth:`split`, batches included."""
        pieces = []
        for site in self.sites:
            value = unconstrained[site.name]
            batch = ops.shape(value)[: ops.ndim(value) - len(site.unconstrained_shape)]
            pieces.append(ops.reshape(value, (*batch, site.size)))
        return ops.concat(pieces, axis=-1)

    def constrain(self, vector: Any) -> dict[str, Any]:
        """Return the value of each site, shape ``(*batch, *site shape)``, at ``vector`` of shape ``(*batch, size)``."""
        return {name: self.transforms[name](value) for name, value in self.split(vector).items()}

    def constrain_with_log_det(self, vector: Any) -> tuple[dict[str, Any], Any]:
        """Return the constrained values and the log absolute Jacobian determinant, shape ``batch``."""
        values, total, unconstrained = {}, 0.0, self.split(vector)
        for site in self.sites:
            values[site.name] = self.transforms[site.name](unconstrained[site.name])
            total = total + self._log_det(site, unconstrained[site.name], values[site.name])
        return values, total

    def _log_det(self, site: LatentSite, unconstrained: Any, value: Any) -> Any:
        transform = self.transforms[site.name]
        log_det = transform.log_abs_det_jacobian(unconstrained, value)
        return ops.sum_rightmost(log_det, len(site.unconstrained_shape) - transform.domain.event_dim)

    def unconstrain(self, values: dict[str, Any]) -> Any:
        """Return the vector at which :meth:`constrain` gives ``values``; leading batch dimensions are kept."""
        return self.join({name: self.transforms[name].inv(values[name]) for name in self.names})


def refuse_discrete(name: str, support: Any) -> None:
    """Raise if ``support`` has no unconstrained form because it is discrete."""
    if support.is_discrete:
        raise InferenceError(
            f"latent site {name!r} is discrete ({support!r}), but this algorithm moves in continuous space; expected every "
            f"latent site to be continuous; try to observe {name!r}, or to sum it out of the model, as "
            "dist.MixtureSameFamily does with the choice of a component"
        )
