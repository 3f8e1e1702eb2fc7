"""Divergences of distributions made of others."""

import math

from ppl import ops
from ppl.constraints import Constraint, is_dependent
from ppl.distributions.delta import Delta
from ppl.distributions.distribution import Distribution
from ppl.distributions.expanded import ExpandedDistribution
from ppl.distributions.independent import Independent
from ppl.distributions.kl.registry import full_batch, has_kl, kl_divergence, register_kl
from ppl.distributions.log_normal import LogNormal
from ppl.distributions.masked import MaskedDistribution, feasible
from ppl.distributions.normal import Normal
from ppl.distributions.transformed import TransformedDistribution
from ppl.transforms import ExpTransform, as_constraint


def _peeled(p, q):
    """Return the two without the event axes that both reinterpret, and how many those are."""
    shared = min(p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims)
    inner = [d.base_dist.to_event(d.reinterpreted_batch_ndims - shared) for d in (p, q)]
    return *inner, shared


@register_kl(Independent, Independent, when=lambda p, q: has_kl(*_peeled(p, q)[:2]))
def independent(p, q):
    """Return the sum over the coordinates."""
    inner_p, inner_q, shared = _peeled(p, q)
    return ops.sum_rightmost(kl_divergence(inner_p, inner_q), shared)


@register_kl(Delta, Distribution)
@register_kl(Delta, TransformedDistribution)
def delta(p, q):
    """What :meth:`log_prob` of the two differ by at the point."""
    support = as_constraint(q.support)
    if not isinstance(support, Constraint) or is_dependent(support):
        return p.log_density - q.log_prob(p.v)
    held = support.check(p.v)
    return p.log_density - ops.where(held, q.log_prob(feasible(q, p.v, held)), -math.inf)


def _base(d, wrapper):
    return d.base_dist if isinstance(d, wrapper) else d


def _expanded_bases(p, q):
    return _base(p, ExpandedDistribution), _base(q, ExpandedDistribution)


def expanded(p, q):
    """Return that of the distributions within; the result is broadcast."""
    return kl_divergence(*_expanded_bases(p, q))


for pair in [
    (ExpandedDistribution, Distribution),
    (Distribution, ExpandedDistribution),
    (ExpandedDistribution, ExpandedDistribution),
    (ExpandedDistribution, MaskedDistribution),
    (MaskedDistribution, ExpandedDistribution),
    (ExpandedDistribution, TransformedDistribution),
    (TransformedDistribution, ExpandedDistribution),
    (Delta, ExpandedDistribution),
]:
    register_kl(*pair, when=lambda p, q: has_kl(*_expanded_bases(p, q)))(expanded)


def _masks(p, q):
    return (d._mask if isinstance(d, MaskedDistribution) else True for d in (p, q))


def _masked_bases(p, q):
    return _base(p, MaskedDistribution), _base(q, MaskedDistribution)


def _has_masked(p, q):
    mask_p, mask_q = _masks(p, q)
    innermost = p
    while hasattr(innermost, "base_dist"):
        innermost = innermost.base_dist
    return has_kl(*_masked_bases(p, q)) and (mask_p is mask_q or "entropy" not in innermost.gaps)


def masked(p, q):
    """The expectation of the difference of what the two say: where one is silent, the other's term remains."""
    (base_p, base_q), (mask_p, mask_q) = _masked_bases(p, q), _masks(p, q)
    if mask_p is False and mask_q is False:
        return full_batch(0.0, p, q)
    divergence = kl_divergence(base_p, base_q)
    if mask_p is mask_q:
        return divergence if mask_p is True else ops.where(mask_p, divergence, 0.0)
    mask_p, mask_q = ops.array(mask_p), ops.array(mask_q)
    entropy = base_p.entropy()
    only_q = ops.where(mask_q, divergence + entropy, 0.0)
    return ops.where(mask_p, ops.where(mask_q, divergence, -entropy), only_q)


for pair in [
    (MaskedDistribution, Distribution),
    (Distribution, MaskedDistribution),
    (MaskedDistribution, MaskedDistribution),
    (MaskedDistribution, TransformedDistribution),
    (TransformedDistribution, MaskedDistribution),
    (Delta, MaskedDistribution),
]:
    register_kl(*pair, when=_has_masked)(masked)


def _same_map(p, q):
    if len(p.transforms) != len(q.transforms) or not all(transform.bijective for transform in p.transforms):
        return False
    return all(_equal(*pair) for pair in zip(p.transforms, q.transforms, strict=True)) and has_kl(p.base_dist, q.base_dist)


def _equal(left, right):
    """Return whether two transforms, or two of their attributes, are the same; arrays are compared by value outside traces."""
    if left is right:
        return True
    if ops.is_array(left) and ops.is_array(right):
        return not ops.autodiff.is_tracing() and tuple(left.shape) == tuple(right.shape) and bool(ops.all(left == right))
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(_equal(*pair) for pair in zip(left, right, strict=True))
    if hasattr(left, "__dict__"):
        mine, theirs = vars(left), vars(right)
        return mine.keys() == theirs.keys() and all(_equal(mine[name], theirs[name]) for name in mine)
    return bool(left == right)


@register_kl(TransformedDistribution, TransformedDistribution, when=_same_map)
def transformed(p, q):
    """A common bijection changes nothing."""
    divergence = kl_divergence(p.base_dist, q.base_dist)
    return ops.sum_rightmost(divergence, len(divergence.shape) - max(len(p.batch_shape), len(q.batch_shape)))


def _named(d):
    """Return the log-normal that an exponential of a normal is, any other distribution as it is."""
    is_log_normal = (
        isinstance(d, TransformedDistribution) and d.transforms == [ExpTransform()] and isinstance(d.base_dist, Normal)
    )
    return LogNormal(d.base_dist.loc, d.base_dist.scale, validate_args=False) if is_log_normal else d


def _has_name(p, q):
    first, second = _named(p), _named(q)
    return (first is not p or second is not q) and has_kl(first, second)


@register_kl(TransformedDistribution, Distribution, when=_has_name)
@register_kl(Distribution, TransformedDistribution, when=_has_name)
def of_log_normal(p, q):
    """Guides for positive variables are exponentials of a normal; their divergence is that of the log-normal."""
    return kl_divergence(_named(p), _named(q))
