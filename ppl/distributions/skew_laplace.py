"""The skew Laplace distribution."""

from ppl import constraints, ops
from ppl.distributions.asymmetric_laplace import TwoSidedExponential


class SkewLaplace(TwoSidedExponential):
    r"""Laplace distribution of scale :math:`\ell` below :math:`\mu` and :math:`r` above it.

    .. math::
        p(x) = \frac{1}{\ell + r} \begin{cases} e^{(x - \mu) / \ell} & x < \mu \\ e^{-(x - \mu) / r} & x \ge \mu \end{cases}

    :param loc: mode; any real number.
    :param left_scale: :math:`\ell`, the scale of the decay below ``loc``, positive.
    :param right_scale: :math:`r`, the scale of the decay above ``loc``, positive.
    :raises ConstraintError: if a scale has a non-positive element.

    It is :class:`AsymmetricLaplace` of scale :math:`\sqrt{\ell r}` and asymmetry :math:`\sqrt{\ell / r}`.

    >>> from ppl import distributions as dist
    >>> round(float(dist.SkewLaplace(0.0, 2.0, 0.5).log_prob(-1.0)), 4)
    -1.4163
    """

    arg_constraints = {"loc": constraints.real, "left_scale": constraints.positive, "right_scale": constraints.positive}

    def __init__(self, loc=0.0, left_scale=1.0, right_scale=1.0, *, validate_args=None):
        self.loc, self.left_scale, self.right_scale = self.promote(loc, left_scale, right_scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def scale(self):
        """The geometric mean of the two scales."""
        return ops.sqrt(self.left_scale) * ops.sqrt(self.right_scale)

    @property
    def asymmetry(self):
        """The square root of the ratio of the left scale to the right."""
        return ops.sqrt(self.left_scale / self.right_scale)
