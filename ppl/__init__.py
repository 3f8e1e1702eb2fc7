"""Probabilistic programs written once, run natively on torch, jax and numpy."""

from ppl.generic import pyro_backend, register_backend, set_backend

__version__ = "0.1.0"
