"""Multinomial counts of Dirichlet probabilities."""

import math

from ppl import constraints, ops
from ppl.distributions.counting import counts_up_to_largest, draw_counts, in_range, log_multisets, whole_count
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NOT_PATHWISE, VECTOR
from ppl.distributions.multinomial import counts_of
from ppl.ops import random


class DirichletMultinomial(Distribution):
    r"""Counts of the categories in :math:`n` draws, of probabilities that are drawn from a Dirichlet distribution.

    .. math:: P(x) = \frac{\Gamma(A) \, n!}{\Gamma(A + n)} \prod_k \frac{\Gamma(\alpha_k + x_k)}{\Gamma(\alpha_k) \, x_k!},
        \quad A = \sum_k \alpha_k, \quad \sum_k x_k = n

    :param concentration: :math:`\alpha`, positive, along the last axis.
    :param total_count: :math:`n`, a whole number; may be an array.
    :param is_sparse: compute ``log_prob`` from the counts above zero only, which saves time where most are zero. Compiled code
        needs to know its shapes, and so computes with all counts.
    :raises ConstraintError: if a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.DirichletMultinomial([1.0, 2.0, 3.0], 5).log_prob([1.0, 1.0, 3.0])), 4)
    -2.5337
    """

    arg_constraints = {
        "concentration": constraints.independent(constraints.positive, 1),
        "total_count": constraints.nonnegative_integer,
    }
    gaps = {
        **VECTOR,
        "rsample": NOT_PATHWISE,
        "enumerate_support": "the compositions of a number are too many to be of use",
    }

    def __init__(self, concentration, total_count=1, is_sparse=False, *, validate_args=None):
        self._whole_count, self.is_sparse = whole_count(total_count), bool(is_sparse)
        parameters, batch_shape = self.promote_events((concentration, 1), (total_count, 0))
        self.concentration, self.total_count = parameters
        super().__init__(batch_shape, tuple(self.concentration.shape[-1:]), validate_args=validate_args)

    @property
    def support(self):
        """Counts that sum to ``total_count``."""
        return constraints.multinomial(self.total_count)

    @property
    def _concentration_sum(self):
        return ops.sum(self.concentration, axis=-1)

    @property
    def mean(self):
        share = self.concentration / ops.expand_dims(self._concentration_sum, -1)
        return ops.expand_dims(self.total_count, -1) * share

    @property
    def variance(self):
        total = self._concentration_sum
        spread = ops.expand_dims((total + self.total_count) / (total + 1.0), -1)
        return self.mean * (1.0 - self.concentration / ops.expand_dims(total, -1)) * spread

    def sample(self, sample_shape=(), rng_key=None):
        key_probs, key_counts = random.split(rng_key)
        shape = self.shape(sample_shape)
        probs = random.dirichlet(key_probs, ops.autodiff.stop_gradient(self.concentration), shape)
        return draw_counts(key_counts, self.total_count, probs, shape)

    def log_prob(self, value):
        inside, value = counts_of(self.total_count, value)
        if self.is_sparse and not ops.autodiff.is_tracing():
            ways = _sum_over_positive(value, self.concentration)
        else:
            ways = ops.sum(log_multisets(value, self.concentration), axis=-1)
        return ops.where(inside, ways - log_multisets(self.total_count, self._concentration_sum), -math.inf)

    def entropy(self):
        # -E log P, a sum over the categories: each count by itself is beta-binomial.
        _, counts = counts_up_to_largest(self, "entropy")
        own, others = self.concentration, ops.expand_dims(self._concentration_sum, -1) - self.concentration
        total_count = ops.expand_dims(self.total_count, -1)
        inside, counts = in_range(ops.reshape(counts, (-1, *(1,) * len(self.shape()))), total_count)
        whole, ways = log_multisets(self.total_count, self._concentration_sum), log_multisets(counts, own)
        mass = ops.exp(ways + log_multisets(total_count - counts, others) - ops.expand_dims(whole, -1))
        return whole - ops.sum(ops.where(inside, mass, 0.0) * ways, axis=(0, -1))


def _sum_over_positive(value, concentration):
    """Return the sum of ``log_multisets`` along the last axis; counts of zero add nothing, and are left out before."""
    shape = ops.broadcast_shapes(tuple(value.shape), tuple(concentration.shape))
    value, concentration = (ops.reshape(ops.broadcast_to(array, shape), (-1,)) for array in (value, concentration))
    (positions,) = ops.to_numpy(value).nonzero()
    rows, positions = ops.array(positions // shape[-1]), ops.array(positions)
    terms = log_multisets(ops.take(value, positions, axis=0), ops.take(concentration, positions, axis=0))
    totals = ops.zeros((math.prod(shape[:-1]),), dtype=concentration.dtype)
    return ops.reshape(ops.index_add(totals, rows, terms), shape[:-1])
