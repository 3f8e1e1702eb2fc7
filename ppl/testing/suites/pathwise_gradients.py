"""Pathwise gradients of draws: the implicit formula where it is unique, and unbiased expectations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special as sp
import scipy.stats as st

from ppl import ops
from ppl.ops import autodiff, random
from ppl.testing.goodness_of_fit import monte_carlo_z
from ppl.testing.numeric import assert_close, assert_equal, to_host
from ppl.testing.suites.check import Check, asked, checks_of
from ppl.testing.suites.draws import N, assert_near, full, seed_of


def pathwise(draw: Callable[[Any], Any], parameter: Any) -> tuple[Any, Any]:
    """Return draws and the derivative of each with respect to its own copy of the parameter."""

    def total(value):
        samples = draw(value)
        return ops.sum(samples), samples

    (_, samples), gradient = autodiff.value_and_grad(total, has_aux=True)(parameter)
    return to_host(samples), to_host(gradient)


def check_implicit(concentration: float, seed: int = 5) -> None:
    """dz/da = -(dF/da)(z; a) / f(z; a) (Figurnov, Mohamed and Mnih 2018, eq. 5), F differenced in scipy.

    Below one a draw may be made of two variables, each with its own derivative: there only the expectation is unique.
    """
    samples, gradient = pathwise(lambda a: random.gamma(random.key(seed), a, (40,)), ops.full((40,), concentration))
    inside = (samples > st.gamma(concentration).ppf(1e-3)) & (samples < st.gamma(concentration).ppf(1 - 1e-3))

    def central(h: float) -> Any:
        return (sp.gammainc(concentration + h, samples) - sp.gammainc(concentration - h, samples)) / (2 * h)

    step = 1e-3 * concentration
    in_shape = (4 * central(step / 2) - central(step)) / 3
    expected = -in_shape / st.gamma(concentration).pdf(samples)
    assert_equal(bool(inside.sum() > 30), True)
    assert_close(gradient[inside], expected[inside], rtol=1e-3, atol=1e-6)


def gradient_z(draw: Callable[[Any], Any], parameter: Any, function: Callable[[Any], Any], expected: Any) -> Any:
    """Return the z-score of the mean pathwise gradient of ``function`` against the derivative of its expectation."""
    per_draw = autodiff.grad(lambda value: ops.sum(function(draw(value))))(parameter)
    return monte_carlo_z(per_draw, expected)


def _t_derivative(function, df):
    def expectation(v):
        return 2 * scipy.integrate.quad(lambda z: function(z) * st.t.pdf(z, v), 0, np.inf, limit=200)[0]

    return (expectation(df + 1e-3) - expectation(df - 1e-3)) / 2e-3


UNBIASED = {
    **{f"gamma-log-{a}": ("gamma", a, ops.safe_log, lambda a: sp.polygamma(1, a)) for a in (0.15, 2.0, 50.0)},
    "gamma-mean": ("gamma", 2.0, lambda z: z, lambda a: 1.0),
    "gamma-square": ("gamma", 0.8, lambda z: z * z, lambda a: 2 * a + 1),
    **{f"beta-log-{a}": ("beta", a, ops.safe_log, lambda a: sp.polygamma(1, a) - sp.polygamma(1, a + 1.5)) for a in (0.6, 20.0)},
    "beta-mean": ("beta", 0.6, lambda z: z, lambda a: 1.5 / (a + 1.5) ** 2),
    "beta-second": ("beta-other", 2.0, lambda z: z, lambda b: -1.5 / (b + 1.5) ** 2),
    "beta-second-log": ("beta-other", 2.0, ops.safe_log, lambda b: -sp.polygamma(1, b + 1.5)),
    "t-log": ("standard_t", 4.0, lambda z: ops.log1p(z * z), lambda df: _t_derivative(lambda z: np.log1p(z * z), df)),
    "t-ratio": ("standard_t", 2.0, lambda z: 1 / (1 + z * z), lambda df: _t_derivative(lambda z: 1 / (1 + z * z), df)),
}  # fmt: skip


def drawer(name: str, seed: int) -> Callable[[Any], Any]:
    """Return a function from a parameter to ``N`` draws."""
    return {
        "gamma": lambda a: random.gamma(random.key(seed), a, (N,)),
        "beta": lambda a: random.beta(random.key(seed), a, full(1.5), (N,)),
        "beta-other": lambda b: random.beta(random.key(seed), full(1.5), b, (N,)),
        "standard_t": lambda df: random.standard_t(random.key(seed), df, (N,)),
    }[name]


def check_unbiased(case: str, seed: int | None = None) -> None:
    """The mean pathwise gradient of a function is the derivative of its expectation."""
    name, parameter, function, expected = UNBIASED[case]
    draw = drawer(name, seed_of(case) if seed is None else seed)
    assert_near(gradient_z(draw, full(parameter), function, expected(parameter)))


@asked("dirichlet", "gradient of E[log x]", "concentration [0.8, 1, 4]")
def _dirichlet_gradient() -> None:
    """D E[log x_k] / d a_j = trigamma(a_k) [j = k] - trigamma(sum a)."""
    concentration = np.array([0.8, 1.0, 4.0])
    rows = ops.broadcast_to(ops.array(concentration), (N, 3))
    for k in range(3):
        expected = np.eye(3)[k] * sp.polygamma(1, concentration[k]) - sp.polygamma(1, concentration.sum())
        log = functools.partial(lambda x, k: ops.safe_log(x[..., k]), k=k)
        assert_near(gradient_z(lambda a: random.dirichlet(random.key(26), a, (N, 3)), rows, log, expected))


@asked("gamma", "gradient of a shared parameter", "concentration [2, 0.7], shape (5, 2)")
def _gradient_of_a_shared_parameter_adds_up() -> None:
    """A parameter that broadcasts to the draws gets the sum of the gradients of its copies."""

    def total(a: Any) -> Any:
        return ops.sum(random.gamma(random.key(3), a, (5, 2)))

    shared = autodiff.grad(total)(ops.array([2.0, 0.7]))
    copies = autodiff.grad(total)(ops.broadcast_to(ops.array([2.0, 0.7]), (5, 2)))
    assert_close(shared, to_host(copies).sum(0), "gradient")


IMPLICIT = tuple(
    Check("gamma", f"implicit gradient at {a}", f"concentration {a}", functools.partial(check_implicit, a))
    for a in (1.0, 3.0, 30.0, 1000.0)
)
EXPECTED = tuple(
    Check(
        row[0].removesuffix("-other"),
        f"unbiased gradient: {case}",
        f"{row[1]}, {N} draws",
        functools.partial(check_unbiased, case),
    )
    for case, row in UNBIASED.items()
)
CHECKS = (*IMPLICIT, *EXPECTED, *checks_of(globals()))
