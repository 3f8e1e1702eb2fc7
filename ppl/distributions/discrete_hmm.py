"""Hidden Markov models of finitely many states."""

from ppl import constraints, ops
from ppl.distributions.categorical import Categorical
from ppl.distributions.dispatch import blank
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NO_CLOSED_FORM, VECTOR
from ppl.errors import ConstraintError, ShapeError
from ppl.ops import chain, random
from ppl.transforms import as_constraint


class DiscreteHMM(Distribution):
    r"""Series of observations of a Markov chain of ``K`` states that is not seen itself.

    .. math:: p(x) = \sum_{z_0, \ldots, z_T} p(z_0) \prod_{t = 1}^T p(z_t \mid z_{t - 1})\, p(x_t \mid z_t)

    :param initial_logits: logits of :math:`z_0`, the state before the first step, shape ``(..., K)``.
    :param transition_logits: logits of :math:`z_t` given :math:`z_{t - 1}`, shape ``(..., T, K, K)``, or ``(..., 1, K, K)`` for
        the same ones in each step; a row for each state before.
    :param observation_dist: distribution of :math:`x_t` given :math:`z_t`, of batch shape ``(..., T, K)`` or ``(..., 1, K)``.
    :param duration: :math:`T`, where nothing else says it.
    :raises ShapeError: if states or steps differ in number.
    :raises ConstraintError: if ``duration`` is missing or contradicts the shapes.

    Logits are normalised. The sum runs in ``O(log T)`` depth (Särkkä and García-Fernández 2021, "Temporal parallelization of
    Bayesian smoothers", IEEE Transactions on Automatic Control 66(1)).

    >>> from ppl import distributions as dist, ops
    >>> stay = ops.log(ops.array([[[0.9, 0.1], [0.2, 0.8]]]))
    >>> d = dist.DiscreteHMM(ops.zeros((2,)), stay, dist.Normal(ops.array([[0.0, 3.0]]), 1.0), duration=4)
    >>> round(float(d.log_prob(ops.array([0.0, 0.5, 3.0, 2.5]))), 4)
    -7.0771
    """

    arg_constraints = {
        "initial_logits": constraints.real_vector,
        "transition_logits": constraints.independent(constraints.real, 3),
    }
    gaps = {
        **VECTOR,
        "rsample": "states are drawn, which have no gradient",
        **dict.fromkeys(("mean", "variance", "entropy"), NO_CLOSED_FORM),
        "enumerate_support": "the number of series grows exponentially with their length",
    }

    def __init__(self, initial_logits, transition_logits, observation_dist, *, duration=None, validate_args=None):
        (initial, transition), _ = self.promote_events((initial_logits, 1), (transition_logits, 3))
        states = ops.shape(initial)[-1]
        observed = tuple(observation_dist.batch_shape)
        if len(observed) < 2 or {*tuple(ops.shape(transition))[-2:], observed[-1]} != {states}:
            raise ShapeError(
                f"DiscreteHMM: {states} initial logits, transition logits of shape {tuple(ops.shape(transition))} and "
                f"observations of batch shape {observed}; expected (..., K), (..., T, K, K) and (..., T, K) with one K"
            )
        steps = {ops.shape(transition)[-3], observed[-2]}
        self.duration = duration_of("DiscreteHMM", steps, duration)
        batch = ops.broadcast_shapes(tuple(ops.shape(initial))[:-1], tuple(ops.shape(transition))[:-3], observed[:-2])
        self.initial_logits = ops.broadcast_to(initial, (*batch, states))
        self.transition_logits = ops.broadcast_to(transition, batch + tuple(ops.shape(transition))[-3:])
        self.observation_dist = observation_dist.expand(batch + observed[-2:])
        # Logits are judged as they were given.
        super().__init__(batch, (self.duration, *observation_dist.event_shape), validate_args=validate_args)
        self.initial_logits = ops.log_softmax(self.initial_logits, axis=-1)
        self.transition_logits = ops.log_softmax(self.transition_logits, axis=-1)

    @property
    def support(self):
        """Series of what is observed in one step."""
        one = as_constraint(self.observation_dist.support)
        return constraints.independent(one, len(self.event_shape) - one.event_dim)

    dtype = property(lambda self: self.observation_dist.dtype)

    def _current_batch_shape(self):
        return tuple(self.initial_logits.shape)[:-1]

    def expand(self, batch_shape):
        batch_shape = tuple(batch_shape)
        self._check_expandable(batch_shape)
        changed = {
            "initial_logits": ops.broadcast_to(self.initial_logits, (*batch_shape, *tuple(self.initial_logits.shape)[-1:])),
            "transition_logits": ops.broadcast_to(self.transition_logits, batch_shape + tuple(self.transition_logits.shape)[-3:]),
            "observation_dist": self.observation_dist.expand(batch_shape + tuple(self.observation_dist.batch_shape)[-2:]),
        }
        return blank(type(self), {**vars(self), **changed, "_batch_shape": batch_shape})

    def _factors(self, value):
        """Return the log weights of each transition together with what is seen after it, shape ``(..., T, K, K)``."""
        events = len(self.observation_dist.event_shape)
        seen = self.observation_dist.log_prob(ops.expand_dims(value, -1 - events))
        factors = self.transition_logits + ops.expand_dims(seen, -2)
        return ops.broadcast_to(factors, (*tuple(factors.shape)[:-3], self.duration, *tuple(factors.shape)[-2:]))

    def _last(self, value):
        return chain.log_forward(self.initial_logits, self._factors(value))

    def log_prob(self, value):
        return ops.logsumexp(self._last(value), axis=-1)

    def filter(self, value):
        """Return the distribution of the last state given the series.

        :param value: shape ``batch_shape + event_shape``.
        """
        return Categorical(logits=self._last(value))

    def sample(self, sample_shape=(), rng_key=None):
        keys = random.split(rng_key, 3) if rng_key is not None else [None] * 3
        states = tuple(self.initial_logits.shape)[-1]
        batch = (*sample_shape, *self.batch_shape)
        factors = ops.broadcast_to(self.transition_logits, (*batch, self.duration, states, states))
        first = factors[..., :1, :, :] + self.initial_logits[..., None, :, None]
        factors = ops.concat([first, factors[..., 1:, :, :]], axis=-3)
        last = chain.choose(ops.logsumexp(chain.sequential_log_sum_product(factors), axis=-2), 1, keys[0])
        path = chain.path(factors, last, key=keys[1])[..., 1:]
        # An observation for each state, of which the state that was drawn keeps its own.
        drawn = self.observation_dist.expand((*self.batch_shape, self.duration, states)).sample(sample_shape, keys[2])
        event = tuple(self.observation_dist.event_shape)
        index = ops.reshape(path, (*batch, self.duration, 1, *(1,) * len(event)))
        index = ops.broadcast_to(index, (*batch, self.duration, 1, *event))
        return ops.squeeze(ops.take_along_axis(drawn, index, axis=-1 - len(event)), -1 - len(event))


def duration_of(family, steps, duration):
    """Return the number of steps of parameters that have ``steps`` of them, 1 for any number.

    :raises ShapeError: if the parameters differ.
    :raises ConstraintError: if ``duration`` is no positive int, or another one.
    """
    lengths = steps - {1}
    if len(lengths) > 1:
        raise ShapeError(f"{family}: its parameters have {sorted(lengths)} steps; expected one number of steps, or 1 for any")
    if duration is not None and (isinstance(duration, bool) or not isinstance(duration, int) or duration < 1):
        raise ConstraintError(f"{family}: duration counts the steps; expected an int of at least 1, received {duration!r}")
    if duration is None:
        return lengths.pop() if lengths else 1
    if lengths and duration not in lengths:
        raise ConstraintError(f"{family}: duration={duration}, but its parameters have {lengths.pop()} steps; expected the same")
    return duration
