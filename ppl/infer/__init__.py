"""Inference: Markov chains, variational inference, prediction and diagnostics."""

from ppl.infer.initialization import (
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from ppl.infer.mcmc import HMC, MCMC, NUTS

__all__ = [
    "HMC",
    "MCMC",
    "NUTS",
    "init_to_feasible",
    "init_to_mean",
    "init_to_median",
    "init_to_sample",
    "init_to_uniform",
    "init_to_value",
]
