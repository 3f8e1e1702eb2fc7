"""Distributions, constraints and transforms, on whichever backend is active.

A family is imported when it is first asked for: ``import ppl`` reads none of the sixty files.
"""

import importlib
from typing import TYPE_CHECKING

from ppl import constraints, transforms
from ppl.distributions import torch_distribution
from ppl.distributions.delta import Delta
from ppl.distributions.distribution import Distribution
from ppl.distributions.expanded import ExpandedDistribution
from ppl.distributions.independent import Independent
from ppl.distributions.masked import MaskedDistribution
from ppl.distributions.score_parts import ScoreParts, scale_and_mask
from ppl.transforms import PermuteTransform, biject_to, transform_to

if TYPE_CHECKING:
    from ppl.distributions.asymmetric_laplace import AsymmetricLaplace
    from ppl.distributions.avf_multivariate_normal import AVFMultivariateNormal
    from ppl.distributions.bernoulli import Bernoulli, BernoulliLogits, BernoulliProbs
    from ppl.distributions.beta import Beta
    from ppl.distributions.beta_binomial import BetaBinomial
    from ppl.distributions.binomial import Binomial, BinomialLogits, BinomialProbs
    from ppl.distributions.categorical import Categorical, CategoricalLogits, CategoricalProbs
    from ppl.distributions.cauchy import Cauchy
    from ppl.distributions.chi2 import Chi2
    from ppl.distributions.dirichlet import Dirichlet
    from ppl.distributions.dirichlet_multinomial import DirichletMultinomial
    from ppl.distributions.discrete_hmm import DiscreteHMM
    from ppl.distributions.empirical import Empirical
    from ppl.distributions.exponential import Exponential
    from ppl.distributions.exponential_family import ExponentialFamily
    from ppl.distributions.fisher_snedecor import FisherSnedecor
    from ppl.distributions.gamma import Gamma
    from ppl.distributions.gamma_poisson import GammaPoisson
    from ppl.distributions.gaussian_hmm import GaussianHMM
    from ppl.distributions.gaussian_random_walk import GaussianRandomWalk
    from ppl.distributions.gaussian_scale_mixture import GaussianScaleMixture
    from ppl.distributions.geometric import Geometric
    from ppl.distributions.gumbel import Gumbel
    from ppl.distributions.half_cauchy import HalfCauchy
    from ppl.distributions.half_normal import HalfNormal
    from ppl.distributions.improper_uniform import ImproperUniform
    from ppl.distributions.inverse_gamma import InverseGamma
    from ppl.distributions.kl import has_kl, kl_divergence, register_kl
    from ppl.distributions.kumaraswamy import Kumaraswamy
    from ppl.distributions.laplace import Laplace
    from ppl.distributions.lkj_cholesky import LKJCholesky, LKJCorrCholesky
    from ppl.distributions.log_normal import LogNormal
    from ppl.distributions.log_uniform import LogUniform
    from ppl.distributions.logistic_normal import LogisticNormal
    from ppl.distributions.low_rank_multivariate_normal import LowRankMultivariateNormal
    from ppl.distributions.masked_mixture import MaskedMixture
    from ppl.distributions.matrix_normal import MatrixNormal
    from ppl.distributions.mixture_of_diag_normals import MixtureOfDiagNormals
    from ppl.distributions.mixture_of_diag_normals_shared_covariance import MixtureOfDiagNormalsSharedCovariance
    from ppl.distributions.mixture_same_family import MixtureSameFamily
    from ppl.distributions.multinomial import Multinomial, MultinomialLogits, MultinomialProbs
    from ppl.distributions.multivariate_normal import MultivariateNormal
    from ppl.distributions.negative_binomial import NegativeBinomial
    from ppl.distributions.normal import Normal
    from ppl.distributions.omt_multivariate_normal import OMTMultivariateNormal
    from ppl.distributions.one_hot_categorical import OneHotCategorical
    from ppl.distributions.ordered_logistic import OrderedLogistic
    from ppl.distributions.pareto import Pareto
    from ppl.distributions.poisson import Poisson
    from ppl.distributions.rejector import Rejector
    from ppl.distributions.relaxed_bernoulli import RelaxedBernoulli, RelaxedBernoulliStraightThrough
    from ppl.distributions.relaxed_one_hot_categorical import RelaxedOneHotCategorical, RelaxedOneHotCategoricalStraightThrough
    from ppl.distributions.skew_laplace import SkewLaplace
    from ppl.distributions.soft_laplace import SoftLaplace
    from ppl.distributions.spanning_tree import SpanningTree
    from ppl.distributions.student_t import StudentT
    from ppl.distributions.transformed import TransformedDistribution
    from ppl.distributions.truncated_cauchy import TruncatedCauchy
    from ppl.distributions.truncated_normal import TruncatedNormal
    from ppl.distributions.uniform import Uniform
    from ppl.distributions.unit import Unit
    from ppl.distributions.von_mises import VonMises
    from ppl.distributions.von_mises_3d import VonMises3D
    from ppl.distributions.weibull import Weibull
    from ppl.distributions.wishart import Wishart
    from ppl.distributions.zero_inflated import ZeroInflatedDistribution, ZeroInflatedNegativeBinomial, ZeroInflatedPoisson

# Each name that is imported on first use, and the file that defines it.
HOMES = {
    "AsymmetricLaplace": "asymmetric_laplace",
    "AVFMultivariateNormal": "avf_multivariate_normal",
    "Bernoulli": "bernoulli",
    "BernoulliLogits": "bernoulli",
    "BernoulliProbs": "bernoulli",
    "Beta": "beta",
    "BetaBinomial": "beta_binomial",
    "Binomial": "binomial",
    "BinomialLogits": "binomial",
    "BinomialProbs": "binomial",
    "Categorical": "categorical",
    "CategoricalLogits": "categorical",
    "CategoricalProbs": "categorical",
    "Cauchy": "cauchy",
    "Chi2": "chi2",
    "Dirichlet": "dirichlet",
    "DirichletMultinomial": "dirichlet_multinomial",
    "DiscreteHMM": "discrete_hmm",
    "Empirical": "empirical",
    "Exponential": "exponential",
    "ExponentialFamily": "exponential_family",
    "FisherSnedecor": "fisher_snedecor",
    "Gamma": "gamma",
    "GammaPoisson": "gamma_poisson",
    "GaussianHMM": "gaussian_hmm",
    "GaussianRandomWalk": "gaussian_random_walk",
    "GaussianScaleMixture": "gaussian_scale_mixture",
    "Geometric": "geometric",
    "Gumbel": "gumbel",
    "HalfCauchy": "half_cauchy",
    "HalfNormal": "half_normal",
    "ImproperUniform": "improper_uniform",
    "InverseGamma": "inverse_gamma",
    "has_kl": "kl",
    "kl_divergence": "kl",
    "register_kl": "kl",
    "Kumaraswamy": "kumaraswamy",
    "Laplace": "laplace",
    "LKJCholesky": "lkj_cholesky",
    "LKJCorrCholesky": "lkj_cholesky",
    "LogNormal": "log_normal",
    "LogUniform": "log_uniform",
    "LogisticNormal": "logistic_normal",
    "LowRankMultivariateNormal": "low_rank_multivariate_normal",
    "MaskedMixture": "masked_mixture",
    "MatrixNormal": "matrix_normal",
    "MixtureOfDiagNormals": "mixture_of_diag_normals",
    "MixtureOfDiagNormalsSharedCovariance": "mixture_of_diag_normals_shared_covariance",
    "MixtureSameFamily": "mixture_same_family",
    "Multinomial": "multinomial",
    "MultinomialLogits": "multinomial",
    "MultinomialProbs": "multinomial",
    "MultivariateNormal": "multivariate_normal",
    "NegativeBinomial": "negative_binomial",
    "Normal": "normal",
    "OMTMultivariateNormal": "omt_multivariate_normal",
    "OneHotCategorical": "one_hot_categorical",
    "OrderedLogistic": "ordered_logistic",
    "Pareto": "pareto",
    "Poisson": "poisson",
    "Rejector": "rejector",
    "RelaxedBernoulli": "relaxed_bernoulli",
    "RelaxedBernoulliStraightThrough": "relaxed_bernoulli",
    "RelaxedOneHotCategorical": "relaxed_one_hot_categorical",
    "RelaxedOneHotCategoricalStraightThrough": "relaxed_one_hot_categorical",
    "SkewLaplace": "skew_laplace",
    "SoftLaplace": "soft_laplace",
    "SpanningTree": "spanning_tree",
    "StudentT": "student_t",
    "TransformedDistribution": "transformed",
    "TruncatedCauchy": "truncated_cauchy",
    "TruncatedNormal": "truncated_normal",
    "Uniform": "uniform",
    "Unit": "unit",
    "VonMises": "von_mises",
    "VonMises3D": "von_mises_3d",
    "Weibull": "weibull",
    "Wishart": "wishart",
    "ZeroInflatedDistribution": "zero_inflated",
    "ZeroInflatedNegativeBinomial": "zero_inflated",
    "ZeroInflatedPoisson": "zero_inflated",
}

__all__ = [
    *sorted(HOMES),
    "Delta",
    "Distribution",
    "ExpandedDistribution",
    "Independent",
    "MaskedDistribution",
    "PermuteTransform",
    "ScoreParts",
    "biject_to",
    "constraints",
    "scale_and_mask",
    "torch_distribution",
    "transform_to",
    "transforms",
]


def __getattr__(name):
    """Import a family on first use; ``TorchDistribution`` and its mixin bring their library with them."""
    if name in HOMES:
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
        return value
    if name in torch_distribution.NAMES:
        return getattr(torch_distribution, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *HOMES, *torch_distribution.NAMES})
