"""Quantiles without a closed form: the inverse of a smooth distribution function, and its gradient.

The root is sought with ``log F`` in a coordinate over the whole line (``log x`` or ``logit x``), where it is concave for the
gamma and beta families: from a point on the left of the root Newton's method then climbs to it without overshooting. The start
is where the left tail's power law meets the probability, which concavity puts on the left of the root. Should rounding throw a
step out of the bracket, its midpoint is taken.
"""

import functools
import math

from ppl import ops
from ppl.distributions.quadrature import integrate

MAX_STEPS = 200
FROM_OTHER_END = 0.01
# A gamma variable of so large a concentration is close to normal: quadrature over an exponent of this reach has all digits.
LARGE = 20.0
EXPONENT = 40.0
NODES = 48


def invert(fn, start, low, high, *parameters):
    """Return the roots of an increasing function, elementwise, to rounding.

    :param fn: from points and ``parameters`` to ``(value, slope)``; a function of a module, since jax compiles a loop once for
        each function object.
    :param start: the first points, between ``low`` and ``high``.
    :param low: points on the left of the roots, or the ends to stop at where a root lies further left.
    :param high: points on the right, likewise.
    """
    moved, steps = start == start, ops.array(0, dtype="int64")
    return ops.control.while_loop(_unfinished, _step(fn), (start, low, high, moved, steps, parameters))[0]


def _unfinished(state):
    _, _, _, moved, steps, _ = state
    return ops.any(moved) & (steps < MAX_STEPS)


@functools.cache
def _step(fn):
    def step(state):
        point, low, high, _, steps, parameters = state
        value, slope = fn(point, *parameters)
        low, high = ops.where(value < 0, point, low), ops.where(value > 0, point, high)
        newton = point - value / ops.where(slope > 0, slope, ops.ones_like(slope))
        inside = (slope > 0) & (newton >= low) & (newton <= high)
        following = ops.where(value == 0, point, ops.where(inside, newton, 0.5 * (low + high)))
        tolerance = 2.0 * ops.finfo(point).eps * ops.clip(ops.abs(point), min=1.0)
        return following, low, high, ops.abs(following - point) > tolerance, steps + 1, parameters

    return step


def with_gradient(quantile, cdf, density, probability):
    """Return ``quantile`` with the gradients of the implicit function: ``dx = (dp - dF) / f``.

    :param quantile: the value itself, a constant of differentiation.
    :param cdf: the distribution function at it, differentiable in the parameters.
    :param density: the density at it.
    :param probability: the probability it belongs to.
    """
    stop = ops.autodiff.stop_gradient
    density = stop(density)
    usable = (density > 0) & ops.isfinite(density)
    slope = ops.where(usable, 1.0 / ops.where(usable, density, 1.0), 0.0)
    miss = probability - cdf
    return stop(quantile) + slope * (miss - stop(miss))


def standard_gamma(concentration, lower, upper):
    """Return the quantile of a gamma variable of rate one.

    :param concentration: positive.
    :param lower: the probability below it.
    :param upper: ``1 - lower``; who knows it more exactly can say so.
    """
    x = _standard_gamma(concentration, lower, upper)
    safe = ops.where((x > 0) & ops.isfinite(x), x, 1.0)
    a = ops.autodiff.stop_gradient(concentration)
    density = ops.exp((a - 1.0) * ops.log(safe) - safe - ops.gammaln(a))
    return with_gradient(x, ops.gammainc(concentration, safe), ops.where(safe == x, density, 0.0), lower)


def _standard_gamma(concentration, lower, upper):
    a, lower, upper = _constants(concentration, lower, upper)
    tiny = ops.finfo(a).tiny
    below, above = ops.clip(lower, min=tiny, max=1.0), ops.clip(upper, min=tiny, max=1.0)
    target = ops.where(below <= 0.5, ops.log(below), ops.log1p(-ops.clip(above, max=0.5)))
    log_gamma = ops.gammaln(a)
    least, most = ops.full_like(a, math.log(tiny)), ops.full_like(a, math.log(ops.finfo(a).max))
    start = ops.minimum(ops.maximum((target + log_gamma + ops.log(a)) / a, least), most)
    point = invert(_miss_of_gamma, start, start, most, a, log_gamma, target)
    x = ops.where(point <= least, 0.0, ops.exp(point))
    large = (a > LARGE) & ops.isfinite(x)
    safe = (ops.where(large, array, replacement) for array, replacement in ((x, 30.0), (a, 30.0), (below, 0.5), (above, 0.5)))
    return _with_ends(ops.where(large, _polished_gamma(*safe), x), lower, upper, 0.0)


def _polished_gamma(x, a, below, above):
    """Return ``x`` after one more step with tails to rounding: from here on some libraries' incomplete gamma has nine digits.

    A tail over the density of ``log x`` is the integral of ``exp((a - x) s - x (exp(s) - 1 - s))``, over positive ``s`` for the
    upper and negative for the lower; the density is by Stirling's series.
    """
    left = below <= 0.5
    sign = ops.where(left, -ops.ones_like(x), 1.0)
    away = sign * (x - a)
    reach = 2.0 * EXPONENT / (away + ops.sqrt(away * away + EXPONENT * x))

    def integrands(distance):
        s, centre = ops.expand_dims(sign, -1) * distance, ops.expand_dims(x, -1)
        return [ops.exp(-ops.expand_dims(away, -1) * distance - centre * (ops.expm1(s) - s))]

    (ratio,) = integrate(integrands, reach, NODES)
    excess = (x - a) / a
    stirling = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * a * a)) / (a * a)) / a
    log_ratio = ops.where(ops.abs(excess) < 0.5, ops.log1p(excess), ops.log(x / a))
    density = ops.sqrt(a / (2.0 * math.pi)) * ops.exp(a * (log_ratio - excess) - stirling)
    positive = density > 0
    step = ratio - ops.where(left, below, above) / ops.where(positive, density, 1.0)
    return ops.where(positive, x * ops.exp(sign * step), x)


def _miss_of_gamma(point, a, log_gamma, target):
    """Return ``log F`` of the gamma at ``exp(point)`` less ``target``, and its slope."""
    x = ops.exp(point)
    below, above = ops.gammainc(a, x), ops.gammaincc(a, x)
    small = below <= 0.5
    log_below = ops.where(small, ops.log(ops.clip(below, min=ops.finfo(point).tiny)), ops.log1p(-ops.where(small, 0.0, above)))
    return log_below - target, ops.exp(a * point - x - log_gamma - log_below)


def beta_odds(concentration1, concentration0, lower, upper):
    """Return ``logit`` of the quantile of a beta variable, so that both ends keep their digits.

    :param concentration1: positive.
    :param concentration0: positive.
    :param lower: the probability below it.
    :param upper: ``1 - lower``; who knows it more exactly can say so.
    """
    point = _beta_odds(concentration1, concentration0, lower, upper)
    finite = ops.isfinite(point)
    safe = ops.where(finite, point, 0.0)
    a, b = ops.autodiff.stop_gradient(concentration1), ops.autodiff.stop_gradient(concentration0)
    slope = ops.exp(a * ops.log_expit(safe) + b * ops.log_expit(-safe) - ops.betaln(a, b))
    cdf = ops.betainc(concentration1, concentration0, ops.expit(safe))
    return with_gradient(point, cdf, ops.where(finite, slope, 0.0), lower)


def _beta_odds(concentration1, concentration0, lower, upper):
    a, b, lower, upper = _constants(concentration1, concentration0, lower, upper)
    # The smaller of the two tails is solved for: the other's logarithm would have no digits.
    mirrored = lower > upper
    a, b = ops.where(mirrored, b, a), ops.where(mirrored, a, b)
    target = ops.log(ops.clip(ops.where(mirrored, upper, lower), min=ops.finfo(a).tiny, max=0.5))
    log_beta = ops.betaln(a, b)
    most = ops.full_like(a, 0.5 * math.log(ops.finfo(a).max))
    start = ops.minimum(ops.maximum((target + log_beta + ops.log(a)) / a, -most), most)
    point = invert(_miss_of_beta, start, start, most, a, b, log_beta, target)
    point = ops.where(point <= -most, -math.inf, point)
    return _with_ends(ops.where(mirrored, -point, point), lower, upper, -math.inf)


def _miss_of_beta(point, a, b, log_beta, target):
    """Return ``log F`` of the beta at ``expit(point)`` less ``target``, and its slope."""
    # From the other end where its argument has the digits, unless what is left of it is below rounding.
    mirrored = (point > 0) & (point > ops.log(a)) & (target > math.log(FROM_OTHER_END))
    first, second = ops.where(mirrored, b, a), ops.where(mirrored, a, b)
    tail = ops.betainc(first, second, ops.expit(ops.where(mirrored, -point, point)))
    limits = ops.finfo(point)
    rest = ops.log1p(-ops.where(mirrored, ops.clip(tail, max=1.0 - limits.eps), 0.0))
    log_below = ops.where(mirrored, rest, ops.log(ops.clip(tail, min=limits.tiny)))
    log_slope = a * ops.log_expit(point) + b * ops.log_expit(-point) - log_beta - log_below
    return log_below - target, ops.exp(log_slope)


def _constants(*arrays):
    return ops.broadcast_arrays(*(ops.autodiff.stop_gradient(array) for array in arrays))


def _with_ends(quantile, lower, upper, least):
    """Return the quantile with the ends of the support at probabilities 0 and 1, and NaN outside them."""
    quantile = ops.where(lower <= 0, least, ops.where(upper <= 0, math.inf, quantile))
    return ops.where((lower >= 0) & (upper >= 0), quantile, math.nan)
