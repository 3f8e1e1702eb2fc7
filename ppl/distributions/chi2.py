"""The chi-squared distribution."""

from ppl import constraints, ops
from ppl.distributions.dispatch import derived_parameter
from ppl.distributions.distribution import Distribution
from ppl.distributions.gamma import Gamma


class Chi2(Gamma):
    r"""Chi-squared distribution of :math:`\nu` degrees of freedom: the sum of that many squared standard normals.

    .. math:: p(x) = x^{\nu / 2 - 1} e^{-x / 2} / (2^{\nu / 2} \Gamma(\nu / 2)), \quad x \ge 0

    It is the gamma distribution of concentration :math:`\nu / 2` and rate 1/2.

    :param df: degrees of freedom :math:`\nu`, positive; they need not be whole.
    :raises ConstraintError: if ``df`` has a non-positive element.

    >>> from ppl import distributions as dist
    >>> round(float(dist.Chi2(3.0).log_prob(2.0)), 4)
    -1.5724
    """

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df, *, validate_args=None):
        (self.df,) = self.promote(df)
        Distribution.__init__(self, self.df.shape, validate_args=validate_args)

    concentration = derived_parameter(lambda self: 0.5 * self.df)
    rate = derived_parameter(lambda self: ops.full_like(self.df, 0.5))
