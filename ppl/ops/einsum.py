"""Einstein summation: this module is itself the function, ``ops.einsum("ij,jk->ik", a, b)``."""

import sys
from types import ModuleType

from ppl.ops import linalg


class _CallableModule(ModuleType):
    def __call__(self, equation, *operands):
        """Return the Einstein summation of ``operands``."""
        return linalg.einsum(equation, *operands)


sys.modules[__name__].__class__ = _CallableModule
