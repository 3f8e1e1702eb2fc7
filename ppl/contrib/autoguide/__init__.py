"""Automatic guides, under the path that the reference documents."""

from ppl.contrib.autoguide import initialization
from ppl.infer.autoguide import (
    AutoCallable,
    AutoContinuous,
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGuide,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoStructured,
)

__all__ = ["AutoCallable", "AutoContinuous", "AutoDelta", "AutoDiagonalNormal", "AutoDiscreteParallel", "AutoGuide",
           "AutoGuideList", "AutoLaplaceApproximation", "AutoLowRankMultivariateNormal", "AutoMultivariateNormal", "AutoNormal",
           "AutoStructured", "initialization"]  # fmt: skip
