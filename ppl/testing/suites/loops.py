"""Control flow against plain Python loops, eager, compiled and under a gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl import ops
from ppl.ops import autodiff, compile, control
from ppl.testing.numeric import assert_close, assert_equal
from ppl.testing.suites.check import Check, asked, checks_of

XS = np.arange(12.0).reshape(4, 3)
GIVEN = "numbers of shape (4, 3)"


def _as_it_is(fn: Any) -> Any:
    return fn


def _compiled(fn: Any) -> Any:
    return compile.compile(fn)


def check_fori_loop(run: Callable[[Any], Any]) -> None:
    """A loop over a range adds and counts."""

    def fn(x: Any) -> Any:
        def body(i: Any, state: Any) -> Any:
            return {"sum": state["sum"] + i * x, "count": state["count"] + 1}

        return control.fori_loop(2, 6, body, {"sum": ops.zeros_like(x), "count": ops.array(0)})

    fn = run(fn)
    for x in XS:
        state = fn(ops.array(x))
        assert_close(state["sum"], (2 + 3 + 4 + 5) * x)
        assert_equal(int(state["count"]), 4)


def check_scan(run: Callable[[Any], Any]) -> None:
    """Cumulative sums as carries, squares as outputs."""

    def step(carry: Any, x: Any) -> Any:
        carry = carry + x["a"]
        return carry, {"sum": carry, "square": x["b"] ** 2}

    fn = run(lambda xs: control.scan(step, ops.zeros(3), {"a": xs, "b": xs[:, 0]}))
    for xs in (XS, XS - 5):
        carry, ys = fn(ops.array(xs))
        assert_close(carry, xs.sum(0))
        assert_close(ys["sum"], np.cumsum(xs, 0))
        assert_close(ys["square"], xs[:, 0] ** 2)


BOTH_WAYS = tuple(
    Check(name, how, GIVEN, functools.partial(check, run))
    for name, check in (("fori_loop", check_fori_loop), ("scan", check_scan))
    for how, run in (("plain", _as_it_is), ("compiled", _compiled))
)


def _collatz(n: int) -> int:
    steps = 0
    while n != 1:
        n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
    return steps


@asked("while_loop", "steps of the Collatz sequence", "27")
def _while_loop() -> None:
    def step(state: Any) -> Any:
        n, steps = state
        return ops.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    n, steps = control.while_loop(lambda state: state[0] != 1, step, (ops.array(27), ops.array(0)))
    assert_equal((int(n), int(steps)), (1, _collatz(27)))


@asked("while_loop", given="5, while it is negative")
def _a_loop_that_never_starts() -> None:
    state = control.while_loop(lambda s: s["i"] < 0, lambda s: {"i": s["i"] + 1}, {"i": ops.array(5)})
    assert_equal(int(state["i"]), 5)


@asked("fori_loop", given="range(3, 3)")
def _a_loop_over_nothing() -> None:
    assert_close(control.fori_loop(3, 3, lambda i, s: s + 1, ops.array(XS)), XS)


@asked("scan", given="length 5")
def _without_inputs() -> None:
    carry, ys = control.scan(lambda c, _: (c * 2.0, c), ops.array(1.0), None, length=5)
    assert_close(carry, np.asarray(32.0))
    assert_close(ys, 2.0 ** np.arange(5))


@asked("scan", given=GIVEN)
def _without_outputs() -> None:
    carry, ys = control.scan(lambda c, x: (c + x, None), ops.zeros(3), ops.array(XS))
    assert_equal(ys, None)
    assert_close(carry, XS.sum(0))


@asked("scan", given="x**4 as four products")
def _gradient_of_a_scan() -> None:
    def fn(x: Any) -> Any:
        carry, ys = control.scan(lambda c, _: (c * x, c), ops.ones(3), None, length=4)
        return ops.sum(carry) + 0.0 * ops.sum(ys)

    assert_close(autodiff.grad(fn)(ops.array(XS[1])), 4 * XS[1] ** 3, "gradient")


@asked("cond", given="sum(x) > 10")
def _branch_on_a_value() -> None:
    for x in XS:
        first, second = ops.array(x), ops.array(2.0 * x)
        found = control.cond(ops.sum(first) > 10, lambda v, w: {"r": v * w}, lambda v, w: {"r": v - w}, first, second)
        assert_close(found["r"], 2 * x * x if x.sum() > 10 else -x)


@asked("cond", given="True, False")
def _branch_on_a_python_bool() -> None:
    for pred in (True, False):
        assert_close(control.cond(pred, lambda x: x + 1, lambda x: x - 1, ops.array(XS)), XS + 1 if pred else XS - 1)


@asked("cond", given="v**2 if x[0] > 0 else 3 * v")
def _gradient_of_a_branch() -> None:
    def fn(x: Any) -> Any:
        return ops.sum(control.cond(x[0] > 0, lambda v: v**2, lambda v: 3 * v, x))

    assert_close(autodiff.grad(fn)(ops.array([1.0, 2.0])), np.array([2.0, 4.0]), "gradient")
    assert_close(autodiff.grad(fn)(ops.array([-1.0, 2.0])), np.array([3.0, 3.0]), "gradient")


CHECKS = (*BOTH_WAYS, *checks_of(globals()))
