"""Linear algebra over ``torch.linalg`` (see the declarations in :mod:`ppl.ops.linalg`)."""

import contextvars
import math

import torch

from ppl_torch.convert import floating, floatings, pair, promoted, tensors


def matmul(x1, x2):
    return torch.matmul(*promoted(list(pair(x1, x2))))


def einsum(equation, *operands):
    return torch.einsum(equation, *promoted(tensors(operands)))


def vecdot(x1, x2):
    x1, x2 = pair(x1, x2)
    return torch.sum(x1 * x2, dim=-1)


def outer(x1, x2):
    x1, x2 = pair(x1, x2)
    return x1.unsqueeze(-1) * x2.unsqueeze(-2)


def trace(x):
    return torch.diagonal(floating(x), dim1=-2, dim2=-1).sum(-1)


# Whether invalid operations give NaN where torch would raise.
lenient = contextvars.ContextVar("lenient", default=False)


def cholesky(x):
    x = floating(x)
    if not lenient.get():
        return torch.linalg.cholesky(x)
    factor, failed_minor = torch.linalg.cholesky_ex(x)
    return torch.where((failed_minor == 0)[..., None, None], factor, math.nan)


def solve(a, b):
    return torch.linalg.solve(*floatings(a, b))


def solve_triangular(a, b, lower=True, transpose=False):
    a, b = floatings(a, b)
    return torch.linalg.solve_triangular(a.mT if transpose else a, b, upper=lower == transpose)


def cholesky_solve(factor, b):
    # torch.cholesky_solve would give the gradient of the upper triangle too, which is not read.
    return solve_triangular(factor, solve_triangular(factor, b), transpose=True)


def inv(x):
    return torch.linalg.inv(floating(x))


def det(x):
    return torch.linalg.det(floating(x))


def slogdet(x):
    sign, logabsdet = torch.linalg.slogdet(floating(x))
    return sign, logabsdet


def eigh(x):
    values, vectors = torch.linalg.eigh(floating(x))
    return values, vectors


def qr(x):
    q, r = torch.linalg.qr(floating(x))
    return q, r


def svd(x):
    u, s, vh = torch.linalg.svd(floating(x), full_matrices=False)
    return u, s, vh
