"""Distributions of counts with more zeros than their family has."""

from ppl import constraints, ops
from ppl.distributions.counting import in_range
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution, as_floating
from ppl.distributions.gaps import COUNTS, NO_CLOSED_FORM, NOT_FINITE, NOT_PATHWISE
from ppl.distributions.negative_binomial import NegativeBinomial
from ppl.distributions.poisson import Poisson
from ppl.errors import ConstraintError
from ppl.ops import random

# The exponential of a number below this is not a normal one.
LEAST_LOG = -700.0


class ZeroInflatedDistribution(Distribution):
    r"""Zero with probability :math:`g`, else a draw of ``base_dist``.

    .. math:: P(k) = g \, [k = 0] + (1 - g) \, P_\text{base}(k)

    :param base_dist: a distribution of numbers 0, 1, 2, ... with empty event shape.
    :param gate: :math:`g`, the probability of an extra zero, in [0, 1].
    :param gate_logits: log odds of an extra zero; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, ``gate`` leaves [0, 1], or draws of ``base_dist`` are no counts.

    >>> from ppl import distributions as dist
    >>> d = dist.ZeroInflatedDistribution(dist.Binomial(4, 0.5), gate=0.2)
    >>> round(float(d.log_prob(0.0)), 4), round(float(d.log_prob(2.0)), 4)
    (-1.3863, -1.204)
    """

    arg_constraints = {"gate": constraints.unit_interval, "gate_logits": constraints.real}
    gaps = {"rsample": NOT_PATHWISE, "icdf": COUNTS["icdf"]}

    def __init__(self, base_dist, *, gate=None, gate_logits=None, validate_args=None):
        name = self.one_of(gate=gate, gate_logits=gate_logits)
        if base_dist.event_shape or not base_dist.is_discrete:
            raise ConstraintError(
                f"{type(self).__name__}: base_dist has no single counts to add zeros to; expected a discrete family of empty "
                f"event shape, received {base_dist!r}; try a mixture with Delta for other families"
            )
        (parameter,) = as_floating(gate if gate_logits is None else gate_logits)
        batch_shape = ops.broadcast_shapes(tuple(base_dist.batch_shape), tuple(parameter.shape))
        self.base_dist = base_dist.expand(batch_shape)
        setattr(self, name, ops.broadcast_to(parameter, batch_shape))
        super().__init__(batch_shape, validate_args=validate_args)

    support = property(lambda self: self.base_dist.support)
    has_enumerate_support = property(lambda self: self.base_dist.has_enumerate_support)
    gate = derived_parameter(lambda self: ops.expit(self.gate_logits))
    gate_logits = derived_parameter(lambda self: ops.log(self.gate) - ops.log1p(-self.gate))

    @property
    def _open(self):
        """The probability of no extra zero."""
        return 1.0 - self.gate if "gate" in self.__dict__ else ops.expit(-self.gate_logits)

    mean = property(lambda self: self._open * self.base_dist.mean)

    @property
    def variance(self):
        return self._open * (self.base_dist.variance + self.gate * ops.square(self.base_dist.mean))

    def sample(self, sample_shape=(), rng_key=None):
        key_gate, key_base = random.split(rng_key)
        shape = self.shape(sample_shape)
        extra = random.bernoulli(key_gate, ops.autodiff.stop_gradient(self.gate), shape)
        return ops.where(extra > 0, 0.0, self.base_dist.sample(sample_shape, key_base))

    def log_prob(self, value):
        (value,) = as_floating(value)
        return self._inflated(value == 0, self.base_dist.log_prob(value))

    def _inflated(self, zero, log_base):
        """Return the log probability where ``zero`` tells which values are, and ``log_base`` is that of the base."""
        if "gate" not in self.__dict__:
            log_extra, log_open = ops.log_expit(self.gate_logits), ops.log_expit(-self.gate_logits)
            either = ops.stack(list(ops.broadcast_arrays(log_extra, log_open + log_base)), axis=-1)
            return ops.where(zero, ops.logsumexp(either, axis=-1), log_open + log_base)
        # Not through log(gate), whose gradient at a gate of zero is infinite; that of g + (1 - g) P(0) is finite.
        beyond = ops.xlog1py(ops.astype(ops.logical_not(zero), self.dtype), -self.gate) + log_base
        found = zero & ((self.gate > 0) | (log_base > LEAST_LOG))
        base = ops.exp(ops.where(found, log_base, ops.zeros_like(log_base)))
        return ops.where(found, ops.log(self.gate + (1.0 - self.gate) * base), beyond)

    def cdf(self, value):
        inside, value = in_range(value)
        return ops.where(inside, self.gate + self._open * self.base_dist.cdf(value), 0.0)

    def entropy(self):
        # The terms of the base beyond zero, each with its probability times that of an open gate.
        probs_open = self._open
        zeros = ops.zeros(tuple(self.batch_shape), dtype=self.dtype)
        log_base_zero = self.base_dist.log_prob(zeros)
        base_zero, zero = ops.exp(log_base_zero), ops.exp(self._inflated(zeros == 0, log_base_zero))
        beyond = self.base_dist.entropy() + ops.xlogy(base_zero, base_zero)
        return probs_open * beyond - (1.0 - base_zero) * ops.xlogy(probs_open, probs_open) - ops.xlogy(zero, zero)

    def enumerate_support(self, expand=True):
        return self.base_dist.enumerate_support(expand)

    def expand(self, batch_shape):
        """Return a copy whose gate and base are broadcast to ``batch_shape``."""
        batch_shape = tuple(batch_shape)
        self._check_expandable(batch_shape)
        name = "gate" if "gate" in self.__dict__ else "gate_logits"
        gate = ops.broadcast_to(getattr(self, name), batch_shape)
        return ZeroInflatedDistribution(self.base_dist.expand(batch_shape), **{name: gate}, validate_args=self._validates)

    def _shown_parameters(self):
        base = {"base_dist": repr(self.base_dist)} if "base_dist" in self.__dict__ else {}
        return base | super()._shown_parameters()


class ZeroInflatedPoisson(ZeroInflatedDistribution):
    r"""Zero with probability :math:`g`, else a Poisson count of rate :math:`\lambda` (Lambert 1992).

    .. math:: P(k) = g \, [k = 0] + (1 - g) \, \lambda^k e^{-\lambda} / k!

    :param gate: :math:`g`, the probability of an extra zero, in [0, 1].
    :param rate: :math:`\lambda`, not negative.
    :param gate_logits: log odds of an extra zero; exactly one of it and ``gate`` is given.
    :raises ConstraintError: if both or neither of the gates are given, or a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.ZeroInflatedPoisson(0.2, 3.0).log_prob(0.0)), 4)
    -1.4278
    """

    arg_constraints = {"gate": constraints.unit_interval, "gate_logits": constraints.real, "rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    has_enumerate_support = False
    gaps = {**COUNTS, "entropy": NO_CLOSED_FORM, "enumerate_support": NOT_FINITE}

    def __init__(self, gate=None, rate=1.0, *, gate_logits=None, validate_args=None):
        name = self.one_of(gate=gate, gate_logits=gate_logits)
        parameter, self.rate = self.promote(gate if gate_logits is None else gate_logits, rate)
        setattr(self, name, parameter)
        Distribution.__init__(self, parameter.shape, validate_args=validate_args)

    base_dist = property(lambda self: Poisson(self.rate, validate_args=False))
    entropy, enumerate_support, expand = Distribution.entropy, Distribution.enumerate_support, Distribution.expand


class ZeroInflatedNegativeBinomial(ZeroInflatedDistribution):
    r"""Zero with probability :math:`g`, else a negative binomial count.

    .. math:: P(k) = g \, [k = 0] + (1 - g) \, \frac{\Gamma(r + k)}{\Gamma(r) \, k!} (1 - p)^r p^k

    :param gate: :math:`g`, the probability of an extra zero, in [0, 1].
    :param total_count: :math:`r`, the failures that end the count, not negative.
    :param probs: probability of a success, in [0, 1).
    :param logits: log odds of a success; exactly one of it and ``probs`` is given.
    :param gate_logits: log odds of an extra zero; exactly one of it and ``gate`` is given.
    :raises ConstraintError: if both or neither of two alternatives are given, or a parameter leaves its constraint.

    >>> from ppl import distributions as dist
    >>> round(float(dist.ZeroInflatedNegativeBinomial(0.2, 5.0, 0.3).log_prob(0.0)), 4)
    -1.0952
    """

    arg_constraints = {
        "gate": constraints.unit_interval,
        "gate_logits": constraints.real,
        "total_count": constraints.nonnegative,
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer
    has_enumerate_support = False
    gaps = {**COUNTS, "entropy": NO_CLOSED_FORM, "enumerate_support": NOT_FINITE}

    def __init__(self, gate=None, total_count=1.0, probs=None, logits=None, *, gate_logits=None, validate_args=None):
        gate_name, name = self.one_of(gate=gate, gate_logits=gate_logits), self.one_of(probs=probs, logits=logits)
        parameters = (gate if gate_logits is None else gate_logits, total_count, probs if logits is None else logits)
        gate, self.total_count, parameter = self.promote(*parameters)
        setattr(self, gate_name, gate)
        setattr(self, name, parameter)
        Distribution.__init__(self, parameter.shape, validate_args=validate_args)

    probs = derived_parameter(lambda self: ops.expit(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs) - ops.log1p(-self.probs))

    @property
    def base_dist(self):
        """The negative binomial distribution behind the gate."""
        name = "probs" if "probs" in self.__dict__ else "logits"
        return NegativeBinomial(self.total_count, **{name: getattr(self, name)}, validate_args=False)

    entropy, enumerate_support, expand = Distribution.entropy, Distribution.enumerate_support, Distribution.expand
