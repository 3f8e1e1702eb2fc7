"""Distributions on the line, cut at one bound, at two, or at none."""

from ppl import constraints
from ppl.distributions import validation
from ppl.distributions.distribution import Distribution


class Truncated(Distribution):
    """A distribution of a location and a scale, given that the value lies between two bounds; abstract.

    :param loc: location before truncation; any real number.
    :param scale: scale before truncation, positive.
    :param low: lower bound, finite; a keyword. ``None`` is no bound.
    :param high: upper bound, finite and above ``low``; a keyword. ``None`` is no bound.
    :raises ConstraintError: if ``scale`` has a non-positive element, or ``high`` does not lie above ``low``.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "low": constraints.real, "high": constraints.real}
    has_rsample = True

    low = None
    high = None

    def __init__(self, loc=0.0, scale=1.0, *, low=None, high=None, validate_args=None):
        bounds = {name: bound for name, bound in (("low", low), ("high", high)) if bound is not None}
        self.loc, self.scale, *promoted = self.promote(loc, scale, *bounds.values())
        self.__dict__.update(zip(bounds, promoted, strict=True))
        super().__init__(self.loc.shape, validate_args=validate_args)

    def _check_parameters(self, validate_args):
        super()._check_parameters(validate_args)
        if self._validates and self.low is not None and self.high is not None:
            validation.check_parameter(type(self).__name__, "high", constraints.greater_than(self.low), self.high)

    @property
    def support(self):
        """The interval, its ends included."""
        if self.low is None:
            return constraints.real if self.high is None else constraints.less_than_eq(self.high)
        return constraints.greater_than_eq(self.low) if self.high is None else constraints.interval(self.low, self.high)
