"""Whether the entries of plates are as independent, as many and as heavy as the plates say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ppl.testing.diagnosis.runs import Point, Run, Site

SHIFT = 0.37
# More latent sites than these in plates are not moved one by one.
MOST_MOVES = 24
TOLERANCE = 1e-9

Runner = Callable[[Point], Run]


def shape_faults(site: Site) -> Iterator[str]:
    """Yield a sentence for each dimension of a site that is not what its plates and its distribution say."""
    if site.log_prob is None or site.kind == "deterministic":
        return
    frames = [frame for frame in site.plates if frame.dim is not None]
    sizes = {frame.dim: frame.size for frame in frames}
    names = ", ".join(f"{frame.name!r} (dim={frame.dim}, size={frame.size})" for frame in frames) or "none"
    rank = site.value.ndim - len(site.event_shape)
    batch = numpy.broadcast_shapes(site.batch_shape, site.value.shape[:rank])
    if site.log_prob.shape != batch and site.log_prob.shape != site.batch_shape:
        yield (
            f"its log density has shape {site.log_prob.shape}; expected the batch shape {batch}: log_prob sums over the event "
            f"shape {site.event_shape} and nothing else"
        )
        return
    if site.message["infer"].get("_factor") and not frames:
        # A term of the total has no entries to tell apart.
        return
    for dim in range(-len(batch), 0):
        if batch[dim] != 1 and sizes.get(dim, -1) not in (None, batch[dim]):
            yield (
                f"its batch shape is {batch}, but no plate declares dim={dim} of size {batch[dim]} (plates around it: {names}); "
                f"try .to_event({-dim}), a plate, or arguments whose shapes do not broadcast to more than one of them has"
            )
            return
    if site.kind == "observed" and site.value.size > 1:
        for frame in frames:
            count = batch[frame.dim] if -frame.dim <= len(batch) else 1
            here = site.value.shape[rank + frame.dim] if -frame.dim <= rank else 1
            if count > 1 and here == 1:
                yield (
                    f"one observed value of shape {site.value.shape} counts {count} times, once for each entry of plate "
                    f"{frame.name!r}; expected a value for each; try the event shape {site.event_shape} less a dimension"
                )
                return


def dependence_faults(run: Runner, point: Point, base: Run) -> Iterator[tuple[str, str]]:
    """Yield site and sentence where one entry of a plate depends on another.

    A latent value is moved in one entry of a plate; the densities of all other entries must stay.
    """
    moves = 0
    for site in base.sites.values():
        if site.kind != "latent" or site.name not in point.free:
            continue
        for frame in site.plates:
            if not frame.independent:
                continue
            moves += 1
            if moves > MOST_MOVES:
                return
            if frame.dim is None:
                yield from _between_steps(run, point, base, site, frame)
            elif frame.size and frame.size > 1:
                yield from _between_entries(run, point, base, site, frame)


def _between_entries(run: Runner, point: Point, base: Run, site: Site, frame: Any) -> Iterator[tuple[str, str]]:
    free = point.free[site.name]
    axis = free.ndim - (site.value.ndim - _batch_rank(site)) + frame.dim
    if not 0 <= axis < free.ndim or free.shape[axis] != frame.size:
        return
    moved = free.copy()
    entry = (slice(None),) * axis + (0,)
    moved[entry] = moved[entry] + SHIFT
    other = run(Point({**point.free, site.name: moved}, point.fixed))
    for name, before in base.sites.items():
        after = other.sites.get(name)
        inside = [f for f in before.plates if f.name == frame.name and f.dim == frame.dim]
        if after is None or before.log_prob is None or not inside or before.log_prob.shape != after.log_prob.shape:
            continue
        if -frame.dim > before.log_prob.ndim or before.log_prob.shape[frame.dim] != frame.size:
            continue
        rest = numpy.abs(_take_rest(after.log_prob, frame.dim) - _take_rest(before.log_prob, frame.dim))
        if (rest > TOLERANCE * (1.0 + numpy.abs(_take_rest(before.log_prob, frame.dim)))).any():
            yield (
                name,
                (
                    f"entries of plate {frame.name!r} are declared independent, but its log density at other entries changes "
                    f"with entry 0 of site {site.name!r}; expected none to; try to take the site that ties them out of the plate"
                ),
            )
            return


def _between_steps(run: Runner, point: Point, base: Run, site: Site, frame: Any) -> Iterator[tuple[str, str]]:
    other = run(Point({**point.free, site.name: point.free[site.name] + SHIFT}, point.fixed))
    for name, before in base.sites.items():
        after = other.sites.get(name)
        steps = [f.counter for f in before.plates if f.name == frame.name and f.dim is None]
        if after is None or before.log_prob is None or not steps or steps[0] == frame.counter:
            continue
        if before.log_prob.shape != after.log_prob.shape or (numpy.abs(after.log_prob - before.log_prob) > TOLERANCE).any():
            yield (
                name,
                (
                    f"steps of plate {frame.name!r} are declared independent, but its log density changes with site "
                    f"{site.name!r} of another step; expected none to; try ppl.markov for a sequence"
                ),
            )
            return


def _batch_rank(site: Site) -> int:
    return site.value.ndim - len(site.event_shape)


def _take_rest(array: Any, dim: int) -> Any:
    return numpy.delete(array, 0, axis=dim)


def scale_faults(run: Runner, point: Point, base: Run) -> Iterator[tuple[str, str]]:
    """Yield site and sentence where minibatches of a plate do not average to the whole.

    The minibatches are all windows of the plate, so that each entry is in as many of them as any other.
    """
    for plate in (site for site in base.sites.values() if site.kind == "subsample" and site.message["infer"].get("_subsampled")):
        size, count = plate.message["fn"].size, plate.message["fn"].subsample_size
        for site in base.sites.values():
            if site.log_prob is None or plate.name not in [frame.name for frame in site.plates]:
                continue
            factors = [_factor(base, frame.name) for frame in site.plates]
            rest = float(numpy.mean(numpy.asarray(site.message["scale"], dtype="float64"))) / math.prod(factors)
            for factor in factors:
                if factor != 1.0 and (math.isclose(rest, factor, rel_tol=1e-6) or math.isclose(rest, 1.0 / factor, rel_tol=1e-6)):
                    yield (
                        site.name,
                        (
                            f"its log density is scaled by {rest * math.prod(factors):g} in minibatches of {count} of {size}, "
                            f"so that they average to {rest:g} times the log density of all data; expected a scale of "
                            f"{math.prod(factors):g}, which the plate sets by itself; try it without handlers.scale"
                        ),
                    )
                    break
        yield from _unused_indices(run, point, base, plate.name, size, count)


def _factor(base: Run, name: str) -> float:
    site = base.sites.get(name)
    if site is None or site.kind != "subsample" or not site.message["infer"].get("_subsampled"):
        return 1.0
    return float(site.message["fn"].size) / float(site.message["fn"].subsample_size)


def _unused_indices(run: Runner, point: Point, base: Run, plate: str, size: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield the observed sites in a minibatch whose data are the same whatever the indices."""
    if count >= size:
        return
    starts = range(0, size, count)
    windows = [numpy.arange(start, start + count) % size for start in starts]
    runs = [run(Point(point.free, {**point.fixed, plate: window})) for window in windows[:4]]
    for name, site in base.sites.items():
        inside = plate in [frame.name for frame in site.plates]
        if site.kind != "observed" or not inside or site.value.size < 2 or numpy.ptp(site.value) == 0:
            continue
        values = [other.sites[name].value for other in runs if name in other.sites]
        if len(values) > 1 and all(numpy.array_equal(values[0], value) for value in values[1:]):
            yield (
                name,
                (
                    f"its data are the same for every minibatch of plate {plate!r}, so that they count {size / count:g} times "
                    f"and the others never; expected data that follow the indices; try with ppl.plate({plate!r}, {size}, ...) as "
                    "indices, and data[indices]"
                ),
            )
