"""Mixtures of distributions of one family."""

import copy

from ppl import constraints, ops
from ppl.distributions.categorical import Categorical
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NO_CLOSED_FORM, NOT_FINITE, VECTOR
from ppl.distributions.quantile import with_gradient
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.ops import random
from ppl.transforms import as_constraint


class any_component(constraints.Constraint):
    """Values that some component can take, where each has a support of its own.

    :param base_constraint: the components' support; its parameters have the components along their last batch axis.
    """

    def __init__(self, base_constraint):
        self.base_constraint = base_constraint
        self.event_dim, self.is_discrete = base_constraint.event_dim, base_constraint.is_discrete

    def check(self, value):
        return ops.any(self.base_constraint.check(ops.expand_dims(value, -1 - self.event_dim)), axis=-1)

    def feasible_like(self, prototype):
        points = self.base_constraint.feasible_like(ops.expand_dims(prototype, -1 - self.event_dim))
        return ops.take(points, ops.array(0), axis=len(points.shape) - 1 - self.event_dim)


class MixtureSameFamily(Distribution):
    r"""Mixture of the distributions along the last batch axis of a component distribution.

    .. math:: p(x) = \sum_k \pi_k p_k(x)

    :param mixture_distribution: a ``Categorical`` with the weights :math:`\pi`.
    :param component_distribution: the components :math:`p_k`, as many along its last batch axis as there are weights.
    :param mixing_distribution: another name for ``mixture_distribution``; exactly one of the two is given.
    :raises ConstraintError: if the weights are not a ``Categorical``, or not given once.
    :raises ShapeError: if the numbers of weights and components differ, or the other batch axes do not broadcast.

    Draws of numbers whose components have a density and a ``cdf`` carry the gradient
    :math:`\partial_\theta x = - \partial_\theta F(x) / p(x)` to weights and components alike (Figurnov, Mohamed and Mnih,
    "Implicit Reparameterization Gradients", NeurIPS 2018, sec. 3); other draws carry none.

    >>> from ppl import distributions as dist, ops
    >>> weights = dist.Categorical(ops.array([0.25, 0.75]))
    >>> d = dist.MixtureSameFamily(weights, dist.Normal(ops.array([-1.0, 1.0]), 0.5))
    >>> round(float(d.log_prob(0.0)), 4), float(d.mean)
    (-2.2258, 0.5)
    """

    gaps = {"icdf": NO_CLOSED_FORM, "entropy": NO_CLOSED_FORM, "enumerate_support": NOT_FINITE}

    def __init__(self, mixture_distribution=None, component_distribution=None, *, mixing_distribution=None, validate_args=None):
        self.one_of(mixture_distribution=mixture_distribution, mixing_distribution=mixing_distribution)
        mixture = mixing_distribution if mixture_distribution is None else mixture_distribution
        mixture, component = matched(mixture, component_distribution)
        self.mixture_distribution, self.component_distribution = mixture, component
        super().__init__(mixture.batch_shape, component.event_shape, validate_args=validate_args)

    mixing_distribution = property(lambda self: self.mixture_distribution)
    mixture_size = property(lambda self: int(self.component_distribution.batch_shape[-1]))
    dtype = property(lambda self: self.component_distribution.dtype)

    @property
    def support(self):
        """What the components can take; if their supports differ, what any of them can."""
        support = as_constraint(self.component_distribution.support)
        return any_component(support) if _varies(support) else support

    @property
    def has_rsample(self):
        """Whether draws are numbers whose components have a density and a ``cdf``."""
        component = self.component_distribution
        return not self.event_dim and bool(component.has_rsample) and not component.is_discrete and has_cdf(component)

    @property
    def mean(self):
        return self._average(self.component_distribution.mean)

    @property
    def variance(self):
        component, axis = self.component_distribution, -1 - self.event_dim
        return self._average(component.variance + ops.square(component.mean - ops.expand_dims(self.mean, axis)))

    def _average(self, terms):
        """Return the weighted sum of ``terms``, one event for each component."""
        probs = self.mixture_distribution.probs
        probs = ops.reshape(probs, (*probs.shape, *(1,) * self.event_dim))
        # A component without weight may have an infinite moment.
        return ops.sum(ops.where(probs > 0, probs * ops.where(probs > 0, terms, 0.0), 0.0), axis=-1 - self.event_dim)

    def sample(self, sample_shape=(), rng_key=None):
        key_component, key_value = random.split(rng_key)
        chosen = self.mixture_distribution.sample(sample_shape, key_component)
        draws = self.component_distribution.sample(sample_shape, key_value)
        chosen = ops.reshape(chosen, (*chosen.shape, 1, *(1,) * self.event_dim))
        chosen = ops.broadcast_to(chosen, (*chosen.shape[: len(chosen.shape) - self.event_dim], *self._event_shape))
        axis = -1 - self.event_dim
        return ops.autodiff.stop_gradient(ops.squeeze(ops.take_along_axis(draws, chosen, axis=axis), axis))

    def rsample(self, sample_shape=(), rng_key=None):
        if not self.has_rsample:
            name = type(self.component_distribution).__name__
            raise GapError(
                f"MixtureSameFamily of {name} has no rsample: it takes numbers whose components have a density and a cdf"
            )
        value = self.sample(sample_shape, rng_key)
        return with_gradient(value, self.cdf(value), ops.exp(self.log_prob(value)), 0.0)

    def log_prob(self, value):
        # The components' own checks would refuse what only some of them can take.
        component = unchecked(self.component_distribution)
        log_joint = self.mixture_distribution.logits + component.log_prob(ops.expand_dims(value, -1 - self.event_dim))
        return ops.logsumexp(log_joint, axis=-1)

    def cdf(self, value):
        if self.event_dim:
            raise GapError(f"MixtureSameFamily of vectors has no cdf: {VECTOR['cdf']}")
        probabilities = unchecked(self.component_distribution).cdf(ops.expand_dims(value, -1))
        return ops.sum(self.mixture_distribution.probs * probabilities, axis=-1)

    def expand(self, batch_shape):
        batch_shape = tuple(batch_shape)
        if batch_shape == tuple(self.batch_shape):
            return self
        self._check_expandable(batch_shape)
        component = self.component_distribution.expand((*batch_shape, self.mixture_size))
        return MixtureSameFamily(self.mixture_distribution.expand(batch_shape), component)

    def _current_batch_shape(self):
        return tuple(self.mixture_distribution.batch_shape)

    def __repr__(self):
        return f"MixtureSameFamily({self.mixture_distribution!r}, {self.component_distribution!r})"


def matched(mixture, component):
    """Return weights and components of one batch shape.

    :raises ConstraintError: if ``mixture`` is no ``Categorical`` or ``component`` no distribution.
    :raises ShapeError: if their shapes do not fit.
    """
    if not isinstance(mixture, Categorical) or not isinstance(component, Distribution):
        raise ConstraintError(
            "MixtureSameFamily takes a Categorical and a component distribution; received "
            f"{type(mixture).__name__} and {type(component).__name__}"
        )
    size, components = int(mixture.param_shape[-1]), tuple(component.batch_shape)
    if not components or components[-1] != size:
        raise ShapeError(
            f"MixtureSameFamily: {size} weights need as many components along the last batch axis; received components of batch "
            f"shape {components}"
        )
    batch_shape = ops.broadcast_shapes(tuple(mixture.batch_shape), components[:-1])
    return mixture.expand(batch_shape), component.expand((*batch_shape, size))


def has_cdf(distribution):
    """Return whether the family of ``distribution`` defines ``cdf``."""
    return type(distribution).definition.cdf is not Distribution.cdf and "cdf" not in distribution.gaps


def unchecked(distribution):
    """Return a copy of ``distribution`` that scores values without checking them."""
    twin = copy.copy(distribution)
    twin._validates = False
    base = twin.__dict__.get("base_dist")
    if isinstance(base, Distribution):
        twin.base_dist = unchecked(base)
    return twin


def _varies(constraint):
    """Return whether a constraint has parameters that differ along a batch."""
    return any(
        _varies(part) if isinstance(part, constraints.Constraint) else ops.is_array(part) and ops.ndim(part) > 0
        for part in vars(constraint).values()
    )
