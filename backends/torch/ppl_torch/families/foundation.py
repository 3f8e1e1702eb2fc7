"""The families of ``torch.distributions`` that most models use, and ``Independent``."""

from __future__ import annotations

import weakref

import torch
from torch import distributions as native

from ppl import distributions
from ppl.distributions import validation
from ppl.distributions.categorical import normalised
from ppl.distributions.counting import whole_count
from ppl.distributions.dispatch import checked_inside
from ppl.distributions.distribution import as_floating
from ppl.distributions.independent import check_reinterpretation
from ppl.distributions.multivariate_normal import check_sizes, precision_to_scale_tril
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.distributions.score_parts import ScoreParts
from ppl_torch.linalg import cholesky
from ppl_torch.native import EndOfTorch, Native, checked, one_or_other, scoped
from ppl_torch.tracing import is_tracing


class Normal(Native, native.Normal, EndOfTorch, distributions.Normal):
    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        # Not by torch's own initialisation, which broadcasts anew what is broadcast.
        self.loc, self.scale = self.promote(loc, scale)
        native.Distribution.__init__(self, self.loc.shape, validate_args=False)
        self._check_parameters(validate_args)

    # torch loses the digits of the lower tail.
    cdf = distributions.Normal.cdf
    icdf = distributions.Normal.icdf

    def log_prob(self, value):
        # The shared formula runs seven operations where five do, and takes 1.3 times as long for one number and for a million.
        # torch's own takes longer still: it squares the scale and divides over the whole array.
        if is_tracing() or value.dtype != self.loc.dtype:
            return distributions.Normal.log_prob(self, value)
        standardised = (value - self.loc) / self.scale
        log_density_at_mean = torch.rsub(torch.log(self.scale), -HALF_LOG_TWO_PI)
        return torch.addcmul(log_density_at_mean, standardised, standardised, value=-0.5)

    # The latest draw, which copies do without.
    __slots__ = ("_drawn",)

    def rsample(self, sample_shape=(), rng_key=None):
        value = DRAW(self, sample_shape, rng_key)
        self._drawn = weakref.ref(value)
        return value

    @checked_inside
    def score_parts(self, value):
        """Return the parts; of this object's own draw the standardised value is a constant, and has no gradient to be traced.

        Through the definition of the density it and its gradient take 1.9 times as long.
        """
        drawn = getattr(self, "_drawn", None)
        # A draw made without a graph does not move along with the parameters.
        if drawn is None or drawn() is not value or value.grad_fn is None or is_tracing():
            return super().score_parts(value)
        with torch.no_grad():
            exponent = ((value - self.loc) / self.scale) ** 2 * -0.5 - HALF_LOG_TWO_PI
        log_prob = exponent - torch.log(self.scale)
        return ScoreParts(log_prob, 0.0, log_prob)


DRAW = scoped("rsample", native.Normal.rsample, distributions.Normal.rsample)


class Bernoulli(Native, native.Bernoulli, EndOfTorch, distributions.Bernoulli):
    def __init__(self, probs=None, logits=None, *, validate_args=None):
        # As for Normal.
        ((name, self._param),) = one_or_other(self, probs=probs, logits=logits).items()
        setattr(self, name, self._param)
        native.Distribution.__init__(self, self._param.shape, validate_args=False)
        self._check_parameters(validate_args)

    # torch moves probabilities off 0 and 1 before it takes logarithms; the shared density is exact there.
    log_prob = distributions.Bernoulli.log_prob
    entropy = distributions.Bernoulli.entropy


class Beta(Native, native.Beta, EndOfTorch, distributions.Beta):
    def __init__(self, concentration1, concentration0, *, validate_args=None):
        # torch keeps the two stacked in a Dirichlet and hands out views, so they are checked before.
        parameters = checked(self, validate_args, concentration1=concentration1, concentration0=concentration0)
        native.Beta.__init__(self, *parameters, validate_args=False)
        self._check_parameters(validate_args)

    # torch's density is NaN outside the unit interval.
    log_prob = distributions.Beta.log_prob


class Gamma(Native, native.Gamma, EndOfTorch, distributions.Gamma):
    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        native.Gamma.__init__(self, *self.promote(concentration, rate), validate_args=False)
        self._check_parameters(validate_args)

    # torch's density is NaN below zero, and its distribution function has no gradient in the concentration.
    log_prob = distributions.Gamma.log_prob
    cdf = distributions.Gamma.cdf


class Exponential(Native, native.Exponential, EndOfTorch, distributions.Exponential):
    def __init__(self, rate=1.0, *, validate_args=None):
        native.Exponential.__init__(self, *self.promote(rate), validate_args=False)
        self._check_parameters(validate_args)

    # torch loses the digits of small values, and goes below zero with them.
    cdf = distributions.Exponential.cdf

    # torch's density is finite below zero.
    log_prob = distributions.Exponential.log_prob


class Uniform(Native, native.Uniform, EndOfTorch, distributions.Uniform):
    def __init__(self, low=0.0, high=1.0, *, validate_args=None):
        native.Uniform.__init__(self, *self.promote(low, high), validate_args=False)
        self._check_parameters(validate_args)

    # torch leaves the upper end out; the support includes both.
    log_prob = distributions.Uniform.log_prob


class LogNormal(Native, native.LogNormal, EndOfTorch, distributions.LogNormal):
    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        native.LogNormal.__init__(self, *checked(self, validate_args, loc=loc, scale=scale), validate_args=False)
        self._check_parameters(validate_args)

    # torch is NaN below zero and in the variance of a large scale, and loses the digits of the lower tail.
    log_prob = distributions.LogNormal.log_prob
    cdf = distributions.LogNormal.cdf
    icdf = distributions.LogNormal.icdf
    variance = distributions.LogNormal.variance


class HalfNormal(Native, native.HalfNormal, EndOfTorch, distributions.HalfNormal):
    def __init__(self, scale=1.0, *, validate_args=None):
        native.HalfNormal.__init__(self, *checked(self, validate_args, scale=scale), validate_args=False)
        self._check_parameters(validate_args)

    # torch loses the digits of small values, and goes below zero with them.
    cdf = distributions.HalfNormal.cdf
    icdf = distributions.HalfNormal.icdf


class HalfCauchy(Native, native.HalfCauchy, EndOfTorch, distributions.HalfCauchy):
    def __init__(self, scale=1.0, *, validate_args=None):
        native.HalfCauchy.__init__(self, *checked(self, validate_args, scale=scale), validate_args=False)
        self._check_parameters(validate_args)

    # As for HalfNormal.
    cdf = distributions.HalfCauchy.cdf
    icdf = distributions.HalfCauchy.icdf


class StudentT(Native, native.StudentT, EndOfTorch, distributions.StudentT):
    def __init__(self, df, loc=0.0, scale=1.0, *, validate_args=None):
        # Not by torch's own initialisation, whose inner distribution checks itself with torch's words.
        self.df, self.loc, self.scale = self.promote(df, loc, scale)
        self._chi2 = native.Chi2(self.df, validate_args=False)
        native.Distribution.__init__(self, self.df.shape, validate_args=False)
        self._check_parameters(validate_args)

    # torch subtracts two large log-gammas: at 1e10 degrees of freedom six digits remain.
    log_prob = distributions.StudentT.log_prob


class Poisson(Native, native.Poisson, EndOfTorch, distributions.Poisson):
    def __init__(self, rate, *, validate_args=None):
        native.Poisson.__init__(self, *self.promote(rate), validate_args=False)
        self._check_parameters(validate_args)

    # torch's gradient at rate 0 and count 0 is NaN, and its entropy of any exponential family an error without a sentence.
    log_prob = distributions.Poisson.log_prob
    entropy = distributions.Poisson.entropy


class Binomial(Native, native.Binomial, EndOfTorch, distributions.Binomial):
    def __init__(self, total_count=1, probs=None, logits=None, *, validate_args=None):
        parameters = one_or_other(self, probs=probs, logits=logits)
        ((name, parameter),) = parameters.items()
        self._whole_count = whole_count(total_count)
        parameter, total_count = self.promote(parameter, total_count)
        native.Binomial.__init__(self, total_count, **{name: parameter}, validate_args=False)
        self._check_parameters(validate_args)

    # As for Bernoulli: exact at probabilities 0 and 1, and for counts that differ.
    log_prob = distributions.Binomial.log_prob
    entropy = distributions.Binomial.entropy
    enumerate_support = distributions.Binomial.enumerate_support


class Categorical(Native, native.Categorical, EndOfTorch, distributions.Categorical):
    def __init__(self, probs=None, logits=None, *, validate_args=None):
        parameters = one_or_other(self, probs=probs, logits=logits)
        ((name, parameter),) = parameters.items()
        # torch normalises too, but the check must see the weights as they were given.
        parameters = {name: normalised(type(self).__name__, name, parameter, validate_args)}
        native.Categorical.__init__(self, **parameters, validate_args=False)
        self._check_parameters(validate_args)

    # As for Bernoulli: exact at probability 0.
    log_prob = distributions.Categorical.log_prob


class Dirichlet(Native, native.Dirichlet, EndOfTorch, distributions.Dirichlet):
    def __init__(self, concentration, *, validate_args=None):
        native.Dirichlet.__init__(self, *as_floating(concentration), validate_args=False)
        self._check_parameters(validate_args)


FACTORS = {"covariance_matrix": cholesky, "precision_matrix": precision_to_scale_tril, "scale_tril": lambda matrix: matrix}


class MultivariateNormal(Native, native.MultivariateNormal, EndOfTorch, distributions.MultivariateNormal):
    def __init__(self, loc=0.0, covariance_matrix=None, precision_matrix=None, scale_tril=None, *, validate_args=None):
        matrices = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        name = self._given = self.one_of(**matrices)
        loc, matrix = as_floating(loc, matrices[name])
        loc = loc if loc.ndim else loc.unsqueeze(0)
        self.promote_events((loc, 1), (matrix, 2))
        check_sizes("MultivariateNormal", loc, name, matrix)
        if validation.wanted(validate_args):
            validation.check_parameter("MultivariateNormal", name, self.arg_constraints[name], matrix)
        loc = loc.expand(*loc.shape[:-1], matrix.shape[-1])
        # Factored here, because torch's class ends a sampler's run at a matrix that is not positive definite.
        factor = FACTORS[name](matrix)
        native.MultivariateNormal.__init__(self, loc, scale_tril=factor, validate_args=False)
        setattr(self, name, matrix.expand(*self._batch_shape, *matrix.shape[-2:]))
        self._check_parameters(validate_args)

    # torch solves for every value; the shared density inverts the small factor once.
    log_prob = distributions.MultivariateNormal.log_prob
    _factor = property(lambda self: self._unbroadcasted_scale_tril)


class Independent(Native, native.Independent, EndOfTorch, distributions.Independent):
    def __init__(self, base_distribution, reinterpreted_batch_ndims, *, validate_args=None):
        check_reinterpretation(base_distribution, reinterpreted_batch_ndims)
        native.Independent.__init__(self, base_distribution, reinterpreted_batch_ndims, validate_args=False)
        self._check_parameters(validate_args)

    dtype = distributions.Independent.dtype
    sample = distributions.Independent.sample
    rsample = distributions.Independent.rsample
    log_prob = distributions.Independent.log_prob
    enumerate_support = distributions.Independent.enumerate_support
    __repr__ = distributions.Independent.__repr__
