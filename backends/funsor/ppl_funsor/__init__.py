"""The funsor backend: the arrays of the backend beneath it, whose discrete variables funsor sums out.

It is a second opinion on :mod:`ppl.ops.elimination`: the same models, arrays, derivatives and draws, but sums over discrete
variables are ordered and computed by ``funsor.sum_product``.
"""

from dataclasses import fields

from ppl.backend import Backend, Layer
from ppl_funsor import elimination, process


def over(beneath: Backend) -> Backend:
    """Return ``beneath`` with funsor's variable elimination.

    :raises BackendError: if funsor cannot hold its arrays, or holds those of another library in this process.
    """
    process.claim(beneath)
    kept = {field.name: getattr(beneath, field.name) for field in fields(Backend)}
    return Backend(**{**kept, "name": "funsor", "beneath": beneath.address, "elimination": elimination})


backend = Layer(name="funsor", over=over)
