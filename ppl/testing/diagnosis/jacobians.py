"""Whether the log-determinant of a change of variables is that of its forward map, by finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from ppl import constraints, distributions, ops
from ppl.testing.diagnosis.runs import Site, host
from ppl.transforms import biject_to
from ppl.transforms.transform import Transform

STEP = 1e-5
MOST_COORDINATES = 64
TOLERANCE = 1e-5


def faults_of(site: Site, free: Any) -> Iterator[str]:
    """Yield a sentence for each change of variables at a latent site whose log-determinant is wrong.

    :param free: the unconstrained value, or ``None`` for a site that has none.

    The active backend is that of the site.
    """
    if free is not None:
        transform = biject_to(site.message["fn"].support)
        found = _difference(transform, ops.array(free))
        if found is not None:
            yield f"the transform to its support, {type(transform).__name__}, {found}"
    fn = site.message["fn"]
    while hasattr(fn, "base_dist") and not isinstance(fn, distributions.TransformedDistribution):
        fn = fn.base_dist
    if isinstance(fn, distributions.TransformedDistribution):
        value = site.message["value"]
        for part in reversed(fn.transforms):
            before = part.inv(value)
            found = _difference(part, before)
            if found is not None:
                yield f"the transform {type(part).__name__} of its distribution {found}"
            value = before


def _difference(transform: Any, x: Any) -> str | None:
    """Return what is wrong with the log-determinant at ``x``, ``None`` if it is right or cannot be judged."""
    if not isinstance(transform, Transform) or isinstance(transform.codomain, constraints.zero_sum):
        return None
    event_dim = transform.domain.event_dim
    x = host(x).astype("float64")
    said = host(transform.log_abs_det_jacobian(ops.array(x), transform(ops.array(x))))
    expected = _log_determinant(transform, x, event_dim)
    if expected is None or not numpy.isfinite(expected).all():
        return None
    said = numpy.broadcast_to(said, numpy.broadcast_shapes(said.shape, expected.shape))
    apart = numpy.abs(said - expected) > TOLERANCE * (1.0 + numpy.abs(expected))
    if not apart.any() and not numpy.isnan(said).any():
        return None
    index = tuple(numpy.argwhere(apart | numpy.isnan(said))[0])
    wrong, right = said[index], numpy.broadcast_to(expected, said.shape)[index]
    return f"has log_abs_det_jacobian {wrong:.6g}; the derivative of its forward map, by finite differences, gives {right:.6g}"


def _log_determinant(transform: Any, x: Any, event_dim: int) -> Any:
    shape = x.shape[x.ndim - event_dim :]
    count = int(numpy.prod(shape, dtype=int))
    if count > MOST_COORDINATES or count == 0:
        return None

    def outcome(point: Any) -> Any:
        value = host(transform(ops.array(point)))
        return value if event_dim == 0 else _free_coordinates(value, transform, count)

    def slope(index: tuple[int, ...]) -> Any:
        parts = []
        for step in (STEP, 2.0 * STEP):
            above, below = x.copy(), x.copy()
            above[(..., *index)] += step
            below[(..., *index)] -= step
            ends = outcome(above), outcome(below)
            if ends[0] is None:
                return None
            parts.append((ends[0] - ends[1]) / (2.0 * step))
        return (4.0 * parts[0] - parts[1]) / 3.0

    if event_dim == 0:
        return numpy.log(numpy.abs(slope(())))
    columns = [slope(index) for index in numpy.ndindex(shape)]
    if any(column is None for column in columns):
        return None
    return numpy.linalg.slogdet(numpy.stack(columns, axis=-1))[1]


def _free_coordinates(value: Any, transform: Any, count: int) -> Any:
    """Return as many coordinates of an event as determine it, in a last axis; ``None`` if it is unclear which do."""
    event_dim = transform.codomain.event_dim
    shape = value.shape[value.ndim - event_dim :]
    batch = value.shape[: value.ndim - event_dim]
    if int(numpy.prod(shape, dtype=int)) == count:
        return value.reshape((*batch, count))
    if event_dim == 1 and shape[0] == count + 1:
        return value[..., :-1]
    if event_dim == 2 and shape[0] == shape[1]:
        for diagonal in (0, -1):
            rows, columns = numpy.tril_indices(shape[0], diagonal)
            if len(rows) == count:
                return value[..., rows, columns]
    return None
