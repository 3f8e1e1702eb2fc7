"""The multinomial distribution."""

import math

from ppl import constraints, ops
from ppl.distributions.categorical import normalised
from ppl.distributions.counting import counts_up_to_largest, draw_counts, in_range, log_choose, log_power, times_log, whole_count
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution, as_floating
from ppl.distributions.gaps import NOT_PATHWISE, VECTOR


class Multinomial(Distribution):
    r"""Counts of the categories in :math:`n` independent draws.

    .. math:: P(x) = \frac{n!}{\prod_k x_k!} \prod_k p_k^{x_k}, \quad \sum_k x_k = n

    :param total_count: :math:`n`, a whole number; may be an array.
    :param probs: weights along the last axis, not negative; they are normalised.
    :param logits: logarithms of weights; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Multinomial(5, [0.2, 0.3, 0.5]).log_prob([1.0, 1.0, 3.0])), 4)
    -1.8971
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }
    gaps = {
        **VECTOR,
        "rsample": NOT_PATHWISE,
        "enumerate_support": "the compositions of a number are too many to be of use",
    }

    def __init__(self, total_count=1, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        self._whole_count = whole_count(total_count)
        weights = probs if logits is None else logits
        (parameter, self.total_count), batch_shape = self.promote_events((weights, 1), (total_count, 0))
        setattr(self, self._given, normalised(type(self).__name__, self._given, parameter, validate_args))
        super().__init__(batch_shape, tuple(parameter.shape[-1:]), validate_args=validate_args)

    @property
    def support(self):
        """Counts that sum to ``total_count``."""
        return constraints.multinomial(self.total_count)

    probs = derived_parameter(lambda self: ops.exp(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs))
    mean = property(lambda self: ops.expand_dims(self.total_count, -1) * self.probs)
    variance = property(lambda self: self.mean * (1.0 - self.probs))

    @property
    def param_shape(self):
        """The shape of the weights."""
        return self.shape()

    def sample(self, sample_shape=(), rng_key=None):
        return draw_counts(rng_key, self.total_count, ops.autodiff.stop_gradient(self.probs), self.shape(sample_shape))

    def log_prob(self, value):
        inside, value = counts_of(self.total_count, value)
        # Category after category, so many of those that are left: a product of binomial coefficients.
        left = ops.flip(ops.cumsum(ops.flip(value, axis=-1), axis=-1), axis=-1)
        ways = log_choose(value, left - value)
        score = log_power(self.probs, value) if self._given == "probs" else times_log(value, self.logits)
        return ops.where(inside, ops.sum(ways + score, axis=-1), -math.inf)

    def entropy(self):
        # -E log P; the expectation of each log x_k! is a sum over the binomial distribution of x_k.
        _, counts = counts_up_to_largest(self, "entropy")
        probs, total = self.probs, ops.expand_dims(self.total_count, -1)
        inside, counts = in_range(ops.reshape(counts, (-1, *(1,) * len(self.shape()))), total)
        log_mass = log_choose(counts, total - counts) + ops.xlogy(counts, probs) + ops.xlog1py(total - counts, -probs)
        factorials = ops.sum(ops.where(inside, ops.exp(log_mass), 0.0) * ops.gammaln(counts + 1.0), axis=0)
        return ops.sum(factorials - total * ops.xlogy(probs, probs), axis=-1) - ops.gammaln(self.total_count + 1.0)


class MultinomialLogits(Multinomial):
    r"""Multinomial distribution of log weights :math:`\ell`.

    .. math:: P(x) = \frac{n!}{\prod_k x_k!} e^{\sum_k x_k \ell_k} / \left(\sum_k e^{\ell_k}\right)^n

    :param logits: logarithms of weights along the last axis.
    :param total_count: :math:`n`, a whole number; may be an array.
    :raises ConstraintError: if ``total_count`` is no whole number.

    >>> from ppl import distributions as dist
    >>> round(float(dist.MultinomialLogits([0.0, 1.0, -2.0], 5).log_prob([1.0, 3.0, 1.0])), 4)
    -2.7493
    """

    arg_constraints = {"total_count": constraints.nonnegative_integer, "logits": constraints.real_vector}

    def __init__(self, logits, total_count=1, *, validate_args=None):
        super().__init__(total_count, logits=logits, validate_args=validate_args)


class MultinomialProbs(Multinomial):
    r"""Multinomial distribution of weights :math:`w`.

    .. math:: P(x) = \frac{n!}{\prod_k x_k!} \prod_k p_k^{x_k}, \quad p_k = w_k / \sum_j w_j

    :param probs: weights along the last axis, not negative; they are normalised.
    :param total_count: :math:`n`, a whole number; may be an array.
    :raises ConstraintError: if a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.MultinomialProbs([0.2, 0.3, 0.5], 5).log_prob([1.0, 1.0, 3.0])), 4)
    -1.8971
    """

    arg_constraints = {"total_count": constraints.nonnegative_integer, "probs": constraints.simplex}

    def __init__(self, probs, total_count=1, *, validate_args=None):
        super().__init__(total_count, probs=probs, validate_args=validate_args)


def counts_of(total_count, value):
    """Return whether vectors of counts sum to ``total_count``, and the floating vectors, zero in place of negative counts."""
    (value,) = as_floating(value)
    inside = ops.all(value >= 0, axis=-1) & (ops.sum(value, axis=-1) == total_count)
    return inside, ops.where(value >= 0, value, ops.zeros_like(value))
