"""Probabilistic programs written once, run natively on torch, jax and numpy."""

from ppl import constraints, distributions, handlers, ops, poutine, primitives, transforms
from ppl.generic import pyro_backend, register_backend, set_backend
from ppl.handlers import condition, do
from ppl.params import clear_param_store, get_param_store
from ppl.primitives import (
    deterministic,
    enable_validation,
    factor,
    markov,
    module,
    param,
    plate,
    random_module,
    sample,
    set_default_dtype,
    set_rng_seed,
    validation_enabled,
)

__version__ = "0.1.0"

__all__ = ["check_enumeration", "check_model", "clear_param_store", "condition", "constraints", "contrib", "debug",
           "deterministic", "distributions", "do", "enable_validation", "factor", "get_param_store", "handlers", "infer",
           "markov", "module", "ops", "optim", "param", "plate", "poutine", "primitives", "pyro_backend", "random_module",
           "register_backend", "render_model", "sample", "set_backend", "set_default_dtype", "set_rng_seed", "transforms",
           "validation_enabled"]  # fmt: skip


def __getattr__(name):
    """Load on first use what a model does not need."""
    if name == "infer":
        import ppl.infer as module
    elif name == "optim":
        import ppl.optim as module
    elif name == "contrib":
        import ppl.contrib as module
    elif name == "check_enumeration":
        from ppl.infer.enum.check import check_enumeration as module
    elif name == "check_model":
        from ppl.testing.diagnosis import check_model as module
    elif name == "debug":
        from ppl.testing.diagnosis import debug as module
    elif name == "render_model":
        from ppl.contrib.render import render_model as module
    else:
        raise AttributeError(f"module 'ppl' has no attribute {name!r}")
    return module
