"""The families of ``torch.distributions``, with this library's interface, constraints and error messages."""

from __future__ import annotations

import torch
from torch import distributions as native

from ppl import constraints, transforms
from ppl_torch.families import NATIVE
from ppl_torch.native import TorchDistribution, TorchDistributionMixin

__all__ = ["BASE", "NATIVE", "TorchDistribution", "TorchDistributionMixin", "convert_constraint", "convert_transform"]

BASE = TorchDistribution


SINGLETONS = ("boolean", "corr_cholesky", "lower_cholesky", "lower_triangular", "nonnegative", "nonnegative_integer", "one_hot",
              "positive", "positive_definite", "positive_integer", "positive_semidefinite", "real", "real_vector", "simplex",
              "square", "symmetric", "unit_interval")  # fmt: skip
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
    for name in SINGLETONS:
        if constraint is getattr(theirs, name):
            return getattr(constraints, name)
    if isinstance(constraint, theirs.independent):
        return constraints.independent(convert_constraint(constraint.base_constraint), constraint.reinterpreted_batch_ndims)
    if isinstance(constraint, theirs.cat):
        return constraints.cat(map(convert_constraint, constraint.cseq), constraint.dim, constraint.lengths)
    if isinstance(constraint, theirs.stack):
        return constraints.stack(map(convert_constraint, constraint.cseq), constraint.dim)
    if theirs.is_dependent(constraint):
        return constraints.dependent
    for name, bounds in BOUNDED.items():
        if type(constraint) is getattr(theirs, name):
            return getattr(constraints, name)(*(getattr(constraint, bound) for bound in bounds))
    # torch's whole numbers from a bound on have no public class of their own
    if type(constraint) is type(theirs.nonnegative_integer):
        return constraints.integer_greater_than_eq(constraint.lower_bound)
    for name in SINGLETONS:
        # a copy, as unpickling makes one; those of a class with arguments are found above
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

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return self.wrapped.log_abs_det_jacobian(x, y)

    def forward_shape(self, shape):
        return tuple(self.wrapped.forward_shape(torch.Size(shape)))

    def inverse_shape(self, shape):
        return tuple(self.wrapped.inverse_shape(torch.Size(shape)))


def convert_transform(transform):
    """Return a transform of ``torch.distributions`` wrapped as this library's, else the argument."""
    return NativeTransform(transform) if isinstance(transform, native.transforms.Transform) else transform
