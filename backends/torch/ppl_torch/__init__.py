"""The torch backend: the contract of :mod:`ppl.ops` over ``torch``, in public torch API only.

Entering the backend seeds nothing and changes no global setting of torch; ``ops.set_default_dtype`` sets torch's own default.
"""

from ppl.backend import Backend
from ppl_torch import autodiff, compile, control, distributions, infer, linalg, nn, ops, optim, random, special

__all__ = ["backend"]

backend = Backend(
    name="torch",
    library="torch",
    ops=ops,
    special=special,
    linalg=linalg,
    random=random,
    autodiff=autodiff,
    compile=compile,
    control=control,
    distributions=distributions,
    optim=optim,
    infer=infer,
    nn=nn,
    gaps={},
)
