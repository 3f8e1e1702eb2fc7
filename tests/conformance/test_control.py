"""Control flow against plain Python loops, eager, compiled and under a gradient."""

import numpy as np
import pytest
from kit import each

from ppl import ops
from ppl.ops import compile, control
from ppl.testing import assert_close
from ppl.testing.strict import declared_functions
from ppl.testing.suites import loops
from ppl.testing.suites.loops import XS


@each(loops.CHECKS)
def test_control_flow(backend, check):
    check()


@pytest.mark.backends("torch", "numpy")
def test_while_loop_on_python_numbers_keeps_them(backend):
    i, total = control.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, s[1] + ops.array(XS[0])), (0, ops.zeros(3)))
    assert type(i) is int
    assert i == 4
    assert_close(total, 4 * XS[0])


@pytest.mark.backends("jax")
def test_a_compiled_branch_on_traced_values(backend):
    fn = compile.compile(
        lambda x: control.cond(ops.sum(x) > 10, lambda v, w: {"r": v * w}, lambda v, w: {"r": v - w}, x, 2.0 * x)
    )
    for x in XS:
        assert_close(fn(ops.array(x))["r"], 2 * x * x if x.sum() > 10 else -x)


@pytest.mark.backends("jax")
def test_a_compiled_while_loop_on_traced_values(backend):
    fn = compile.compile(lambda limit: control.while_loop(lambda s: s[0] < limit, lambda s: (s[0] + 1, s[1] * 2.0), (0, 1.0)))
    for limit in (3, 5):
        assert_close(fn(ops.array(limit))[1], np.asarray(2.0**limit))


def test_every_declared_function_is_tested():
    assert {check.function for check in loops.CHECKS} == set(declared_functions("control"))
