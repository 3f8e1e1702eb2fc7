"""Einstein summation: this module is itself the function, ``ops.einsum("ij,jk->ik", a, b)``.

>>> from ppl import ops
>>> float(ops.einsum("i,i->", ops.array([1.0, 2.0]), ops.array([3.0, 4.0])))
11.0
"""

import sys
from types import ModuleType

from ppl.ops import linalg


class _CallableModule(ModuleType):
    def __call__(self, equation, *operands):
        """Return the Einstein summation of ``operands``."""
        return linalg.einsum(equation, *operands)


sys.modules[__name__].__class__ = _CallableModule
