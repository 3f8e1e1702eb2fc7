"""A potential energy of named unconstrained values as the target of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ppl import ops, registry
from ppl.errors import InferenceError
from ppl.infer.latents import LatentSite, split_vector
from ppl.infer.potential import ModelArguments


class EnergyPotential:
    """A user's potential energy, the negative log density, as a function of a dict of values.

    :param potential_fn: ``fn({name: value}) -> scalar`` over the active backend's arrays; values are unconstrained.
    :param initial_params: a dict that tells names and shapes, and where chains start.
    :param arguments: of the run; there may be none, for the function takes the dict alone.
    :raises InferenceError: if ``initial_params`` is missing, or the run was given arguments.
    """

    def __init__(
        self, potential_fn: Callable[[dict[str, Any]], Any], initial_params: Mapping[str, Any] | None, arguments: ModelArguments
    ) -> None:
        if not initial_params:
            raise InferenceError(
                "potential_fn alone does not tell which values it takes; expected their names and shapes; try to set "
                "kernel.initial_params = {'x': ops.zeros(3), ...} before the run"
            )
        if arguments.leaves:
            raise InferenceError("potential_fn takes the dict of values alone; expected run() without arguments, got some")
        self.backend = registry.active()
        self.arguments = arguments
        self.deterministic: list[str] = []
        self.sites: list[LatentSite] = []
        self._potential_fn = potential_fn
        offset, pieces = 0, []
        for name, value in initial_params.items():
            array = ops.astype(ops.array(value), ops.default_dtype())
            site = LatentSite(name, tuple(ops.shape(array)), tuple(ops.shape(array)), offset)
            self.sites.append(site)
            pieces.append(ops.reshape(array, (site.size,)))
            offset += site.size
        self._start = ops.concat(pieces, axis=0)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(site.size for site in self.sites)

    @property
    def names(self) -> list[str]:
        """Names of the values, in the order of the vector."""
        return [site.name for site in self.sites]

    def log_density(self, vector: Any, data: Sequence[Any]) -> Any:
        """Return minus the energy at ``vector``."""
        return -self._potential_fn(split_vector(self.sites, vector))

    def constrain(self, vector: Any, data: Sequence[Any]) -> dict[str, Any]:
        """Return the values at ``vector``, by name."""
        return split_vector(self.sites, vector)

    def initial(self, key: Any, strategy: Callable[..., Any], data: Sequence[Any]) -> Any:
        """Return the vector of the initial values, whatever the strategy."""
        return self._start

    def explaining(self) -> AbstractContextManager[None]:
        """Add nothing to what a block raises."""
        return nullcontext()

    def check_data(self, vector: Any, data: Sequence[Any]) -> None:
        """Accept the data: there are none."""

    def explain(self, vector: Any, data: Sequence[Any]) -> str:
        """Return the energy at ``vector``."""
        values = {name: ops.to_numpy(value).tolist() for name, value in split_vector(self.sites, vector).items()}
        return f"potential energy {-float(self.log_density(vector, data)):.6g} at {values}"


def init_to_params(site: dict[str, Any]) -> Any:
    """Name the strategy of an :class:`EnergyPotential`, which starts at its initial values and asks no site."""
    raise InferenceError(f"site {site['name']!r} cannot start at initial_params; try init_to_value(values=...)")
