"""The examples in the docstrings run, and print what they say, on every backend."""

import doctest
import importlib
import pkgutil

import numpy
import pytest

import ppl

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(ppl.__path__, "ppl."):
        module = importlib.import_module(info.name)
        for test in finder.find(module, module.__name__):
            if test.examples and test.globs.get("__name__") == module.__name__:
                yield test


EXAMPLES = {test.name: test for test in modules_with_examples()}


def failures_of(test):
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    report = []
    fresh = doctest.DocTest(test.examples, dict(test.globs), test.name, test.filename, test.lineno, test.docstring)
    runner.run(fresh, out=report.append)
    return runner.failures, "".join(report)


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(backend, name):
    with numpy.printoptions(precision=6):
        failures, report = failures_of(EXAMPLES[name])
    assert failures == 0, report


def test_a_wrong_example_is_found():
    parsed = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert failures_of(parsed)[0] == 1
