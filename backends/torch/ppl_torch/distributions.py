"""The families of ``torch.distributions``, with this library's interface, constraints and error messages."""

from __future__ import annotations

import inspect

import torch
from torch import distributions as native

from ppl import constraints, distributions, transforms
from ppl.distributions import validation
from ppl.distributions.distribution import Distribution, as_floating
from ppl.distributions.independent import check_reinterpretation

__all__ = ["BASE", "NATIVE", "TorchDistribution", "TorchDistributionMixin", "convert_constraint", "convert_transform"]


class TorchDistributionMixin(Distribution):
    """The interface of :class:`ppl.distributions.Distribution` for classes of ``torch.distributions``.

    A class derives from a torch distribution first and from this mixin second.
    """

    backend_name = "torch"

    @property
    def batch_shape(self):
        """The shape of the independent copies."""
        return torch.Size(self._batch_shape)

    @property
    def event_shape(self):
        """The shape of one draw of one copy."""
        return torch.Size(self._event_shape)

    def shape(self, sample_shape=()):
        """Return the shape of ``sample(sample_shape)``."""
        return torch.Size((*sample_shape, *self._batch_shape, *self._event_shape))


class TorchDistribution(TorchDistributionMixin, native.Distribution):
    """Base class for distributions that a user writes over torch; shared families derive from it on this backend.

    :param batch_shape: shape of independent, not identical, copies.
    :param event_shape: shape of one draw of one copy.
    :param validate_args: whether to check parameters and values; ``None`` follows ``ppl.enable_validation``.
    """

    # torch's own checks stay off: ours name the family, the parameter, the constraint and the offender.
    _validate_args = False

    def _validate_sample(self, value):
        self._check_value(value)


class EndOfTorch:
    """Ends torch's chain of ``super().__init__()`` before it reaches the shared definition behind a native class."""

    def __init__(self):
        pass


class Native(TorchDistributionMixin):
    """What each native family adds to torch's class."""

    _validate_args = False

    def expand(self, batch_shape, _instance=None):
        """Return a copy whose parameters are broadcast to ``batch_shape``."""
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self._batch_shape:
            return self
        self._check_expandable(tuple(batch_shape))
        new = object.__new__(type(self)) if _instance is None else _instance
        new._validates = self._validates
        if hasattr(self, "_given"):
            new._given = self._given
        return super().expand(batch_shape, new)

    @property
    def dtype(self):
        """The dtype of the parameters."""
        return getattr(self, next(iter(self.arg_constraints))).dtype

    def _shown_parameters(self):
        """Return the given parameters; some families keep theirs in a base distribution and show them as properties."""
        hidden = [name for name in self.arg_constraints if isinstance(inspect.getattr_static(type(self), name, None), property)]
        return super()._shown_parameters() | {name: getattr(self, name) for name in hidden}

    def __repr__(self):
        return Distribution.__repr__(self)


def checked(distribution, validate_args, **parameters):
    """Return ``parameters`` promoted and checked, for families whose native class factors, stacks or hides them."""
    promoted = distribution.promote(*parameters.values())
    if validation.wanted(validate_args):
        for name, value in zip(parameters, promoted, strict=True):
            validation.check_parameter(type(distribution).__name__, name, distribution.arg_constraints[name], value)
    return promoted


def one_or_other(distribution, **spellings):
    """Return the keyword arguments for a native class that takes one of several parameters, as floating tensors."""
    name = distribution._given = distribution.one_of(**spellings)
    return {name: as_floating(spellings[name])[0]}


class Normal(Native, native.Normal, EndOfTorch, distributions.Normal):
    def __init__(self, loc=0.0, scale=1.0, *, validate_args=None):
        native.Normal.__init__(self, *self.promote(loc, scale), validate_args=False)
        self._check_parameters(validate_args)


class Bernoulli(Native, native.Bernoulli, EndOfTorch, distributions.Bernoulli):
    def __init__(self, probs=None, logits=None, *, validate_args=None):
        parameters = one_or_other(self, probs=probs, logits=logits)
        native.Bernoulli.__init__(self, **parameters, validate_args=False)
        self._check_parameters(validate_args)

    # torch moves probabilities off 0 and 1 before it takes logarithms; the shared density is exact there.
    log_prob = distributions.Bernoulli.log_prob


class Beta(Native, native.Beta, EndOfTorch, distributions.Beta):
    def __init__(self, concentration1, concentration0, *, validate_args=None):
        # torch keeps the two stacked in a Dirichlet and hands out views, so they are checked before.
        parameters = checked(self, validate_args, concentration1=concentration1, concentration0=concentration0)
        native.Beta.__init__(self, *parameters, validate_args=False)
        self._check_parameters(validate_args)


class Gamma(Native, native.Gamma, EndOfTorch, distributions.Gamma):
    def __init__(self, concentration, rate=1.0, *, validate_args=None):
        native.Gamma.__init__(self, *self.promote(concentration, rate), validate_args=False)
        self._check_parameters(validate_args)


class Exponential(Native, native.Exponential, EndOfTorch, distributions.Exponential):
    def __init__(self, rate=1.0, *, validate_args=None):
        native.Exponential.__init__(self, *self.promote(rate), validate_args=False)
        self._check_parameters(validate_args)

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


class HalfNormal(Native, native.HalfNormal, EndOfTorch, distributions.HalfNormal):
    def __init__(self, scale=1.0, *, validate_args=None):
        native.HalfNormal.__init__(self, *checked(self, validate_args, scale=scale), validate_args=False)
        self._check_parameters(validate_args)


class HalfCauchy(Native, native.HalfCauchy, EndOfTorch, distributions.HalfCauchy):
    def __init__(self, scale=1.0, *, validate_args=None):
        native.HalfCauchy.__init__(self, *checked(self, validate_args, scale=scale), validate_args=False)
        self._check_parameters(validate_args)


class StudentT(Native, native.StudentT, EndOfTorch, distributions.StudentT):
    def __init__(self, df, loc=0.0, scale=1.0, *, validate_args=None):
        native.StudentT.__init__(self, *self.promote(df, loc, scale), validate_args=False)
        self._check_parameters(validate_args)

    # torch subtracts two large log-gammas: at 1e10 degrees of freedom six digits remain.
    log_prob = distributions.StudentT.log_prob


class Poisson(Native, native.Poisson, EndOfTorch, distributions.Poisson):
    def __init__(self, rate, *, validate_args=None):
        native.Poisson.__init__(self, *self.promote(rate), validate_args=False)
        self._check_parameters(validate_args)

    # torch's gradient at rate 0 and count 0 is NaN.
    log_prob = distributions.Poisson.log_prob


class Binomial(Native, native.Binomial, EndOfTorch, distributions.Binomial):
    def __init__(self, total_count=1, probs=None, logits=None, *, validate_args=None):
        parameters = one_or_other(self, probs=probs, logits=logits)
        ((name, parameter),) = parameters.items()
        parameter, total_count = self.promote(parameter, total_count)
        native.Binomial.__init__(self, total_count, **{name: parameter}, validate_args=False)
        self._check_parameters(validate_args)

    # As for Bernoulli: exact at probabilities 0 and 1.
    log_prob = distributions.Binomial.log_prob
    enumerate_support = distributions.Binomial.enumerate_support


class Categorical(Native, native.Categorical, EndOfTorch, distributions.Categorical):
    def __init__(self, probs=None, logits=None, *, validate_args=None):
        native.Categorical.__init__(self, **one_or_other(self, probs=probs, logits=logits), validate_args=False)
        self._check_parameters(validate_args)

    # As for Bernoulli: exact at probability 0.
    log_prob = distributions.Categorical.log_prob


class Dirichlet(Native, native.Dirichlet, EndOfTorch, distributions.Dirichlet):
    def __init__(self, concentration, *, validate_args=None):
        native.Dirichlet.__init__(self, *as_floating(concentration), validate_args=False)
        self._check_parameters(validate_args)


class MultivariateNormal(Native, native.MultivariateNormal, EndOfTorch, distributions.MultivariateNormal):
    def __init__(self, loc=0.0, covariance_matrix=None, precision_matrix=None, scale_tril=None, *, validate_args=None):
        matrices = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        name = self._given = self.one_of(**matrices)
        loc, matrix = as_floating(loc, matrices[name])
        if validation.wanted(validate_args):
            validation.check_parameter("MultivariateNormal", name, self.arg_constraints[name], matrix)
        loc = loc.expand(matrix.shape[-1:]) if loc.ndim == 0 else loc
        native.MultivariateNormal.__init__(self, loc, **{name: matrix}, validate_args=False)
        self._check_parameters(validate_args)


class Independent(Native, native.Independent, EndOfTorch, distributions.Independent):
    def __init__(self, base_distribution, reinterpreted_batch_ndims, *, validate_args=None):
        check_reinterpretation(base_distribution, reinterpreted_batch_ndims)
        native.Independent.__init__(self, base_distribution, reinterpreted_batch_ndims, validate_args=False)
        self._check_parameters(validate_args)

    dtype = distributions.Independent.dtype
    sample = distributions.Independent.sample
    rsample = distributions.Independent.rsample
    __repr__ = distributions.Independent.__repr__


FAMILIES = (Normal, Bernoulli, Beta, Gamma, Exponential, Uniform, LogNormal, HalfNormal, HalfCauchy, StudentT, Poisson, Binomial,
            Categorical, Dirichlet, MultivariateNormal, Independent)  # fmt: skip
NATIVE = {family.__name__: family for family in FAMILIES}
BASE = TorchDistribution

for _family in FAMILIES:
    _definition = getattr(distributions, _family.__name__)
    _family.arg_constraints = _definition.arg_constraints
    _family.support = inspect.getattr_static(_definition, "support")
    for _name in ("cdf", "icdf", "entropy", "enumerate_support"):
        if inspect.getattr_static(_family, _name) is vars(native.Distribution)[_name]:
            setattr(_family, _name, inspect.getattr_static(_definition, _name))


SINGLETONS = ("boolean", "corr_cholesky", "lower_cholesky", "lower_triangular", "nonnegative_integer", "one_hot",
              "positive_definite", "positive_integer", "real", "simplex")  # fmt: skip
BOUNDED = {
    "greater_than": ("lower_bound",),
    "greater_than_eq": ("lower_bound",),
    "less_than": ("upper_bound",),
    "interval": ("lower_bound", "upper_bound"),
    "half_open_interval": ("lower_bound", "upper_bound"),
    "integer_interval": ("lower_bound", "upper_bound"),
    "multinomial": ("upper_bound",),
}


def convert_constraint(constraint):
    """Return this library's constraint that means the same as one of ``torch.distributions.constraints``, else the argument."""
    theirs = native.constraints
    if isinstance(constraint, theirs.independent):
        return constraints.independent(convert_constraint(constraint.base_constraint), constraint.reinterpreted_batch_ndims)
    if theirs.is_dependent(constraint):
        return constraints.dependent
    for name in ("positive", "nonnegative", "unit_interval", "real_vector"):
        if constraint is getattr(theirs, name):
            return getattr(constraints, name)
    for name, bounds in BOUNDED.items():
        if type(constraint) is getattr(theirs, name):
            return getattr(constraints, name)(*(getattr(constraint, bound) for bound in bounds))
    for name in SINGLETONS:
        if type(constraint) is type(getattr(theirs, name)):
            return getattr(constraints, name)
    return constraint


class NativeTransform(transforms.Transform):
    """A transform of ``torch.distributions`` with this library's interface."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    domain = property(lambda self: convert_constraint(self.wrapped.domain))
    codomain = property(lambda self: convert_constraint(self.wrapped.codomain))
    bijective = property(lambda self: self.wrapped.bijective)

    @property
    def sign(self):
        """The sign of the derivative, ``None`` where torch states none."""
        try:
            return self.wrapped.sign
        except NotImplementedError:
            return None

    def __call__(self, x):
        return self.wrapped(x)

    def _inverse(self, y):
        return self.wrapped.inv(y)

    def log_abs_det_jacobian(self, x, y):
        return self.wrapped.log_abs_det_jacobian(x, y)

    def forward_shape(self, shape):
        return tuple(self.wrapped.forward_shape(torch.Size(shape)))

    def inverse_shape(self, shape):
        return tuple(self.wrapped.inverse_shape(torch.Size(shape)))


def convert_transform(transform):
    """Return a transform of ``torch.distributions`` wrapped as this library's, else the argument."""
    return NativeTransform(transform) if isinstance(transform, native.transforms.Transform) else transform
