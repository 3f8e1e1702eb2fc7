"""The Bernoulli distribution."""

from ppl import constraints, ops
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution, as_floating
from ppl.ops import random


class Bernoulli(Distribution):
    r"""Bernoulli distribution: one with probability :math:`p`, else zero.

    .. math:: P(x) = p^x (1 - p)^{1 - x}, \quad \operatorname{logit} p = \ell

    :param probs: probability of one, in [0, 1].
    :param logits: log odds of one; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or ``probs`` leaves [0, 1].

    >>> from ppl import distributions as dist
    >>> round(float(dist.Bernoulli(0.25).log_prob(1.0)), 4)
    -1.3863
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        (parameter,) = self.promote(probs if logits is None else logits)
        setattr(self, self._given, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))
    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1.0 - self.probs))

    def sample(self, sample_shape=(), rng_key=None):
        return random.bernoulli(rng_key, ops.autodiff.stop_gradient(self.probs), self.shape(sample_shape))

    def log_prob(self, value):
        (value,) = as_floating(value)
        if self._given == "logits":
            # softplus of the signed log odds, not value * logits - softplus(logits): the latter is NaN at infinite log odds.
            return -ops.softplus((1.0 - 2.0 * value) * self.logits)
        return ops.xlogy(value, self.probs) + ops.xlog1py(1.0 - value, -self.probs)

    def enumerate_support(self, expand=True):
        return self._enumerated(ops.array([0.0, 1.0], dtype=self.dtype), expand)

    def entropy(self):
        probs = self.probs
        return -ops.xlogy(probs, probs) - ops.xlog1py(1.0 - probs, -probs)
