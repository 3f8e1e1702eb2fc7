"""Chains in lockstep: what is compiled for them, and the state that carries a run from one chunk to the next."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ppl import ops, registry, tree
from ppl.errors import CheckpointError, PplWarning
from ppl.infer.adapt import mass as estimates
from ppl.infer.adapt import step_size
from ppl.infer.adapt.windows import Window
from ppl.infer.mcmc import starts
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.state import ChainState, Mass
from ppl.ops import autodiff, compile, random

# How much of an energy may be lost when it is computed anew from a position that was written to a file.
SAME_ENERGY = 1e-4


class RunState(NamedTuple):
    """Everything that changes from one transition to the next."""

    key: Any
    chains: ChainState
    adaptation: Any


class Draws(NamedTuple):
    """Host arrays, draws first: ``position (S, C, D)``, the others ``(S, C)`` but for ``step_size (S,)``."""

    position: Any
    potential_energy: Any
    accept_prob: Any
    num_leapfrog_steps: Any
    divergent: Any
    step_size: Any


@dataclass
class Session:
    """A run between two chunks: all that its continuation depends on besides kernel, model and data.

    ``iteration`` counts transitions, warm-up included; ``visited`` holds the positions and gradients of the window of warm-up
    that is under way, in pieces of shape ``(n, C, D)``.
    """

    state: RunState
    mass: Mass
    iteration: int = 0
    num_gradients: int = 0
    visited: list[tuple[Any, Any]] = field(default_factory=list)


class Sampler:
    """The compiled parts of one kernel on one potential for a number of chains; used again for new data of equal shapes.

    Nothing of a run is kept here, so that threads may share a sampler.

    :param kernel: the configuration.
    :param potential: the target.
    :param num_chains: how many chains advance together.
    :param num_warmup: transitions that adapt.
    :param num_samples: transitions after them.
    """

    def __init__(self, kernel: Kernel, potential: Any, num_chains: int, num_warmup: int, num_samples: int) -> None:
        self.kernel = kernel.bind(potential)
        self.potential = potential
        self.metric = self.kernel.metric
        self.num_chains = num_chains
        self.num_warmup = num_warmup
        self.num_draws = num_warmup + num_samples
        self.schedule = self.kernel.schedule(num_warmup)
        self.backend = registry.active()
        # What follows is made by the first run, out of its data.
        self._built = False
        self._building = threading.Lock()
        self._evaluate: Callable[..., Any]
        self._advance: Any
        self._constrain: Callable[..., Any]
        self.sites: dict[str, tuple[tuple[int, ...], str]]

    def prepare(self, data: list[Any]) -> None:
        """Begin to compile the loop of a first run beside what comes before it, where the backend can."""
        if not self.backend.infer.COMPILES_AHEAD or self._built:
            return
        self._build(data)
        shape = (self.num_chains, self.potential.size)

        def arguments() -> Any:
            chains = ChainState(ops.zeros(shape), ops.zeros(shape[0]), ops.zeros(shape))
            state = RunState(self.backend.infer.sampling_key(0), chains, self.kernel.adaptation().start(1.0))
            return state, (data, self.metric.identity(self.potential.size), self.kernel.adapt_step_size)

        self._advance.prepare(arguments)

    def begin(self, seed: int, data: list[Any]) -> Session:
        """Return the session of a new run.

        :raises InitializationError: with a report per site if no start of finite log density and gradient is found.
        :raises SiteError: if an observed value lies outside its support.
        """
        with registry.using("numpy"):
            generator = random.key(seed)
        with self.backend.infer.quiet():
            chains = self._start(generator, data)
            mass = self._first_mass(chains)
            first = self._first_step(chains, mass, data)
            key = self.backend.infer.sampling_key(host_int(generator))
            return Session(RunState(key, chains, self.kernel.adaptation().start(first)), mass)

    def advance(self, session: Session, size: int, data: list[Any]) -> Draws:
        """Bring ``session`` forward by ``size`` transitions, or to the end of its window or run if that is nearer.

        Where these ends fall changes nothing in what is drawn.
        """
        window = self.window(session.iteration)
        end = window.end if window else self.num_draws
        count = min(size, end - session.iteration)
        adapting = window is not None and self.kernel.adapt_step_size
        with self.backend.infer.quiet():
            advanced = self._advance(session.state, count, data, session.mass, adapting)
            session.state, (draws, gradient) = advanced
            session.iteration += count
            session.num_gradients += int(draws.num_leapfrog_steps.sum())
            if window and self.estimates(window):
                session.visited.append((draws.position, gradient))
                if session.iteration == end:
                    self._close_window(session, data)
        return draws

    def window(self, iteration: int) -> Window | None:
        """Return the window of warm-up that ``iteration`` belongs to, ``None`` after warm-up."""
        return next((window for window in self.schedule if window.start <= iteration < window.end), None)

    def estimates(self, window: Window) -> bool:
        """Return whether the metric is estimated at the end of ``window``."""
        return window.slow and self.kernel.adapt_mass_matrix

    def constrain(self, positions: Any, data: list[Any]) -> dict[str, Any]:
        """Return host arrays of latent and deterministic sites at the rows of a host matrix; compiled for each shape of it."""
        with self.backend.infer.quiet():
            values = self._constrain(ops.array(positions), data)
            return {name: ops.to_numpy(value) for name, value in values.items()}

    def describe(self, session: Session) -> dict[str, Any]:
        """Return all of ``session`` but what it visited, as containers of host arrays and numbers."""
        state = session.state
        parts = {"chains": state.chains, "adaptation": state.adaptation, "mass": session.mass}
        arrays = {name: [_described(leaf) for leaf in tree.leaves(part)] for name, part in parts.items()}
        counts = {"iteration": session.iteration, "num_gradients": session.num_gradients}
        return {**arrays, **counts, "key": random.get_state(state.key)}

    def restore(self, described: dict[str, Any], visited: list[tuple[Any, Any]], data: list[Any]) -> Session:
        """Return the session that :meth:`describe` described.

        :raises CheckpointError: if the log density at its positions is another one than it was.
        """
        chains = ChainState(*map(_restored, described["chains"]))
        with self.backend.infer.quiet():
            self._build(data, chains.position)
            self._check_energy(chains, data)
            mass = tree.unflatten(self._first_mass(chains), [_restored(leaf) for leaf in described["mass"]])
            template = self.kernel.adaptation().start(1.0)
        adaptation = tree.unflatten(template, [_restored(leaf) for leaf in described["adaptation"]])
        state = RunState(random.from_state(described["key"]), chains, adaptation)
        return Session(state, mass, described["iteration"], described["num_gradients"], visited)

    def _check_energy(self, chains: ChainState, data: list[Any]) -> None:
        now, before = (ops.to_numpy(energy) for energy in (self._evaluate(chains.position, data)[0], chains.potential_energy))
        for chain, (new, old) in enumerate(zip(now.tolist(), before.tolist(), strict=True)):
            if not math.isclose(new, old, rel_tol=SAME_ENERGY, abs_tol=SAME_ENERGY):
                raise CheckpointError(
                    f"the checkpoint is of another model: at the saved position of chain {chain} the log density was {-old:.9g} "
                    f"and is now {-new:.9g}; expected the same model; try the one that the run began with"
                )

    def _start(self, generator: Any, data: list[Any]) -> ChainState:
        strategy = self.kernel.init_strategy
        with self.potential.explaining():
            host = starts.propose(strategy, self.potential, self.num_chains, generator, data)
        self._build(data, ops.array(host))
        chains = starts.Search(strategy, self.potential, self._evaluate, host, generator, data).run()
        self.potential.check_data(ops.array(host[0]), data)
        return chains

    def _build(self, data: list[Any], example: Any = None) -> None:
        with self._building, self.potential.explaining():
            if self._built:
                return
            potential, infer = self.potential, self.backend.infer

            def energy_and_gradient(position: Any, data: Any) -> Any:
                energy, gradient = autodiff.value_and_grad(lambda point: -potential.log_density(point, data))(position)
                # Data of a higher precision must not change that of the chains from one step to the next.
                return ops.astype(energy, position.dtype), gradient

            over_chains = infer.over_chains(energy_and_gradient, example, data)
            self._evaluate = compile.compile(over_chains, horizon=20)
            self._advance = infer.loop(self._step(over_chains))
            with warnings.catch_warnings():
                # What the library cannot batch it has said of the density already.
                warnings.simplefilter("ignore", PplWarning)
                self._constrain = infer.over_chains(compile.compile(potential.constrain), example, data)
            self.sites = self._site_shapes(example, data)
            self._built = True

    def _site_shapes(self, example: Any, data: list[Any]) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and dtype of each site that a draw gives."""
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        row = None if example is None else _host(example)[0]

        def look(data: Any) -> None:
            position = ops.zeros(self.potential.size) if row is None else ops.array(row)
            values = self.potential.constrain(position, data)
            found.update({name: (tuple(ops.shape(value)), ops.dtype_name(value)) for name, value in values.items()})

        self.backend.infer.evaluate_shapes(look, data)
        return found

    def _first_mass(self, chains: ChainState) -> Mass:
        """Return the metric to begin with: the given one, or the scales at the starts if there are gradients to tell them."""
        given = self.kernel.initial_inverse_mass
        given = None if given is None else _host(ops.array(given))
        position, gradient = _host(chains.position), _host(chains.gradient)
        with registry.using("numpy"):
            if given is None and self.kernel.adapt_mass_matrix and self.metric.by_gradients:
                given = estimates.first_variances(ops.astype(position, "float64"), ops.astype(gradient, "float64"))
            first = self.metric.identity(self.potential.size) if given is None else self.metric.from_inverse(given)
            first = Mass(*(ops.astype(part, position.dtype) for part in first))
        return Mass(*(ops.array(part) for part in first))

    def _first_step(self, chains: ChainState, mass: Mass, data: list[Any]) -> float:
        if self.kernel.step_size is not None:
            return float(self.kernel.step_size)
        return self._search_step(chains, mass, data, 1.0) if self.kernel.adapt_step_size else 1.0

    def _search_step(self, chains: ChainState, mass: Mass, data: list[Any], initial: float) -> float:
        """Return a step size found by single leapfrog steps; the arithmetic is on the host, only the gradient on the backend."""
        metric, mass = self.metric, Mass(*map(_host, mass))
        start = Phase(_host(chains.position), None, _host(chains.potential_energy), _host(chains.gradient))

        def energy_and_gradient(position: Any, data: list[Any]) -> Any:
            position = ops.astype(position, start.position.dtype)
            with registry.using(self.backend):
                return [_host(result) for result in self._evaluate(ops.array(position), data)]

        with registry.using("numpy"), registry.active().infer.quiet():
            start = start._replace(momentum=metric.draw(random.key(0), mass, start.position.shape))
            energy = start.potential_energy + metric.kinetic_energy(mass, start.momentum)

            def accept_prob(size: float) -> float:
                end = leapfrog(energy_and_gradient, metric, start, size, mass, data)
                change = end.potential_energy + metric.kinetic_energy(mass, end.momentum) - energy
                change = ops.where(ops.isfinite(change), change, float("inf"))
                return float(ops.mean(ops.exp(-ops.maximum(change, 0.0))))

            return step_size.search(accept_prob, initial, self.kernel.target_accept_prob)

    def _step(self, energy_and_gradient: Callable[..., Any]) -> Callable[..., tuple[RunState, tuple[Draws, Any]]]:
        """Return the transition with the adaptation of its step size: ``step(state, data, mass, adapting)``.

        ``adapting`` is a bool, which a compiled loop turns into an array.
        """
        transition = self.kernel.transition(energy_and_gradient, self.num_draws)
        adaptation = self.kernel.adaptation()

        def step(state: RunState, data: Any, mass: Mass, adapting: Any) -> tuple[RunState, tuple[Draws, Any]]:
            key, key_step = random.split(state.key)
            tuning = adaptation.tuning(state.adaptation, adapting)
            chains, info = transition(key_step, state.chains, tuning, mass, data)
            kept = state.adaptation
            if adapting is not False or adaptation.moves_on:
                updated = adaptation.update(state.adaptation, state.chains, chains, info)
                kept = adaptation.keep(state.adaptation, updated, adapting)
            draws = Draws(
                chains.position,
                chains.potential_energy,
                info.accept_prob,
                info.num_leapfrog_steps,
                info.divergent,
                tuning.step_size,
            )
            return RunState(key, chains, kept), (draws, chains.gradient)

        return step

    def _close_window(self, session: Session, data: list[Any]) -> None:
        """Estimate the metric from what the chains visited in a window, and look for a step size that fits it."""
        session.mass = self._estimate(*zip(*session.visited, strict=True))
        session.visited = []
        if self.kernel.adapt_step_size:
            adaptation, state = self.kernel.adaptation(), session.state
            tuned = tree.map(_host, state.adaptation)
            with registry.using("numpy"):
                current = adaptation.tuning(tuned, False).step_size
            size = self._search_step(state.chains, session.mass, data, float(current))
            session.state = state._replace(adaptation=adaptation.restart(state.adaptation, size))

    def _estimate(self, positions: Sequence[Any], gradients: Sequence[Any]) -> Mass:
        """Return the metric estimated from what all chains visited in a window."""
        metric, dtype = self.metric, positions[0].dtype
        with registry.using("numpy"):
            draws, gradients = (
                ops.astype(ops.concat(pieces), "float64").reshape(-1, self.potential.size) for pieces in (positions, gradients)
            )
            mass = metric.estimate(draws, gradients)
            mass = Mass(*(ops.astype(part, dtype) for part in mass))
        return Mass(*(ops.array(part) for part in mass))


def _host(value: Any) -> Any:
    return ops.to_numpy(value) if ops.is_array(value) else value


def _described(leaf: Any) -> Any:
    """Return a host array, or a list of one number: on numpy a number and an array of no dimension do not always round alike."""
    if not hasattr(leaf, "dtype"):
        return [leaf]
    host = ops.to_numpy(leaf)
    return [host] if registry.active().library == "numpy" and type(leaf) is not type(host) else host


def _restored(described: Any) -> Any:
    if isinstance(described, list):
        number = described[0]
        return number[()] if hasattr(number, "dtype") else number
    return ops.array(described, dtype=described.dtype.name)


def host_int(generator: Any) -> int:
    """Return a random int from a numpy generator."""
    return int(generator.integers(2**62))
