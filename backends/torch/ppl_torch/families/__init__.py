"""The native families, by name."""

from ppl_torch.families import continuous, discrete, divergence, estimators, foundation, multivariate, positive, relaxed
from ppl_torch.native import Native, complete

MODULES = (foundation, continuous, positive, discrete, relaxed, multivariate, estimators)

NATIVE = {
    value.__name__: complete(value)
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Native) and value.__module__ == module.__name__
}

divergence.register(NATIVE.values())
