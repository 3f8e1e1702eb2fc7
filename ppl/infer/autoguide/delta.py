"""Point estimates as a guide."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ppl import ops
from ppl.distributions import Delta
from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.latents import refuse_discrete
from ppl.ops import autodiff
from ppl.primitives import param, sample


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

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        plates = self.plates(*args, **kwargs)
        values = {}
        for name, site in self.sites.items():
            refuse_discrete(name, site["fn"].support)
            with ExitStack() as stack:
                for frame in site["cond_indep_stack"]:
                    stack.enter_context(plates[frame.name])
                values[name] = sample(name, Delta(self._location(name, site), event_dim=site["fn"].event_dim))
        return values

    def _location(self, name: str, site: dict) -> Any:
        fn = site["fn"]
        return param(f"{self.prefix}_{name}", lambda: _whole(site), constraint=fn.support, event_dim=fn.event_dim)

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the estimate of each latent site, for the whole of every plate."""
        with self.active(), self._with_params(args, kwargs):
            values = {name: self._location(name, site) for name, site in self.sites.items()}
            return {name: ops.array(value) for name, value in autodiff.stop_gradient(values).items()}


def _whole(site: dict) -> Any:
    """Return the initial value, the elements of a subsampled plate repeated up to the whole plate."""
    value = site["value"]
    for frame in site["cond_indep_stack"]:
        axis = frame.dim - site["fn"].event_dim
        if frame.full_size in (None, frame.size) or ops.ndim(value) < -axis or ops.shape(value)[axis] == 1:
            continue
        value = ops.take(value, ops.remainder(ops.arange(0, frame.full_size), frame.size), axis=axis)
    return value
