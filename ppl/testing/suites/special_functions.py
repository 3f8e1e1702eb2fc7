"""Special functions: values against scipy, gradients against closed forms and differences, and the extremes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import scipy.special as sp

from ppl import ops
from ppl.ops import autodiff
from ppl.testing.numeric import Mismatch, assert_close, to_host
from ppl.testing.suites.check import Check, asked, checks_of, short
from ppl.testing.suites.extremes import EXTREMES, INCOMPLETE_BETA, INCOMPLETE_GAMMA
from ppl.testing.suites.rows import Row, checks_of_rows

R = np.random.default_rng(1936)
X = R.normal(size=(3, 4)) * 1.5
POSITIVE = R.gamma(2.0, size=(3, 4)) + 0.2
OTHER = R.gamma(3.0, size=(4,)) + 0.2
UNIT = R.uniform(0.05, 0.95, size=(3, 4))
SQRT_PI, SQRT_2PI = np.sqrt(np.pi), np.sqrt(2 * np.pi)


def _softplus(x):
    return np.logaddexp(0.0, x)


def _normal_density(x):
    return np.exp(-0.5 * x * x) / SQRT_2PI


UNARY = [
    Row("gammaln", (POSITIVE,), sp.gammaln, (0,), sp.digamma),
    Row("digamma", (POSITIVE,), sp.digamma, (0,), lambda x: sp.polygamma(1, x)),
    Row("erf", (X,), sp.erf, (0,), lambda x: 2 / SQRT_PI * np.exp(-x * x)),
    Row("erfc", (X,), sp.erfc, (0,), lambda x: -2 / SQRT_PI * np.exp(-x * x)),
    Row("erfinv", (2 * UNIT - 1,), sp.erfinv, (0,), lambda x: SQRT_PI / 2 * np.exp(sp.erfinv(x) ** 2)),
    Row("ndtr", (X,), sp.ndtr, (0,), _normal_density),
    Row("ndtri", (UNIT,), sp.ndtri, (0,), lambda x: 1 / _normal_density(sp.ndtri(x))),
    Row("log_ndtr", (X,), sp.log_ndtr, (0,), lambda x: _normal_density(x) / sp.ndtr(x)),
    Row("expit", (X,), sp.expit, (0,), lambda x: sp.expit(x) * sp.expit(-x)),
    Row("log_expit", (X,), sp.log_expit, (0,), lambda x: sp.expit(-x)),
    Row("logit", (UNIT,), sp.logit, (0,), lambda x: 1 / (x * (1 - x))),
    Row("softplus", (X,), _softplus, (0,), sp.expit),
    Row("i0e", (X,), sp.i0e, (0,), lambda x: sp.i1e(x) - np.sign(x) * sp.i0e(x)),
    Row("i1e", (X,), sp.i1e, (0,), lambda x: sp.i0e(x) - sp.i1e(x) * (np.sign(x) + 1 / x)),
]
SEVERAL = [
    *[Row("polygamma", (n, POSITIVE), sp.polygamma, (1,), label=str(n)) for n in (0, 1, 2, 3)],
    Row("betaln", (POSITIVE, OTHER), sp.betaln, (0, 1)),
    Row("gammainc", (POSITIVE, OTHER), sp.gammainc, (0, 1)),
    Row("gammainc", (2.5, OTHER), sp.gammainc, (1,), label="scalar"),
    Row("gammaincc", (POSITIVE, OTHER), sp.gammaincc, (0, 1)),
    Row("betainc", (POSITIVE, OTHER, UNIT), sp.betainc, (0, 1, 2)),
    Row("betainc", (0.7, 2.0, UNIT), sp.betainc, (2,), label="scalars"),
    Row("xlogy", (X, POSITIVE), sp.xlogy, (0, 1)),
    Row("xlogy", (2.0, OTHER), sp.xlogy, (1,), label="scalar"),
    Row("xlog1py", (X, POSITIVE), sp.xlog1py, (0, 1)),
    Row("logsumexp", (X,), sp.logsumexp, (0,), label="all"),
    Row("logsumexp", (X,), sp.logsumexp, (0,), kwargs={"axis": -1}, label="axis"),
    Row("logsumexp", (X[None],), sp.logsumexp, (0,), kwargs={"axis": (0, 2), "keepdims": True}, label="axes"),
    Row("logsumexp", (X + 900.0,), sp.logsumexp, (0,), kwargs={"axis": 0}, label="large"),
    Row("softmax", (X,), lambda x: sp.softmax(x, -1), (0,)),
    Row("softmax", (X,), sp.softmax, (0,), kwargs={"axis": 0}, label="axis"),
    Row("log_softmax", (X,), lambda x: sp.log_softmax(x, -1), (0,)),
    Row("log_softmax", (X,), sp.log_softmax, (0,), kwargs={"axis": 0}, label="axis"),
]
ROWS = [*UNARY, *SEVERAL]
ROWS = [*UNARY, *SEVERAL]
# derivatives of the form s * (1 - s) round 1 - s to zero far to the right: exact in the absolute sense only
ABSOLUTE_IN_GRADIENT = {"expit": 1e-16}


def check_extremes(name: str) -> None:
    """Value and gradient are those of the table of extremes, and never NaN."""
    points, values, derivatives = (np.array(column) for column in EXTREMES[name])
    function = getattr(ops, name)
    assert_close(function(ops.array(points)), values, rtol=1e-9, atol=1e-300)
    gradient = autodiff.grad(lambda x: ops.sum(function(x)))(ops.array(points))
    assert_close(gradient, derivatives, rtol=1e-7, atol=ABSOLUTE_IN_GRADIENT.get(name, 1e-300))


def check_incomplete_gamma(name: str, a: float, x: float) -> None:
    """Value and both derivatives of ``gammainc`` or ``gammaincc`` are those of the table."""
    value, in_a, in_x = INCOMPLETE_GAMMA[a, x]
    sign, value = (1.0, value) if name == "gammainc" else (-1.0, 1.0 - value)
    function, arguments = getattr(ops, name), (ops.array(a), ops.array(x))
    assert_close(function(*arguments), np.asarray(value), rtol=1e-9, atol=1e-14)
    assert_close(autodiff.grad(function, argnums=1)(*arguments), np.asarray(sign * in_x), rtol=1e-7, atol=1e-13)
    assert_close(autodiff.grad(function)(*arguments), np.asarray(sign * in_a), rtol=1e-4, atol=1e-10)


def check_incomplete_beta(a: float, b: float, x: float) -> None:
    """Value and the three derivatives of ``betainc`` are those of the table."""
    arguments = [ops.array(v) for v in (a, b, x)]
    value, *derivatives = INCOMPLETE_BETA[a, b, x]
    assert_close(ops.betainc(*arguments), np.asarray(value), rtol=1e-9, atol=1e-14)
    for k, wanted in enumerate(derivatives):
        assert_close(autodiff.grad(ops.betainc, argnums=k)(*arguments), np.asarray(wanted), rtol=1e-4, atol=1e-10)


FAR_OUT = (
    *(Check(name, "extremes", short(row[0]), functools.partial(check_extremes, name)) for name, row in EXTREMES.items()),
    *(
        Check(name, f"far out at {at}", f"a, x = {at}", functools.partial(check_incomplete_gamma, name, *at))
        for name in ("gammainc", "gammaincc")
        for at in INCOMPLETE_GAMMA
    ),
    *(
        Check("betainc", f"far out at {at}", f"a, b, x = {at}", functools.partial(check_incomplete_beta, *at))
        for at in INCOMPLETE_BETA
    ),
)


@asked("gammainc", given="a, x = 2, 0")
def _lower_incomplete_gamma_at_zero() -> None:
    assert_close(ops.gammainc(ops.array(2.0), ops.array(0.0)), np.asarray(0.0))


@asked("gammaincc", given="a, x = 2, 0")
def _upper_incomplete_gamma_at_zero() -> None:
    assert_close(ops.gammaincc(ops.array(2.0), ops.array(0.0)), np.asarray(1.0))


@asked("betainc", given="a, b, x = 2, 3, [0, 1]")
def _incomplete_beta_at_the_ends() -> None:
    for edge in (0.0, 1.0):
        point = (ops.array(2.0), ops.array(3.0), ops.array(edge))
        assert_close(ops.betainc(*point), np.asarray(edge))
        gradients = [autodiff.grad(ops.betainc, argnums=k)(*point) for k in (0, 1, 2)]
        assert_close(ops.stack(gradients), np.zeros(3), atol=1e-12)


def check_zero_times_a_logarithm(name: str, y: float) -> None:
    """Zero times a logarithm is zero with finite gradients, and a gradient of zero in the argument of the logarithm."""
    function, x = getattr(ops, name), ops.array(0.0)
    assert_close(function(x, ops.array(y)), np.asarray(0.0))
    for k in (0, 1):
        gradient = to_host(autodiff.grad(function, argnums=k)(x, ops.array(y)))
        if not np.all(np.isfinite(gradient)):
            raise Mismatch(f"a finite gradient in argument {k}", gradient)
    assert_close(autodiff.grad(function, argnums=1)(x, ops.array(y)), np.asarray(0.0))


ZERO_TIMES = tuple(
    Check(name, f"zero times the logarithm at {y}", f"0, {y}", functools.partial(check_zero_times_a_logarithm, name, y))
    for name in ("xlogy", "xlog1py")
    for y in (0.0, 2.0)
)


@asked("xlogy", given="0, 5e-324")
def _zero_times_the_logarithm_of_a_denormal_number() -> None:
    """Libraries that take denormal numbers for zero must still give zero, not zero times infinity."""
    assert_close(ops.xlogy(ops.array(0.0), ops.array(5e-324)), np.asarray(0.0))


@asked("logsumexp", given="[[-inf, -inf], [-inf, 1]]")
def _logsumexp_of_nothing_possible() -> None:
    x = ops.array([[-np.inf, -np.inf], [-np.inf, 1.0]])
    assert_close(ops.logsumexp(x, axis=-1), np.array([-np.inf, 1.0]))

    def finite_part(v: Any) -> Any:
        rows = ops.logsumexp(v, axis=-1)
        return ops.sum(ops.where(ops.isfinite(rows), rows, 0.0))

    assert_close(autodiff.grad(finite_part)(x), np.array([[0.0, 0.0], [0.0, 1.0]]))
    assert_close(autodiff.grad(lambda v: ops.logsumexp(v))(ops.array([-np.inf, -np.inf])), np.zeros(2))


@asked("logsumexp", given="[inf, 1]")
def _logsumexp_of_infinity() -> None:
    assert_close(ops.logsumexp(ops.array([np.inf, 1.0])), np.asarray(np.inf))


@asked("softmax", given="[1000, 1001, -inf]")
def _softmax_of_large_and_impossible() -> None:
    assert_close(ops.softmax(ops.array([1000.0, 1001.0, -np.inf])), sp.softmax([1000.0, 1001.0, -np.inf]))


@asked("log_softmax", given="[1000, 1001, -inf]")
def _log_softmax_of_large_and_impossible() -> None:
    assert_close(ops.log_softmax(ops.array([1000.0, 1001.0, -np.inf])), sp.log_softmax([1000.0, 1001.0, -np.inf]))


def check_values(name: str, points: tuple[float, ...], expected: Any) -> None:
    """The function of an array of ``points`` is ``expected``."""
    assert_close(getattr(ops, name)(ops.array(list(points))), np.asarray(expected))


AT_INFINITY = tuple(
    Check(name, "infinities", short(np.array(points)), functools.partial(check_values, name, points, getattr(sp, name)(points)))
    for name, points in {"gammaln": (np.inf,), **dict.fromkeys(("ndtr", "log_ndtr", "expit"), (np.inf, -np.inf))}.items()
)
ENDS = tuple(
    Check(name, "ends", short(np.array(ends)), functools.partial(check_values, name, ends, [-np.inf, np.inf]))
    for name, ends in {"erfinv": (-1.0, 1.0), "ndtri": (0.0, 1.0), "logit": (0.0, 1.0)}.items()
)
EDGES = (*FAR_OUT, *ZERO_TIMES, *AT_INFINITY, *ENDS, *checks_of(globals()))
CHECKS = (*checks_of_rows(ROWS), *EDGES)
