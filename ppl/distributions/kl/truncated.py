"""Divergences of normals cut off at bounds."""

import math

from ppl import ops
from ppl.distributions.kl.expectations import by_expectation, normal_density
from ppl.distributions.kl.moments import Moments
from ppl.distributions.kl.registry import register_kl
from ppl.distributions.normal import HALF_LOG_TWO_PI, Normal
from ppl.distributions.truncated_normal import TruncatedNormal


@register_kl(TruncatedNormal, Normal)
def truncated_in_normal(p, q):
    """Return the expectation of the difference; the moments of ``p`` are the family's."""
    return by_expectation(p, q, Moments, normal_density)


@register_kl(TruncatedNormal, TruncatedNormal)
def truncated_normal(p, q):
    """The two densities of ``q``, truncated and not, tell at one point what mass it keeps."""
    point = q.loc
    for bound in (q.low, q.high):
        point = point if bound is None else bound
    log_mass = -0.5 * ops.square((point - q.loc) / q.scale) - ops.log(q.scale) - HALF_LOG_TWO_PI - q.log_prob(point)
    divergence = truncated_in_normal(p, q) + log_mass
    for bound, mine, sign in ((q.low, p.low, 1.0), (q.high, p.high, -1.0)):
        if bound is not None:
            held = (sign * (mine - bound) >= 0.0) if mine is not None else ops.zeros_like(bound) > 0.0
            divergence = ops.where(held, divergence, math.inf)
    return divergence
