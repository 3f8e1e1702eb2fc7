"""Distributions, constraints and transforms, on whichever backend is active."""

from ppl import constraints, transforms
from ppl.distributions import torch_distribution
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.beta import Beta
from ppl.distributions.binomial import Binomial
from ppl.distributions.categorical import Categorical
from ppl.distributions.delta import Delta
from ppl.distributions.dirichlet import Dirichlet
from ppl.distributions.distribution import Distribution
from ppl.distributions.expanded import ExpandedDistribution
from ppl.distributions.exponential import Exponential
from ppl.distributions.gamma import Gamma
from ppl.distributions.half_cauchy import HalfCauchy
from ppl.distributions.half_normal import HalfNormal
from ppl.distributions.independent import Independent
from ppl.distributions.log_normal import LogNormal
from ppl.distributions.masked import MaskedDistribution
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.normal import Normal
from ppl.distributions.poisson import Poisson
from ppl.distributions.score_parts import ScoreParts, scale_and_mask
from ppl.distributions.student_t import StudentT
from ppl.distributions.transformed import TransformedDistribution
from ppl.distributions.uniform import Uniform
from ppl.transforms import biject_to, transform_to

__all__ = ["Bernoulli", "Beta", "Binomial", "Categorical", "Delta", "Dirichlet", "Distribution", "ExpandedDistribution",
           "Exponential", "Gamma", "HalfCauchy", "HalfNormal", "Independent", "LogNormal", "MaskedDistribution",
           "MultivariateNormal", "Normal", "Poisson", "ScoreParts", "StudentT", "TransformedDistribution", "Uniform",
           "biject_to", "constraints", "scale_and_mask", "torch_distribution", "transform_to", "transforms"]  # fmt: skip


def __getattr__(name):
    """Return ``TorchDistribution`` and its mixin, whose library is imported only when they are asked for."""
    if name in torch_distribution.NAMES:
        return getattr(torch_distribution, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
