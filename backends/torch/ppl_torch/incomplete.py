"""Incomplete gamma and beta functions with the parameter derivatives that torch lacks.

Each is an integral of a log-concave density, taken by Gauss-Legendre quadrature over the side of the point on which nothing
cancels, as far as the integrand matters. A fixed number of nodes has no loop and no branch on values, so vmap and recordings hold
it. In float64 the derivatives agree with 30-digit values to about 1e-10 for parameters from 1e-3 to 1e5.
"""

import math

import torch

from ppl_torch.convert import floatings

# Integrands are cut where they have fallen by exp(-DECAY) < 1e-17.
DECAY = 40.0
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def _gauss_legendre(count):
    """Return nodes and weights on (0, 1) from the Jacobi matrix of the Legendre polynomials (Golub and Welsch 1969)."""
    k = torch.arange(1, count, dtype=torch.float64, device="cpu")
    matrix = torch.diag_embed(k / torch.sqrt(4 * k * k - 1), offset=-1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return 0.5 * (nodes + 1), vectors[0] ** 2


NODES, WEIGHTS = _gauss_legendre(96)
ORDERS = torch.arange(24, dtype=torch.float64, device="cpu")


def _double(*values):
    """Return the arguments in float64 with a new last axis for the nodes."""
    return [value.to(torch.float64).unsqueeze(-1) for value in values]


def betaln(a, b):
    a, b = floatings(a, b)
    small, large = torch.minimum(a, b), torch.maximum(a, b)
    direct = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    # Two large log-gammas would cancel: take their difference by Stirling's series.
    far = torch.clamp(large, min=15.0)
    total = small + far
    corrections, ratio = _stirling(far) - _stirling(total), torch.log1p(small / far)
    one_far = torch.lgamma(small) + small - small * torch.log(total) - (far - 0.5) * ratio + corrections
    # With both far, the log-gamma of the smaller would cancel too.
    near = torch.clamp(small, min=15.0)
    share = near / (near + far)
    both_far = (
        HALF_LOG_TWO_PI + near * torch.log(share) - far * ratio - 0.5 * torch.log(share * far) + corrections + _stirling(near)
    )
    return torch.where(large < 15.0, direct, torch.where(small < 15.0, one_far, both_far))


def _stirling(z):
    """Return ``lgamma(z) - (z - 1/2) log z + z - log(2 pi) / 2`` for ``z >= 15`` (Abramowitz and Stegun 6.1.41)."""
    r = 1 / z
    s = r * r
    return r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188))))


def gammainc(a, x):
    return _LowerGamma.apply(*torch.broadcast_tensors(*floatings(a, x)))


def gammaincc(a, x):
    return _UpperGamma.apply(*torch.broadcast_tensors(*floatings(a, x)))


def betainc(a, b, x):
    return _Beta.apply(*torch.broadcast_tensors(*floatings(a, b, x)))


def _gamma_density(a, x):
    """Return the derivative of P(a, x) in ``x``."""
    return torch.exp(torch.xlogy(a - 1, x) - x - torch.lgamma(a))


def _gamma_slope(a, x):
    """Return the derivative of P(a, x) in ``a``."""
    inside = (x > 0) & torch.isfinite(x)
    shape, point = _double(a, torch.where(inside, x, 1.0))
    log_x, centre = torch.log(point), torch.digamma(shape)
    slope = torch.where(point <= 1, _gamma_series(shape, torch.clamp(point, max=1.0)), _gamma_tail(shape, point, log_x, centre))
    slope = slope.squeeze(-1).to(x.dtype)
    return torch.where(inside, slope, torch.where(torch.isnan(x), x, 0.0))


def _gamma_series(a, x):
    """Differentiate ``P = x^a e^-x sum x^n / Gamma(a + n + 1)`` term by term, for ``x <= 1``."""
    order = a + ORDERS.to(a.device) + 1
    log_x = torch.log(x)
    terms = torch.exp((order - 1) * log_x - x - torch.lgamma(order)) * (log_x - torch.digamma(order))
    return terms.sum(-1, keepdim=True)


def _gamma_tail(a, x, log_x, centre):
    """Integrate ``s - digamma(a)`` against the density of a log-gamma, on the side of ``log x`` where it keeps one sign."""
    left = log_x < centre
    linear = DECAY - 2 * (a - x)
    below = (linear + torch.sqrt(linear**2 + 8 * a * DECAY)) / (2 * a)
    above = (a - x + torch.sqrt((x - a) ** 2 + 2 * x * DECAY)) / x
    for _ in range(2):
        above = torch.log1p((DECAY + a * above) / x)
    side = torch.where(left, -1.0, 1.0)
    width = torch.where(left, below, above)
    s = log_x + side * width * NODES.to(a.device)
    integrand = (s - centre) * torch.exp(a * s - torch.exp(s) - torch.lgamma(a))
    return -side * width * (integrand * WEIGHTS.to(a.device)).sum(-1, keepdim=True)


class _LowerGamma(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a, x):
        return torch.special.gammainc(a, x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        a, x = ctx.saved_tensors
        return cotangent * _gamma_slope(a, x), cotangent * _gamma_density(a, x)

    @staticmethod
    def jvp(ctx, tangent_a, tangent_x):
        a, x = ctx.saved_tensors
        return _along((tangent_a, lambda: _gamma_slope(a, x)), (tangent_x, lambda: _gamma_density(a, x)))


class _UpperGamma(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a, x):
        return torch.special.gammaincc(a, x)

    setup_context = staticmethod(_LowerGamma.setup_context)

    @staticmethod
    def backward(ctx, cotangent):
        a, x = ctx.saved_tensors
        return -cotangent * _gamma_slope(a, x), -cotangent * _gamma_density(a, x)

    @staticmethod
    def jvp(ctx, tangent_a, tangent_x):
        return -_LowerGamma.jvp(ctx, tangent_a, tangent_x)


def _along(*pairs):
    """Return the sum of tangents times derivatives; a tangent that is absent costs no derivative."""
    return sum(tangent * derivative() for tangent, derivative in pairs if tangent is not None)


def _beta_density(a, b, x):
    return torch.exp(torch.xlogy(a - 1, x) + torch.special.xlog1py(b - 1, -x) - betaln(a, b))


def _beta_parts(a, b, x, derivatives):
    """Return I_x(a, b) and, if asked, its derivatives in ``a`` and ``b``; else ``None`` for them.

    With ``t = x exp(-u)``, ``I = x^a / B(a, b) * int_0^inf exp(-a u) (1 - x exp(-u))^(b - 1) du``, used for ``x`` below
    about the mean; above it the parameters change places.
    """
    inside = (x > 0) & (x < 1)
    p, q, point = _double(a, b, torch.where(inside, x, 0.5))
    swap = point > (p + 1) / (p + q + 2)
    p, q, point = torch.where(swap, q, p), torch.where(swap, p, q), torch.where(swap, 1 - point, point)
    log_scale = p * torch.log(point) - betaln(p, q)
    small = p < 1
    width = torch.where(small, DECAY / (1 + p), _beta_width(p, q, point))
    u = width * NODES.to(p.device)
    log_rest = torch.log1p(-point * torch.exp(-u))
    # For p < 1 the slow tail exp(-p u) is integrated in closed form and only the quickly falling rest by quadrature.
    factor = torch.where(small, torch.expm1((q - 1) * log_rest), torch.exp((q - 1) * log_rest))
    decay = torch.exp(-p * u)
    weights = width * WEIGHTS.to(p.device) * torch.exp(log_scale)
    closed = torch.where(small, torch.exp(log_scale) / p, 0.0)
    value = closed + (weights * decay * factor).sum(-1, keepdim=True)
    result = _outside(torch.where(swap, 1 - value, value), inside, x, 1.0)
    if not derivatives:
        return result, None, None
    total = torch.digamma(p + q)
    slow = closed / p + (weights * u * decay * factor).sum(-1, keepdim=True)
    d_p = value * (torch.log(point) - torch.digamma(p) + total) - slow
    full = weights * decay * torch.exp((q - 1) * log_rest) * log_rest
    d_q = value * (total - torch.digamma(q)) + full.sum(-1, keepdim=True)
    d_a, d_b = torch.where(swap, -d_q, d_p), torch.where(swap, -d_p, d_q)
    return result, _outside(d_a, inside, x, 0.0), _outside(d_b, inside, x, 0.0)


def _outside(result, inside, x, at_one):
    """Return the result in the dtype of ``x``; where ``x`` is not inside (0, 1) zero, ``at_one``, or NaN beyond the interval."""
    edge = torch.where(x == 1, at_one, torch.zeros_like(x))
    edge = torch.where((x < 0) | (x > 1) | torch.isnan(x), math.nan, edge)
    return torch.where(inside, result.squeeze(-1).to(x.dtype), edge)


def _beta_width(p, q, x):
    """Return where the integrand has fallen by ``exp(-DECAY)``: Newton from above on a concave function never passes the root."""
    start = torch.log1p(-x)
    bonus = torch.clamp(q - 1, min=0.0)
    u = (DECAY - bonus * start) / p
    for _ in range(8):
        y = x * torch.exp(-u)
        height = DECAY - p * u + bonus * (torch.log1p(-y) - start)
        u = u - height / (-p + bonus * y / (1 - y))
    return u


class _Beta(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a, b, x):
        return _beta_parts(a, b, x, derivatives=False)[0]

    setup_context = staticmethod(_LowerGamma.setup_context)

    @staticmethod
    def backward(ctx, cotangent):
        a, b, x = ctx.saved_tensors
        _, d_a, d_b = _beta_parts(a, b, x, derivatives=True)
        return cotangent * d_a, cotangent * d_b, cotangent * _beta_density(a, b, x)

    @staticmethod
    def jvp(ctx, tangent_a, tangent_b, tangent_x):
        a, b, x = ctx.saved_tensors
        _, d_a, d_b = _beta_parts(a, b, x, derivatives=True)
        return _along((tangent_a, lambda: d_a), (tangent_b, lambda: d_b), (tangent_x, lambda: _beta_density(a, b, x)))
