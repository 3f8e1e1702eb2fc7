"""The suites for pytest: one test a check.

A test file of the author of a backend holds one line,

    from ppl.testing.suites.collected import test_backend  # noqa: F401

and ``pytest -p ppl.testing.plugin --ppl-backends NAME`` asks each question. What the backend declares in ``gaps`` shows as an
expected failure with its reason.
"""

from __future__ import annotations

import pytest

from ppl.errors import GapError
from ppl.testing.suites.check import Check
from ppl.testing.suites.report import checks, fault_of

ASKED = checks()


@pytest.mark.parametrize(("suite", "check"), ASKED, ids=[f"{suite}: {check}" for suite, check in ASKED])
def test_backend(backend: str, suite: str, check: Check) -> None:
    """A function of the backend answers as its oracle does."""
    fault = fault_of(suite, check)
    if isinstance(fault, GapError):
        pytest.xfail(str(fault))
    elif fault is not None:
        pytest.fail(str(fault), pytrace=False)
