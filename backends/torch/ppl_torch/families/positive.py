"""Families made from gamma draws, as ``torch.distributions`` has them, and the von Mises distribution."""

from __future__ import annotations

from torch import distributions as native

from ppl import distributions
from ppl_torch.native import EndOfTorch, Native, checked


class Chi2(Native, native.Chi2, EndOfTorch, distributions.Chi2):
    def __init__(self, df, *, validate_args=None):
        native.Chi2.__init__(self, *checked(self, validate_args, df=df), validate_args=False)
        self._check_parameters(validate_args)

    # As for Gamma.
    log_prob = distributions.Chi2.log_prob
    cdf = distributions.Chi2.cdf


class FisherSnedecor(Native, native.FisherSnedecor, EndOfTorch, distributions.FisherSnedecor):
    def __init__(self, df1, df2, *, validate_args=None):
        # Not by torch's own initialisation, whose inner distributions check themselves with torch's words.
        self.df1, self.df2 = self.promote(df1, df2)
        self._gamma1 = native.Gamma(0.5 * self.df1, self.df1, validate_args=False)
        self._gamma2 = native.Gamma(0.5 * self.df2, self.df2, validate_args=False)
        native.Distribution.__init__(self, self.df1.shape, validate_args=False)
        self._check_parameters(validate_args)

    # torch calls infinite moments NaN and divides draws that can both be zero.
    mean = distributions.FisherSnedecor.mean
    variance = distributions.FisherSnedecor.variance
    rsample = distributions.FisherSnedecor.rsample
    log_prob = distributions.FisherSnedecor.log_prob


class InverseGamma(Native, native.InverseGamma, EndOfTorch, distributions.InverseGamma):
    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        # torch keeps the two in a gamma distribution behind it, so they are checked before.
        parameters = checked(self, validate_args, concentration=concentration, rate=rate)
        native.InverseGamma.__init__(self, *parameters, validate_args=False)
        self._check_parameters(validate_args)

    mean = distributions.InverseGamma.mean
    variance = distributions.InverseGamma.variance
    rsample = distributions.InverseGamma.rsample
    sample = distributions.InverseGamma.sample
    log_prob = distributions.InverseGamma.log_prob
    cdf = distributions.InverseGamma.cdf
    icdf = distributions.InverseGamma.icdf
    entropy = distributions.InverseGamma.entropy


class VonMises(Native, native.VonMises, EndOfTorch, distributions.VonMises):
    has_rsample = True

    def __init__(self, loc, concentration, *, validate_args=None):
        native.VonMises.__init__(self, *self.promote(loc, concentration), validate_args=False)
        self._check_parameters(validate_args)

    # torch's Bessel functions have seven digits, and its draws no gradient.
    variance = distributions.VonMises.variance
    sample = distributions.VonMises.sample
    rsample = distributions.VonMises.rsample
    log_prob = distributions.VonMises.log_prob
    expand = distributions.VonMises.expand
