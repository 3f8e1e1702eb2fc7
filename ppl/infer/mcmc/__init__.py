"""Markov chain Monte Carlo: pure kernels on flat vectors, their adaptation and the driver of chains."""

from ppl.infer.mcmc.kernels import HMC, NUTS, Kernel
from ppl.infer.mcmc.mcmc import MCMC

__all__ = ["HMC", "MCMC", "NUTS", "Kernel"]
