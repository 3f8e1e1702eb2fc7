"""What the distributions that reshape another one have in common."""

from ppl.distributions.distribution import Distribution


class Wrapper(Distribution):
    """A distribution that hands on what ``base_dist`` can do, such as :class:`Independent`.

    A subclass sets ``base_dist`` before it calls ``super().__init__`` and defines what it changes. An operation that the base
    lacks raises the base's error.
    """

    support = property(lambda self: self.base_dist.support)
    has_rsample = property(lambda self: self.base_dist.has_rsample)
    has_enumerate_support = property(lambda self: self.base_dist.has_enumerate_support)
    has_score_function = property(lambda self: getattr(self.base_dist, "has_score_function", False))
    dtype = property(lambda self: self.base_dist.dtype)
    is_discrete = property(lambda self: self.base_dist.is_discrete)
    mean = property(lambda self: self.base_dist.mean)
    variance = property(lambda self: self.base_dist.variance)

    def sample(self, sample_shape=(), rng_key=None):
        return self.base_dist.sample(sample_shape, rng_key)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.base_dist.rsample(sample_shape, rng_key)

    def _check_value(self, value):
        """Nothing here: the base distribution checks the same value."""

    def cdf(self, value):
        return self.base_dist.cdf(value)

    def icdf(self, value):
        return self.base_dist.icdf(value)

    def enumerate_support(self, expand=True):
        return self.base_dist.enumerate_support(expand)
