"""The drive of chains from their start to their last draw: in chunks, with an eye on the clock and on Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from ppl import ops, registry
from ppl.infer.mcmc.chains import Draws, Sampler, Session
from ppl.infer.mcmc.checkpoint import Checkpoint
from ppl.infer.mcmc.progress import Progress

FIRST_CHUNK = 10
CHUNK_SECONDS = 0.25
LARGEST_CHUNK = 256
# Positions are constrained in blocks of at most so many rows, and of at most so many numbers with all their sites.
BLOCK_ROWS = 4096
BLOCK_NUMBERS = 1 << 19


class Stop:
    """Whether a run is to end early; asked between chunks.

    :param deadline: when, by ``time.time()``; ``None`` for never.
    :param flag: path of a file by which another process asks for the end.
    """

    def __init__(self, deadline: float | None = None, flag: str | None = None) -> None:
        self.deadline = deadline
        self.flag = flag
        self.reason = ""
        self._pressed = threading.Event()

    def __call__(self) -> bool:
        if not self.reason and (self._pressed.is_set() or (self.flag is not None and os.path.exists(self.flag))):
            self.reason = "was interrupted"
        if not self.reason and self.deadline is not None and time.time() >= self.deadline:
            self.reason = "reached max_seconds"
        return bool(self.reason)

    def is_pressed(self) -> bool:
        """Return whether Ctrl-C was."""
        return self._pressed.is_set()

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Turn the first Ctrl-C of a block into a reason to stop; the second one raises at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.getsignal(signal.SIGINT)

        def note(number: int, frame: Any) -> None:
            if self._pressed.is_set():
                raise KeyboardInterrupt
            self._pressed.set()

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


class Record:
    """The draws of all chains on the host, in arrays that are made once.

    ``samples`` has each site in shape ``(C, S, *site)``, ``fields`` each statistic in shape ``(C, S)``, ``counts`` the number of
    draws of each chain.

    :param num_chains: how many chains there are in all.
    :param num_draws: how many draws of each are kept.
    """

    def __init__(self, num_chains: int, num_draws: int) -> None:
        self.num_chains = num_chains
        self.num_draws = num_draws
        self.samples: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        self.counts = [0] * num_chains

    def put(self, where: dict[str, Any], chains: slice, first: int, values: dict[str, Any]) -> None:
        """Write ``values`` of shape ``(C, n, ...)`` to ``where`` (one of the two dicts) from draw ``first`` on."""
        for name, value in values.items():
            if name not in where:
                # Zeros take no memory until they are written.
                with registry.using("numpy"):
                    where[name] = ops.zeros((self.num_chains, self.num_draws, *value.shape[2:]), dtype=value.dtype.name)
            where[name][chains, first : first + value.shape[1]] = value

    def taken(self) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
        """Return samples, fields and the numbers of the chains that they are of.

        Chains that ended early are left out, or all are shortened to them, whichever keeps more draws.
        """
        lengths = sorted(set(self.counts), reverse=True)
        length = max(lengths, key=lambda length: length * sum(count >= length for count in self.counts))
        chains = [index for index, count in enumerate(self.counts) if count >= length > 0]
        everything = len(chains) == self.num_chains

        def part(array: Any) -> Any:
            array = array if everything else array[chains]
            return array if length == self.num_draws else array[:, :length]

        samples, fields = ({name: part(array) for name, array in where.items()} for where in (self.samples, self.fields))
        return samples, fields, chains


class Writer:
    """Takes the draws of some chains, constrains their positions block by block, and writes them into a record.

    Only draws that are kept reach the record; what a block holds depends on their numbers alone, so that a run that went on from
    a file gives the same values to the last bit.

    :param sampler: that of the chains, after its first evaluation.
    :param chains: which chains of the record they are.
    """

    def __init__(self, sampler: Sampler, record: Record, chains: slice, data: list[Any]) -> None:
        self.sampler, self.record, self.chains, self.data = sampler, record, chains, data
        self.count = 0
        self._written = 0
        numbers = sampler.potential.size + sum(math.prod(shape) for shape, _ in sampler.sites.values())
        most = max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // numbers) // sampler.num_chains)
        num_blocks = math.ceil(record.num_draws / most)
        self._size = math.ceil(record.num_draws / num_blocks)
        self._block: Any = None
        self._filled = 0

    def add(self, draws: Draws) -> None:
        """Take draws that are kept."""
        fields = {name: column for name, column in draws._asdict().items() if name != "position"}
        shape = draws.divergent.shape
        with registry.using("numpy"):
            fields["step_size"] = ops.broadcast_to(draws.step_size[:, None], shape)
        self.record.put(self.record.fields, self.chains, self.count, {name: column.T for name, column in fields.items()})
        self.count += len(draws.position)
        start = 0
        while start < len(draws.position):
            start += self._fill(draws.position[start:])
            if self._filled == self._size:
                self._empty()

    def _fill(self, positions: Any) -> int:
        if self._block is None:
            with registry.using("numpy"):
                self._block = ops.zeros((self._size, *positions.shape[1:]), dtype=positions.dtype.name)
        count = min(len(positions), self._size - self._filled)
        self._block[self._filled : self._filled + count] = positions[:count]
        self._filled += count
        return count

    def _empty(self) -> None:
        """Constrain the block and write it; all blocks have one shape, so that one program serves."""
        filled, first = self._filled, self._written
        if not filled:
            return
        self._block[filled:] = self._block[filled - 1]
        size, chains, dimension = self._block.shape
        values = self.sampler.constrain(self._block.reshape(size * chains, dimension), self.data)
        shaped = {name: value.reshape(size, chains, *value.shape[1:]).swapaxes(0, 1) for name, value in values.items()}
        self.record.put(self.record.samples, self.chains, first, {name: value[:, :filled] for name, value in shaped.items()})
        self._written += filled
        self._filled = 0

    def close(self) -> None:
        """Write what is left."""
        self._empty()
        self._block = None
        start, stop, _ = self.chains.indices(self.record.num_chains)
        self.record.counts[start:stop] = [self.count] * (stop - start)


class Pace:
    """How many transitions the next chunk has, so that it takes about a quarter of a second."""

    def __init__(self) -> None:
        self.size = FIRST_CHUNK

    def note(self, count: int, seconds: float) -> None:
        """Take the duration of the chunk that has ended."""
        self.size = max(1, min(LARGEST_CHUNK, 2 * self.size, int(count * CHUNK_SECONDS / max(seconds, 1e-6)) + 1))


def drive(
    sampler: Sampler,
    seed: int,
    data: list[Any],
    record: Record,
    chains: slice,
    *,
    progress: Progress,
    stop: Stop,
    thinning: int = 1,
    checkpoint: Checkpoint | None = None,
) -> Session:
    """Run the chains to their end, or until ``stop`` says so, and return how they stand.

    Every ``thinning``-th draw after warm-up is kept. With a checkpoint that holds a state the run goes on from there.
    """
    with closing(checkpoint) if checkpoint else nullcontext():
        saved = checkpoint.load() if checkpoint else None
        session = sampler.restore(saved.state, saved.visited, data) if saved else sampler.begin(seed, data)
        writer = Writer(sampler, record, chains, data)
        if saved:
            progress.skip(session.iteration)
            for columns in saved.draws():
                writer.add(Draws(*columns))
        pace = Pace()
        with stop.on_interrupt():
            while session.iteration < sampler.num_draws and not stop():
                first, window = session.iteration, sampler.window(session.iteration)
                began = time.perf_counter()
                draws = sampler.advance(session, pace.size, data)
                pace.note(session.iteration - first, time.perf_counter() - began)
                progress.update(session.iteration - first, draws, window is not None)
                kept = None if window else _thinned(draws, first - sampler.num_warmup, thinning)
                if kept is not None:
                    writer.add(kept)
                if checkpoint:
                    checkpoint.note(kept, session.visited)
                    checkpoint.commit_if_due(lambda: sampler.describe(session))
                # The next chunk is made without the last one beside it in memory.
                del draws, kept
        if checkpoint:
            checkpoint.commit(sampler.describe(session))
    writer.close()
    return session


def _thinned(draws: Draws, first: int, thinning: int) -> Draws:
    """Return each draw whose number, counted from one, is a multiple of ``thinning``; ``first`` is the index of the first one."""
    if thinning == 1:
        return draws
    return Draws(*(column[-(first + 1) % thinning :: thinning] for column in draws))
