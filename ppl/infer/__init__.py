"""Inference: Markov chains, variational inference, prediction and diagnostics."""

from ppl.infer import autoguide, diagnostics, reparam
from ppl.infer.abstract_infer import EmpiricalMarginal, Marginals, TracePosterior, TracePredictive
from ppl.infer.arviz_export import to_arviz
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
from ppl.infer.discrete import infer_discrete
from ppl.infer.elbo import (
    ELBO,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)
from ppl.infer.enum import config_enumerate
from ppl.infer.importance import Importance, psis_diagnostic, vectorized_importance_weights
from ppl.infer.information_criterion import loo, waic
from ppl.infer.initialization import (
    InitMessenger,
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from ppl.infer.likelihood import log_likelihood
from ppl.infer.mcmc import HMC, MCMC, NUTS, ChEES
from ppl.infer.posterior import Posterior
from ppl.infer.predictive import Predictive
from ppl.infer.svi import SVI, EarlyStopping

__all__ = ["ELBO", "HMC", "MCMC", "NUTS", "SVI", "AutoCallable", "AutoContinuous", "AutoDelta", "AutoDiagonalNormal",
           "AutoDiscreteParallel", "AutoGuide", "AutoGuideList", "AutoLaplaceApproximation",
           "AutoLowRankMultivariateNormal", "AutoMultivariateNormal", "AutoNormal", "AutoStructured", "ChEES", "EarlyStopping",
           "EmpiricalMarginal", "Importance", "InitMessenger", "JitTraceEnum_ELBO", "JitTraceGraph_ELBO",
           "JitTraceMeanField_ELBO", "JitTrace_ELBO", "Marginals",
           "Posterior", "Predictive", "RenyiELBO", "TraceEnum_ELBO", "TraceGraph_ELBO", "TraceMeanField_ELBO", "TracePosterior",
           "TracePredictive", "TraceTailAdaptive_ELBO", "Trace_ELBO", "autoguide", "config_enumerate", "diagnostics",
           "infer_discrete", "init_to_feasible",
           "init_to_mean", "init_to_median", "init_to_sample", "init_to_uniform", "init_to_value", "log_likelihood",
           "loo", "psis_diagnostic", "reparam", "to_arviz", "vectorized_importance_weights", "waic"]  # fmt: skip
