"""Derivatives of functions of arrays and trees against closed forms."""

from kit import each

from ppl import ops
from ppl.ops import autodiff
from ppl.ops import compile as compiling
from ppl.testing.strict import declared_functions
from ppl.testing.suites import derivatives
from ppl.testing.suites.derivatives import X


@each(derivatives.CHECKS)
def test_derivatives(backend, check):
    check()


def test_is_tracing(backend):
    assert autodiff.is_tracing() is False
    seen = []

    def fn(x):
        seen.append(autodiff.is_tracing())
        return x * 2.0

    for _ in range(4):
        compiling.compile(fn, ops.array(X))(ops.array(X))
    assert seen
    if backend != "numpy":
        autodiff.vmap(fn)(ops.array(X))
        assert seen[-1] is True
    assert autodiff.is_tracing() is False


def test_every_declared_function_is_tested():
    assert {check.function for check in derivatives.CHECKS} == set(declared_functions("autodiff"))
