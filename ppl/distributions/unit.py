"""The distribution of nothing, with a weight."""

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import VECTOR


class Unit(Distribution):
    r"""Unnormalised measure on the space of one point: what a factor adds to a model.

    .. math:: \log p(()) = w

    An event is the empty vector, of shape ``(0,)``.

    :param log_factor: :math:`w`, the log density of each copy; any real number.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.Unit(ops.array([0.5, -2.0]))
    >>> tuple(d.sample().shape), [float(term) for term in d.log_prob(d.sample())]
    ((2, 0), [0.5, -2.0])
    """

    arg_constraints = {"log_factor": constraints.real}
    support = constraints.real_vector
    has_rsample = True
    gaps = {
        **VECTOR,
        "entropy": "it is not a normalised distribution",
        "enumerate_support": "a single empty event cannot be told along an axis of values",
    }

    def __init__(self, log_factor, *, validate_args=None):
        (self.log_factor,) = self.promote(log_factor)
        super().__init__(self.log_factor.shape, (0,), validate_args=validate_args)

    mean = property(lambda self: ops.zeros(self.shape(), dtype=self.dtype))
    variance = mean

    def rsample(self, sample_shape=(), rng_key=None):
        return ops.zeros(self.shape(sample_shape), dtype=self.dtype)

    def log_prob(self, value):
        shape = ops.broadcast_shapes(tuple(value.shape)[:-1], tuple(self.batch_shape))
        return ops.broadcast_to(self.log_factor, shape)
