"""What families of counts share: binomial coefficients, the range of counts, one common total, and draws of many counts."""

import math

from ppl import ops
from ppl.distributions.distribution import as_floating
from ppl.errors import GapError
from ppl.ops import random


def log_multisets(size, kinds):
    r"""Return :math:`\log \Gamma(a + k) / (\Gamma(a) \, k!)`, for whole :math:`a` the number of multisets of ``size`` k.

    One stable ``betaln`` takes the place of three log-gammas, whose difference loses nine digits at counts of a million.

    :param size: :math:`k`, not negative.
    :param kinds: :math:`a`, positive, not only whole.
    """
    return -ops.log(kinds + size) - ops.betaln(size + 1.0, kinds)


def log_choose(successes, failures):
    """Return the logarithm of the number of orders of so many successes and failures."""
    return log_multisets(successes, failures + 1.0)


def times_log(count, log_weight):
    """Return ``count * log_weight``, zero where ``count`` is zero even if the logarithm is infinite."""
    nothing = count == 0
    return count * ops.where(nothing, ops.zeros_like(log_weight), log_weight)


def log_power(weight, count):
    r"""Return :math:`k \log w`, zero where both are zero, and ``-inf`` without a gradient where the weight alone is.

    A sum over enumerated sites has terms that are impossible, each with a weight of zero, which no gradient there may make NaN.
    """
    impossible = (weight == 0) & (count != 0)
    return ops.where(impossible, -math.inf, ops.xlogy(count, ops.where(impossible, ops.ones_like(weight), weight)))


def log_power_of_rest(weight, count):
    r"""Return :math:`k \log(1 - w)` as :func:`log_power` does, precise for a small weight."""
    impossible = (weight == 1) & (count != 0)
    return ops.where(impossible, -math.inf, ops.xlog1py(count, ops.where(impossible, ops.zeros_like(weight), -weight)))


def in_range(value, most=None):
    """Return whether each number lies from zero to ``most``, and the floating numbers with zero in place of the others."""
    (value,) = as_floating(value)
    inside = value >= 0 if most is None else (value >= 0) & (value <= most)
    return inside, ops.where(inside, value, ops.zeros_like(value))


def whole_count(total_count):
    """Return ``total_count`` if it is one Python int, which stays known inside compiled code, else ``None``."""
    return total_count if isinstance(total_count, int) else None


def counts_up_to_largest(distribution, operation):
    """Return the least ``total_count`` of a batch as an int, and a vector of all counts up to the largest.

    :raises GapError: if compiled code hides them.
    """
    family, known = type(distribution).__name__, distribution.__dict__.get("_whole_count")
    if known is None and ops.autodiff.is_tracing():
        raise GapError(f"{family} has {operation} inside compiled code only if total_count is a Python int; received an array")
    counts = ops.to_numpy(distribution.total_count) if known is None else None
    least, most = (known, known) if counts is None else (int(counts.min()), int(counts.max()))
    return least, ops.arange(0, most + 1, dtype=distribution.dtype)


def counts_in_common(distribution):
    """Return a vector of the counts up to ``total_count``, which is one number for a whole batch.

    :raises GapError: if it is not, or if compiled code hides it.
    """
    least, counts = counts_up_to_largest(distribution, "enumerate_support")
    most = counts.shape[0] - 1
    if least != most:
        family = type(distribution).__name__
        raise GapError(
            f"{family} has enumerate_support only for one total_count; received counts from {least} to {most}; "
            f"try one {family} for each"
        )
    return counts


def summed_entropy(log_probs):
    """Return the entropy, in nats, of a distribution whose log probabilities stand along the leading axis."""
    finite = ops.where(log_probs == -math.inf, ops.zeros_like(log_probs), log_probs)
    return -ops.sum(ops.exp(log_probs) * finite, axis=0)


def draw_counts(rng_key, total_count, probs, shape):
    """Draw multinomial counts of ``shape`` (categories last), category by category: each count is binomial given those before.

    The work is one binomial draw a category, whatever the total (Davis 1993, "The computer generation of multinomial random
    variates").

    :param total_count: how many to distribute, broadcast with ``shape[:-1]``.
    :param probs: probabilities along the last axis, broadcast with ``shape``.
    """
    batch, categories = tuple(shape[:-1]), shape[-1]
    left = ops.broadcast_to(total_count, batch)
    if categories == 1:
        return ops.expand_dims(left, -1)
    rest = ops.flip(ops.cumsum(ops.flip(probs, axis=-1), axis=-1), axis=-1)
    share = ops.where(rest > 0, probs / ops.where(rest > 0, rest, ops.ones_like(rest)), ops.zeros_like(rest))
    share = ops.moveaxis(ops.broadcast_to(ops.minimum(share, 1.0), tuple(shape)), -1, 0)[: categories - 1]

    def draw(left, step):
        index, share = step
        count = random.binomial(random.fold_in(rng_key, index), left, share, batch)
        return left - count, count

    left, counts = ops.control.scan(draw, left, (ops.arange(categories - 1), share))
    return ops.moveaxis(ops.concat([counts, ops.expand_dims(left, 0)], axis=0), 0, -1)
