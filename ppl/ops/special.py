"""Special functions under their scipy.special names. Each acts elementwise, broadcasts and has gradients in the
arguments named; on numpy the gradients are our own and tested against finite differences.

>>> from ppl import ops
>>> round(float(ops.gammaln(ops.array(5.0))), 4)
3.1781
"""

from ppl.ops.dispatch import dispatched


@dispatched("special")
def gammaln(x):
    """Return the logarithm of the absolute gamma function; gradient ``digamma``."""


@dispatched("special")
def digamma(x):
    """Return the derivative of ``gammaln``; gradient ``polygamma(1, x)``."""


@dispatched("special")
def polygamma(n, x):
    """Return the ``n``-th derivative of ``digamma``, ``n`` a non-negative int; gradient in ``x``."""


@dispatched("special")
def betaln(a, b):
    """Return the logarithm of the beta function; gradients in ``a`` and ``b``."""


@dispatched("special")
def gammainc(a, x):
    """Return the regularized lower incomplete gamma function P(a, x); gradients in ``a`` and ``x``."""


@dispatched("special")
def gammaincc(a, x):
    """Return the regularized upper incomplete gamma function Q(a, x); gradients in ``a`` and ``x``."""


@dispatched("special")
def betainc(a, b, x):
    """Return the regularized incomplete beta function I_x(a, b); gradients in ``a``, ``b`` and ``x``."""


@dispatched("special")
def erf(x):
    """Return the error function."""


@dispatched("special")
def erfc(x):
    """Return ``1 - erf(x)`` without cancellation."""


@dispatched("special")
def erfinv(x):
    """Return the inverse of ``erf`` on (-1, 1)."""


@dispatched("special")
def ndtr(x):
    """Return the standard normal distribution function."""


@dispatched("special")
def ndtri(x):
    """Return the standard normal quantile of a probability in (0, 1)."""


@dispatched("special")
def log_ndtr(x):
    """Return the logarithm of ``ndtr``, accurate far in the left tail, gradient included."""


@dispatched("special")
def expit(x):
    """Return the logistic sigmoid ``1 / (1 + exp(-x))``."""


@dispatched("special")
def log_expit(x):
    """Return ``log(expit(x))`` without overflow."""


@dispatched("special")
def logit(x):
    """Return ``log(x / (1 - x))`` for a probability."""


@dispatched("special")
def softplus(x):
    """Return ``log(1 + exp(x))`` without overflow."""


@dispatched("special")
def xlogy(x, y):
    """Return ``x * log(y)``, zero where ``x`` is zero; the gradients are finite there too."""


@dispatched("special")
def xlog1py(x, y):
    """Return ``x * log1p(y)``, zero where ``x`` is zero; the gradients are finite there too."""


@dispatched("special")
def i0e(x):
    """Return ``exp(-|x|) I_0(x)``, the scaled modified Bessel function of order 0."""


@dispatched("special")
def i1e(x):
    """Return ``exp(-|x|) I_1(x)``, the scaled modified Bessel function of order 1."""


@dispatched("special")
def logsumexp(x, axis=None, keepdims=False):
    """Return ``log(sum(exp(x)))`` without overflow; ``-inf`` (and a zero gradient) where all are ``-inf``."""


@dispatched("special")
def softmax(x, axis=-1):
    """Return ``exp(x) / sum(exp(x))`` along ``axis``."""


@dispatched("special")
def log_softmax(x, axis=-1):
    """Return ``x - logsumexp(x)`` along ``axis``."""
