"""A metric that is dense within groups of sites and diagonal elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl import ops, registry
from ppl.errors import InferenceError
from ppl.infer.mcmc.metrics import Dense, Metric
from ppl.infer.mcmc.state import Mass
from ppl.typing import Shape

Groups = tuple[tuple[str, ...], ...]


def as_groups(value: Any) -> Groups:
    """Return groups of site names from ``full_mass=[("a", "b"), ("c",)]``.

    :raises InferenceError: if it is something else, or a name stands in two groups.
    """
    listed = value if isinstance(value, (list, tuple)) else ()
    groups = tuple(tuple(group) if isinstance(group, (list, tuple)) else (group,) for group in listed)
    names = [name for group in groups for name in group]
    if not names or not all(isinstance(name, str) for name in names):
        raise InferenceError(
            f"full_mass must be a bool or a list of tuples of site names, got {value!r}; try [('a', 'b'), ('c',)]"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InferenceError(f"full_mass names {', '.join(map(repr, twice))} twice; expected each site in one group at most")
    return groups


def block_mask(groups: Groups, sites: Sequence[Any]) -> Any:
    """Return a host array ``(D, D)`` that is 1 where two coordinates share a group, and on the diagonal, else 0.

    :param sites: the places of the potential, each with ``name``, ``offset`` and ``size``.
    :raises InferenceError: if a name is no latent site.
    """
    places = {site.name: site for site in sites}
    unknown = [name for group in groups for name in group if name not in places]
    if unknown:
        raise InferenceError(
            f"full_mass names {', '.join(map(repr, unknown))}, which is no latent site; expected some of "
            f"{', '.join(map(repr, places)) or 'none: this log density has no sites'}; try full_mass=True"
        )
    with registry.using("numpy"):
        number = ops.concat([ops.full((site.size,), float(index)) for index, site in enumerate(sites)])
        group_of = {name: -1.0 - index for index, group in enumerate(groups) for name in group}
        for site in sites:
            if site.name in group_of:
                number[site.offset : site.offset + site.size] = group_of[site.name]
        together = (number[:, None] == number[None, :]) & (number < 0.0)[:, None]
        return ops.maximum(ops.astype(together, "float64"), ops.eye(len(number), dtype="float64"))


class Block(Metric):
    """Dense blocks: a dense metric whose covariance is zero outside the blocks.

    A covariance stays positive definite when blocks outside its diagonal are set to zero, so that any estimate may be masked.

    :param mask: a host array ``(D, D)`` of zeros and ones, from :func:`block_mask`.
    :param by_gradients: whether it is estimated from draws and gradients, or from draws alone as Stan does.
    """

    def __init__(self, mask: Any, by_gradients: bool = True) -> None:
        super().__init__(by_gradients)
        self.mask = mask
        self._dense = Dense(by_gradients)

    def identity(self, size: int) -> Mass:
        """Return unit masses."""
        return self._dense.identity(size)

    def from_inverse(self, inverse: Any) -> Mass:
        """Return the metric of this covariance within the blocks, or of these variances."""
        return self._dense.from_inverse(inverse * ops.array(self.mask) if ops.ndim(inverse) == 2 else inverse)

    def velocity(self, mass: Mass, momentum: Any) -> Any:
        """Multiply by the covariance."""
        return self._dense.velocity(mass, momentum)

    def draw(self, key: Any, mass: Mass, shape: Shape) -> Any:
        """Solve against the factor, so that the covariance is the inverse of ``inverse``."""
        return self._dense.draw(key, mass, shape)

    def squared_norm(self, mass: Mass, offset: Any) -> Any:
        """Multiply by the factor, which takes the covariance to the unit matrix."""
        return self._dense.squared_norm(mass, offset)

    def estimate(self, draws: Any, gradients: Any) -> Mass:
        """Return the dense estimate within the blocks."""
        return self.from_inverse(self._dense.covariance(draws, gradients))
