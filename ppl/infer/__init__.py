"""Inference: Markov chains, variational inference, prediction and diagnostics."""

from ppl.infer import autoguide, diagnostics, reparam
from ppl.infer.autoguide import AutoContinuous, AutoDelta, AutoDiagonalNormal, AutoGuide
from ppl.infer.elbo import ELBO, Trace_ELBO
from ppl.infer.initialization import (
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from ppl.infer.mcmc import HMC, MCMC, NUTS
from ppl.infer.predictive import Predictive
from ppl.infer.svi import SVI

__all__ = ["ELBO", "HMC", "MCMC", "NUTS", "SVI", "AutoContinuous", "AutoDelta", "AutoDiagonalNormal", "AutoGuide", "Predictive",
           "Trace_ELBO", "autoguide", "diagnostics", "init_to_feasible", "init_to_mean", "init_to_median", "init_to_sample",
           "init_to_uniform", "init_to_value", "reparam"]  # fmt: skip
