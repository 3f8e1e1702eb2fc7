"""The categorical distribution."""

import math

from ppl import constraints, ops
from ppl.distributions import validation
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NOT_PATHWISE
from ppl.ops import host, random


class Categorical(Distribution):
    r"""Distribution over :math:`0, \ldots, K - 1`.

    .. math:: P(k) = p_k, \quad p \propto \text{probs} \text{ or } e^{\text{logits}}

    :param probs: weights along the last axis, not negative; they are normalised.
    :param logits: logarithms of weights; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or weights are negative or sum to zero.

    Values have the library's integer dtype. A probability of zero has log density ``-inf``. The distribution function takes the
    categories in the order of their numbers, but mean and variance, which would take the numbers for quantities, are NaN.

    >>> from ppl import distributions as dist, ops
    >>> round(float(dist.Categorical(ops.array([1.0, 2.0, 5.0])).log_prob(ops.array(2))), 4)
    -0.47
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    gaps = {"rsample": NOT_PATHWISE}

    def __init__(self, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        (parameter,), batch_shape = self.promote_events((probs if logits is None else logits, 1))
        setattr(self, self._given, normalised(type(self).__name__, self._given, parameter, validate_args))
        self._num_events = int(parameter.shape[-1])
        super().__init__(batch_shape, validate_args=validate_args)

    @property
    def support(self):
        """Whole numbers below the number of categories."""
        return constraints.integer_interval(0, self._num_events - 1)

    probs = derived_parameter(lambda self: ops.exp(self.logits))
    logits = derived_parameter(lambda self: ops.log(self.probs))

    @property
    def param_shape(self):
        """The shape of the weights."""
        return (*self.batch_shape, self._num_events)

    @property
    def mean(self):
        """NaN: categories have no order."""
        return ops.full(tuple(self.batch_shape), float("nan"), dtype=self.dtype)

    variance = mean

    def sample(self, sample_shape=(), rng_key=None):
        return random.categorical(rng_key, ops.autodiff.stop_gradient(self.logits), self.shape(sample_shape))

    def log_prob(self, value):
        # Of a whole table of probabilities and those picked from it, the smaller is taken the logarithm of.
        by_table = self._given == "logits" or not self.batch_shape
        table = self.probs if not by_table else self.logits if self._given == "logits" else log_or_minus_infinity(self.probs)
        outside = -math.inf if by_table else 0.0
        picked = gather(table, value) if self._knows_support() else pick(table, value, outside, outside)
        return picked if by_table else log_or_minus_infinity(picked)

    def _log_table(self):
        """Return the log densities of all categories along a last axis."""
        return self.logits if self._given == "logits" else log_or_minus_infinity(self.probs)

    def cdf(self, value):
        return pick(ops.cumsum(self.probs, axis=-1), ops.floor(value), 0.0, 1.0)

    def icdf(self, value):
        steps = ops.cumsum(self.probs, axis=-1)[..., :-1]
        return ops.sum(ops.astype(ops.expand_dims(value, -1) > steps, "int64"), axis=-1)

    def entropy(self):
        probs = self.probs
        return -ops.sum(ops.xlogy(probs, probs), axis=-1)

    def enumerate_support(self, expand=True):
        return self._enumerated(ops.arange(self._num_events), expand)


class CategoricalLogits(Categorical):
    r"""Categorical distribution of log weights :math:`\ell`.

    .. math:: P(k) = e^{\ell_k} / \sum_j e^{\ell_j}

    :param logits: logarithms of weights along the last axis.

    >>> from ppl import distributions as dist
    >>> round(float(dist.CategoricalLogits([0.0, 1.0, -2.0]).log_prob(1)), 4)
    -0.349
    """

    arg_constraints = {"logits": constraints.real_vector}

    def __init__(self, logits, *, validate_args=None):
        super().__init__(logits=logits, validate_args=validate_args)


class CategoricalProbs(Categorical):
    r"""Categorical distribution of weights :math:`w`.

    .. math:: P(k) = w_k / \sum_j w_j

    :param probs: weights along the last axis, not negative; they are normalised.
    :raises ConstraintError: if weights are negative or sum to zero.

    >>> from ppl import distributions as dist
    >>> round(float(dist.CategoricalProbs([1.0, 2.0, 5.0]).log_prob(2)), 4)
    -0.47
    """

    arg_constraints = {"probs": constraints.simplex}

    def __init__(self, probs, *, validate_args=None):
        super().__init__(probs=probs, validate_args=validate_args)


class _Weights(constraints.Constraint):
    """Vectors that become points of the simplex once divided by their sum, and are refused in its name."""

    name = "simplex"
    event_dim = 1

    def check(self, value):
        total = ops.sum(value, axis=-1)
        return ops.all(value >= 0, axis=-1) & (total > 0) & (total < math.inf)


def normalised(family, name, parameter, validate_args):
    """Return ``probs`` over their sum, or ``logits`` less the logarithm of theirs.

    :raises ConstraintError: with validation on, if that is no distribution; the message shows the parameter as it was given.
    """
    if validation.wanted(validate_args):
        validation.check_parameter(family, name, _Weights() if name == "probs" else constraints.real_vector, parameter)
    if name == "logits":
        return ops.log_softmax(parameter, axis=-1)
    return host.evaluate(_shares, parameter)


def _shares(weights):
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def log_or_minus_infinity(probs):
    """Return the logarithm, minus infinity with a zero gradient where a probability is zero."""
    some = probs > 0
    return ops.where(some, ops.log(ops.where(some, probs, ops.ones_like(probs))), -math.inf)


def pick(table, value, before, after):
    """Return ``table[..., value]`` with the batch axes of both broadcast; ``before`` and ``after`` stand beyond its ends."""
    padding = [ops.full_like(table[..., :1], number) for number in (before, after)]
    table = ops.concat([padding[0], table, padding[1]], axis=-1)
    return gather(table, ops.clip(value, -1, table.shape[-1] - 2) + 1)


def gather(table, positions):
    """Return ``table[..., positions]`` with the batch axes of both broadcast."""
    if ops.dtype_name(positions) != "int64":
        positions = ops.astype(positions, "int64")
    batch_shape = tuple(table.shape[:-1])
    if not batch_shape:
        return ops.take(table, positions, axis=0)
    shape = ops.broadcast_shapes(tuple(positions.shape), batch_shape)
    indices = ops.expand_dims(ops.broadcast_to(positions, shape), -1)
    missing = len(shape) - len(batch_shape)
    table = ops.reshape(table, (1,) * missing + tuple(table.shape)) if missing else table
    return ops.squeeze(ops.take_along_axis(table, indices, axis=-1), -1)
