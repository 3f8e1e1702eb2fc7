"""Divergences between families of counts and categories. A term of probability zero counts for nothing, in its gradient too."""

import math

from ppl import ops
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.beta_binomial import BetaBinomial
from ppl.distributions.binomial import Binomial
from ppl.distributions.categorical import Categorical
from ppl.distributions.counting import counts_in_common, counts_up_to_largest, log_choose, times_log
from ppl.distributions.gamma_poisson import GammaPoisson
from ppl.distributions.geometric import Geometric
from ppl.distributions.kl.registry import register_kl
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.negative_binomial import NegativeBinomial
from ppl.distributions.one_hot_categorical import OneHotCategorical
from ppl.distributions.ordered_logistic import OrderedLogistic
from ppl.distributions.poisson import Poisson
from ppl.distributions.zero_inflated import ZeroInflatedNegativeBinomial, ZeroInflatedPoisson
from ppl.errors import ShapeError


def _chances(d):
    """Return the probabilities of one and of zero."""
    return (ops.expit(d.logits), ops.expit(-d.logits)) if d._given == "logits" else (d.probs, 1.0 - d.probs)


def _log_one(d, counted):
    """Return the log probability of one, and zero where it is not ``counted``."""
    if d._given == "logits":
        return ops.where(counted, ops.log_expit(d.logits), 0.0)
    return ops.log(ops.where(counted, d.probs, 1.0))


def _log_zero(d, counted):
    if d._given == "logits":
        return ops.where(counted, ops.log_expit(-d.logits), 0.0)
    return ops.log1p(-ops.where(counted, d.probs, 0.0))


@register_kl(Bernoulli, Bernoulli)
def bernoulli(p, q):
    r"""Return :math:`p \log(p / q) + (1 - p) \log((1 - p) / (1 - q))`."""
    one, zero = _chances(p)
    ones = one * (_log_one(p, one > 0.0) - _log_one(q, one > 0.0))
    return ones + zero * (_log_zero(p, zero > 0.0) - _log_zero(q, zero > 0.0))


@register_kl(Geometric, Geometric)
def geometric(p, q):
    """One trial's divergence times the number of trials up to the first success."""
    return bernoulli(p, q) / _chances(p)[0]


@register_kl(Bernoulli, GammaPoisson)
@register_kl(Bernoulli, Geometric)
@register_kl(Bernoulli, NegativeBinomial)
@register_kl(Bernoulli, Poisson)
@register_kl(Bernoulli, ZeroInflatedNegativeBinomial)
@register_kl(Bernoulli, ZeroInflatedPoisson)
def bernoulli_in_counts(p, q):
    """Return the sum over the two values of ``p``."""
    one, zero = _chances(p)
    ones = one * (_log_one(p, one > 0.0) - ops.where(one > 0.0, q.log_prob(ops.ones_like(one)), 0.0))
    return ones + zero * (_log_zero(p, zero > 0.0) - ops.where(zero > 0.0, q.log_prob(ops.zeros_like(zero)), 0.0))


def _trials(d):
    return d.total_count if isinstance(d, Binomial) else ops.ones_like(_chances(d)[0])


def _known_trials(d):
    """Return the number of trials as an int if it is one even inside compiled code, else ``None``."""
    return 1 if isinstance(d, Bernoulli) else d.__dict__.get("_whole_count")


@register_kl(Binomial, Binomial)
@register_kl(Binomial, Bernoulli)
@register_kl(Bernoulli, Binomial)
def binomial(p, q):
    """With equal numbers of trials, that of one trial times their number; with more in ``q``, a finite sum besides.

    Inside compiled code the sum has no known length if a number of trials is an array; there the result is NaN where they differ.
    """
    n, m, known = _trials(p), _trials(q), (_known_trials(p), _known_trials(q))
    in_common = times_log(n, bernoulli(p, q))
    if ops.autodiff.is_tracing() and None in known:
        return ops.where(n == m, in_common, math.nan)
    if known[0] == known[1] if None not in known else bool(ops.all(n == m)):
        return in_common
    log_zero = _log_zero(q, m > 0.0)
    more = in_common - times_log(ops.maximum(m - n, 0.0 * n), log_zero) + _log_ways_ratio(p, n, ops.maximum(n, m))
    fewer = ops.where(_chances(p)[0] > 0.0, math.inf, -times_log(m, log_zero))
    return ops.where(n > m, fewer, more)


def _log_ways_ratio(p, n, m):
    """Return the expectation of the logarithm of the ratio of binomial coefficients, for ``m`` not below ``n``."""
    counts = counts_up_to_largest(p, "kl_divergence")[1] if isinstance(p, Binomial) else ops.arange(0, 2, dtype=n.dtype)
    counts = ops.reshape(counts, (-1,) + (1,) * len(m.shape))
    inside = counts <= n
    counts = ops.where(inside, counts, 0.0)
    one, zero = _chances(p)
    log_chance = times_log(counts, _log_one(p, one > 0.0)) + times_log(n - counts, _log_zero(p, zero > 0.0))
    possible = (inside & ((counts == 0.0) | (one > 0.0))) & ((counts == n) | (zero > 0.0))
    ways = log_choose(counts, n - counts)
    weight = ops.where(possible, ops.exp(ways + log_chance), 0.0)
    return ops.sum(weight * (ways - log_choose(counts, m - counts)), axis=0)


def _one_number_of_trials(p, q):
    if ops.autodiff.is_tracing():
        return _known_trials(p) is not None and _known_trials(p) == _known_trials(q)
    n = ops.to_numpy(p.total_count)
    return bool((n == n.max()).all() and (ops.to_numpy(q.total_count) == n.max()).all())


@register_kl(BetaBinomial, BetaBinomial, when=_one_number_of_trials)
@register_kl(BetaBinomial, Binomial, when=_one_number_of_trials)
@register_kl(Binomial, BetaBinomial, when=_one_number_of_trials)
def by_enumeration(p, q):
    """Sum over the support, which the two share."""
    dims = max(len(p.batch_shape), len(q.batch_shape))
    counts = ops.reshape(counts_in_common(p), (-1,) + (1,) * dims)
    log_p = p.log_prob(counts)
    possible = log_p > -math.inf
    ratio = ops.where(possible, log_p, 0.0) - ops.where(possible, q.log_prob(counts), 0.0)
    return ops.sum(ops.where(possible, ops.exp(log_p), 0.0) * ratio, axis=0)


@register_kl(Poisson, Poisson)
def poisson(p, q):
    r"""Return :math:`\lambda (\log(\lambda / \mu) - 1) + \mu`."""
    counted = p.rate > 0.0
    log_ratio = ops.log(ops.where(counted, q.rate, 1.0) / ops.where(counted, p.rate, 1.0))
    return ops.where(counted, p.rate * (ops.expm1(log_ratio) - log_ratio), q.rate)


def _equal_total_count(p, q):
    return not ops.autodiff.is_tracing() and bool(ops.all(p.total_count == q.total_count))


@register_kl(NegativeBinomial, NegativeBinomial, when=_equal_total_count)
def negative_binomial(p, q):
    """One trial's divergence times the expected number of trials up to ``total_count`` failures."""
    return p.total_count * bernoulli(p, q) / _chances(p)[1]


@register_kl(Geometric, Bernoulli)
@register_kl(Geometric, Binomial)
@register_kl(NegativeBinomial, Bernoulli)
@register_kl(NegativeBinomial, Binomial)
@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def unbounded_in_bounded(p, q):
    """Infinite, unless ``p`` is certain to be zero."""
    nothing = ops.zeros((), dtype=p.dtype)
    return ops.where(p.log_prob(nothing) == 0.0, -q.log_prob(nothing), math.inf)


@register_kl(Categorical, Categorical)
@register_kl(Categorical, OrderedLogistic)
@register_kl(OneHotCategorical, OneHotCategorical)
@register_kl(OrderedLogistic, Categorical)
@register_kl(OrderedLogistic, OrderedLogistic)
def categorical(p, q):
    r"""Return :math:`\sum_k p_k \log(p_k / q_k)`."""
    weight = p.probs
    sizes = int(weight.shape[-1]), int(q.probs.shape[-1])
    if sizes[0] != sizes[1]:
        raise ShapeError(f"kl_divergence of {type(p).__name__}s needs as many categories, received {sizes[0]} and {sizes[1]}")
    counted = weight > 0.0
    return ops.sum(weight * (_log_weights(p, counted) - _log_weights(q, counted)), axis=-1)


def _log_weights(d, counted):
    if d._given == "probs":
        return ops.log(ops.where(counted, d.probs, 1.0))
    return ops.where(counted, d.logits, 0.0)


@register_kl(Multinomial, Multinomial)
def multinomial(p, q):
    """Counts that add up to different totals never meet."""
    n, m = _whole(p), _whole(q)
    return ops.where(n == m, times_log(n, categorical(p, q)), math.inf)


def _whole(d):
    """Return the total as an array; the native class of some library keeps a number."""
    return ops.array(d.total_count, dtype=d.probs.dtype) if isinstance(d.total_count, (int, float)) else d.total_count
