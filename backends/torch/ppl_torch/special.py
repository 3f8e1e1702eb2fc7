"""Special functions over ``torch.special``, with the derivatives that torch lacks (see :mod:`ppl.ops.special`)."""

import math

import torch

from ppl_torch.convert import floating, floatings
from ppl_torch.incomplete import betainc, betaln, gammainc, gammaincc
from ppl_torch.tracing import is_tracing

__all__ = [
    "betainc", "betaln", "digamma", "erf", "erfc", "erfinv", "expit", "gammainc", "gammaincc", "gammaln", "i0e", "i1e",
    "log_expit", "log_ndtr", "log_softmax", "logit", "logsumexp", "ndtr", "ndtri", "polygamma", "softmax", "softplus",
    "xlog1py", "xlogy",
]  # fmt: skip


def gammaln(x):
    return torch.lgamma(floating(x))


def digamma(x):
    return torch.digamma(floating(x))


def polygamma(n, x):
    x = floating(x)
    if n == 0:
        return torch.digamma(x)
    # torch's own trigamma has ten digits; the Hurwitz zeta function has all (Abramowitz and Stegun 6.4.10).
    return (-1) ** (n + 1) * math.factorial(n) * torch.special.zeta(torch.full_like(x, n + 1), x)


def erf(x):
    return torch.erf(floating(x))


def erfc(x):
    return torch.erfc(floating(x))


def erfinv(x):
    return torch.erfinv(floating(x))


def ndtr(x):
    # torch.special.ndtr is zero below -8; through erfc the left tail keeps its digits.
    return 0.5 * torch.erfc(floating(x) * -math.sqrt(0.5))


def ndtri(x):
    return torch.special.ndtri(floating(x))


def log_ndtr(x):
    return torch.special.log_ndtr(floating(x))


def expit(x):
    return torch.sigmoid(floating(x))


def log_expit(x):
    return torch.nn.functional.logsigmoid(floating(x))


def logit(x):
    return torch.logit(floating(x))


def softplus(x):
    # Beyond the threshold torch returns x itself; at its default of 20 that errs by 2e-9.
    return torch.nn.functional.softplus(floating(x), threshold=40.0)


def xlogy(x, y):
    x, y = floatings(x, y)
    if x.ndim == 0 and x.device.type == "cpu" and not is_tracing() and bool(x != 0):
        # One factor that is not zero needs no guard, and torch's own logarithm is vectorised.
        return x * torch.log(y)
    return torch.xlogy(x, torch.where((x == 0) & (y <= 0), 1.0, y))


def xlog1py(x, y):
    x, y = floatings(x, y)
    return torch.special.xlog1py(x, torch.where((x == 0) & (y <= -1), 0.0, y))


def i0e(x):
    return torch.special.i0e(floating(x))


def i1e(x):
    return torch.special.i1e(floating(x))


def logsumexp(x, axis=None, keepdims=False):
    x = floating(x)
    dims = tuple(range(x.ndim)) if axis is None else axis
    if dims == ():
        return x
    # Where all are -inf torch's gradient is NaN; there the elements are replaced before and the result after.
    empty = torch.amax(x, dim=dims, keepdim=True) == -math.inf
    result = torch.logsumexp(torch.where(empty, 0.0, x), dim=dims, keepdim=True)
    result = torch.where(empty, -math.inf, result)
    return result if keepdims else torch.squeeze(result, dims)


def softmax(x, axis=-1):
    return torch.softmax(floating(x), dim=axis)


def log_softmax(x, axis=-1):
    return torch.log_softmax(floating(x), dim=axis)
