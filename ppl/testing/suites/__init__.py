"""Suites of questions to a backend: every function of the contract on small inputs, against oracles from outside.

The author of a backend calls :func:`~ppl.testing.assert_backend_ok`, or lets pytest ask each question by itself::

    from ppl.testing.suites.collected import test_backend  # noqa: F401

with ``pytest -p ppl.testing.plugin --ppl-backends NAME``.
"""

from ppl.testing.suites.check import Check
from ppl.testing.suites.report import SUITES, Fault, Report, assert_backend_ok, backend_faults, backend_report, checks

__all__ = ["SUITES", "Check", "Fault", "Report", "assert_backend_ok", "backend_faults", "backend_report", "checks"]
