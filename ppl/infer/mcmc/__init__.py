"""Markov chain Monte Carlo: pure kernels on flat vectors, their adaptation and the driver of chains."""

from ppl.infer.mcmc.hamiltonian import HMC, NUTS, ChEES
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.mcmc import MCMC
from ppl.infer.mcmc.mcmc_kernel import MCMCKernel
from ppl.infer.mcmc.results import MCMCMarginals

__all__ = ["HMC", "MCMC", "NUTS", "ChEES", "Kernel", "MCMCKernel", "MCMCMarginals"]
