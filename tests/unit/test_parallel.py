"""Chains as tasks, and the record that takes their draws: what needs no sampler."""

import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy
import pytest

import ppl
from ppl.infer.mcmc import parallel
from ppl.infer.mcmc.chains import Draws
from ppl.infer.mcmc.checkpoint import Rows
from ppl.infer.mcmc.driver import Pace, Record, Stop, _thinned
from ppl.infer.mcmc.parallel import run_chains


@dataclass(frozen=True)
class Chain:
    """What of a task is looked at before it is run."""

    index: int
    flag: str = ""
    deadline: float | None = None
    attempt: int = 0


def tasks(count, flag=""):
    return [Chain(index, flag) for index in range(count)]


class Scripted(Executor):
    """Answers task ``i`` with the ``i``-th entry: an outcome, an exception, or an exception of ``submit`` itself."""

    def __init__(self, *answers):
        self.answers = answers

    def submit(self, function, task):
        assert function is parallel.run_chain
        answer, future = self.answers[task.index], Future()
        if isinstance(answer, BrokenExecutor):
            raise answer
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future


def gather(executor, count, stop=None):
    found = {}
    failures = run_chains(tasks(count), executor, stop or Stop(), lambda task, outcome: found.update({task.index: outcome}))
    return found, [(failure.chain, type(failure.error)) for failure in failures]


def test_outcomes_come_with_their_chains_and_failures_are_named():
    executor = Scripted("first", ValueError("no"), "third", BrokenExecutor("gone"), "fifth")
    assert gather(executor, 5) == ({0: "first", 2: "third", 4: "fifth"}, [(1, ValueError), (3, BrokenExecutor)])


class Worker(Executor):
    """Remembers tasks as dask does; a chain that ends it takes along those that were sent before it was known to be dead."""

    def __init__(self, *deadly):
        self.deadly, self.sent, self.known = deadly, [], {}

    def submit(self, function, task):
        self.sent.append(task)
        future, several = Future(), len(self.sent) <= 3
        dies = several or task.index in self.deadly
        self.known.setdefault(task, RuntimeError("the worker died") if dies else f"chain {task.index}")
        answer = self.known[task]
        (future.set_exception if isinstance(answer, Exception) else future.set_result)(answer)
        return future


def test_chains_that_were_lost_with_another_are_run_again():
    worker = Worker(1)
    assert gather(worker, 3) == ({0: "chain 0", 2: "chain 2"}, [(1, RuntimeError)])
    assert [task.index for task in worker.sent] == [0, 1, 2, 0, 1, 2]


def test_chains_that_raised_are_not_run_again(monkeypatch):
    sent = []

    def run(task, stop):
        sent.append(task.index)
        raise ValueError(f"no {task.index}")

    monkeypatch.setattr(parallel, "_run", run)
    with ThreadPoolExecutor(1) as threads:
        assert gather(threads, 2) == ({}, [(0, ValueError), (1, ValueError)])
    assert sent == [0, 1]


def test_stop_cancels_what_has_not_begun_and_raises_the_flag_for_what_has(tmp_path, monkeypatch):
    flag, began = tmp_path / "stop", threading.Event()

    def run_chain(task):
        began.set()
        while not flag.exists():
            time.sleep(0.01)
        return f"stopped {task.index}"

    monkeypatch.setattr(parallel, "run_chain", run_chain)
    stop, found = Stop(), {}

    def press():
        began.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as threads:
        failures = run_chains(tasks(3, str(flag)), threads, stop, lambda task, outcome: found.update({task.index: outcome}))
    assert (found, failures, stop.reason) == ({0: "stopped 0"}, [], "was interrupted")
    assert signal.getsignal(signal.SIGINT) is before


class Cluster(Executor):
    """Its futures can be cancelled while their tasks run, as those of dask and of ray: the outcome is lost then."""

    def submit(self, function, task):
        future = Future()

        def work():
            outcome = parallel.run_chain(task)
            if not future.cancelled():
                future.set_result(outcome)

        threading.Thread(target=work, daemon=True).start()
        return future


@pytest.mark.parametrize(("obeys", "patience"), [(True, 10.0), (False, 0.0)])
def test_chains_of_a_cluster_end_by_themselves_or_are_given_up(tmp_path, monkeypatch, obeys, patience):
    """Workers on other machines cannot see the flag; nobody waits for them for ever."""
    flag, over = tmp_path / "stop", threading.Event()

    def run_chain(task):
        while not (flag.exists() if obeys else over.is_set()):
            time.sleep(0.01)
        return f"stopped {task.index}"

    monkeypatch.setattr(parallel, "run_chain", run_chain)
    monkeypatch.setattr(parallel, "PATIENCE_SECONDS", patience)
    stop, found = Stop(), {}
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    failures = run_chains(tasks(2, str(flag)), Cluster(), stop, lambda task, outcome: found.update({task.index: outcome}))
    over.set()
    assert found == ({0: "stopped 0", 1: "stopped 1"} if obeys else {})
    assert (failures, stop.reason) == ([], "was interrupted")


def test_chain_whose_turn_comes_too_late_is_not_begun():
    """A task with nothing but the deadline would fail if it were."""
    outcome = parallel.run_chain(Chain(0, deadline=time.time() - 1.0))
    assert outcome == ({}, {}, 0, 0, "reached max_seconds")


def test_stop_names_its_reason(tmp_path):
    assert not Stop()()
    assert not Stop(deadline=time.time() + 100.0)()
    late, asked = Stop(deadline=time.time() - 1.0), Stop(flag=str(tmp_path))
    assert late()
    assert asked()
    assert (late.reason, asked.reason) == ("reached max_seconds", "was interrupted")


def test_second_ctrl_c_raises_at_once():
    stop = Stop()

    def press_twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), stop.on_interrupt():
        press_twice()
    assert stop()


def record_of(*lengths):
    with ppl.pyro_backend("numpy"):
        record = Record(len(lengths), 10)
        for chain, length in enumerate(lengths):
            values = {"x": numpy.full((1, length, 2), float(chain))}
            record.put(record.samples, slice(chain, chain + 1), 0, values)
            record.counts[chain] = length
    return record


@pytest.mark.parametrize(
    ("lengths", "chains", "length"),
    [
        ((10, 10), [0, 1], 10),
        ((10, 3, 0), [0], 10),
        ((10, 6, 0), [0, 1], 6),
        ((4, 4, 4), [0, 1, 2], 4),
        ((0, 10, 10, 1), [1, 2], 10),
        ((0, 0), [], 0),
    ],
)
def test_most_draws_are_kept_of_chains_of_unequal_length(lengths, chains, length):
    """Brute force: of all rectangles of full rows, the largest."""
    samples, _, kept = record_of(*lengths).taken()
    area = max(limit * sum(count >= limit for count in lengths) for limit in range(11))
    assert kept == chains
    assert len(kept) * length == area
    numpy.testing.assert_array_equal(samples["x"][:, :, 0], numpy.repeat(chains, length).reshape(len(chains), length))


@pytest.mark.parametrize("thinning", [2, 3, 5, 9])
@pytest.mark.parametrize("chunk", [1, 2, 4, 7, 40])
def test_thinning_does_not_depend_on_chunks(chunk, thinning):
    numbers = numpy.arange(40)
    kept = []
    for first in range(0, 40, chunk):
        column = numbers[first : first + chunk]
        kept += _thinned(Draws(*[column] * len(Draws._fields)), first, thinning).position.tolist()
    assert kept == numbers[thinning - 1 :: thinning].tolist()


def test_pace_grows_to_the_largest_chunk_and_shrinks_at_once():
    pace, sizes = Pace(), []
    for _ in range(8):
        pace.note(pace.size, 1e-5)
        sizes.append(pace.size)
    assert sizes == [20, 40, 80, 160, 256, 256, 256, 256]
    pace.note(256, 25.6)
    assert pace.size == 3


def test_rows_come_back_and_the_rest_of_a_killed_write_is_dropped(tmp_path, rng):
    """Written in uneven pieces, cut after the rows that count, and grown again."""
    path = str(tmp_path / "draws.rows")
    columns = [rng.normal(size=(30, 2, 3)), rng.integers(9, size=(30, 2)).astype("int32"), rng.normal(size=(30, 2)) > 0]
    rows = Rows(path)
    rows.append([column[:11] for column in columns])
    described = rows.describe()
    rows.append([column[20:] for column in columns])
    rows.close()
    again = Rows(path)
    again.reopen(described)
    for first, last in ((11, 12), (12, 12), (12, 30)):
        again.append([column[first:last] for column in columns])
    again.describe()
    again.close()
    for column, *pieces in zip(columns, *again.blocks(), strict=True):
        numpy.testing.assert_array_equal(numpy.concatenate(pieces), column)
        assert pieces[0].dtype == column.dtype
