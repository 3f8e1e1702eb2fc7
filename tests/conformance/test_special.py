"""Special functions: values against scipy and mpmath, gradients against closed forms, and the extremes."""

import mpmath
import numpy as np
import pytest
import rows
import scipy.special as sp
from rows import Row

from ppl import ops
from ppl.ops import autodiff
from ppl.testing import assert_close, to_host
from ppl.testing.strict import declared_functions

R = np.random.default_rng(1936)
X = R.normal(size=(3, 4)) * 1.5
POSITIVE = R.gamma(2.0, size=(3, 4)) + 0.2
OTHER = R.gamma(3.0, size=(4,)) + 0.2
UNIT = R.uniform(0.05, 0.95, size=(3, 4))
SQRT_PI, SQRT_2PI = np.sqrt(np.pi), np.sqrt(2 * np.pi)
pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow|underflow) encountered:RuntimeWarning")


def softplus(x):
    return np.logaddexp(0.0, x)


def normal_density(x):
    return np.exp(-0.5 * x * x) / SQRT_2PI


UNARY = [
    Row("gammaln", (POSITIVE,), sp.gammaln, (0,), sp.digamma),
    Row("digamma", (POSITIVE,), sp.digamma, (0,), lambda x: sp.polygamma(1, x)),
    Row("erf", (X,), sp.erf, (0,), lambda x: 2 / SQRT_PI * np.exp(-x * x)),
    Row("erfc", (X,), sp.erfc, (0,), lambda x: -2 / SQRT_PI * np.exp(-x * x)),
    Row("erfinv", (2 * UNIT - 1,), sp.erfinv, (0,), lambda x: SQRT_PI / 2 * np.exp(sp.erfinv(x) ** 2)),
    Row("ndtr", (X,), sp.ndtr, (0,), normal_density),
    Row("ndtri", (UNIT,), sp.ndtri, (0,), lambda x: 1 / normal_density(sp.ndtri(x))),
    Row("log_ndtr", (X,), sp.log_ndtr, (0,), lambda x: normal_density(x) / sp.ndtr(x)),
    Row("expit", (X,), sp.expit, (0,), lambda x: sp.expit(x) * sp.expit(-x)),
    Row("log_expit", (X,), sp.log_expit, (0,), lambda x: sp.expit(-x)),
    Row("logit", (UNIT,), sp.logit, (0,), lambda x: 1 / (x * (1 - x))),
    Row("softplus", (X,), softplus, (0,), sp.expit),
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
GRADIENTS = [(row, index) for row in ROWS for index in row.gradients]


@pytest.mark.parametrize("row", ROWS, ids=rows.ids(ROWS))
def test_value(backend, row):
    rows.check_value(row)


@pytest.mark.parametrize(("row", "index"), GRADIENTS, ids=[f"{row}-arg{index}" for row, index in GRADIENTS])
def test_gradient_equals_finite_differences(backend, row, index):
    rows.check_gradient(row, index)


@pytest.mark.parametrize("row", UNARY, ids=rows.ids(UNARY))
def test_derivatives_equal_closed_forms(backend, row):
    rows.check_derivatives(row)


@pytest.mark.parametrize("row", ROWS, ids=rows.ids(ROWS))
def test_float32_stays_float32(backend, row):
    rows.check_float32(row)


def _mp(function):
    """Return a function of numpy arrays computed by mpmath with 50 digits."""

    def evaluate(x):
        with mpmath.workdps(50):
            return np.array([float(function(mpmath.mpf(float(v)))) for v in np.asarray(x).ravel()]).reshape(np.shape(x))

    return evaluate


def log_ndtr(x):
    return mpmath.log(mpmath.ncdf(x)) if x < 5 else mpmath.log1p(-mpmath.ncdf(-x))


mp = mpmath.mp
FAR = [-800.0, -40.0, 0.0, 40.0, 800.0]


def i1e_derivative(x):
    """The derivative of I_1 is (I_0 + I_2) / 2 (Abramowitz and Stegun 1964, 9.6.26)."""
    return mp.exp(-abs(x)) * ((mp.besseli(0, x) + mp.besseli(2, x)) / 2 - mp.sign(x) * mp.besseli(1, x))


# name, points far from the ordinary, value, derivative
EXTREMES = [
    ("log_ndtr", [-300.0, -40.0, -10.0, -5.0, 5.0, 30.0], _mp(log_ndtr), _mp(lambda x: mp.npdf(x) / mp.ncdf(x))),
    ("log_expit", FAR, _mp(lambda x: -mp.log1p(mp.exp(-x))), _mp(lambda x: 1 / (1 + mp.exp(x)))),
    ("softplus", FAR, _mp(lambda x: mp.log1p(mp.exp(x))), _mp(lambda x: 1 / (1 + mp.exp(-x)))),
    ("expit", FAR, _mp(lambda x: 1 / (1 + mp.exp(-x))), _mp(lambda x: 1 / (2 + mp.exp(x) + mp.exp(-x)))),
    ("gammaln", [1e-10, 1e-3, 1e3, 1e8], _mp(mp.loggamma), _mp(mp.digamma)),
    ("digamma", [1e-6, 1e-2, 50.0, 1e8], _mp(mp.digamma), _mp(lambda x: mp.polygamma(1, x))),
    ("erf", [-6.0, -1e-12, 1e-12, 6.0], _mp(mp.erf), _mp(lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x))),
    ("erfc", [-6.0, 3.0, 10.0, 20.0], _mp(mp.erfc), _mp(lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x))),
    ("logit", [1e-300, 1e-12, 0.5, 1 - 1e-12], _mp(lambda p: mp.log(p / (1 - p))), _mp(lambda p: 1 / (p * (1 - p)))),
    ("ndtr", [-30.0, -10.0, 0.0, 10.0], _mp(mp.ncdf), normal_density),
    ("ndtri", [1e-12, 1e-6, 0.5, 1 - 1e-6], sp.ndtri, lambda p: 1 / normal_density(sp.ndtri(p))),
    ("erfinv", [-1 + 1e-9, -1e-12, 1e-12, 1 - 1e-9], sp.erfinv, lambda y: SQRT_PI / 2 * np.exp(sp.erfinv(y) ** 2)),
    ("i0e", [-700.0, 0.0, 50.0, 700.0], sp.i0e, lambda x: sp.i1e(x) - np.sign(x) * sp.i0e(x)),
    ("i1e", [-700.0, 0.0, 50.0, 700.0], sp.i1e, _mp(i1e_derivative)),
]
# derivatives of the form s * (1 - s) round 1 - s to zero far to the right: exact in the absolute sense only
ABSOLUTE_IN_GRADIENT = {"expit": 1e-16}


@pytest.mark.parametrize(("name", "points", "value", "derivative"), EXTREMES, ids=[row[0] for row in EXTREMES])
def test_extremes(backend, name, points, value, derivative):
    x = np.array(points)
    found = getattr(ops, name)(ops.array(x))
    gradient = autodiff.grad(lambda v: ops.sum(getattr(ops, name)(v)))(ops.array(x))
    assert not np.any(np.isnan(to_host(found)))
    assert not np.any(np.isnan(to_host(gradient)))
    assert_close(found, value(x), rtol=1e-9, atol=1e-300)
    assert_close(gradient, derivative(x), rtol=1e-7, atol=ABSOLUTE_IN_GRADIENT.get(name, 1e-300))


SHAPE_PAIRS = [(1e-3, 1e-3), (1e-3, 2.0), (0.5, 30.0), (20.0, 3.0), (50.0, 50.0), (200.0, 190.0), (1000.0, 1010.0)]


def _incomplete_gamma(a, x):
    return mpmath.gammainc(a, 0, x, regularized=True)


@pytest.mark.parametrize(("a", "x"), SHAPE_PAIRS)
@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_incomplete_gamma_far_out(backend, name, a, x):
    sign = 1.0 if name == "gammainc" else -1.0
    with mpmath.workdps(40):
        lower = _incomplete_gamma(mpmath.mpf(a), mpmath.mpf(x))
        in_shape = sign * float(mpmath.diff(lambda s: _incomplete_gamma(s, mpmath.mpf(x)), mpmath.mpf(a)))
        in_x = sign * float(mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a)))
        expected = float(lower if name == "gammainc" else 1 - lower)
    function = getattr(ops, name)
    assert_close(function(ops.array(a), ops.array(x)), np.asarray(expected), rtol=1e-9, atol=1e-14)
    shape_gradient, x_gradient = (autodiff.grad(function, argnums=k)(ops.array(a), ops.array(x)) for k in (0, 1))
    assert_close(x_gradient, np.asarray(in_x), rtol=1e-7, atol=1e-13)
    assert_close(shape_gradient, np.asarray(in_shape), rtol=1e-4, atol=1e-10)


BETA_TRIPLES = [(0.05, 0.1, 0.3), (0.5, 0.5, 1e-6), (2.0, 300.0, 0.01), (40.0, 60.0, 0.4), (500.0, 500.0, 0.5), (3.0, 0.2, 0.999)]


@pytest.mark.parametrize(("a", "b", "x"), BETA_TRIPLES)
def test_incomplete_beta_far_out(backend, a, b, x):
    with mpmath.workdps(40):
        point = [mpmath.mpf(v) for v in (a, b, x)]

        def value(p, q, z):
            return mpmath.betainc(p, q, 0, z, regularized=True)

        expected = float(value(*point))
        step = mpmath.mpf(10) ** -12
        expected_gradients = []
        for k in range(3):
            above, below = list(point), list(point)
            above[k] += step
            below[k] -= step
            expected_gradients.append(float((value(*above) - value(*below)) / (2 * step)))
    arguments = [ops.array(v) for v in (a, b, x)]
    assert_close(ops.betainc(*arguments), np.asarray(expected), rtol=1e-9, atol=1e-14)
    for k, wanted in enumerate(expected_gradients):
        assert_close(autodiff.grad(ops.betainc, argnums=k)(*arguments), np.asarray(wanted), rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_incomplete_gamma_at_zero(backend, name):
    assert_close(getattr(ops, name)(ops.array(2.0), ops.array(0.0)), np.asarray(0.0 if name == "gammainc" else 1.0))


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_incomplete_beta_at_the_ends(backend, edge):
    assert_close(ops.betainc(ops.array(2.0), ops.array(3.0), ops.array(edge)), np.asarray(edge))
    gradients = [autodiff.grad(ops.betainc, argnums=k)(ops.array(2.0), ops.array(3.0), ops.array(edge)) for k in (0, 1, 2)]
    assert_close(ops.stack(gradients), np.zeros(3), atol=1e-12)


@pytest.mark.parametrize("name", ["xlogy", "xlog1py"])
@pytest.mark.parametrize("y", [0.0, 2.0])
def test_zero_times_a_logarithm_is_zero_with_finite_gradients(backend, name, y):
    function, x = getattr(ops, name), ops.array(0.0)
    assert_close(function(x, ops.array(y)), np.asarray(0.0))
    for k in (0, 1):
        assert np.all(np.isfinite(to_host(autodiff.grad(function, argnums=k)(x, ops.array(y)))))
    in_y = autodiff.grad(function, argnums=1)(x, ops.array(y))
    assert_close(in_y, np.asarray(0.0))


def test_logsumexp_of_nothing_possible(backend):
    x = ops.array([[-np.inf, -np.inf], [-np.inf, 1.0]])
    value = ops.logsumexp(x, axis=-1)
    assert_close(value, np.array([-np.inf, 1.0]))

    def finite_part(v):
        rows_of_v = ops.logsumexp(v, axis=-1)
        return ops.sum(ops.where(ops.isfinite(rows_of_v), rows_of_v, 0.0))

    assert_close(autodiff.grad(finite_part)(x), np.array([[0.0, 0.0], [0.0, 1.0]]))
    assert_close(autodiff.grad(lambda v: ops.logsumexp(v))(ops.array([-np.inf, -np.inf])), np.zeros(2))


def test_logsumexp_of_infinity(backend):
    assert_close(ops.logsumexp(ops.array([np.inf, 1.0])), np.asarray(np.inf))


def test_softmax_of_large_and_impossible(backend):
    x = np.array([1000.0, 1001.0, -np.inf])
    assert_close(ops.softmax(ops.array(x)), sp.softmax(x))
    assert_close(ops.log_softmax(ops.array(x)), sp.log_softmax(x))


@pytest.mark.parametrize("name", ["gammaln", "ndtr", "log_ndtr", "expit"])
def test_infinities(backend, name):
    oracle = getattr(sp, name)
    x = np.array([np.inf]) if name == "gammaln" else np.array([np.inf, -np.inf])
    assert_close(getattr(ops, name)(ops.array(x)), oracle(x))


@pytest.mark.parametrize("name", ["erfinv", "ndtri", "logit"])
def test_ends_of_a_quantile_are_infinite(backend, name):
    ends = np.array([-1.0, 1.0]) if name == "erfinv" else np.array([0.0, 1.0])
    assert_close(getattr(ops, name)(ops.array(ends)), np.array([-np.inf, np.inf]))


def test_every_declared_function_has_a_row():
    assert sorted({row.name for row in ROWS}) == sorted(declared_functions("special"))


@pytest.mark.backends("numpy")
def test_negative_control_a_wrong_oracle_is_found(backend):
    with pytest.raises(AssertionError):
        rows.check_value(Row("gammainc", (POSITIVE, OTHER), sp.gammaincc))
    with pytest.raises(AssertionError):
        rows.check_gradient(Row("gammainc", (POSITIVE, OTHER), lambda a, x: sp.gammainc(a, x) * (1 + 1e-4 * a)), 0)


def test_xlogy_of_zero_and_a_denormal_number(backend):
    """Libraries that take denormal numbers for zero must still give zero, not zero times infinity."""
    assert_close(ops.xlogy(ops.array(0.0), ops.array(5e-324)), 0.0)
    assert_close(ops.xlogy(ops.array(0.0), ops.array(0.0)), 0.0)
