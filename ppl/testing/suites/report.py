"""Is this backend right? A table of the faults that the suites find."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy

from ppl import ops, registry
from ppl.backend import Backend, Gap
from ppl.errors import GapError, PplError
from ppl.params import clear_param_store, get_param_store
from ppl.testing.numeric import Mismatch
from ppl.testing.suites import (
    array_rules,
    compilation,
    derivatives,
    draws,
    families,
    inference,
    linear_algebra,
    loops,
    optimizers,
    pathwise_gradients,
    signatures,
    special_functions,
)
from ppl.testing.suites.check import Check, both_sides

SUITES: Mapping[str, tuple[Check, ...]] = {
    "signatures": signatures.CHECKS,
    "arrays": array_rules.CHECKS,
    "special": special_functions.CHECKS,
    "linalg": linear_algebra.CHECKS,
    "random": draws.CHECKS,
    "pathwise": pathwise_gradients.CHECKS,
    "autodiff": derivatives.CHECKS,
    "control": loops.CHECKS,
    "compile": compilation.CHECKS,
    "optim": optimizers.CHECKS,
    "distributions": families.CHECKS,
    "infer": inference.CHECKS,
}
"""Suite to its checks, from what is called by everything to what calls everything."""
COLUMNS = ("suite", "function", "question", "input", "expected", "received")


@dataclass(frozen=True)
class Fault:
    """What one check found wrong.

    :param suite: the suite of the check.
    :param function: the function that is wrong, or through which another one shows.
    :param question: what was compared.
    :param given: the input, in words.
    :param expected: what the oracle gives, in words.
    :param received: what the backend gave, in words.
    """

    suite: str
    function: str
    question: str
    given: str
    expected: str
    received: str

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        return (self.suite, self.function, self.question, self.given, self.expected, self.received)

    def __str__(self) -> str:
        return f"{self.function} of {self.given}: {self.question}: expected {self.expected}, received {self.received}"


@dataclass(frozen=True)
class Report:
    """What the suites found; ``str`` gives the table.

    :param backend: the name of the backend.
    :param asked: how many checks ran.
    :param faults: what is wrong.
    :param gaps: the features that the backend declares to lack, and why; each that a check met raised its ``GapError``.
    """

    backend: str
    asked: int
    faults: tuple[Fault, ...]
    gaps: Mapping[str, str]

    def __str__(self) -> str:
        count = "no fault" if not self.faults else "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = [f"backend {self.backend!r} has {count} in {self.asked} checks"]
        if self.faults:
            rows = [COLUMNS, *(fault.row for fault in self.faults)]
            widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
            lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for feature, reason in self.gaps.items():
            since = f" (since {reason.since})" if isinstance(reason, Gap) and reason.since else ""
            lines.append(f"gap: {feature}{since}: {reason}")
        return "\n".join(lines)


def checks(suites: Iterable[str] | None = None, functions: Iterable[str] | None = None) -> list[tuple[str, Check]]:
    """Return pairs of a suite's name and a check.

    :param suites: the names of suites, keys of ``SUITES``; all by default.
    :param functions: ask only about these functions; all by default.
    :raises PplError: if a suite is unknown.

    >>> from ppl.testing import suites
    >>> [str(check) for _, check in suites.checks(["control"], ["scan"])][:2]
    ['scan: plain', 'scan: compiled']
    """
    chosen = list(SUITES) if suites is None else list(suites)
    unknown = [name for name in chosen if name not in SUITES]
    if unknown:
        raise PplError(f"there is no suite {', '.join(map(repr, unknown))}; expected some of {', '.join(SUITES)}")
    wanted = None if functions is None else set(functions)
    return [(name, check) for name in chosen for check in SUITES[name] if wanted is None or check.function in wanted]


def backend_report(backend: str | Backend, suites: Iterable[str] | None = None, functions: Iterable[str] | None = None) -> Report:
    """Ask a backend the questions of the suites.

    :param backend: its name, or the value.
    :param suites: the names of suites, keys of ``SUITES``; all by default.
    :param functions: ask only about these functions; all by default.

    The default dtype is float64 meanwhile; that, the stream of random numbers and the params are restored. A check of what the
    backend declares in ``gaps`` must raise a ``GapError`` with the reason. The suite ``infer`` runs only if those before it are
    clean.

    >>> from ppl.testing import suites
    >>> print(suites.backend_report("numpy", ["autodiff"], ["jvp", "vjp"]).asked)
    4
    """
    chosen = checks(suites, functions)
    faults: list[Fault] = []
    asked = 0
    with registry.using(backend) as active, _undisturbed():
        for suite, check in chosen:
            # A sampler over functions that are wrong may never end.
            if suite == "infer" and faults:
                break
            asked += 1
            fault = fault_of(suite, check)
            if isinstance(fault, Fault):
                faults.append(fault)
    return Report(active.name, asked, tuple(faults), dict(active.gaps))


def backend_faults(
    backend: str | Backend, suites: Iterable[str] | None = None, functions: Iterable[str] | None = None
) -> list[Fault]:
    """Return the faults that :func:`assert_backend_ok` would show; an empty list if there are none.

    >>> from ppl.testing import backend_faults
    >>> backend_faults("numpy", ["control"])
    []
    """
    return list(backend_report(backend, suites, functions).faults)


def assert_backend_ok(
    backend: str | Backend, suites: Iterable[str] | None = None, functions: Iterable[str] | None = None
) -> Report:
    """Check a backend against the contract, and return the report, which lists its gaps.

    :param backend: its name, or the value.
    :param suites: the names of suites, keys of ``SUITES``; all by default.
    :param functions: ask only about these functions; all by default.
    :raises AssertionError: with a table of the faults: function, input, expected, received.

    >>> from ppl.testing import assert_backend_ok
    >>> assert_backend_ok("numpy", ["linalg"], ["solve"]).asked
    8
    """
    report = backend_report(backend, suites, functions)
    if report.faults:
        raise AssertionError(str(report))
    return report


def fault_of(suite: str, check: Check) -> Fault | GapError | None:
    """Run a check under the active backend; return its fault, the error of a declared gap, or ``None``."""
    gaps = registry.active().gaps
    declared = [feature for feature in (check.function, *check.needs) if feature in gaps and check.question != "signature"]
    clear_param_store()
    try:
        with numpy.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check()
    except Mismatch as error:
        if not declared:
            return Fault(suite, check.function, check.question, check.given, *both_sides(error.expected, error.received))
    except Exception as error:
        words = str(error).splitlines()[0] if str(error) else "no message"
        if isinstance(error, GapError) and any(reason in words for reason in gaps.values()):
            return error
        expected = f"GapError: {gaps[declared[0]]}" if declared else "a result"
        received = words if isinstance(error, AssertionError) else f"{type(error).__name__}: {words}"
        return Fault(suite, check.function, check.question, check.given, expected, received)
    if declared:
        return Fault(suite, check.function, check.question, check.given, f"GapError: {gaps[declared[0]]}", "a result")
    return None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Run a block in float64 with params of its own; restore the dtype, the params and the stream of random numbers."""
    dtype, state = ops.default_dtype(), ops.random.get_state()
    ops.set_default_dtype("float64")
    try:
        with get_param_store().scope():
            yield
    finally:
        ops.set_default_dtype(dtype)
        ops.random.set_state(state)
