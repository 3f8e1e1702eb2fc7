"""Process-wide settings of randomness and precision."""

from __future__ import annotations

import random as python_random
import sys

from ppl import ops
from ppl.errors import PplError
from ppl.ops import random


def set_rng_seed(rng_seed: int) -> None:
    """Seed the active backend, Python's ``random`` and numpy's global generator, so that a script is reproducible.

    :param rng_seed: an int of zero or more.
    :raises ValueError: if it is not.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> ppl.set_rng_seed(0)
    >>> first = ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> ppl.set_rng_seed(0)
    >>> bool(first == ppl.sample("x", dist.Normal(0.0, 1.0)))
    True
    """
    if isinstance(rng_seed, bool) or not hasattr(rng_seed, "__index__") or int(rng_seed) < 0:
        raise InvalidSeed(f"set_rng_seed takes an int of zero or more, got {rng_seed!r}")
    rng_seed = int(rng_seed)
    random.set_rng_seed(rng_seed)
    python_random.seed(rng_seed)
    # The core imports no array library; if numpy is not loaded, nothing draws from it.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(rng_seed % 2**32)


class InvalidSeed(PplError, ValueError):
    """A seed is no int of zero or more."""


def set_default_dtype(dtype: str) -> None:
    """Set the default floating dtype of the active backend: ``"float32"`` or ``"float64"``.

    >>> import ppl
    >>> from ppl import ops
    >>> ppl.set_default_dtype("float32")
    >>> ops.default_dtype()
    'float32'
    """
    ops.set_default_dtype(dtype)
