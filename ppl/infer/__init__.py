"""Inference: Markov chains, variational inference, prediction and diagnostics."""

from ppl.infer import autoguide, diagnostics, reparam
from ppl.infer.abstract_infer import EmpiricalMarginal, Marginals, TracePosterior, TracePredictive
from ppl.infer.arviz_export import to_arviz
from ppl.infer.autoguide import AutoContinuous, AutoDelta, AutoDiagonalNormal, AutoGuide
from ppl.infer.elbo import ELBO, Trace_ELBO
from ppl.infer.information_criterion import loo, waic
from ppl.infer.initialization import (
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
from ppl.infer.svi import SVI

__all__ = ["ELBO", "HMC", "MCMC", "NUTS", "SVI", "AutoContinuous", "AutoDelta", "AutoDiagonalNormal", "AutoGuide", "ChEES",
           "EmpiricalMarginal", "Marginals", "Posterior", "Predictive", "TracePosterior", "TracePredictive", "Trace_ELBO",
           "autoguide", "diagnostics", "init_to_feasible", "init_to_mean", "init_to_median", "init_to_sample", "init_to_uniform",
           "init_to_value", "log_likelihood", "loo", "reparam", "to_arviz", "waic"]  # fmt: skip
