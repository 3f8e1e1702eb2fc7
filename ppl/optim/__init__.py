"""Optimizers with one face over torch.optim, optax and own rules on numpy."""

from ppl.optim.adam import ADAM, Adam
from ppl.optim.base import PyroOptim, Rule
from ppl.optim.sgd import SGD

__all__ = ["ADAM", "SGD", "Adam", "PyroOptim", "Rule"]
