"""Special functions on ``jax.scipy.special``; what it lacks or loses digits in is written here.

These are ``betaln`` and ``log_ndtr`` (1e-6 and 1e-9 absolute there), the gradients of ``betainc`` in its parameters, and those of
``xlogy``, ``xlog1py`` and ``logsumexp`` at the edge of their domain.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.scipy import special

from ppl_jax.dtypes import floating, promote
from ppl_jax.incomplete_beta import betainc as _betainc
from ppl_jax.stirling import stirling_correction

STIRLING_FROM = 10.0
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
LOG1P_BELOW = 0.25
NORMAL_TAIL_FROM = {"float64": -20.0}


def gammaln(x):
    """Return the logarithm of the absolute gamma function."""
    return special.gammaln(x)


def digamma(x):
    """Return the derivative of ``gammaln``."""
    return special.digamma(x)


def polygamma(n, x):
    """Return the ``n``-th derivative of ``digamma``."""
    return special.digamma(x) if n == 0 else special.polygamma(n, x)


def betaln(a, b):
    """Return the logarithm of the beta function; from 10 up by Stirling's series, which avoids the cancellation."""
    return _betaln(*promote(a, b))


@jax.jit
def _betaln(a, b):
    small, large = jnp.minimum(a, b), jnp.maximum(a, b)
    direct = special.gammaln(large) - special.gammaln(small + large)
    far = jnp.where(large < STIRLING_FROM, STIRLING_FROM, large)
    total = small + far
    corrections, ratio = stirling_correction(far) - stirling_correction(total), jnp.log1p(small / far)
    series = corrections - (total - 0.5) * ratio - small * (jnp.log(far) - 1.0)
    one_far = special.gammaln(small) + jnp.where(large < STIRLING_FROM, direct, series)
    # With both far, the log-gamma of the smaller would cancel too.
    near = jnp.where(small < STIRLING_FROM, STIRLING_FROM, small)
    share = near / (near + far)
    both_far = HALF_LOG_TWO_PI + near * jnp.log(share) - far * ratio - 0.5 * jnp.log(share * far) + corrections
    return jnp.where(small < STIRLING_FROM, one_far, both_far + stirling_correction(near))


def gammainc(a, x):
    """Return P(a, x)."""
    return special.gammainc(a, x)


def gammaincc(a, x):
    """Return Q(a, x)."""
    return special.gammaincc(a, x)


def betainc(a, b, x):
    """Return I_x(a, b)."""
    return _betainc(*promote(a, b, x))


def erf(x):
    """Return the error function."""
    return special.erf(x)


def erfc(x):
    """Return ``1 - erf(x)``."""
    return special.erfc(x)


def erfinv(x):
    """Return the inverse of ``erf``."""
    return special.erfinv(x)


def ndtr(x):
    """Return the standard normal distribution function."""
    return special.ndtr(x)


def ndtri(x):
    """Return the standard normal quantile."""
    return special.ndtri(x)


def log_ndtr(x):
    """Return the logarithm of ``ndtr``."""
    return _log_ndtr(floating(x))


@jax.jit
def _log_ndtr(x):
    threshold = NORMAL_TAIL_FROM.get(x.dtype.name, -10.0)
    tail = x < threshold
    # Each branch sees only arguments where it is finite: an infinity in the branch not taken would make the gradient NaN.
    middle = jnp.where(tail | (x > 0), 0.0, x)
    below = jnp.log(0.5 * special.erfc(-middle / math.sqrt(2.0)))
    above = jnp.log1p(-0.5 * special.erfc(jnp.where(x > 0, x, 0.0) / math.sqrt(2.0)))
    return jnp.where(tail, _log_ndtr_tail(jnp.where(tail, x, threshold)), jnp.where(x > 0, above, below))


def _log_ndtr_tail(x):
    """Return the asymptotic series of ``log_ndtr`` (Abramowitz and Stegun 26.2.12)."""
    inverse_square = 1.0 / (x * x)
    series = jnp.ones_like(x)
    for factor in range(17, 0, -2):
        series = 1.0 - factor * inverse_square * series
    return -0.5 * x * x - jnp.log(-x) - 0.5 * math.log(2.0 * math.pi) + jnp.log(series)


def expit(x):
    """Return the logistic sigmoid."""
    return special.expit(x)


def log_expit(x):
    """Return ``log(expit(x))``."""
    return jax.nn.log_sigmoid(x)


def logit(x):
    """Return ``log(x / (1 - x))``."""
    return special.logit(x)


def softplus(x):
    """Return ``log(1 + exp(x))``."""
    return jax.nn.softplus(x)


def xlogy(x, y):
    """Return ``x * log(y)``, zero where ``x`` is zero."""
    return _xlogy(*promote(x, y))


@jax.jit
def _xlogy(x, y):
    zero = x == 0
    # At x = 0 the derivative in x is log(y), or 0 where that is infinite too: XLA takes denormal numbers for zero.
    safe = jnp.where(zero & ((y < jnp.finfo(y.dtype).tiny) | jnp.isinf(y)), 1.0, y)
    return x * jnp.log(safe)


def xlog1py(x, y):
    """Return ``x * log1p(y)``, zero where ``x`` is zero."""
    return _xlog1py(*promote(x, y))


@jax.jit
def _xlog1py(x, y):
    safe = jnp.where((x == 0) & ((y <= -1) | jnp.isinf(y)), 0.0, y)
    # XLA's log1p loses two digits about -0.4; that far from zero the logarithm of the sum has them all.
    small = jnp.abs(safe) < LOG1P_BELOW
    return x * jnp.where(small, jnp.log1p(jnp.where(small, safe, 0.0)), jnp.log(jnp.where(small, 1.0, 1.0 + safe)))


def i0e(x):
    """Return ``exp(-|x|) I_0(x)``."""
    return special.i0e(x)


def i1e(x):
    """Return ``exp(-|x|) I_1(x)``."""
    return special.i1e(x)


def logsumexp(x, axis=None, keepdims=False):
    """Return ``log(sum(exp(x)))``; where all elements are ``-inf`` the gradient is zero."""
    return _logsumexp(floating(x), tuple(axis) if isinstance(axis, list) else axis, keepdims)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _logsumexp(x, axis, keepdims):
    largest = jnp.max(x, axis=axis, keepdims=True)
    shift = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    total = jnp.sum(jnp.exp(x - shift), axis=axis, keepdims=True)
    empty = total == 0
    # The inner where keeps log away from zero, whose infinite derivative times zero would be NaN.
    result = jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1.0, total)) + shift)
    return result if keepdims else jnp.squeeze(result, axis)


def softmax(x, axis=-1):
    """Return ``exp(x) / sum(exp(x))``."""
    return jax.nn.softmax(x, axis=axis)


def log_softmax(x, axis=-1):
    """Return ``x - logsumexp(x)``."""
    return jax.nn.log_softmax(x, axis=axis)
