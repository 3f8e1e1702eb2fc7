"""Control flow against plain Python loops, eager, compiled and under a gradient."""

import numpy as np
import pytest

from ppl import ops
from ppl.ops import autodiff, compile, control
from ppl.testing import assert_close
from ppl.testing.strict import declared_functions

XS = np.arange(12.0).reshape(4, 3)


def _as_it_is(fn):
    return fn


@pytest.fixture(params=["plain", "compiled"])
def run(request, backend):
    """How a function of arrays is called: as it is, or compiled."""
    return _as_it_is if request.param == "plain" else compile.compile


def collatz(n):
    steps = 0
    while n != 1:
        n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
    return steps


def test_while_loop(backend):
    """Steps of the Collatz sequence from 27: 111."""

    def step(state):
        n, steps = state
        return ops.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    n, steps = control.while_loop(lambda state: state[0] != 1, step, (ops.array(27), ops.array(0)))
    assert (int(n), int(steps)) == (1, collatz(27)) == (1, 111)


def test_while_loop_that_never_starts(backend):
    state = control.while_loop(lambda s: s["i"] < 0, lambda s: {"i": s["i"] + 1}, {"i": ops.array(5)})
    assert int(state["i"]) == 5


@pytest.mark.backends("torch", "numpy")
def test_while_loop_on_python_numbers_keeps_them(backend):
    i, total = control.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, s[1] + ops.array(XS[0])), (0, ops.zeros(3)))
    assert type(i) is int
    assert i == 4
    assert_close(total, 4 * XS[0])


def test_fori_loop(backend, run):
    fn = run(lambda x: control.fori_loop(2, 6, lambda i, s: {"sum": s["sum"] + i * x, "count": s["count"] + 1},
                                         {"sum": ops.zeros_like(x), "count": ops.array(0)}))  # fmt: skip
    for x in XS:
        state = fn(ops.array(x))
        assert_close(state["sum"], (2 + 3 + 4 + 5) * x)
        assert int(state["count"]) == 4


def test_fori_loop_over_nothing(backend):
    assert_close(control.fori_loop(3, 3, lambda i, s: s + 1, ops.array(XS)), XS)


def test_scan(backend, run):
    """Cumulative sums as carries, squares as outputs."""

    def step(carry, x):
        carry = carry + x["a"]
        return carry, {"sum": carry, "square": x["b"] ** 2}

    fn = run(lambda xs: control.scan(step, ops.zeros(3), {"a": xs, "b": xs[:, 0]}))
    for xs in (XS, XS - 5):
        carry, ys = fn(ops.array(xs))
        assert_close(carry, xs.sum(0))
        assert_close(ys["sum"], np.cumsum(xs, 0))
        assert_close(ys["square"], xs[:, 0] ** 2)


def test_scan_without_inputs(backend):
    carry, ys = control.scan(lambda c, _: (c * 2.0, c), ops.array(1.0), None, length=5)
    assert_close(carry, np.asarray(32.0))
    assert_close(ys, 2.0 ** np.arange(5))


def test_scan_without_outputs(backend):
    carry, ys = control.scan(lambda c, x: (c + x, None), ops.zeros(3), ops.array(XS))
    assert ys is None
    assert_close(carry, XS.sum(0))


def test_gradient_of_a_scan(backend):
    """The carry is x**4, so its derivative is 4 x**3."""

    def fn(x):
        carry, ys = control.scan(lambda c, _: (c * x, c), ops.ones(3), None, length=4)
        return ops.sum(carry) + 0.0 * ops.sum(ys)

    assert_close(autodiff.grad(fn)(ops.array(XS[1])), 4 * XS[1] ** 3, "gradient")


def test_cond(backend, run):
    def fn(x):
        return control.cond(ops.sum(x) > 10, lambda v, w: {"r": v * w}, lambda v, w: {"r": v - w}, x, 2.0 * x)

    if backend == "jax":
        fn = run(fn)
    for x in XS:
        assert_close(fn(ops.array(x))["r"], 2 * x * x if x.sum() > 10 else -x)


@pytest.mark.parametrize("pred", [True, False])
def test_cond_on_a_python_bool(backend, pred):
    assert_close(control.cond(pred, lambda x: x + 1, lambda x: x - 1, ops.array(XS)), XS + 1 if pred else XS - 1)


def test_gradient_of_cond(backend):
    def fn(x):
        return ops.sum(control.cond(x[0] > 0, lambda v: v**2, lambda v: 3 * v, x))

    assert_close(autodiff.grad(fn)(ops.array([1.0, 2.0])), np.array([2.0, 4.0]), "gradient")
    assert_close(autodiff.grad(fn)(ops.array([-1.0, 2.0])), np.array([3.0, 3.0]), "gradient")


@pytest.mark.backends("jax")
def test_a_compiled_while_loop_on_traced_values(backend):
    fn = compile.compile(lambda limit: control.while_loop(lambda s: s[0] < limit, lambda s: (s[0] + 1, s[1] * 2.0), (0, 1.0)))
    for limit in (3, 5):
        assert_close(fn(ops.array(limit))[1], np.asarray(2.0**limit))


def test_every_declared_function_is_tested():
    assert set(declared_functions("control")) == {"while_loop", "fori_loop", "scan", "cond"}
