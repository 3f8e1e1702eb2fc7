"""Normals with velocities of their own, as kinds of torch's multivariate normal."""

from __future__ import annotations

import torch
from torch import distributions as native

from ppl import distributions, ops
from ppl.distributions import validation
from ppl_torch.native import EndOfTorch, Native


def _initialize(distribution, loc, scale_tril, validate_args):
    (loc, scale_tril), _ = distribution.promote_events((loc if ops.ndim(loc) else [loc], 1), (scale_tril, 2))
    if validation.wanted(validate_args):
        name = type(distribution).__name__
        validation.check_parameter(name, "scale_tril", distribution.arg_constraints["scale_tril"], scale_tril)
    distribution._given = "scale_tril"
    native.MultivariateNormal.__init__(distribution, loc, scale_tril=scale_tril, validate_args=False)
    distribution._check_parameters(validate_args)


class OMTMultivariateNormal(Native, native.MultivariateNormal, EndOfTorch, distributions.OMTMultivariateNormal):
    def __init__(self, loc, scale_tril, *, validate_args=None):
        _initialize(self, loc, scale_tril, validate_args)

    sample = distributions.OMTMultivariateNormal.sample
    rsample = distributions.OMTMultivariateNormal.rsample


class AVFMultivariateNormal(Native, native.MultivariateNormal, EndOfTorch, distributions.AVFMultivariateNormal):
    def __init__(self, loc, scale_tril, control_var, *, validate_args=None):
        _initialize(self, *self._promoted(loc, scale_tril, control_var), validate_args)

    sample = distributions.AVFMultivariateNormal.sample
    rsample = distributions.AVFMultivariateNormal.rsample

    def expand(self, batch_shape, _instance=None):
        """Return a copy whose parameters are broadcast to ``batch_shape``."""
        new = super().expand(batch_shape, _instance)
        if new is not self:
            new.control_var = self.control_var.expand(torch.Size(batch_shape) + self.control_var.shape[-3:])
        return new

    def _attach_gradients(self, noise):
        draws = distributions.AVFMultivariateNormal._attach_gradients(self, noise)
        return _Adapting.apply(draws, self.control_var, self.scale_tril.detach(), noise)


class _Adapting(torch.autograd.Function):
    """Draws as they are; ``backward`` sends the control variate the slope of half the squared gradient of the factor.

    That slope is quadratic in the gradient that arrives, which no function of the draws could have.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(draws, control_var, factor, noise):
        return draws.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, slope):
        control_var, factor, noise = ctx.saved_tensors
        rotated = (factor.mT @ slope.unsqueeze(-1)).squeeze(-1)
        trick = slope.unsqueeze(-1) * noise.unsqueeze(-2)
        swirl = rotated.unsqueeze(-1) * noise.unsqueeze(-2)
        swirl = swirl - swirl.mT
        leading = tuple(range(slope.ndim + 2 - control_var.ndim))
        if leading:
            trick, swirl = trick.sum(leading), swirl.sum(leading)
        first, second = control_var.unbind(-3)
        of_product = torch.tril(trick + first.mT @ second * swirl) * swirl
        return slope, torch.stack([second @ of_product.mT, first @ of_product], -3), None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return tangent
