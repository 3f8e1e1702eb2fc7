"""Families of vectors and matrices, as ``torch.distributions`` has them.

They are torch's by type, so that its divergences and a user's ``isinstance`` know them; the shared definition comes first and
brings its parameters and its arithmetic.
"""

from __future__ import annotations

import torch
from torch import distributions as native

from ppl import distributions
from ppl.distributions.distribution import Distribution
from ppl_torch.native import Native


class LowRankMultivariateNormal(distributions.LowRankMultivariateNormal, Native, native.LowRankMultivariateNormal):
    expand = Distribution.expand

    # What torch's divergences read.
    _unbroadcasted_cov_factor = property(lambda self: self.cov_factor)
    _unbroadcasted_cov_diag = property(lambda self: self.cov_diag)
    _unbroadcasted_scale_tril = property(lambda self: self.scale_tril)

    @property
    def _capacitance_tril(self):
        scaled = self.cov_factor / self.cov_diag.sqrt().unsqueeze(-1)
        return torch.linalg.cholesky(scaled.mT @ scaled + torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device))


class LKJCholesky(distributions.LKJCholesky, Native, native.LKJCholesky):
    expand = Distribution.expand


class Wishart(distributions.Wishart, Native, native.Wishart):
    expand = Distribution.expand

    # What torch's divergences read.
    _unbroadcasted_scale_tril = property(lambda self: self.scale_tril)
