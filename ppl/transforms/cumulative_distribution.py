"""The distribution function of a distribution."""

from ppl import constraints
from ppl.transforms.transform import Transform, check_cache_size


class CumulativeDistributionTransform(Transform):
    """``y = F(x)``, from the support of ``distribution`` to the unit interval: the probability integral transform.

    :param distribution: a distribution of numbers that has ``cdf``, ``icdf`` and ``log_prob``.

    >>> from ppl import distributions as dist, ops
    >>> t = dist.transforms.CumulativeDistributionTransform(dist.Normal(0.0, 1.0))
    >>> round(float(t(ops.array(1.0))), 4), round(float(t.inv(ops.array(0.975))), 4)
    (0.8413, 1.96)
    """

    codomain = constraints.unit_interval
    sign = 1

    def __init__(self, distribution, *, cache_size=0):
        check_cache_size(cache_size)
        self.distribution = distribution

    domain = property(lambda self: self.distribution.support)

    def __call__(self, x):
        return self.distribution.cdf(x)

    def _inverse(self, y):
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return self.distribution.log_prob(x)
