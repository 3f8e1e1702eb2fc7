"""Where chains start: points of finite log density and gradient, looked for with one strategy after another."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from ppl import ops, registry
from ppl.errors import InitializationError, PplWarning
from ppl.infer.initialization import init_to_feasible, init_to_mean, init_to_median, init_to_sample, init_to_uniform
from ppl.infer.mcmc.state import ChainState
from ppl.infer.mcmc.warm_start import WarmStart
from ppl.ops import random

MAX_TRIES = 100
FALLBACK_TRIES = 20
USUAL_RADIUS = 2.0


class Rung(NamedTuple):
    """A strategy of :mod:`ppl.infer.initialization`, what it is called and how often it is tried."""

    name: str
    strategy: Callable[..., Any]
    tries: int


FALLBACKS = (
    Rung("init_to_uniform(radius=0.5)", init_to_uniform(radius=0.5), FALLBACK_TRIES),
    Rung("init_to_uniform(radius=0.1)", init_to_uniform(radius=0.1), FALLBACK_TRIES),
    Rung("init_to_feasible()", init_to_feasible, 1),
    Rung("init_to_median()", init_to_median, FALLBACK_TRIES),
    Rung("init_to_mean()", init_to_mean, 1),
    Rung("init_to_sample()", init_to_sample, FALLBACK_TRIES),
)
# A density of one's own has no sites, so that only strategies of the vector itself serve it.
FALLBACKS_OF_VECTORS = FALLBACKS[:3]


def propose(strategy: Callable[..., Any], potential: Any, count: int, generator: Any, data: list[Any]) -> Any:
    """Return a host array of ``count`` starting points, one a row, in the default dtype of the backend.

    :param generator: a key of numpy.
    """
    dtype, shape = ops.default_dtype(), (count, potential.size)
    if isinstance(strategy, WarmStart):
        points = strategy.propose(potential, count, generator)
        with registry.using("numpy"):
            return ops.astype(points, dtype)
    name = getattr(strategy, "__name__", "")
    if name == "init_to_uniform" or not hasattr(potential, "initial"):
        radius = 0.0 if name == "init_to_feasible" else _radius(strategy)
        with registry.using("numpy"):
            return ops.astype(radius * (2.0 * random.uniform(generator, shape) - 1.0), dtype)
    keys = [int(generator.integers(2**62)) for _ in range(count)]
    points = [ops.to_numpy(potential.initial(random.key(key), strategy, data)) for key in keys]
    with registry.using("numpy"):
        return ops.astype(ops.stack(points), dtype)


def _radius(strategy: Callable[..., Any]) -> float:
    if getattr(strategy, "__name__", "") != "init_to_uniform":
        return USUAL_RADIUS
    return float(getattr(strategy, "keywords", {}).get("radius", USUAL_RADIUS))


class Search:
    """The search for starts of all chains.

    :param strategy: the one that the user chose; the others follow when it fails.
    :param evaluate: ``(positions, data) -> (energies, gradients)`` of all chains.
    :param host: the first proposal of ``strategy``, a host array that is changed in place.
    """

    def __init__(
        self,
        strategy: Callable[..., Any],
        potential: Any,
        evaluate: Callable[..., Any],
        host: Any,
        generator: Any,
        data: list[Any],
    ) -> None:
        self.potential, self.evaluate, self.generator, self.data = potential, evaluate, generator, data
        self.host = host
        self.chosen = Rung(getattr(strategy, "__name__", "init_strategy"), strategy, MAX_TRIES)
        self.faults = {"tried": 0, "nan": 0, "infinite": 0, "gradient": 0}
        self.found: ChainState

    def run(self) -> ChainState:
        """Return chains at points of finite log density and gradient.

        :raises InitializationError: with a report per site if there is none.
        """
        good = self._look()
        good = self._climb(self.chosen, good, self.chosen.tries - 1)
        refused, chain = self.host.copy(), _first(good)
        helped_by: dict[str, list[str]] = {}
        fallbacks = FALLBACKS if hasattr(self.potential, "initial") else FALLBACKS_OF_VECTORS
        for rung in fallbacks:
            if good.all():
                break
            before = good
            good = self._climb(rung, good, rung.tries)
            new = [str(index) for index, helped in enumerate(good & ~before) if helped]
            if new:
                helped_by[rung.name] = new
        if not good.all():
            self._refuse(chain, refused[chain])
        if helped_by:
            self._say(helped_by)
        return self.found

    def _climb(self, rung: Rung, good: Any, tries: int) -> Any:
        """Try ``rung`` for the chains that are not good yet; return which are good now."""
        for _ in range(tries):
            if good.all():
                break
            bad = ~good
            try:
                proposed = propose(rung.strategy, self.potential, int(bad.sum()), self.generator, self.data)
            except NotImplementedError:
                break
            if (proposed == self.host[bad]).all():
                break
            self.host[bad] = proposed
            good = self._look()
        return good

    def _look(self) -> Any:
        positions = ops.array(self.host.copy())
        energy, gradient = self.evaluate(positions, self.data)
        self.found = ChainState(positions, energy, gradient)
        energies, gradients = ops.to_numpy(energy), ops.to_numpy(gradient)
        with registry.using("numpy"):
            level, slope = ops.isfinite(energies), ops.all(ops.isfinite(gradients), axis=-1)
            nan = ops.isnan(energies)
        counts = {"tried": len(level), "nan": nan.sum(), "infinite": (~level & ~nan).sum(), "gradient": (level & ~slope).sum()}
        self.faults = {name: self.faults[name] + int(count) for name, count in counts.items()}
        return level & slope

    def _say(self, helped_by: dict[str, list[str]]) -> None:
        found = "; ".join(f"chain(s) {', '.join(chains)} start at {name}" for name, chains in helped_by.items())
        warnings.warn(
            f"{found}, because {self.chosen.name} gave no point of finite log density and gradient; "
            f"to choose such a start, try init_strategy=infer.{next(iter(helped_by))}",
            PplWarning,
            stacklevel=2,
        )

    def _refuse(self, chain: int, point: Any) -> None:
        faults = self.faults
        raise InitializationError(
            f"no valid start was found for chain {chain} by {self.chosen.name} or the other strategies: the log density or its "
            "gradient is not finite; expected finite values; "
            f"of {faults['tried']} points {faults['nan']} have a log density of NaN, {faults['infinite']} an infinite one and "
            f"{faults['gradient']} a gradient that is not finite; at the last try of {self.chosen.name}:\n"
            f"{self.potential.explain(ops.array(point), self.data)}\n"
            "try init_strategy=infer.init_to_feasible() or init_to_value(values={...}), or to change the sites named above"
        )


def _first(good: Any) -> int:
    return next((index for index, valid in enumerate(good) if not valid), 0)
