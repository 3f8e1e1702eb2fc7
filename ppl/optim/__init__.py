"""Optimizers with one face over torch.optim, optax and own rules on numpy, and their learning-rate schedules."""

from ppl.optim.adagrad import Adadelta, Adagrad, AdagradRMSProp, RMSprop
from ppl.optim.adam import ADAM, Adam, Adamax, AdamW, ClippedAdam, SparseAdam
from ppl.optim.base import PyroOptim, Rule
from ppl.optim.lbfgs import LBFGS
from ppl.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    MultiStepLR,
    PyroLRScheduler,
    ReduceLROnPlateau,
    StepLR,
)
from ppl.optim.multi import MixedMultiOptimizer, MultiOptimizer, Newton, PyroMultiOptimizer, TorchMultiOptimizer
from ppl.optim.sgd import ASGD, SGD, Rprop

__all__ = [
    "ADAM",
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "AdagradRMSProp",
    "Adam",
    "AdamW",
    "Adamax",
    "ClippedAdam",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "MixedMultiOptimizer",
    "MultiOptimizer",
    "MultiStepLR",
    "Newton",
    "PyroLRScheduler",
    "PyroMultiOptimizer",
    "PyroOptim",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rprop",
    "Rule",
    "SparseAdam",
    "StepLR",
    "TorchMultiOptimizer",
]
