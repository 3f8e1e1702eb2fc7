"""The dimensions of enumerated sites: fresh ones, reused where a Markov chain allows it, never a plate's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ppl.handlers.markov import MarkovFrame
from ppl.typing import Message, Shape


class _Record(NamedTuple):
    """A site that has its value.

    :param frames: the steps of the Markov chains in which it lies.
    :param owners: for each enumerated dimension of its value, the name of the site whose values run along it.
    """

    frames: frozenset[MarkovFrame]
    owners: dict[int, str]


class DimAllocator:
    """Gives each enumerated site of a run a dimension to the left of those of the plates.

    :param first_available_dim: the rightmost dimension to give, negative.

    A site sees an earlier one if all steps in which that one lies are visible to it. A dimension that no visible value uses is
    free again; a site outside any chain keeps its dimension to the end of the run.

    >>> from ppl.handlers.allocator import DimAllocator
    >>> allocator = DimAllocator(-2)
    >>> site = {"name": "x"}
    >>> dim = allocator.allocate(site)
    >>> allocator.record(site, {dim: "x"})
    >>> dim, allocator.allocate({"name": "y"}), allocator.visible({"name": "y"})
    (-2, -3, {-2: 'x'})
    """

    def __init__(self, first_available_dim: int) -> None:
        self.first_available_dim = first_available_dim
        self._outside: dict[int, str] = {}
        self._in_step: dict[MarkovFrame, list[_Record]] = {}
        # The latest owner of each dimension ever used.
        self._latest: dict[int, str] = {}

    def visible(self, message: Message) -> dict[int, str]:
        """Return who owns each enumerated dimension that the distribution of a site may have.

        Behind a chain, where its last steps are all that is left of it, a dimension is that of its latest owner.
        """
        scopes = message.get("markov_scopes")
        if not scopes:
            return dict(self._latest)
        return self._owners(frozenset(frame for scope in scopes.values() for frame in scope.visible))

    def allocate(self, message: Message) -> int:
        """Return a dimension for a site that is to be enumerated: the rightmost that nothing seen beside the site uses."""
        scopes = message.get("markov_scopes")
        taken = self._latest
        if scopes:
            taken = self._owners(frozenset(frame for scope in scopes.values() for frame in scope.reserved))
        dim = self.first_available_dim
        while dim in taken:
            dim -= 1
        return dim

    def _owners(self, steps: frozenset[MarkovFrame]) -> dict[int, str]:
        """Return who owns each dimension of the sites that lie in ``steps`` alone, or outside any chain."""
        owners = dict(self._outside)
        for frame in steps:
            for record in self._in_step.get(frame, ()):
                if record.frames <= steps:
                    owners.update(record.owners)
        return owners

    def record(self, message: Message, owners: Mapping[int, str]) -> None:
        """Note the enumerated dimensions of the value of a site."""
        if not owners:
            return
        self._latest.update(owners)
        scopes = message.get("markov_scopes")
        if not scopes:
            self._outside.update(owners)
            return
        record = _Record(frozenset(scope.frame for scope in scopes.values()), dict(owners))
        for frame in record.frames:
            self._in_step.setdefault(frame, []).append(record)

    def unexplained(self, message: Message, batch_shape: Shape) -> int | None:
        """Return the rightmost dimension of ``batch_shape`` to be given here that no visible site owns, if there is one."""
        if len(batch_shape) < -self.first_available_dim:
            return None
        visible = self.visible(message)
        for dim in range(self.first_available_dim, -len(batch_shape) - 1, -1):
            if batch_shape[dim] != 1 and dim not in visible:
                return dim
        return None

    def latest_owner(self, dim: int) -> str | None:
        """Return the site that was enumerated last along ``dim``."""
        return self._latest.get(dim)
