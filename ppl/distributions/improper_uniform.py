"""The flat measure on a set."""

import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import VECTOR
from ppl.errors import ShapeError
from ppl.transforms import as_constraint

NOT_NORMALISED = "it is not a normalised distribution"


class ImproperUniform(Distribution):
    r"""Flat measure on a set, as an improper prior: it weighs but cannot be drawn from.

    .. math:: \log p(x) = 0 \text{ for } x \text{ in the support}, \quad -\infty \text{ elsewhere}

    :param support: a constraint: the set.
    :param batch_shape: shape of independent copies.
    :param event_shape: shape of one event, at least as many axes as the constraint judges together.
    :raises ShapeError: if the event has fewer axes than the constraint needs.

    A sampler that starts from it needs an initial value that is not drawn, such as ``init_to_uniform`` gives.

    >>> from ppl import constraints, distributions as dist, ops
    >>> d = dist.ImproperUniform(constraints.positive, (), (2,))
    >>> float(d.log_prob(ops.array([1.0, 5.0])))
    0.0
    """

    arg_constraints = {}
    gaps = {
        **VECTOR,
        **dict.fromkeys(("sample", "rsample", "mean", "variance", "entropy"), NOT_NORMALISED),
        "enumerate_support": "the support may be infinite",
    }

    def __init__(self, support, batch_shape=(), event_shape=(), *, validate_args=None):
        set_of_values = as_constraint(support)
        missing = len(tuple(event_shape)) - set_of_values.event_dim
        if missing < 0:
            raise ShapeError(
                f"ImproperUniform on {set_of_values!r} needs an event of at least {set_of_values.event_dim} dimension(s), "
                f"received event_shape {tuple(event_shape)}"
            )
        self._support = constraints.independent(set_of_values, missing) if missing else set_of_values
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    @property
    def support(self):
        """The set itself, as wide as the event."""
        return self._support

    def log_prob(self, value):
        inside = self._support.check(value)
        zeros = ops.zeros(tuple(self.batch_shape), dtype=value.dtype if ops.is_floating(value) else None)
        return ops.where(inside, zeros, -math.inf)

    def expand(self, batch_shape):
        self._check_expandable(tuple(batch_shape))
        return ImproperUniform(self._support, batch_shape, self.event_shape, validate_args=self._validates)
