"""Densities of one variable on a grid: total mass, moments and distribution function by summation."""

from __future__ import annotations

from typing import Any

import numpy

from ppl import constraints, ops
from ppl.testing.numeric import to_host
from ppl.transforms import biject_to

POINTS = 2401
# Half the width of the grid in t, where a point lies at center + scale * sinh(t): the outermost is 1.1e5 scales away.
REACH = 12.3
MOST_VALUES = 20_000


class Grid:
    """The mass that a density puts at points which cover its support.

    :param points: numpy array of values, ascending along axis 0; other axes are those of the batch.
    :param mass: the mass at each point, the width of its cell included.
    """

    def __init__(self, points: Any, mass: Any) -> None:
        self.points, self.mass = points, mass

    @property
    def total(self) -> Any:
        """The mass of all points, 1 for a density."""
        return self.mass.sum(axis=0)

    def mean_of(self, values: Any) -> Any:
        """Return the expectation of a function whose ``values`` at the points are given."""
        with numpy.errstate(invalid="ignore", over="ignore"):
            return numpy.where(self.mass > 0.0, values * self.mass, 0.0).sum(axis=0)

    def cdf(self, index: tuple[int, ...], continuous: bool) -> Any:
        """Return the distribution function of one element of the batch."""
        points, mass = self.points[(slice(None), *index)], self.mass[(slice(None), *index)]
        below = numpy.cumsum(mass)
        if continuous:
            # A cell reaches half way to the neighbours.
            return lambda x: numpy.interp(x, points, below - 0.5 * mass)
        return lambda x: numpy.concatenate([[0.0], below])[numpy.searchsorted(points, x, side="right")]


def continuous(distribution: Any, draws: Any) -> Grid:
    """Return the grid of a continuous distribution of events without dimensions.

    :param draws: numpy array of draws, which say where the grid is fine.

    The grid lies in unconstrained space, where supports have no ends, and its steps widen outwards as those of ``sinh`` do.
    """
    transform = biject_to(circle(distribution, draws) or distribution.support)
    batch = tuple(distribution.batch_shape)
    with numpy.errstate(all="ignore"):
        free = to_host(transform.inv(ops.array(draws))).reshape(len(draws), -1)
    low, center, high = numpy.quantile(free[numpy.isfinite(free).all(axis=1)], [0.25, 0.5, 0.75], axis=0)
    scale = numpy.maximum(high - low, 1e-8 + 1e-8 * numpy.abs(center))
    t = numpy.linspace(-REACH, REACH, POINTS)[:, None]
    at = (center + scale * numpy.sinh(t)).reshape(POINTS, *batch)
    width = (scale * numpy.cosh(t) * (t[1] - t[0])).reshape(POINTS, *batch)
    unconstrained = ops.array(at)
    with numpy.errstate(all="ignore"):
        points = transform(unconstrained)
        log_density = to_host(distribution.log_prob(points))
        log_density = log_density + to_host(transform.log_abs_det_jacobian(unconstrained, points))
        points = to_host(points)
        # Far out the transform saturates: different places are one point, which is counted nowhere.
        repeated = numpy.diff(points, axis=0) == 0.0
        edge = numpy.zeros((1, *batch), dtype=bool)
        dropped = numpy.concatenate([edge, repeated]) | numpy.concatenate([repeated, edge]) | ~numpy.isfinite(points)
        mass = numpy.where(dropped, 0.0, numpy.exp(log_density)) * width
    if points[-1].reshape(-1)[0] < points[0].reshape(-1)[0]:
        points, mass = points[::-1], mass[::-1]
    return Grid(points, mass)


def circle(distribution: Any, draws: Any) -> Any:
    """Return one period as the support of an angle, whose density goes on around the circle; ``None`` for other densities."""
    values = ops.array(draws[:5])
    with numpy.errstate(all="ignore"):
        ahead, behind = (to_host(distribution.log_prob(values + shift)) for shift in (2.0 * numpy.pi, -2.0 * numpy.pi))
        here = to_host(distribution.log_prob(values))
    periodic = numpy.allclose(ahead, here) and numpy.allclose(behind, here) and numpy.ptp(draws) <= 2.0 * numpy.pi
    return constraints.interval(-numpy.pi, numpy.pi) if periodic and numpy.isfinite(here).all() else None


def discrete(distribution: Any, draws: Any) -> Grid:
    """Return the grid of a distribution over whole numbers: all that it lists, or those around ``draws``."""
    batch = tuple(distribution.batch_shape)
    if distribution.has_enumerate_support:
        points = to_host(distribution.enumerate_support()).astype("float64")
    else:
        least, most = numpy.floor(draws.min()), numpy.ceil(draws.max())
        reach = min(10.0 * (most - least + 10.0), MOST_VALUES / 2)
        points = numpy.arange(least - reach, most + reach + 1.0)
        points = numpy.broadcast_to(points.reshape(-1, *(1,) * len(batch)), (len(points), *batch)).copy()
    inside = numpy.broadcast_to(to_host(distribution.support(ops.array(points))), points.shape)
    somewhere = to_host(draws).reshape(len(draws), *batch)[:1]
    feasible = numpy.where(inside, points, somewhere)
    mass = numpy.where(inside, numpy.exp(to_host(distribution.log_prob(ops.array(feasible)))), 0.0)
    return Grid(points, mass)
