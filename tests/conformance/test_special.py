"""Special functions: values against scipy and mpmath, gradients against closed forms, and the extremes."""

import mpmath
import numpy as np
import pytest
import scipy.special as sp
from kit import each

from ppl.testing import assert_close
from ppl.testing.strict import declared_functions
from ppl.testing.suites import extremes, rows, special_functions
from ppl.testing.suites.rows import Row
from ppl.testing.suites.special_functions import OTHER, POSITIVE, ROWS

SQRT_PI, SQRT_2PI = np.sqrt(np.pi), np.sqrt(2 * np.pi)
pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow|underflow) encountered:RuntimeWarning")


@each(special_functions.CHECKS)
def test_special_functions(backend, check):
    check()


def normal_density(x):
    return np.exp(-0.5 * x * x) / SQRT_2PI


def _mp(function):
    """Return a function of numpy arrays computed by mpmath with 50 digits."""

    def evaluate(x):
        with mpmath.workdps(50):
            return np.array([float(function(mpmath.mpf(float(v)))) for v in np.asarray(x).ravel()]).reshape(np.shape(x))

    return evaluate


def log_ndtr(x):
    return mpmath.log(mpmath.ncdf(x)) if x < 5 else mpmath.log1p(-mpmath.ncdf(-x))


mp = mpmath.mp


def i1e_derivative(x):
    """The derivative of I_1 is (I_0 + I_2) / 2 (Abramowitz and Stegun 1964, 9.6.26)."""
    return mp.exp(-abs(x)) * ((mp.besseli(0, x) + mp.besseli(2, x)) / 2 - mp.sign(x) * mp.besseli(1, x))


# name, value, derivative
FORMULAS = [
    ("log_ndtr", _mp(log_ndtr), _mp(lambda x: mp.npdf(x) / mp.ncdf(x))),
    ("log_expit", _mp(lambda x: -mp.log1p(mp.exp(-x))), _mp(lambda x: 1 / (1 + mp.exp(x)))),
    ("softplus", _mp(lambda x: mp.log1p(mp.exp(x))), _mp(lambda x: 1 / (1 + mp.exp(-x)))),
    ("expit", _mp(lambda x: 1 / (1 + mp.exp(-x))), _mp(lambda x: 1 / (2 + mp.exp(x) + mp.exp(-x)))),
    ("gammaln", _mp(mp.loggamma), _mp(mp.digamma)),
    ("digamma", _mp(mp.digamma), _mp(lambda x: mp.polygamma(1, x))),
    ("erf", _mp(mp.erf), _mp(lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x))),
    ("erfc", _mp(mp.erfc), _mp(lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x))),
    ("logit", _mp(lambda p: mp.log(p / (1 - p))), _mp(lambda p: 1 / (p * (1 - p)))),
    ("ndtr", _mp(mp.ncdf), normal_density),
    ("ndtri", sp.ndtri, lambda p: 1 / normal_density(sp.ndtri(p))),
    ("erfinv", sp.erfinv, lambda y: SQRT_PI / 2 * np.exp(sp.erfinv(y) ** 2)),
    ("i0e", sp.i0e, lambda x: sp.i1e(x) - np.sign(x) * sp.i0e(x)),
    ("i1e", sp.i1e, _mp(i1e_derivative)),
]


@pytest.mark.parametrize(("name", "value", "derivative"), FORMULAS, ids=[row[0] for row in FORMULAS])
def test_the_table_of_extremes_is_that_of_mpmath(name, value, derivative):
    points, values, derivatives = (np.array(column) for column in extremes.EXTREMES[name])
    assert_close(values, value(points), rtol=1e-13, atol=1e-300)
    assert_close(derivatives, derivative(points), rtol=1e-8, atol=1e-300)


def test_every_extreme_has_a_formula():
    assert {row[0] for row in FORMULAS} == set(extremes.EXTREMES)


def _incomplete_gamma(a, x):
    return mpmath.gammainc(a, 0, x, regularized=True)


@pytest.mark.parametrize(("a", "x"), extremes.INCOMPLETE_GAMMA)
def test_the_table_of_incomplete_gammas_is_that_of_mpmath(a, x):
    with mpmath.workdps(40):
        value = float(_incomplete_gamma(mpmath.mpf(a), mpmath.mpf(x)))
        in_shape = float(mpmath.diff(lambda s: _incomplete_gamma(s, mpmath.mpf(x)), mpmath.mpf(a)))
        in_x = float(mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a)))
    assert extremes.INCOMPLETE_GAMMA[a, x] == pytest.approx((value, in_shape, in_x), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("a", "b", "x"), extremes.INCOMPLETE_BETA)
def test_the_table_of_incomplete_betas_is_that_of_mpmath(a, b, x):
    with mpmath.workdps(40):
        point = [mpmath.mpf(v) for v in (a, b, x)]

        def value(p, q, z):
            return mpmath.betainc(p, q, 0, z, regularized=True)

        expected = [float(value(*point))]
        step = mpmath.mpf(10) ** -12
        for k in range(3):
            above, below = list(point), list(point)
            above[k] += step
            below[k] -= step
            expected.append(float((value(*above) - value(*below)) / (2 * step)))
    assert extremes.INCOMPLETE_BETA[a, b, x] == pytest.approx(tuple(expected), rel=1e-9, abs=1e-300)


def test_every_declared_function_has_a_row():
    assert sorted({row.name for row in ROWS}) == sorted(declared_functions("special"))


@pytest.mark.backends("numpy")
def test_negative_control_a_wrong_oracle_is_found(backend):
    with pytest.raises(AssertionError):
        rows.check_value(Row("gammainc", (POSITIVE, OTHER), sp.gammaincc))
    with pytest.raises(AssertionError):
        rows.check_gradient(Row("gammainc", (POSITIVE, OTHER), lambda a, x: sp.gammainc(a, x) * (1 + 1e-4 * a)), 0)
