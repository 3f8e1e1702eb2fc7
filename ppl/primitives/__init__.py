"""The words of the language: what a model is written with."""

from ppl.params.param_store import clear_param_store, get_param_store
from ppl.primitives import jit as _jit
from ppl.primitives.deterministic import deterministic
from ppl.primitives.factor import factor
from ppl.primitives.markov import markov
from ppl.primitives.module import module, random_module
from ppl.primitives.param import param
from ppl.primitives.plate import plate
from ppl.primitives.rng import set_default_dtype, set_rng_seed
from ppl.primitives.sample import sample
from ppl.primitives.validation import check_site_shapes, enable_validation, is_validation_enabled, validation_enabled

__all__ = ["check_site_shapes", "clear_param_store", "deterministic", "enable_validation", "factor", "get_param_store",
           "is_validation_enabled", "markov", "module", "param", "plate", "random_module", "sample",
           "set_default_dtype", "set_rng_seed", "validation_enabled"]  # fmt: skip
