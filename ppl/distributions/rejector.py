"""Rejection sampling as a distribution."""

import math

from ppl import ops
from ppl.distributions.delta import Delta
from ppl.distributions.distribution import Distribution, as_floating
from ppl.distributions.gaps import NO_CLOSED_FORM, NOT_FINITE
from ppl.distributions.mixture_same_family import has_cdf
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.quantile import with_gradient
from ppl.distributions.score_parts import ScoreParts
from ppl.distributions.transformed import TransformedDistribution
from ppl.distributions.wrapper import Wrapper
from ppl.errors import ConstraintError, ShapeError
from ppl.ops import autodiff, random

REASON = NO_CLOSED_FORM + " for every way to accept"


class Rejector(Distribution):
    r"""Distribution of the proposals :math:`z \sim r` that are accepted with probability :math:`a(z)`.

    .. math:: p(z) = r(z) \, a(z) / Z, \quad Z = E_r[a(z)]

    :param propose: the distribution :math:`r` of proposals.
    :param log_prob_accept: a function from a batch of proposals to :math:`\log a(z)`, one number not above 0 for each event.
    :param log_scale: :math:`\log Z`, the total log probability of acceptance; broadcast over the batch.
    :param batch_shape: that of ``propose`` by default, which is expanded to it.
    :param event_shape: that of ``propose`` by default; if it is longer, batch axes of ``propose`` become event axes.
    :raises ShapeError: if the shapes do not fit those of ``propose``.
    :raises ConstraintError: in sampling outside compiled code, if ``log_prob_accept`` gives NaN or a number above 0.

    Gradients are those of reparameterised rejection sampling (Naesseth, Ruiz, Linderman and Blei 2017, "Reparameterization
    Gradients through Acceptance-Rejection Sampling Algorithms", sec. 3): ``rsample`` follows an accepted proposal at fixed noise,
    and the score function of :meth:`score_parts` corrects for which noise is accepted, if :math:`a` is continuous. Proposals are
    followed through affine and other transforms, through normal vectors, and through the ``cdf`` of any family of numbers;
    through the loop itself for the others, which jax can differentiate in forward mode only.

    >>> from ppl import distributions as dist, ops
    >>> half = dist.Rejector(dist.Normal(0.0, 1.0), lambda z: ops.where(z > 0, 0.0, -float("inf")), -0.693147180559945)
    >>> bool(half.sample() > 0), round(float(half.log_prob(1.0)), 4)
    (True, -0.7258)
    """

    gaps = {"mean": REASON, "variance": REASON, "cdf": REASON, "icdf": REASON, "entropy": REASON, "enumerate_support": NOT_FINITE}

    def __init__(self, propose, log_prob_accept, log_scale, *, batch_shape=None, event_shape=None, validate_args=None):
        missing = 0 if event_shape is None else len(event_shape) - len(propose.event_shape)
        propose = propose.to_event(missing) if missing > 0 else propose
        propose = propose if batch_shape is None else propose.expand(tuple(batch_shape))
        if event_shape is not None and tuple(event_shape) != tuple(propose.event_shape):
            raise ShapeError(
                f"Rejector: proposals have events of shape {tuple(propose.event_shape)}, received {tuple(event_shape)}"
            )
        self.propose, self.log_prob_accept = propose, log_prob_accept
        (self.log_scale,) = as_floating(log_scale)
        super().__init__(propose.batch_shape, propose.event_shape, validate_args=validate_args)

    support = property(lambda self: self.propose.support)
    has_rsample = property(lambda self: self.propose.has_rsample)
    has_score_function = True
    dtype = property(lambda self: self.propose.dtype)

    def sample(self, sample_shape=(), rng_key=None):
        return ops.autodiff.stop_gradient(self._accepted(self.propose.sample, sample_shape, rng_key))

    def rsample(self, sample_shape=(), rng_key=None):
        if not self.has_rsample:
            return self.propose.rsample(sample_shape, rng_key)
        if not _can_follow(self.propose):
            return self._accepted(self.propose.rsample, sample_shape, rng_key)
        return _follow(self.propose, self.sample(sample_shape, rng_key))

    def _accepted(self, draw, sample_shape, rng_key):
        """Draw proposals for the whole batch until each of its events has been accepted once."""
        shape = (*sample_shape, *self._batch_shape)

        def attempt(key):
            key, key_proposal, key_accept = random.split(key, 3)
            proposal = draw(sample_shape, key_proposal)
            log_accept = ops.broadcast_to(self.log_prob_accept(ops.autodiff.stop_gradient(proposal)), shape)
            log_accept = ops.autodiff.stop_gradient(log_accept)
            accepted = ops.log(random.open_uniform(key_accept, shape, log_accept.dtype)) <= log_accept
            # A proposal that cannot be judged would be rejected for ever; as a draw it is NaN.
            lost = ops.isnan(log_accept)
            if ops.is_floating(proposal):
                proposal = ops.where(self._over_events(lost), math.nan, proposal)
            return key, proposal, accepted | lost, log_accept

        def repeat(state):
            key, value, done, worst = state
            key, proposal, accepted, log_accept = attempt(key)
            value = ops.where(self._over_events(done), value, proposal)
            return key, value, done | accepted, ops.maximum(worst, log_accept)

        state = ops.control.while_loop(lambda state: ops.any(ops.logical_not(state[2])), repeat, attempt(rng_key))
        if self._validates and not autodiff.is_tracing():
            _check_acceptance(state[3])
        return state[1]

    def _over_events(self, flags):
        return ops.reshape(flags, (*flags.shape, *(1,) * self.event_dim)) if self.event_dim else flags

    def _check_value(self, value):
        """Nothing here: the proposal checks the same value."""

    def log_prob(self, value):
        return self.propose.log_prob(value) + self.log_prob_accept(value) - self.log_scale

    def score_parts(self, value):
        log_accept = self.log_prob_accept(value) - self.log_scale
        log_prob = self.propose.log_prob(value) + log_accept
        return ScoreParts(log_prob, log_accept, log_prob) if self.has_rsample else ScoreParts(log_prob, log_prob, 0.0)

    def _current_batch_shape(self):
        return tuple(self.propose.batch_shape)

    def __repr__(self):
        return f"Rejector({self.propose!r}, {getattr(self.log_prob_accept, '__name__', 'log_prob_accept')})"


def _check_acceptance(log_accept):
    """Refuse log probabilities of acceptance that are none, but for rounding.

    :raises ConstraintError: if there is NaN or a number above 0.
    """
    tolerance = float(ops.finfo(log_accept).eps) ** 0.5
    if not bool(ops.all(log_accept <= tolerance)):
        raise ConstraintError(
            "Rejector: log_prob_accept gives logarithms of probabilities; expected numbers not above 0, received at most "
            f"{float(ops.max(log_accept))}; try a wider proposal, or a larger bound of the density over it"
        )


def _can_follow(distribution):
    """Return whether :func:`_follow` knows how draws of ``distribution`` move with its parameters."""
    if isinstance(distribution, (Wrapper, TransformedDistribution)):
        return _can_follow(distribution.base_dist)
    if isinstance(distribution, (Delta, MultivariateNormal)):
        return True
    return not distribution.event_dim and not distribution.is_discrete and has_cdf(distribution)


def _follow(distribution, value):
    """Return ``value``, a draw of ``distribution`` without gradients, with those that it has at fixed noise."""
    stop = ops.autodiff.stop_gradient
    if isinstance(distribution, Wrapper):
        return _follow(distribution.base_dist, value)
    if isinstance(distribution, TransformedDistribution):
        for transform in reversed(distribution.transforms):
            value = transform.inv(value)
        value = _follow(distribution.base_dist, stop(value))
        for transform in distribution.transforms:
            value = transform(value)
        return value
    if isinstance(distribution, Delta):
        return value + (distribution.v - stop(distribution.v))
    if isinstance(distribution, MultivariateNormal):
        factor = distribution.scale_tril
        noise = stop(ops.solve_triangular(factor, ops.expand_dims(value - distribution.loc, -1)))
        return distribution.loc + ops.squeeze(factor @ noise, -1)
    return with_gradient(value, distribution.cdf(value), ops.exp(distribution.log_prob(value)), 0.0)
