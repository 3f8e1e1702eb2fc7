"""The distribution of weighted samples."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution, as_floating
from ppl.distributions.gaps import NOT_PATHWISE
from ppl.errors import GapError, ShapeError
from ppl.ops import autodiff, random

# How far the total probability of the enumerated values may be from one.
ROUNDING = 1e-4


class atoms(constraints.Constraint):
    """Points of real space, of which finitely many carry all mass.

    :param event_dim: number of trailing axes of a point.
    """

    is_discrete = True

    def __init__(self, event_dim=0):
        self.event_dim = event_dim

    def check(self, value):
        real = value == value
        return ops.all(real, axis=tuple(range(-self.event_dim, 0))) if self.event_dim else real

    def feasible_like(self, prototype):
        return ops.zeros_like(prototype)


class Empirical(Distribution):
    r"""Discrete distribution on weighted samples.

    .. math:: P(x) = \sum_{i : s_i = x} w_i, \quad w \propto e^{\text{log_weights}}

    :param samples: the points :math:`s`, of shape ``batch_shape + (number of samples,) + event_shape``; their dtype is kept.
    :param log_weights: logarithms of weights, of shape ``batch_shape + (number of samples,)``; they need not be normalised, and
        ``-inf`` stands for no weight. Equal weights if left out, and then the batch shape is ``()``.
    :raises ShapeError: if ``samples`` does not begin with the shape of ``log_weights``, or there are no samples.

    A value that equals no sample has log density ``-inf``.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.Empirical(ops.array([1.0, 2.0, 2.0, 5.0]), ops.zeros((4,)))
    >>> round(float(d.log_prob(2.0)), 4), float(d.mean), d.sample_size
    (-0.6931, 2.5, 4)
    """

    arg_constraints = {"samples": constraints.dependent, "log_weights": constraints.real_vector}
    has_enumerate_support = True
    gaps = {"rsample": NOT_PATHWISE}

    def __init__(self, samples, log_weights=None, *, validate_args=None):
        samples = samples if ops.is_array(samples) else ops.array(samples)
        if log_weights is None:
            (log_weights,) = as_floating(ops.zeros(tuple(samples.shape[:1])))
        (log_weights,) = as_floating(log_weights)
        shape, weight_shape = tuple(samples.shape), tuple(log_weights.shape)
        if not weight_shape or shape[: len(weight_shape)] != weight_shape or 0 in weight_shape:
            raise ShapeError(
                "Empirical: the shape of samples begins with that of log_weights, whose last axis counts the samples; received "
                f"samples of shape {shape} and log_weights of shape {weight_shape}; try log_weights of shape {shape[:1]}"
            )
        self.samples, self.log_weights = samples, log_weights
        super().__init__(weight_shape[:-1], shape[len(weight_shape) :], validate_args=validate_args)

    @property
    def support(self):
        """Points of real space; samples carry the mass."""
        return atoms(len(self._event_shape))

    @property
    def dtype(self):
        """The dtype of the samples."""
        return self.samples.dtype

    @property
    def sample_size(self):
        """The number of samples, those of all the batch together."""
        return math.prod(self.log_weights.shape)

    @property
    def weights(self):
        """The probabilities of the samples, of the shape of ``log_weights``; each batch element's sum to one."""
        return ops.softmax(self.log_weights, axis=-1)

    def _parameter_event_dim(self, name, constraint):
        return 1 + len(self._event_shape) if name == "samples" else 1

    @property
    def mean(self):
        return self._average(self._floating_samples())

    @property
    def variance(self):
        centre = ops.expand_dims(self.mean, -1 - self.event_dim)
        return self._average(ops.square(self._floating_samples() - centre))

    def _floating_samples(self):
        return as_floating(self.samples)[0]

    def _average(self, values):
        weights = ops.reshape(self.weights, (*self.log_weights.shape, *(1,) * self.event_dim))
        # A sample without weight may be infinite.
        weighted = ops.where(weights > 0, weights * ops.where(weights > 0, values, ops.zeros_like(values)), 0.0)
        return ops.sum(weighted, axis=-1 - self.event_dim)

    def sample(self, sample_shape=(), rng_key=None):
        shape = (*sample_shape, *self._batch_shape)
        chosen = random.categorical(rng_key, ops.autodiff.stop_gradient(self.log_weights), shape)
        # In one table of all samples, those of a batch element stand together.
        count = int(self.log_weights.shape[-1])
        first = ops.reshape(ops.arange(math.prod(self._batch_shape)) * count, tuple(self._batch_shape))
        table = ops.reshape(self.samples, (-1, *self._event_shape))
        return ops.autodiff.stop_gradient(ops.take(table, chosen + first, axis=0))

    def log_prob(self, value):
        same = self.samples == ops.expand_dims(value, -1 - self.event_dim)
        if self.event_dim:
            same = ops.all(same, axis=tuple(range(-self.event_dim, 0)))
        return ops.logsumexp(ops.where(same, ops.log_softmax(self.log_weights, axis=-1), -math.inf), axis=-1)

    def cdf(self, value):
        self._require_numbers("cdf")
        return ops.sum(ops.where(self.samples <= ops.expand_dims(value, -1), self.weights, 0.0), axis=-1)

    def icdf(self, value):
        self._require_numbers("icdf")
        order = ops.argsort(self.samples, axis=-1)
        reached = ops.cumsum(ops.take_along_axis(self.weights, order, axis=-1), axis=-1)
        below = ops.sum(ops.astype(reached < ops.expand_dims(value, -1), "int64"), axis=-1)
        # The last sum may round to less than one.
        position = ops.expand_dims(ops.clip(below, max=int(order.shape[-1]) - 1), -1)
        ranked = ops.take_along_axis(self.samples, order, axis=-1)
        shape = (*position.shape[:-1], ranked.shape[-1])
        return ops.squeeze(ops.take_along_axis(ops.broadcast_to(ranked, shape), position, axis=-1), -1)

    def _require_numbers(self, operation):
        if self.event_dim:
            raise GapError(f"Empirical has no {operation} for events of shape {tuple(self._event_shape)}: expected numbers")

    def entropy(self):
        weights = self.weights
        log_probs = ops.moveaxis(self.log_prob(self._listed()), 0, -1)
        return -ops.sum(ops.where(weights > 0, weights * ops.where(weights > 0, log_probs, 0.0), 0.0), axis=-1)

    def _listed(self):
        return ops.moveaxis(self.samples, len(self._batch_shape), 0)

    def enumerate_support(self, expand=True):
        """Return the samples along a new leading axis.

        :raises GapError: if samples repeat, so that a sum over them would count a value twice (compiled code cannot see that, and
            expects distinct samples); without ``expand``, if batch elements have samples of their own.
        """
        values = self._listed()
        if not expand and math.prod(self._batch_shape) != 1:
            raise GapError("Empirical has no enumerate_support(expand=False) here: each batch element has samples of its own")
        if not autodiff.is_tracing():
            mass = ops.exp(ops.logsumexp(self.log_prob(values), axis=0))
            if not bool(ops.all(ops.abs(mass - 1.0) < ROUNDING)):
                raise GapError(
                    "Empirical has no enumerate_support here: some samples are equal, and a sum would count them twice"
                )
        return values
