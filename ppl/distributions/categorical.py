"""The categorical distribution."""

from ppl import constraints, ops
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.ops import random


class Categorical(Distribution):
    r"""Distribution over :math:`0, \ldots, K - 1`.

    .. math:: P(k) = p_k, \quad p \propto \text{probs} \text{ or } e^{\text{logits}}

    :param probs: weights along the last axis, not negative; they are normalised.
    :param logits: logarithms of weights; exactly one of the two is given.
    :raises ConstraintError: if both or neither are given, or weights are negative or sum to zero.

    Values have the library's integer dtype. A probability of zero has log density ``-inf``.

    >>> from ppl import distributions as dist, ops
    >>> round(float(dist.Categorical(ops.array([1.0, 2.0, 5.0])).log_prob(ops.array(2))), 4)
    -0.47
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, *, validate_args=None):
        self._given = self.one_of(probs=probs, logits=logits)
        (parameter,), batch_shape = self.promote_events((probs if logits is None else logits, 1))
        if self._given == "probs":
            self.probs = parameter / ops.sum(parameter, axis=-1, keepdims=True)
        else:
            self.logits = ops.log_softmax(parameter, axis=-1)
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
        if self._given == "logits":
            return _pick(self.logits, value, tuple(self.batch_shape))
        return ops.log(_pick(self.probs, value, tuple(self.batch_shape)))

    def entropy(self):
        probs = self.probs
        return -ops.sum(ops.xlogy(probs, probs), axis=-1)

    def enumerate_support(self, expand=True):
        return self._enumerated(ops.arange(self._num_events), expand)


def _pick(table, value, batch_shape):
    """Return ``table[..., value]`` with the batch axes of both broadcast."""
    value = ops.astype(value, "int64")
    shape = ops.broadcast_shapes(tuple(value.shape), batch_shape)
    indices = ops.expand_dims(ops.broadcast_to(value, shape), -1)
    missing = len(shape) - len(batch_shape)
    table = ops.reshape(table, (1,) * missing + tuple(table.shape)) if missing else table
    return ops.squeeze(ops.take_along_axis(table, indices, axis=-1), -1)
