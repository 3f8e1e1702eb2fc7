"""Chains as tasks of an executor: threads, processes of this machine, or the workers of a cluster."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
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
# After Ctrl-C, how long chains on a cluster have to end by themselves: they may not see the flag.
PATIENCE_SECONDS = 10.0
# Tells an error of the chain itself from one of what runs it.
RAISED = "a chain of MCMC raised this in its worker"


@dataclass(frozen=True)
class Task:
    """One chain, with all that its worker must know; the executor carries it there.

    ``run`` is a name of the run, by which the chains that meet on one worker share what is compiled there. ``attempt`` counts how
    often the chain was sent before: dask answers a task that it has seen with what it gave then.
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
    attempt: int = 0
    backend: str = field(default_factory=lambda: registry.active().address)
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
    stop = Stop(task.deadline, task.flag)
    if stop():
        # It waited for a worker until the run had ended.
        return Outcome({}, {}, 0, 0, stop.reason)
    try:
        return _run(task, stop)
    except Exception as error:
        error.add_note(RAISED)
        raise


def _run(task: Task, stop: Stop) -> Outcome:
    with registry.using(task.backend), validation_enabled(task.validating):
        if ops.default_dtype() != task.dtype:
            ops.set_default_dtype(task.dtype)
        arguments = ModelArguments(task.args, task.kwargs)
        sampler = _sampler(task, arguments)
        record = Record(1, task.num_samples // task.thinning)
        progress = Progress(0, False)
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

    When a worker dies, processes of a pool and dask take along chains that did nothing wrong. All that were lost so are then run
    once more, each by itself: in a process of its own, or on the executor if it is not of processes.

    :param executor: ``None`` for processes started for this run, as many as there are cores.
    """
    failures: list[Failure] = []
    with stop.on_interrupt():
        with _pool(min(len(tasks), os.cpu_count() or 1)) if executor is None else nullcontext(executor) as pool:
            lost = _gather(tasks, pool, stop, done, failures)
        for failure in sorted(lost, key=lambda failure: failure.chain):
            if stop():
                failures.append(failure)
                continue
            task = replace(next(task for task in tasks if task.index == failure.chain), attempt=1)
            with _pool(1) if executor is None or isinstance(executor, ProcessPoolExecutor) else nullcontext(executor) as pool:
                failures += _gather([task], pool, stop, done, failures)
    return sorted(failures, key=lambda failure: failure.chain)


def _gather(
    tasks: Sequence[Task], executor: Executor, stop: Stop, done: Callable[[Task, Outcome], None], failures: list[Failure]
) -> list[Failure]:
    """Run tasks; add to ``failures`` the chains that raised, and return those whose worker was lost."""
    lost: list[Failure] = []
    waiting: dict[Future[Outcome], Task] = {}
    for task in tasks:
        try:
            waiting[executor.submit(run_chain, task)] = task
        except Exception as error:
            (lost if isinstance(error, BrokenExecutor) else failures).append(Failure(task.index, error))
    # Here, to cancel a chain that has begun does nothing; dask and ray would end it, and its draws would be lost.
    cancels_what_waits = isinstance(executor, (ThreadPoolExecutor, ProcessPoolExecutor))
    asked = math.inf
    while waiting:
        finished, _ = wait(waiting, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in finished:
            task = waiting.pop(future)
            try:
                outcome = future.result()
            except CancelledError:
                continue
            except Exception as error:
                (lost if _lost_its_worker(error, executor) else failures).append(Failure(task.index, error))
            else:
                done(task, outcome)
        if stop():
            _raise_flag(tasks[0].flag)
            asked = min(asked, time.monotonic())
            # Each worker knows the deadline, so that patience has an end only for Ctrl-C.
            if cancels_what_waits or (stop.is_pressed() and time.monotonic() - asked > PATIENCE_SECONDS):
                waiting = {future: task for future, task in waiting.items() if not future.cancel()}
    return lost


def _lost_its_worker(error: Exception, executor: Executor) -> bool:
    # A pool of processes says so; elsewhere it is what the chain did not raise.
    of_chain = isinstance(executor, ProcessPoolExecutor) or RAISED in getattr(error, "__notes__", ())
    return isinstance(error, BrokenExecutor) or not of_chain


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
