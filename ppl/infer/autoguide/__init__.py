"""Guides made from models."""

from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.autoguide.callable_guide import AutoCallable
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.delta import AutoDelta
from ppl.infer.autoguide.diagonal_normal import AutoDiagonalNormal
from ppl.infer.autoguide.discrete_parallel import AutoDiscreteParallel
from ppl.infer.autoguide.guide_list import AutoGuideList
from ppl.infer.autoguide.laplace import AutoLaplaceApproximation
from ppl.infer.autoguide.low_rank_multivariate_normal import AutoLowRankMultivariateNormal
from ppl.infer.autoguide.multivariate_normal import AutoMultivariateNormal
from ppl.infer.autoguide.normal import AutoNormal
from ppl.infer.autoguide.structured import AutoStructured

__all__ = ["AutoCallable", "AutoContinuous", "AutoDelta", "AutoDiagonalNormal", "AutoDiscreteParallel", "AutoGuide",
           "AutoGuideList", "AutoLaplaceApproximation", "AutoLowRankMultivariateNormal", "AutoMultivariateNormal",
           "AutoNormal", "AutoStructured"]  # fmt: skip
