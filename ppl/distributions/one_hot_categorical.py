"""The categorical distribution over unit vectors."""

import math

from ppl import constraints, ops
from ppl.distributions.categorical import normalised
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution, as_floating
from ppl.distributions.gaps import NOT_PATHWISE, VECTOR
from ppl.ops import random


class OneHotCategorical(Distribution):
    r"""Categorical distribution whose draws are unit vectors :math:`e_k` in place of numbers :math:`k`.

    .. math:: P(e_k) = p_k, \quad p \propto \text{probs} \text{ or } e^{\text{logits}}

    :param probs: weights along the last axis, not negative; they are normalised.
    :param logits: logarithms of weights; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or weights are negative or sum to zero.

    >>> from ppl import distributions as dist
    >>> round(float(dist.OneHotCategorical([1.0, 2.0, 5.0]).log_prob([0.0, 0.0, 1.0])), 4)
    -0.47
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True
    gaps = {**VECTOR, "rsample": NOT_PATHWISE}

    def __init__(self, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        (parameter,), batch_shape = self.promote_events((probs if logits is None else logits, 1))
        setattr(self, self._given, normalised(type(self).__name__, self._given, parameter, validate_args))
        super().__init__(batch_shape, tuple(parameter.shape[-1:]), validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.exp(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs))
    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1.0 - self.probs))

    @property
    def param_shape(self):
        """The shape of the weights."""
        return self.shape()

    def sample(self, sample_shape=(), rng_key=None):
        logits = ops.autodiff.stop_gradient(self.logits)
        indices = random.categorical(rng_key, logits, self.shape(sample_shape)[:-1])
        return ops.one_hot(indices, self.event_shape[-1], dtype=self.dtype)

    def log_prob(self, value):
        (value,) = as_floating(value)
        inside = constraints.one_hot.check(value)
        # Selected, not multiplied with the value: minus infinity, or an infinite gradient, times zero would be NaN.
        table = self.logits if self._given == "logits" else self.probs
        chosen = ops.sum(ops.where(value == 0, ops.zeros_like(table), table), axis=-1)
        if self._given == "probs":
            chosen = ops.log(ops.where(inside, chosen, ops.ones_like(chosen)))
        return ops.where(inside, chosen, -math.inf)

    def entropy(self):
        probs = self.probs
        return -ops.sum(ops.xlogy(probs, probs), axis=-1)

    def enumerate_support(self, expand=True):
        size = self.event_shape[-1]
        values = ops.reshape(ops.eye(size, dtype=self.dtype), (size, *(1,) * len(self.batch_shape), size))
        return ops.broadcast_to(values, (size, *self.shape())) if expand else values
