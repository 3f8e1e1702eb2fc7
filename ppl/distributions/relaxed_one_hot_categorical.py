"""The relaxed categorical distribution over the simplex, and its form with discrete draws."""

import math

from ppl import constraints, ops
from ppl.distributions.categorical import normalised
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, NO_CLOSED_FORM, VECTOR
from ppl.distributions.straight_through import check_source, quantized, relaxed
from ppl.ops import random


class RelaxedOneHotCategorical(Distribution):
    r"""Continuous relaxation of one-hot categories at temperature :math:`\tau`: a random point of the simplex.

    A draw is the softmax of :math:`(\log \pi + G) / \tau` for standard Gumbel :math:`G`; it tends to a corner as :math:`\tau`
    does to zero, and coordinate :math:`k` is the largest with probability :math:`\pi_k`.

    .. math:: p(x) = (K - 1)! \, \tau^{K - 1} \prod_k \frac{\pi_k x_k^{-\tau - 1}}{\sum_j \pi_j x_j^{-\tau}}

    :param temperature: :math:`\tau`, positive.
    :param probs: weights :math:`\pi` along the last axis, not negative; they are normalised.
    :param logits: logarithms of weights; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or a parameter leaves its range.

    Source: Maddison, Mnih and Teh, "The Concrete Distribution", ICLR 2017, sec. 3.1. On the boundary the density is its limit
    where all zero coordinates shrink alike. A coordinate of a draw that rounds to zero is the smallest normal number instead.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.RelaxedOneHotCategorical(0.5, probs=ops.array([0.2, 0.3, 0.5]))
    >>> round(float(d.log_prob(ops.array([0.1, 0.3, 0.6]))), 4)
    0.0205
    """

    arg_constraints = {
        "temperature": constraints.positive,
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }
    support = constraints.simplex
    has_rsample = True
    gaps = {**CONTINUOUS, **VECTOR, "mean": NO_CLOSED_FORM, "variance": NO_CLOSED_FORM, "entropy": NO_CLOSED_FORM}

    def __init__(self, temperature, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        parameters = (temperature, 0), (probs if logits is None else logits, 1)
        (self.temperature, parameter), batch_shape = self.promote_events(*parameters)
        setattr(self, self._given, normalised(type(self).__name__, self._given, parameter, validate_args))
        super().__init__(batch_shape, parameter.shape[-1:], validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.exp(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs))

    def rsample(self, sample_shape=(), rng_key=None):
        uniform = random.open_uniform(rng_key, self.shape(sample_shape), self.temperature.dtype)
        scores = self.logits - ops.log(-ops.log(uniform))
        draw = ops.softmax(scores / ops.expand_dims(self.temperature, -1), axis=-1)
        return ops.clip(draw, min=float(ops.finfo(draw).tiny))

    def log_prob(self, value):
        size = float(self.event_shape[-1])
        temperature, logits = ops.expand_dims(self.temperature, -1), self.logits
        gone = value == 0
        log_value = ops.log(ops.where(gone, ops.ones_like(value), value))
        scores = logits - temperature * log_value
        vanished = ops.sum(ops.astype(gone, value.dtype), axis=-1)
        edge = vanished > 0
        # With zeros, their scores alone make up the sum over categories, and a power of the shrinking coordinate is left over.
        counted = gone | ops.logical_not(ops.expand_dims(edge, -1))
        log_total = ops.logsumexp(ops.where(counted, scores, -math.inf), axis=-1)
        normalizer = ops.gammaln(ops.full_like(self.temperature, size)) + (size - 1.0) * ops.log(self.temperature)
        density = normalizer + ops.sum(scores - log_value, axis=-1) - size * log_total
        power = vanished * (1.0 + self.temperature) - size * self.temperature
        diverging = ops.where(power > 0, math.inf, -math.inf)
        return ops.where(edge & (power != 0), diverging, density)


class RelaxedOneHotCategoricalStraightThrough(RelaxedOneHotCategorical):
    r"""Relaxed categorical distribution whose draws are rounded to a corner, with the gradient of the relaxed draw.

    .. math:: y = e_{\arg\max_k x_k}, \quad \nabla y := \nabla x, \quad \log p(y) := \log p(x)

    :param temperature: of the relaxed draw :math:`x`, positive.
    :param probs: weights along the last axis, not negative; they are normalised.
    :param logits: logarithms of weights; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, a parameter leaves its range, or a corner is scored whose relaxed draw
        is not known.

    Which relaxed draw stands behind an array that ``rsample`` or ``sample`` returned is remembered as
    :class:`RelaxedBernoulliStraightThrough` describes. Source: Jang, Gu and Poole, "Categorical Reparameterization with
    Gumbel-Softmax", ICLR 2017, sec. 2.2.

    >>> from ppl import distributions as dist, ops
    >>> draw = dist.RelaxedOneHotCategoricalStraightThrough(0.5, probs=ops.array([0.0, 1.0])).rsample()
    >>> [float(weight) for weight in draw]
    [0.0, 1.0]
    """

    def rsample(self, sample_shape=(), rng_key=None):
        return self._rounded(super().rsample(sample_shape, rng_key))

    def sample(self, sample_shape=(), rng_key=None):
        return self._rounded(ops.autodiff.stop_gradient(super().rsample(sample_shape, rng_key)))

    def _rounded(self, soft):
        corner = ops.one_hot(ops.argmax(soft, axis=-1), soft.shape[-1])
        return quantized(ops.astype(corner, soft.dtype), soft)

    def log_prob(self, value):
        soft = relaxed(value)
        if soft is not None:
            return super().log_prob(soft)
        return ops.where(ops.max(value, axis=-1) == 1, math.nan, super().log_prob(value))

    def _check_value(self, value):
        super()._check_value(value)
        check_source("RelaxedOneHotCategoricalStraightThrough", value, ops.max(value, axis=-1) == 1)
