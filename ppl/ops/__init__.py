"""Array functions of the active backend: the contract that every backend implements.

Names follow the Python array API standard (``concat``, ``permute_dims``, ``axis=``, ``keepdims=``) and, for special functions,
scipy.special. ``random``, ``autodiff``, ``compile`` and ``control`` are modules of their own.
"""

from typing import TYPE_CHECKING, Any

from ppl.ops import autodiff, compile, control, einsum, random
from ppl.ops import derived as _derived
from ppl.ops import elementwise as _elementwise
from ppl.ops import linalg as _linalg
from ppl.ops import reduce as _reduce
from ppl.ops import shaping as _shaping
from ppl.ops import special as _special

if not TYPE_CHECKING:
    # The annotated modules would put the function types of this package into one circle for the type checker.
    from ppl.ops import contract, dual_averaging, elimination, indexing, integrator, newton, stats, welford


def _declared(module):
    return {name: value for name, value in vars(module).items() if hasattr(value, "part") or hasattr(value, "generic")}


ARRAY_FUNCTIONS = {}
for _module in (_elementwise, _special, _reduce, _shaping, _linalg, _derived):
    ARRAY_FUNCTIONS.update(_declared(_module))
ARRAY_FUNCTIONS.pop("einsum")
globals().update(ARRAY_FUNCTIONS)

__all__ = [*sorted(ARRAY_FUNCTIONS), "autodiff", "compile", "control", "einsum", "random"]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
