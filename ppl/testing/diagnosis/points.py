"""Points in the unconstrained space of a model's choices: prior draws and places far out."""

from __future__ import annotations

from typing import Any

import numpy

from ppl import ops
from ppl.testing.diagnosis.runs import Point, Run, Site, constraint_of, host
from ppl.transforms import biject_to, transform_to


def point_of(drawn: Run, label: str) -> Point:
    """Return the values of a run as a point, the continuous choices in unconstrained space; on the run's own backend."""
    point = Point(label=label)
    for name, site in drawn.sites.items():
        if site.kind in ("latent", "param"):
            free = _free_value(site)
            if free is not None and numpy.isfinite(free).all():
                point.free[name] = free
            else:
                point.fixed[name] = site.value
        elif site.kind == "subsample":
            point.fixed[name] = site.value
    return point


def _free_value(site: Site) -> Any:
    """Return the unconstrained value of a continuous choice, ``None`` if it has none."""
    try:
        if site.kind == "param":
            transform = transform_to(constraint_of(site.message))
        elif site.message["fn"].support.is_discrete:
            return None
        else:
            transform = biject_to(site.message["fn"].support)
        return host(transform.inv(ops.array(site.value))).astype("float64")
    except (NotImplementedError, AttributeError):
        return None


def filled(point: Point, names: list[str], number: float) -> Point:
    """Return the point with one number in place of the free values of some sites."""
    filled = {name: numpy.full_like(point.free[name], number) for name in names}
    what = "all sites" if len(names) == len(point.free) and len(names) > 1 else f"site {names[0]!r}"
    return Point({**point.free, **filled}, point.fixed, f"{what} at {number:g} in unconstrained space")
