"""Families on the real line and their relatives, as ``torch.distributions`` has them."""

from __future__ import annotations

from torch import distributions as native

from ppl import distributions
from ppl_torch.native import EndOfTorch, Native, checked


class Cauchy(Native, native.Cauchy, EndOfTorch, distributions.Cauchy):
    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        native.Cauchy.__init__(self, *self.promote(loc, scale), validate_args=False)
        self._check_parameters(validate_args)

    # torch loses the digits of both tails.
    cdf = distributions.Cauchy.cdf
    icdf = distributions.Cauchy.icdf


class Laplace(Native, native.Laplace, EndOfTorch, distributions.Laplace):
    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        native.Laplace.__init__(self, *self.promote(loc, scale), validate_args=False)
        self._check_parameters(validate_args)

    # As for Cauchy.
    cdf = distributions.Laplace.cdf
    icdf = distributions.Laplace.icdf


class Gumbel(Native, native.Gumbel, EndOfTorch, distributions.Gumbel):
    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        native.Gumbel.__init__(self, *checked(self, validate_args, loc=loc, scale=scale), validate_args=False)
        self._check_parameters(validate_args)

    # torch goes through a uniform that leaves out both ends, and loses the digits of the tails.
    rsample = distributions.Gumbel.rsample
    sample = distributions.Gumbel.sample
    cdf = distributions.Gumbel.cdf
    icdf = distributions.Gumbel.icdf


class Pareto(Native, native.Pareto, EndOfTorch, distributions.Pareto):
    def __init__(self, scale, alpha, *, validate_args=None):
        native.Pareto.__init__(self, *checked(self, validate_args, scale=scale, alpha=alpha), validate_args=False)
        self._check_parameters(validate_args)

    # torch's density is finite below the scale; its moments are NaN in the gradient where they are infinite.
    log_prob = distributions.Pareto.log_prob
    cdf = distributions.Pareto.cdf
    icdf = distributions.Pareto.icdf
    mean = distributions.Pareto.mean
    variance = distributions.Pareto.variance


class Weibull(Native, native.Weibull, EndOfTorch, distributions.Weibull):
    def __init__(self, scale, concentration, *, validate_args=None):
        parameters = checked(self, validate_args, scale=scale, concentration=concentration)
        native.Weibull.__init__(self, *parameters, validate_args=False)
        self._check_parameters(validate_args)

    # torch's density is NaN at zero and below; its variance cancels at large concentrations.
    log_prob = distributions.Weibull.log_prob
    cdf = distributions.Weibull.cdf
    icdf = distributions.Weibull.icdf
    variance = distributions.Weibull.variance


class Kumaraswamy(Native, native.Kumaraswamy, EndOfTorch, distributions.Kumaraswamy):
    def __init__(self, concentration1, concentration0, *, validate_args=None):
        parameters = checked(self, validate_args, concentration1=concentration1, concentration0=concentration0)
        native.Kumaraswamy.__init__(self, *parameters, validate_args=False)
        self._check_parameters(validate_args)

    # torch composes powers and differences, which cancel near both ends.
    rsample = distributions.Kumaraswamy.rsample
    sample = distributions.Kumaraswamy.sample
    log_prob = distributions.Kumaraswamy.log_prob
    cdf = distributions.Kumaraswamy.cdf
    icdf = distributions.Kumaraswamy.icdf
    mean = distributions.Kumaraswamy.mean
    variance = distributions.Kumaraswamy.variance
