"""Chains in lockstep from a start to their draws: warm-up in windows, then sampling, both in chunks."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ppl import ops, registry, tree
from ppl.errors import InitializationError
from ppl.infer.adapt import step_size, windows
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.progress import Progress
from ppl.infer.mcmc.state import ChainState, Mass
from ppl.ops import autodiff, compile, random

MAX_START_TRIES = 100
FIRST_CHUNK = 10
CHUNK_SECONDS = 0.25
LARGEST_CHUNK = 256


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


class Sampler:
    """The compiled parts of one kernel on one potential for a number of chains; used again for new data of equal shapes.

    :param kernel: the configuration.
    :param potential: the target.
    :param num_chains: how many chains advance together.
    :param num_draws: about how many transitions will follow.
    """

    def __init__(self, kernel: Kernel, potential: Any, num_chains: int, num_draws: int) -> None:
        self.kernel = kernel
        self.potential = potential
        self.num_chains = num_chains
        self.num_draws = num_draws
        self.backend = registry.active()
        self.interrupted = False
        self.num_gradients = 0
        # What follows is made by the first run, out of its data; the metric by each.
        self._built = False
        self._evaluate: Callable[..., Any]
        self._advance: Callable[..., Any]
        self.mass: Mass

    def run(self, seed: int, num_warmup: int, num_samples: int, data: list[Any], progress: Progress) -> Draws | None:
        """Return the draws after warm-up, fewer than ``num_samples`` after an interrupt, ``None`` if it came during warm-up."""
        with registry.using("numpy"):
            generator = random.key(seed)
        self.interrupted, self.num_gradients = False, 0
        with self.backend.infer.quiet():
            chains = self._start(generator, data)
            self.mass = self._first_mass(chains)
            first = self._first_step(chains, data)
            key = self.backend.infer.sampling_key(host_int(generator))
            state = RunState(key, chains, self.kernel.adaptation().start(first))
            with _interrupts() as interrupted:
                state = self._warm_up(state, num_warmup, data, progress, interrupted)
                pieces: list[Draws] = []
                if not interrupted.is_set():
                    for _, draws, _ in self._chunks(state, num_samples, data, False, progress, interrupted):
                        pieces.append(draws)
                self.interrupted = interrupted.is_set()
        return _joined(pieces) if pieces else None

    def _start(self, generator: Any, data: list[Any]) -> ChainState:
        """Return chains at points of finite log density and gradient.

        :raises InitializationError: with a report per site if none is found.
        :raises SiteError: if an observed value lies outside its support.
        """
        host = self._propose(generator, data)
        self._build(ops.array(host), data)
        for _ in range(MAX_START_TRIES):
            positions = ops.array(host)
            energy, gradient = self._evaluate(positions, data)
            on_host = (_host(energy), _host(gradient))
            with registry.using("numpy"):
                finite = ops.isfinite(on_host[0]) & ops.all(ops.isfinite(on_host[1]), axis=-1)
            if finite.all():
                self.potential.check_data(ops.array(host[0]), data)
                return ChainState(positions, energy, gradient)
            proposed = self._propose(generator, data)
            host[~finite] = proposed[~finite]
        bad = next(index for index, good in enumerate(finite) if not good)
        raise InitializationError(
            f"no valid start was found for chain {bad} in {MAX_START_TRIES} tries: the log density or its gradient is not "
            f"finite; expected finite values; at the last try:\n{self.potential.explain(positions[bad], data)}\n"
            "try init_strategy=infer.init_to_feasible() or init_to_value(values={...}), or to change the sites named above"
        )

    def _build(self, example: Any, data: list[Any]) -> None:
        if self._built:
            return
        potential = self.potential

        def energy_and_gradient(position: Any, data: Any) -> Any:
            return autodiff.value_and_grad(lambda point: -potential.log_density(point, data))(position)

        over_chains = self.backend.infer.over_chains(energy_and_gradient, example, data)
        self._evaluate = compile.compile(over_chains, horizon=20)
        self._advance = self.backend.infer.loop(self._step(over_chains))
        self._built = True

    def _propose(self, generator: Any, data: list[Any]) -> Any:
        """Return a host array of starting points, one a row, in the default dtype of the backend."""
        strategy, shape = self.kernel.init_strategy, (self.num_chains, self.potential.size)
        dtype = ops.default_dtype()
        uniform = getattr(strategy, "__name__", "") == "init_to_uniform"
        if uniform or not hasattr(self.potential, "initial"):
            radius = getattr(strategy, "keywords", {}).get("radius", 2.0) if uniform else 2.0
            with registry.using("numpy"):
                return ops.astype(radius * (2.0 * random.uniform(generator, shape) - 1.0), dtype)
        points = [_host(self.potential.initial(random.key(host_int(generator)), strategy, data)) for _ in range(self.num_chains)]
        with registry.using("numpy"):
            return ops.astype(ops.stack(points), dtype)

    def _first_mass(self, chains: ChainState) -> Mass:
        given = self.kernel.initial_inverse_mass
        given = None if given is None else _host(ops.array(given))
        dtype, metric = ops.dtype_name(chains.position), self.kernel.metric
        with registry.using("numpy"):
            size = self.potential.size
            mass = metric.identity(size) if given is None else metric.from_inverse(given)
            mass = Mass(*(ops.astype(part, dtype) for part in mass))
        return Mass(*(ops.array(part) for part in mass))

    def _first_step(self, chains: ChainState, data: list[Any]) -> float:
        if self.kernel.step_size is not None:
            return float(self.kernel.step_size)
        return self._search_step(chains, data, 1.0) if self.kernel.adapt_step_size else 1.0

    def _search_step(self, chains: ChainState, data: list[Any], initial: float) -> float:
        """Return a step size found by single leapfrog steps; the arithmetic is on the host, only the gradient on the backend."""
        metric, mass = self.kernel.metric, Mass(*map(_host, self.mass))
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
        """Return the transition with the adaptation of its step size: ``step(state, data, mass, adapting)``."""
        transition = self.kernel.transition(energy_and_gradient, self.num_draws)
        adaptation = self.kernel.adaptation()

        def step(state: RunState, data: Any, mass: Mass, adapting: Any) -> tuple[RunState, tuple[Draws, Any]]:
            key, key_step = random.split(state.key)
            tuning = adaptation.tuning(state.adaptation, adapting)
            chains, info = transition(key_step, state.chains, tuning, mass, data)
            updated = adaptation.update(state.adaptation, state.chains, chains, info)
            kept = tree.map(lambda new, old: ops.where(adapting, new, old), updated, state.adaptation)
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

    def _warm_up(self, state: RunState, num_warmup: int, data: list[Any], progress: Progress, interrupted: Any) -> RunState:
        kernel = self.kernel
        for window in windows.schedule(num_warmup):
            pieces = []
            for following, draws, gradient in self._chunks(
                state, window.end - window.start, data, kernel.adapt_step_size, progress, interrupted
            ):
                state = following
                pieces.append((draws.position, gradient))
            if interrupted.is_set():
                return state
            if window.slow and kernel.adapt_mass_matrix:
                self.mass = self._estimate(*zip(*pieces, strict=True))
                if kernel.adapt_step_size:
                    adaptation = self.kernel.adaptation()
                    current = adaptation.tuning(state.adaptation, ops.array(False)).step_size
                    size = self._search_step(state.chains, data, float(current))
                    state = state._replace(adaptation=adaptation.restart(state.adaptation, size))
        return state

    def _estimate(self, positions: Sequence[Any], gradients: Sequence[Any]) -> Mass:
        """Return the metric estimated from what all chains visited in a window."""
        metric, dtype = self.kernel.metric, positions[0].dtype
        with registry.using("numpy"):
            draws, gradients = (
                ops.astype(ops.concat(pieces), "float64").reshape(-1, self.potential.size) for pieces in (positions, gradients)
            )
            mass = metric.from_inverse(metric.estimate(draws, gradients))
            mass = Mass(*(ops.astype(part, dtype) for part in mass))
        return Mass(*(ops.array(part) for part in mass))

    def _chunks(
        self, state: RunState, total: int, data: list[Any], adapting: bool, progress: Progress, interrupted: Any
    ) -> Iterator[tuple[RunState, Draws, Any]]:
        """Yield the state, the draws and their gradients, one chunk after another; a chunk takes about a quarter of a second."""
        done, size = 0, FIRST_CHUNK
        while done < total and not interrupted.is_set():
            count = min(size, total - done)
            began = time.perf_counter()
            state, (draws, gradient) = self._advance(state, count, data, self.mass, ops.array(adapting))
            elapsed = time.perf_counter() - began
            done += count
            self.num_gradients += int(draws.num_leapfrog_steps.sum())
            size = max(1, min(LARGEST_CHUNK, 2 * size, int(count * CHUNK_SECONDS / max(elapsed, 1e-6)) + 1))
            progress.update(count, draws, adapting)
            yield state, draws, gradient


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C of a block into a flag that is looked at between chunks; the second one raises at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


def _joined(pieces: list[Draws]) -> Draws:
    with registry.using("numpy"):
        return Draws(*(ops.concat(column) for column in zip(*pieces, strict=True)))


def _host(value: Any) -> Any:
    return ops.to_numpy(value) if ops.is_array(value) else value


def host_int(generator: Any) -> int:
    """Return a random int from a numpy generator."""
    return int(generator.integers(2**62))
