"""A fitted guide as the beginning of a run: starting points and a metric."""

from __future__ import annotations

import math
from typing import Any

from ppl import ops, registry
from ppl.errors import InferenceError
from ppl.infer.autoguide import AutoGuide
from ppl.ops import random


class WarmStart:
    """What a fitted guide tells chains, as host arrays that any backend takes up; the guide itself is not kept.

    :param guide: an automatic guide after its fit.
    :param kernel: name of the kernel, for messages.
    :raises InferenceError: if it is something else, has not been fitted, or covers no continuous site.
    """

    __name__ = "the guide"

    def __init__(self, guide: Any, kernel: str) -> None:
        if not isinstance(guide, AutoGuide):
            raise InferenceError(
                f"{kernel} takes a fitted automatic guide as init=, received {guide!r}; try init=AutoNormal(model) after SVI, or "
                "init_strategy= for one of the init_to_... functions"
            )
        self.guide = type(guide).__name__
        normal = guide.unconstrained_normal()
        if normal is None:
            raise InferenceError(f"{kernel} cannot start from {self.guide}, which covers no continuous site; try AutoNormal")
        self.normal = normal

    def _order(self, potential: Any) -> Any:
        """Return the places, in the guide's vector, of the coordinates of ``potential``.

        :raises InferenceError: if the two differ in a site or its shape.
        """
        sites = {site.name: site for site in getattr(potential, "sites", ())}
        shapes, places, offset = self.normal.shapes, {}, 0
        with registry.using("numpy"):
            for name, shape in shapes.items():
                size = math.prod(shape)
                places[name] = ops.arange(offset, offset + size)
                offset += size
            for name in [*sites, *shapes]:
                if name not in shapes or name not in sites:
                    lacking, other = (self.guide, "the model") if name not in shapes else ("the model", self.guide)
                    raise InferenceError(
                        f"{lacking} lacks the site {name!r} of {other}; continuous latent sites of the model: {sorted(sites)}; "
                        f"of the guide: {sorted(shapes)}; expected the same; try a guide made from the model that is sampled"
                    )
                if shapes[name] != sites[name].unconstrained_shape:
                    raise InferenceError(
                        f"site {name!r} has unconstrained shape {sites[name].unconstrained_shape} in the model and "
                        f"{shapes[name]} in {self.guide}; expected the same; try a guide fitted to data of the same size"
                    )
            return ops.concat([places[name] for name in sites])

    def propose(self, potential: Any, count: int, generator: Any) -> Any:
        """Return a host array of ``count`` draws of the guide, one a row: points of the unconstrained space of ``potential``.

        :param generator: a key of numpy.
        """
        order, (_, loc, covariance) = self._order(potential), self.normal
        with registry.using("numpy"):
            draws = ops.broadcast_to(loc, (count, len(loc)))
            if covariance is not None:
                noise = random.normal(generator, (count, len(loc)), "float64")
                draws = draws + (
                    noise @ ops.matrix_transpose(ops.cholesky(covariance)) if covariance.ndim == 2 else noise * covariance**0.5
                )
            return draws[:, order]

    def inverse_mass(self, potential: Any, matrix: bool) -> Any:
        """Return the guide's covariance in the coordinates of ``potential``, ``None`` for a guide without one.

        :param matrix: whether ``(D, D)`` can be used; if not, or if the guide has no correlations, it is ``(D,)`` variances.
        """
        order, covariance = self._order(potential), self.normal.covariance
        if covariance is None:
            return None
        with registry.using("numpy"):
            if covariance.ndim == 2:
                covariance = covariance[order][:, order]
                return covariance if matrix else ops.diagonal(covariance)
            return covariance[order]
