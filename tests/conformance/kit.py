"""The suites of :mod:`ppl.testing.suites` as parameters of tests."""

import pytest


def each(checks):
    """Return the mark that runs a test once for each check; one that a backend declares to lack must fail there."""
    rows = [pytest.param(check, id=str(check), marks=[pytest.mark.needs(feature) for feature in check.needs]) for check in checks]
    return pytest.mark.parametrize("check", rows)
