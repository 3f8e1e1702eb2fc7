"""Special functions over scipy.special, with the derivatives that autograd lacks."""

import math

import autograd.numpy as anp
import numpy as np
import scipy.special
from autograd.extend import defvjp
from autograd.tracer import getval

from ppl_numpy import incomplete, rules
from ppl_numpy.ops import exp, is_floating, log, log1p, maximum, reshape, shape, sign, sum, where
from ppl_numpy.ops import max as largest
from ppl_numpy.primitives import elementwise_vjp, primitive

_quiet = np.errstate


def _alike(x, y):
    """Give a Python number the dtype of the array beside it: not every function of scipy.special does."""
    if isinstance(x, (int, float)) and is_floating(y) and not isinstance(y, float):
        return np.asarray(x, y.dtype), y
    if isinstance(y, (int, float)) and is_floating(x) and not isinstance(x, float):
        return x, np.asarray(y, x.dtype)
    return x, y


_gammaln, _digamma = primitive(scipy.special.gammaln), primitive(scipy.special.digamma)
elementwise_vjp(_gammaln, lambda ans, x: digamma(x))
elementwise_vjp(_digamma, lambda ans, x: polygamma(1, x))


def gammaln(x):
    return _gammaln(x)


def digamma(x):
    return _digamma(x)


_polygamma = primitive(lambda n, x: scipy.special.polygamma(n, x).astype(np.result_type(x, np.float32), copy=False))
elementwise_vjp(_polygamma, None, lambda ans, n, x: polygamma(n + 1, x))


def polygamma(n, x):
    return _polygamma(n, x)


STIRLING_FROM = 15.0
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def _stirling(x):
    """Return ``gammaln(x) - (x - 1/2) log x + x - log(2 pi) / 2`` from 15 up (Abramowitz and Stegun 6.1.41)."""
    r = 1.0 / x
    s = r * r
    return r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188))))


def _betaln_value(a, b):
    """Return ``betaln``; from 15 up the difference of two large log-gammas, which would cancel, by Stirling's series."""
    direct, large = scipy.special.betaln(a, b), np.maximum(a, b)
    if not np.any(large >= STIRLING_FROM):
        return direct
    small, far = np.minimum(a, b), np.maximum(large, STIRLING_FROM)
    total = small + far
    with np.errstate(all="ignore"):
        corrections, ratio = _stirling(far) - _stirling(total), np.log1p(small / far)
        one_far = scipy.special.gammaln(small) + small - small * np.log(total) - (far - 0.5) * ratio + corrections
        # With both far, the log-gamma of the smaller would cancel too.
        near = np.maximum(small, STIRLING_FROM)
        share = near / (near + far)
        both_far = (
            HALF_LOG_TWO_PI + near * np.log(share) - far * ratio - 0.5 * np.log(share * far) + corrections + _stirling(near)
        )
    series = np.where(small < STIRLING_FROM, one_far, both_far)
    return np.where((large >= STIRLING_FROM) & (small > 0.0), series, direct)


_betaln = primitive(_betaln_value)
elementwise_vjp(_betaln, lambda ans, a, b: digamma(a) - digamma(a + b), lambda ans, a, b: digamma(b) - digamma(a + b))


def betaln(a, b):
    return _betaln(*_alike(a, b))


_gammainc, _gammaincc = primitive(scipy.special.gammainc), primitive(scipy.special.gammaincc)
_gammainc_da = primitive(incomplete.gammainc_da)


def _gamma_density(a, x):
    return exp(xlogy(a - 1.0, x) - x - gammaln(a))


elementwise_vjp(_gammainc, lambda ans, a, x: _gammainc_da(a, x), lambda ans, a, x: _gamma_density(a, x))
elementwise_vjp(_gammaincc, lambda ans, a, x: -_gammainc_da(a, x), lambda ans, a, x: -_gamma_density(a, x))
elementwise_vjp(_gammainc_da, None, lambda ans, a, x: _gamma_density(a, x) * (log(x) - digamma(a)))


def gammainc(a, x):
    return _gammainc(*_alike(a, x))


def gammaincc(a, x):
    return _gammaincc(*_alike(a, x))


_betainc = primitive(scipy.special.betainc)
_betainc_da, _betainc_db = primitive(incomplete.betainc_da), primitive(incomplete.betainc_db)


def _beta_density(a, b, x):
    return exp(xlogy(a - 1.0, x) + xlog1py(b - 1.0, -x) - betaln(a, b))


elementwise_vjp(
    _betainc,
    lambda ans, a, b, x: _betainc_da(a, b, x),
    lambda ans, a, b, x: _betainc_db(a, b, x),
    lambda ans, a, b, x: _beta_density(a, b, x),
)


def betainc(a, b, x):
    return _betainc(a, b, x)


_erf, _erfc, _erfinv = primitive(scipy.special.erf), primitive(scipy.special.erfc), primitive(scipy.special.erfinv)
_TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)
elementwise_vjp(_erf, lambda ans, x: _TWO_OVER_ROOT_PI * exp(-x * x))
elementwise_vjp(_erfc, lambda ans, x: -_TWO_OVER_ROOT_PI * exp(-x * x))
elementwise_vjp(_erfinv, lambda ans, x: exp(ans * ans) / _TWO_OVER_ROOT_PI)


def erf(x):
    return _erf(x)


def erfc(x):
    return _erfc(x)


def erfinv(x):
    return _erfinv(x)


_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
_ndtr, _ndtri, _log_ndtr = primitive(scipy.special.ndtr), primitive(scipy.special.ndtri), primitive(scipy.special.log_ndtr)
elementwise_vjp(_ndtr, lambda ans, x: exp(-0.5 * x * x) / _ROOT_TWO_PI)
elementwise_vjp(_ndtri, lambda ans, p: exp(0.5 * ans * ans) * _ROOT_TWO_PI)
elementwise_vjp(_log_ndtr, lambda ans, x: _normal_hazard(x))

# The slope of log_ndtr is sqrt(2 / pi) / erfcx(-x / sqrt 2): a ratio that neither underflows nor cancels in the left tail.
_normal_hazard = primitive(lambda x: math.sqrt(2.0 / math.pi) / scipy.special.erfcx(np.asarray(x) / -math.sqrt(2.0)))
elementwise_vjp(_normal_hazard, lambda ans, x: -ans * (x + ans))


def ndtr(x):
    return _ndtr(x)


def ndtri(x):
    return _ndtri(x)


def log_ndtr(x):
    return _log_ndtr(x)


# From so many numbers on, NumPy's vector instructions repay several calls; scipy's functions take one number after another.
VECTORS_PAY = 1024


def _expit_value(x):
    if np.size(x) < VECTORS_PAY or x.dtype.kind != "f":
        return scipy.special.expit(x)
    with _quiet(over="ignore", under="ignore", invalid="ignore"):
        value = np.exp(np.negative(x))
        value += 1.0
        return np.reciprocal(value, out=value)


def _log_expit_value(x):
    """Return ``min(x, 0) - log1p(exp(-|x|))``, whose terms have one sign: nothing cancels."""
    if np.size(x) < VECTORS_PAY or x.dtype.kind != "f":
        return scipy.special.log_expit(x)
    with _quiet(under="ignore", invalid="ignore"):
        value = np.absolute(x)
        np.exp(np.negative(value, out=value), out=value)
        np.log1p(value, out=value)
        return np.subtract(np.minimum(x, 0.0), value, out=value)


_expit, _log_expit, _logit = primitive(_expit_value), primitive(_log_expit_value), primitive(scipy.special.logit)
elementwise_vjp(_expit, lambda ans, x: ans * expit(-x))
elementwise_vjp(_log_expit, lambda ans, x: expit(-x))
elementwise_vjp(_logit, lambda ans, x: 1.0 / (x * (1.0 - x)))


def expit(x):
    return _expit(x)


def log_expit(x):
    return _log_expit(x)


def logit(x):
    return _logit(x)


_softplus = primitive(lambda x: np.logaddexp(x, np.zeros_like(x)))
elementwise_vjp(_softplus, lambda ans, x: expit(x))


def softplus(x):
    return _softplus(x if is_floating(x) else anp.true_divide(x, 1.0))


def _times_logarithm(function):
    """Return ``x * function(y)``, zero where ``x`` is zero and ``y`` no NaN; numpy's logarithms are faster than scipy's."""

    def value(x, y):
        with np.errstate(divide="ignore", invalid="ignore"):
            product = x * function(y)
            zero = np.equal(x, 0)
            return np.where(zero & ~np.isnan(y), 0.0, product) if np.any(zero) else product

    return value


_xlogy, _xlog1py = primitive(_times_logarithm(np.log)), primitive(_times_logarithm(np.log1p))


def _safe_ratio(x, y):
    """Return ``x / y``, zero where ``x`` is zero."""
    nothing = anp.equal(x, 0)
    return where(nothing, 0.0, x / where(anp.logical_and(nothing, anp.equal(y, 0)), 1.0, y))


def _finite_log(y):
    """Return ``log(y)``, with the largest negative number in the place of minus infinity."""
    value = log(y)
    return where(anp.isneginf(value), log(anp.finfo(anp.result_type(value)).tiny), value)


elementwise_vjp(_xlogy, lambda ans, x, y: _finite_log(y), lambda ans, x, y: _safe_ratio(x, y))
elementwise_vjp(_xlog1py, lambda ans, x, y: _finite_log1p(y), lambda ans, x, y: _safe_ratio(x, 1.0 + y))


def _finite_log1p(y):
    value = log1p(y)
    return where(anp.isneginf(value), log(anp.finfo(anp.result_type(value)).tiny), value)


def xlogy(x, y):
    return _xlogy(*_alike(x, y))


def xlog1py(x, y):
    return _xlog1py(*_alike(x, y))


def _i1e_derivative(ans, x):
    """Return ``i0e(x) - i1e(x) (1 / x + sign(x))``, one half at zero."""
    zero = anp.equal(x, 0)
    return where(zero, 0.5, i0e(x) - ans * (sign(x) + 1.0 / where(zero, 1.0, x)))


_i0e, _i1e = primitive(scipy.special.i0e), primitive(scipy.special.i1e)
elementwise_vjp(_i0e, lambda ans, x: i1e(x) - sign(x) * ans)
elementwise_vjp(_i1e, _i1e_derivative)


def i0e(x):
    return _i0e(x)


def i1e(x):
    return _i1e(x)


def _logsumexp_plain(x, axis, keepdims):
    top = np.max(x, axis=axis, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    with _quiet(all="ignore"):
        total = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    return total if keepdims else np.squeeze(total, axis=axis)


_logsumexp = primitive(_logsumexp_plain, rules.reduction)


def _logsumexp_vjp(ans, x, axis, keepdims):
    size = np.shape(_logsumexp_plain(np.zeros(shape(x)), axis, True))

    def vjp(g):
        total = reshape(ans, size)
        weight = exp(x - where(anp.isfinite(total), total, 0.0))
        tied = anp.equal(x, total)
        weight = where(anp.isposinf(total), tied / maximum(sum(tied, axis=axis, keepdims=True), 1), weight)
        return reshape(g, size) * weight

    return vjp


defvjp(_logsumexp, _logsumexp_vjp)


def logsumexp(x, axis=None, keepdims=False):
    return _logsumexp(x if hasattr(x, "dtype") else np.asarray(x, dtype=float), axis, keepdims)


def softmax(x, axis=-1):
    weight = exp(x - getval(largest(getval(x), axis=axis, keepdims=True)))
    return weight / sum(weight, axis=axis, keepdims=True)


def log_softmax(x, axis=-1):
    return x - logsumexp(x, axis=axis, keepdims=True)
