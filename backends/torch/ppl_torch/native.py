"""What turns a class of ``torch.distributions`` into one of this library's: interface, constraints and error messages."""

from __future__ import annotations

import inspect

import torch
from torch import distributions as native

from ppl import distributions
from ppl.distributions import validation
from ppl.distributions.distribution import Distribution, as_floating
from ppl_torch import random, streams
from ppl_torch.tracing import is_recording, is_tracing


class TorchDistributionMixin(Distribution):
    """The interface of :class:`ppl.distributions.Distribution` for classes of ``torch.distributions``.

    A class derives from a torch distribution first and from this mixin second.
    """

    backend_name = "torch"

    @property
    def batch_shape(self):
        """The shape of the independent copies."""
        return torch.Size(self._batch_shape)

    @property
    def event_shape(self):
        """The shape of one draw of one copy."""
        return torch.Size(self._event_shape)

    def shape(self, sample_shape=()):
        """Return the shape of ``sample(sample_shape)``."""
        return torch.Size((*sample_shape, *self._batch_shape, *self._event_shape))


class TorchDistribution(TorchDistributionMixin, native.Distribution):
    """Base class for distributions that a user writes over torch; shared families derive from it on this backend.

    :param batch_shape: shape of independent, not identical, copies.
    :param event_shape: shape of one draw of one copy.
    :param validate_args: whether to check parameters and values; ``None`` follows ``ppl.enable_validation``.
    """

    # torch's own checks stay off: ours name the family, the parameter, the constraint and the offender.
    _validate_args = False

    def _validate_sample(self, value):
        self._check_value(value)


class EndOfTorch:
    """Ends torch's chain of ``super().__init__()`` before it reaches the shared definition behind a native class."""

    def __init__(self):
        pass


class Native(TorchDistributionMixin):
    """What each native family adds to torch's class."""

    _validate_args = False

    def expand(self, batch_shape, _instance=None):
        """Return a copy whose parameters are broadcast to ``batch_shape``."""
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self._batch_shape:
            return self
        self._check_expandable(tuple(batch_shape))
        new = object.__new__(type(self)) if _instance is None else _instance
        new._validates = self._validates
        if hasattr(self, "_given"):
            new._given = self._given
        return super().expand(batch_shape, new)

    @property
    def dtype(self):
        """The dtype of the parameters."""
        return getattr(self, next(iter(self.arg_constraints))).dtype

    def _shown_parameters(self):
        """Return the given parameters; some families keep theirs in a base distribution and show them as properties."""
        hidden = [name for name in self.arg_constraints if isinstance(inspect.getattr_static(type(self), name, None), property)]
        return super()._shown_parameters() | {name: getattr(self, name) for name in hidden}

    def __repr__(self):
        return Distribution.__repr__(self)


class Lent(Native):
    """What a family takes whose shared definition comes first, so that torch's class lends it only its type.

    For families where torch moves probabilities off 0 and 1, knows one ``total_count`` at a time, or has fewer operations.
    """

    dtype = Distribution.dtype
    expand = Distribution.expand


def checked(distribution, validate_args, **parameters):
    """Return ``parameters`` promoted and checked, for families whose native class factors, stacks or hides them."""
    promoted = distribution.promote(*parameters.values())
    if validation.wanted(validate_args):
        for name, value in zip(parameters, promoted, strict=True):
            validation.check_parameter(type(distribution).__name__, name, distribution.arg_constraints[name], value)
    return promoted


def one_or_other(distribution, **spellings):
    """Return the keyword arguments for a native class that takes one of several parameters, as floating tensors."""
    name = distribution._given = distribution.one_of(**spellings)
    return {name: as_floating(spellings[name])[0]}


def complete(family):
    """Return a native class with the shared definition's constraints, and its methods where torch has none."""
    definition = getattr(distributions, family.__name__)
    family.arg_constraints = definition.arg_constraints
    family.support = inspect.getattr_static(definition, "support")
    for name in ("rsample", "mean", "variance", "cdf", "icdf", "entropy", "enumerate_support"):
        if inspect.getattr_static(family, name) is vars(native.Distribution)[name]:
            setattr(family, name, inspect.getattr_static(definition, name))
    for name in ("rsample", "sample"):
        theirs = inspect.getattr_static(family, name)
        if theirs.__module__.startswith("torch."):
            setattr(family, name, scoped(name, theirs, getattr(definition, name)))
    return family


def scoped(name, theirs, shared):
    """Return a draw by torch where the global generator serves, and by the shared definition elsewhere.

    That is from a key or a scope's stream, for which torch has no argument, and inside a ``vmap``, which refuses the draws that
    torch makes in place.
    """

    def draw(self, sample_shape=(), rng_key=None):
        mapped = is_tracing() and not is_recording()
        if rng_key is None and not mapped and not streams.is_scoped():
            return theirs(self, sample_shape)
        device = getattr(self, next(iter(self.arg_constraints))).device
        if rng_key is None and not streams.is_scoped():
            with device:
                return shared(self, sample_shape)
        if rng_key is None:
            rng_key = streams.ambient(device)
        if rng_key.device == device:
            return shared(self, sample_shape, rng_key)
        # A key of another device serves as the seed of this one.
        with random.scope(rng_key):
            return shared(self, sample_shape, streams.ambient(device))

    draw.__name__, draw.__doc__ = name, shared.__doc__
    return draw
