"""The Dirichlet distribution."""

from ppl import constraints, ops
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.ops import random


class Dirichlet(ExponentialFamily):
    r"""Dirichlet distribution over the simplex of :math:`K` coordinates.

    .. math:: p(x) = \frac{\Gamma(\sum_k \alpha_k)}{\prod_k \Gamma(\alpha_k)} \prod_k x_k^{\alpha_k - 1}

    :param concentration: :math:`\alpha` along the last axis, positive.
    :raises ConstraintError: if ``concentration`` has a non-positive element.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.Dirichlet(ops.array([1.0, 2.0, 3.0]))
    >>> round(float(d.log_prob(ops.array([0.2, 0.3, 0.5]))), 4)
    1.5041
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, concentration, *, validate_args=None):
        (self.concentration,), batch_shape = self.promote_events((concentration, 1))
        super().__init__(batch_shape, self.concentration.shape[-1:], validate_args=validate_args)

    mean = property(lambda self: self.concentration / ops.sum(self.concentration, axis=-1, keepdims=True))

    @property
    def variance(self):
        total = ops.sum(self.concentration, axis=-1, keepdims=True)
        mean = self.concentration / total
        return mean * (1.0 - mean) / (total + 1.0)

    def rsample(self, sample_shape=(), rng_key=None):
        return random.dirichlet(rng_key, self.concentration, self.shape(sample_shape))

    def log_prob(self, value):
        return ops.sum(ops.xlogy(self.concentration - 1.0, value), axis=-1) - _log_normalizer(self.concentration)

    def entropy(self):
        a = self.concentration
        total = ops.sum(a, axis=-1)
        weighted = ops.sum((a - 1.0) * ops.digamma(a), axis=-1)
        return _log_normalizer(a) - (a.shape[-1] - total) * ops.digamma(total) - weighted


def _log_normalizer(concentration):
    return ops.sum(ops.gammaln(concentration), axis=-1) - ops.gammaln(ops.sum(concentration, axis=-1))
