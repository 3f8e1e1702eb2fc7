"""The relaxed Bernoulli distribution, and its form with discrete draws."""

import math

from ppl import constraints, ops
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, NO_CLOSED_FORM
from ppl.distributions.straight_through import check_source, quantized, relaxed
from ppl.ops import random


class RelaxedBernoulli(Distribution):
    r"""Continuous relaxation of the Bernoulli distribution at temperature :math:`\tau`.

    A draw is :math:`\operatorname{expit}((\ell + L) / \tau)` for standard logistic :math:`L`; it tends to 0 or 1 as :math:`\tau`
    does to zero, and lies above one half with the probability :math:`p = \operatorname{expit}(\ell)`.

    .. math:: p(x) = \frac{\tau \, p (1 - p) \, (x (1 - x))^{\tau - 1}}{(p (1 - x)^\tau + (1 - p) x^\tau)^2}, \quad 0 \le x \le 1

    :param temperature: :math:`\tau`, positive; at 1 and even odds draws are uniform.
    :param probs: probability of one in the limit of zero temperature, in [0, 1].
    :param logits: :math:`\ell`, its log odds; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or a parameter leaves its range.

    Source: Maddison, Mnih and Teh, "The Concrete Distribution", ICLR 2017, appendix B. A draw that rounds to 0 or 1 is moved to
    the nearest normal number between.

    >>> from ppl import distributions as dist
    >>> round(float(dist.RelaxedBernoulli(0.5, logits=1.0).log_prob(0.8)), 4)
    -0.2703
    """

    arg_constraints = {"temperature": constraints.positive, "probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    gaps = {**CONTINUOUS, "mean": NO_CLOSED_FORM, "variance": NO_CLOSED_FORM, "entropy": NO_CLOSED_FORM}

    def __init__(self, temperature, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        self.temperature, parameter = self.promote(temperature, probs if logits is None else logits)
        setattr(self, self._given, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))

    def rsample(self, sample_shape=(), rng_key=None):
        uniform = random.open_uniform(rng_key, self.shape(sample_shape), self.temperature.dtype)
        return self._squash(ops.log(uniform) - ops.log1p(-uniform))

    def log_prob(self, value):
        temperature, logits = self.temperature, self.logits
        low, high = value == 0, value == 1
        inside = ops.where(low | high, ops.full_like(value, 0.5), value)
        log_value, log_rest = ops.log(inside), ops.log1p(-inside)
        excess = ops.abs(logits - temperature * (log_value - log_rest))
        density = ops.log(temperature) - excess - 2.0 * ops.log1p(ops.exp(-excess)) - log_value - log_rest
        # At temperature 1 the density is finite at both ends; else it diverges or vanishes there.
        diverging = ops.where(temperature < 1, math.inf, -math.inf)
        at_end = ops.where(temperature == 1, ops.where(low, -logits, logits), diverging)
        return ops.where(low | high, at_end, density)

    def cdf(self, value):
        low, high = value <= 0, value >= 1
        inside = ops.where(low | high, ops.full_like(value, 0.5), value)
        probability = ops.expit(self.temperature * (ops.log(inside) - ops.log1p(-inside)) - self.logits)
        return ops.where(low, 0.0, ops.where(high, 1.0, probability))

    def icdf(self, value):
        return ops.expit((self.logits + ops.log(value) - ops.log1p(-value)) / self.temperature)

    def _squash(self, noise):
        draw = ops.expit((self.logits + noise) / self.temperature)
        numbers = ops.finfo(draw)
        return ops.clip(draw, min=float(numbers.tiny), max=1.0 - float(numbers.eps) / 2.0)


class RelaxedBernoulliStraightThrough(RelaxedBernoulli):
    r"""Relaxed Bernoulli distribution whose draws are rounded to 0 or 1, with the gradient of the relaxed draw.

    .. math:: y = [x > \tfrac12], \quad \nabla y := \nabla x, \quad \log p(y) := \log p(x)

    :param temperature: of the relaxed draw :math:`x`, positive.
    :param probs: probability of one, in [0, 1].
    :param logits: log odds of one; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, a parameter leaves its range, or a value of zeros and ones is scored
        whose relaxed draw is not known.

    The relaxed draw behind an array that ``rsample`` or ``sample`` returned is remembered while that array lives, on every
    backend, compiled or not, so that any distribution of this class can score it. A copy of the array is not known, nor is the
    result of a compiled function; inside compiled code, where entries cannot be seen, the density of such zeros and ones is NaN.
    Values strictly between are taken as relaxed ones.

    Source: Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, sec. 2.2.

    >>> from ppl import distributions as dist
    >>> draw = dist.RelaxedBernoulliStraightThrough(0.5, probs=1.0 - 1e-12).rsample()
    >>> float(draw)
    1.0
    """

    def rsample(self, sample_shape=(), rng_key=None):
        soft = super().rsample(sample_shape, rng_key)
        return quantized(ops.astype(soft > 0.5, soft.dtype), soft)

    def sample(self, sample_shape=(), rng_key=None):
        soft = ops.autodiff.stop_gradient(super().rsample(sample_shape, rng_key))
        return quantized(ops.astype(soft > 0.5, soft.dtype), soft)

    def log_prob(self, value):
        soft = relaxed(value)
        if soft is not None:
            return super().log_prob(soft)
        return ops.where((value == 0) | (value == 1), math.nan, super().log_prob(value))

    def _check_value(self, value):
        super()._check_value(value)
        check_source("RelaxedBernoulliStraightThrough", value, (value == 0) | (value == 1))
