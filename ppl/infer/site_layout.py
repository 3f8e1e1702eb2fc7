"""Which plates the dimensions of a model's sites belong to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ppl import ops
from ppl.infer.draws import DrawsOfModel
from ppl.infer.likelihood import observed_sites


@dataclass
class SiteLayout:
    """What a file and a table need to know about sites, as plain values that JSON can hold.

    :param dims: for each dimension of a site's value the name of its plate, ``None`` for a dimension of its own.
    :param event_dims: how many of them, from the right, belong to one event.
    :param plates: sizes of the plates.
    :param deterministic: names of the deterministic sites.
    :param observed: names of the observed sites.
    """

    dims: dict[str, list[str | None]] = field(default_factory=dict)
    event_dims: dict[str, int] = field(default_factory=dict)
    plates: dict[str, int] = field(default_factory=dict)
    deterministic: list[str] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)

    def note(self, trace: Any) -> None:
        """Take down the sites of a trace."""
        self.observed = observed_sites(trace)
        for name, site in trace.nodes.items():
            if site["type"] != "sample" or not hasattr(site["fn"], "event_shape"):
                continue
            shape = tuple(ops.shape(site["value"]))
            frames = [frame for frame in site["cond_indep_stack"] if frame.dim is not None]
            event_dim = len(site["fn"].event_shape)
            if site["infer"].get("_deterministic"):
                self.deterministic.append(name)
                # By default such a value is all event, even inside plates.
                if all(-frame.dim <= len(shape) and shape[frame.dim] == frame.size for frame in frames):
                    event_dim = 0 if frames else event_dim
            self.event_dims[name] = event_dim
            self.dims[name] = self._names(shape, event_dim, frames)

    def _names(self, shape: tuple[int, ...], event_dim: int, frames: list[Any]) -> list[str | None]:
        names: list[str | None] = [None] * len(shape)
        for frame in frames:
            axis = len(shape) - event_dim + frame.dim
            # A name stands for one size; a plate that is entered again with another size stays without one there.
            if 0 <= axis and shape[axis] == frame.size and self.plates.setdefault(frame.name, frame.size) == frame.size:
                names[axis] = frame.name
        return names

    def as_json(self) -> dict[str, Any]:
        """Return plain dicts and lists."""
        return asdict(self)


def layout_of(draws: DrawsOfModel) -> SiteLayout:
    """Return the layout of a model's sites."""
    found: list[SiteLayout] = []

    def look(trace: Any) -> None:
        found[:] = [SiteLayout()]
        found[0].note(trace)

    draws.inspect(look)
    return found[0]
