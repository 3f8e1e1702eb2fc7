"""What a fitted guide knows of the posterior, as host arrays that any backend can take up."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl import ops, registry
from ppl.ops import autodiff
from ppl.typing import Shape


class UnconstrainedNormal(NamedTuple):
    """A normal distribution over the unconstrained values of some sites, laid one after the other.

    :param shapes: unconstrained shape of each site by name, in the order of the vector.
    :param loc: mean, a host array of shape ``(n,)``.
    :param covariance: ``(n,)`` variances or ``(n, n)``, a host array; ``None`` for a point.
    """

    shapes: dict[str, Shape]
    loc: Any
    covariance: Any


def on_host(value: Any) -> Any:
    """Return a detached host array in double precision."""
    host = ops.to_numpy(autodiff.stop_gradient(value))
    with registry.using("numpy"):
        return ops.astype(host, "float64")


def joined(parts: list[UnconstrainedNormal]) -> UnconstrainedNormal:
    """Return the product of independent ``parts``; variances only if no part has correlations, a point if all are points.

    A point among others has no variance, which leaves the whole without a covariance.
    """
    shapes = {name: shape for part in parts for name, shape in part.shapes.items()}
    with registry.using("numpy"):
        loc = ops.concat([part.loc for part in parts])
        covariances = [part.covariance for part in parts]
        if any(covariance is None for covariance in covariances):
            return UnconstrainedNormal(shapes, loc, None)
        if all(ops.ndim(covariance) == 1 for covariance in covariances):
            return UnconstrainedNormal(shapes, loc, ops.concat(covariances))
        whole, offset = ops.zeros((len(loc), len(loc)), dtype="float64"), 0
        for covariance in covariances:
            end = offset + len(covariance)
            whole[offset:end, offset:end] = covariance if ops.ndim(covariance) == 2 else ops.diag_embed(covariance)
            offset = end
        return UnconstrainedNormal(shapes, loc, whole)
