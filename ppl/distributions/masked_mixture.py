"""A choice between two distributions for each element of a batch."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NOT_FINITE
from ppl.distributions.masked import feasible, has_score_function, truth_values
from ppl.distributions.score_parts import ScoreParts, is_zero
from ppl.errors import ShapeError
from ppl.ops import random
from ppl.transforms import as_constraint


class masked_choice(constraints.Constraint):
    """The set ``constraint1`` where ``mask`` holds, else ``constraint0``.

    :param mask: an array of truth values over the batch.
    :param constraint0: a constraint.
    :param constraint1: a constraint of the same ``event_dim``.
    """

    def __init__(self, mask, constraint0, constraint1):
        self.mask, self.constraint0, self.constraint1 = mask, constraint0, constraint1
        self.event_dim = constraint0.event_dim
        self.is_discrete = constraint0.is_discrete and constraint1.is_discrete

    def check(self, value):
        return ops.where(self.mask, self.constraint1.check(value), self.constraint0.check(value))

    def feasible_like(self, prototype):
        mask = ops.reshape(self.mask, (*ops.shape(self.mask), *(1,) * self.event_dim))
        return ops.where(mask, self.constraint1.feasible_like(prototype), self.constraint0.feasible_like(prototype))


class MaskedMixture(Distribution):
    r"""``component1`` for the batch elements where ``mask`` holds, ``component0`` for the others.

    .. math:: p(x_i) = p_1(x_i) \text{ where } m_i, \quad p_0(x_i) \text{ elsewhere}

    :param mask: an array of truth values, or of zeros and ones, over the batch.
    :param component0: the distribution where ``mask`` is false.
    :param component1: the distribution where ``mask`` is true; its events have the shape of those of ``component0``.
    :raises ConstraintError: if ``mask`` has an entry other than false and true, or zero and one.
    :raises ShapeError: if event shapes differ, or the batch shapes and that of the mask do not broadcast.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.MaskedMixture(ops.array([False, True]), dist.Normal(0.0, 1.0), dist.Exponential(2.0))
    >>> [round(float(term), 4) for term in d.log_prob(0.5)]
    [-1.0439, -0.3069]
    """

    gaps = {"enumerate_support": NOT_FINITE}

    def __init__(self, mask, component0, component1, *, validate_args=None):
        mask = truth_values(mask, "MaskedMixture")
        mask = ops.array(mask) if isinstance(mask, bool) else mask
        event_shape = tuple(component0.event_shape)
        if event_shape != tuple(component1.event_shape):
            raise ShapeError(
                f"MaskedMixture: components have events of one shape; received {event_shape} and "
                f"{tuple(component1.event_shape)}; try to_event or expand on one of them"
            )
        shapes = tuple(mask.shape), tuple(component0.batch_shape), tuple(component1.batch_shape)
        batch_shape = ops.broadcast_shapes(*shapes)
        self._mask = ops.broadcast_to(mask, batch_shape)
        self.component0, self.component1 = component0.expand(batch_shape), component1.expand(batch_shape)
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    has_rsample = property(lambda self: bool(self.component0.has_rsample and self.component1.has_rsample))
    has_score_function = property(lambda self: has_score_function(self.component0) or has_score_function(self.component1))
    dtype = property(lambda self: self.component0.dtype)
    mean = property(lambda self: self._choose(self.component0.mean, self.component1.mean))
    variance = property(lambda self: self._choose(self.component0.variance, self.component1.variance))

    @property
    def support(self):
        """That of the component chosen."""
        support0, support1 = as_constraint(self.component0.support), as_constraint(self.component1.support)
        return support0 if support0 == support1 else masked_choice(self._mask, support0, support1)

    def _current_batch_shape(self):
        return tuple(self._mask.shape)

    def _choose(self, term0, term1):
        """Return events of the shape of a draw, each from the component that the mask says."""
        return ops.where(ops.reshape(self._mask, (*self._mask.shape, *(1,) * self.event_dim)), term1, term0)

    def sample(self, sample_shape=(), rng_key=None):
        key0, key1 = random.split(rng_key)
        return self._choose(self.component0.sample(sample_shape, key0), self.component1.sample(sample_shape, key1))

    def rsample(self, sample_shape=(), rng_key=None):
        key0, key1 = random.split(rng_key)
        return self._choose(self.component0.rsample(sample_shape, key0), self.component1.rsample(sample_shape, key1))

    def _check_value(self, value):
        """Nothing here: each component checks the values that are its own."""

    def _own(self, value):
        """Return ``value`` for each component, with a point of its support for the events of the other one."""
        not_mask = ops.logical_not(self._mask)
        return feasible(self.component0, value, not_mask), feasible(self.component1, value, self._mask)

    def log_prob(self, value):
        value0, value1 = self._own(value)
        return ops.where(self._mask, self.component1.log_prob(value1), self.component0.log_prob(value0))

    def score_parts(self, value):
        if not self.has_rsample:
            return super().score_parts(value)
        value0, value1 = self._own(value)
        parts = zip(self.component0.score_parts(value0), self.component1.score_parts(value1), strict=True)
        return ScoreParts(*(0.0 if is_zero(p0) and is_zero(p1) else ops.where(self._mask, p1, p0) for p0, p1 in parts))

    def cdf(self, value):
        value0, value1 = self._own(value)
        return self._choose(self.component0.cdf(value0), self.component1.cdf(value1))

    def icdf(self, value):
        return self._choose(self.component0.icdf(value), self.component1.icdf(value))

    def entropy(self):
        return ops.where(self._mask, self.component1.entropy(), self.component0.entropy())

    def expand(self, batch_shape):
        batch_shape = tuple(batch_shape)
        if batch_shape == tuple(self.batch_shape):
            return self
        self._check_expandable(batch_shape)
        return MaskedMixture(ops.broadcast_to(self._mask, batch_shape), self.component0, self.component1)

    def __repr__(self):
        return f"MaskedMixture({self.component0!r}, {self.component1!r})"
