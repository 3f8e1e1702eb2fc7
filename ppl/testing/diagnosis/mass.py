"""Whether the density of a family that no outside source knows integrates to one."""

from __future__ import annotations

from typing import Any

import numpy

from ppl import distributions, ops
from ppl.testing.diagnosis.runs import Site, host
from ppl.transforms import biject_to

POINTS = 4001
REACH = 18.0
TOLERANCE = 0.02


def fault_of(site: Site, free: Any) -> str | None:
    r"""Return what is wrong with the total mass of a latent site's distribution; ``None`` if nothing is, or it is not judged.

    :param free: the unconstrained value of the site; the grid is finest around it.

    Judged are families of numbers that are not this library's own, whose tests are elsewhere. The grid is that of
    :math:`u = u_0 + \sinh s` in unconstrained space.
    """
    fn = site.message["fn"]
    while isinstance(fn, (distributions.Independent, distributions.ExpandedDistribution, distributions.MaskedDistribution)):
        fn = fn.base_dist
    definition = getattr(fn, "definition", type(fn))
    own = (getattr(definition, "__module__", None) or type(fn).__module__).split(".")[0].startswith("ppl")
    transform = biject_to(fn.support)
    if own or fn.event_shape or transform.domain.event_dim or free.size == 0:
        return None
    nodes = numpy.linspace(-REACH, REACH, POINTS).reshape(POINTS, *(1,) * free.ndim)
    grid = ops.array(free + numpy.sinh(nodes))
    value = transform(grid)
    log_density = host(fn.log_prob(value)) + host(transform.log_abs_det_jacobian(grid, value))
    heights = numpy.exp(numpy.nan_to_num(log_density, nan=-numpy.inf, posinf=-numpy.inf)) * numpy.cosh(nodes)
    total = heights.sum(axis=0) * (2.0 * REACH / (POINTS - 1))
    off = numpy.abs(total - 1.0) > TOLERANCE
    if not off.any():
        return None
    return f"its density sums to {total[tuple(numpy.argwhere(off)[0])]:.6g} over its support, by quadrature; expected 1"
