"""Stochastic variational inference."""

from ppl.infer.svi.driver import SVI
from ppl.infer.svi.results import SVIRunResult, SVIState
from ppl.infer.svi.stopping import EarlyStopping

__all__ = ["SVI", "EarlyStopping", "SVIRunResult", "SVIState"]
