"""Chains as tasks of an executor: threads, processes of this machine, or the workers of a cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ppl import ops, registry
from ppl.infer.mcmc.chains import Sampler
from ppl.infer.mcmc.checkpoint import Checkpoint
from ppl.infer.mcmc.driver import Record, Stop, drive
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.progress import Progress
from ppl.infer.potential import ModelArguments
from ppl.primitives.validation import is_validation_enabled, validation_enabled

# How often the waiting process looks for Ctrl-C.
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """One chain, with all that its worker must know; the executor carries it there.

    ``run`` is a name of the run, by which the chains that meet on one worker share what is compiled there.
    """

    run: str
    index: int
    kernel: Kernel
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seed: int
    num_warmup: int
    num_samples: int
    thinning: int
    deadline: float | None
    flag: str
    checkpoint: str | None
    checkpoint_seconds: float
    backend: str = field(default_factory=lambda: registry.active().name)
    dtype: str = field(default_factory=lambda: ops.default_dtype())
    validating: bool = field(default_factory=is_validation_enabled)


class Outcome(NamedTuple):
    """What a chain's worker sends back: host arrays of ``(1, S, ...)``, and why it ended early if it did."""

    samples: dict[str, Any]
    fields: dict[str, Any]
    num_draws: int
    num_gradients: int
    reason: str


_samplers: dict[str, Sampler] = {}
_lock = threading.Lock()


def run_chain(task: Task) -> Outcome:
    """Run one chain here: the function that workers call."""
    with registry.using(task.backend), validation_enabled(task.validating):
        if ops.default_dtype() != task.dtype:
            ops.set_default_dtype(task.dtype)
        arguments = ModelArguments(task.args, task.kwargs)
        sampler = _sampler(task, arguments)
        record = Record(1, task.num_samples // task.thinning)
        progress = Progress(0, False)
        stop = Stop(task.deadline, task.flag)
        checkpoint = Checkpoint(task.checkpoint, task.checkpoint_seconds) if task.checkpoint else None
        session = drive(
            sampler,
            task.seed,
            arguments.arrays,
            record,
            slice(0, 1),
            progress=progress,
            stop=stop,
            thinning=task.thinning,
            checkpoint=checkpoint,
        )
        count = record.counts[0]
        samples, fields = ({name: x[:, :count] for name, x in part.items()} for part in (record.samples, record.fields))
        return Outcome(samples, fields, count, session.num_gradients, stop.reason)


def _sampler(task: Task, arguments: ModelArguments) -> Sampler:
    """Return the sampler of a run; the one before is forgotten, so that a worker that lives long does not collect them."""
    with _lock:
        if task.run not in _samplers:
            _samplers.clear()
            _samplers[task.run] = Sampler(task.kernel, task.kernel.potential(arguments), 1, task.num_warmup, task.num_samples)
        return _samplers[task.run]


class Failure(NamedTuple):
    """A chain that gave no draws, and the exception that ended it."""

    chain: int
    error: BaseException


def run_chains(
    tasks: Sequence[Task], executor: Executor | None, stop: Stop, done: Callable[[Task, Outcome], None]
) -> list[Failure]:
    """Run each task on the executor, hand its outcome to ``done`` as it comes, and return the chains that failed.

    When a process of a pool dies, the pool takes the chains of its other processes along; these, and the one that died, are then
    run once more in a process each.

    :param executor: ``None`` for processes started for this run, as many as there are cores.
    """
    failures: list[Failure] = []
    with stop.on_interrupt():
        if executor is not None:
            broken = _gather(tasks, executor, stop, done, failures)
            retried = broken if isinstance(executor, ProcessPoolExecutor) else []
        else:
            with _pool(min(len(tasks), os.cpu_count() or 1)) as pool:
                broken = retried = _gather(tasks, pool, stop, done, failures)
        failures += [failure for failure in broken if failure not in retried]
        for failure in retried:
            if stop():
                failures.append(failure)
                continue
            with _pool(1) as pool:
                task = next(task for task in tasks if task.index == failure.chain)
                failures += _gather([task], pool, stop, done, failures)
    return sorted(failures, key=lambda failure: failure.chain)


def _gather(
    tasks: Sequence[Task], executor: Executor, stop: Stop, done: Callable[[Task, Outcome], None], failures: list[Failure]
) -> list[Failure]:
    """Run tasks; add to ``failures`` the chains that raised, and return those that the end of the executor took along."""
    broken: list[Failure] = []
    waiting: dict[Future[Outcome], Task] = {}
    for task in tasks:
        try:
            waiting[executor.submit(run_chain, task)] = task
        except BrokenExecutor as error:
            broken.append(Failure(task.index, error))
    while waiting:
        finished, _ = wait(waiting, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        if stop():
            _raise_flag(tasks[0].flag)
            for future in waiting:
                future.cancel()
        for future in finished:
            task = waiting.pop(future)
            try:
                outcome = future.result()
            except CancelledError:
                continue
            except BrokenExecutor as error:
                broken.append(Failure(task.index, error))
            except Exception as error:
                failures.append(Failure(task.index, error))
            else:
                done(task, outcome)
    return broken


def _raise_flag(path: str) -> None:
    # Its folder may be on another machine's disk only, where nobody would see it.
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8"):
        pass


@contextmanager
def _pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    # Forked processes would share locks and threads of the array libraries, which hang then.
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def flag_path() -> Iterator[str]:
    """Give the path of a file that does not exist yet; it is removed at the end of the block."""
    folder = tempfile.mkdtemp(prefix="ppl-run-")
    try:
        yield os.path.join(folder, "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_name() -> str:
    """Return a name that no other run has."""
    return f"{os.getpid()}-{time.time_ns()}-{uuid.uuid4().hex[:8]}"
