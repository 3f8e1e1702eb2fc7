"""A worked example of a backend from outside: the numpy backend with every call of the contract counted.

A backend over a new library has the same shape. Write one module a part, each with the functions that :mod:`ppl.ops` declares for
it under the same signatures; put them into one :class:`~ppl.backend.Backend` value called ``backend``; and name that value in
``pyproject.toml`` under the entry-point group ``ppl.backends``. ``pyro_backend("toy")`` then finds it. What the library cannot do
stands in ``gaps``. ``test_toy.py`` is all the tests that it needs.
"""

import ppl_numpy

from ppl.backend import PARTS, Backend
from ppl_toy.counting import calls, counted_module

__all__ = ["backend", "calls"]

ARRAY_PARTS = ("ops", "special", "linalg", "random", "autodiff", "compile", "control")

backend = Backend(
    name="toy",
    library="numpy",
    gaps=ppl_numpy.backend.gaps,
    **{
        part: counted_module(part, getattr(ppl_numpy.backend, part)) if part in ARRAY_PARTS else getattr(ppl_numpy.backend, part)
        for part in PARTS
    },
)
