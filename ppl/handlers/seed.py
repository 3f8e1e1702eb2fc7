"""Make a run reproducible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import registry
from ppl.errors import HandlerError
from ppl.handlers.entry import PerEntry
from ppl.ops import random
from ppl.typing import Message


class seed(PerEntry):
    """Draw from a seed inside, and leave the randomness outside untouched.

    :param rng_seed: an int or a key of the active backend. ``rng_key`` is accepted as another name.
    :raises HandlerError: if it is missing.

    On jax each site draws with the seed folded with its name (and, from the second site of that name on, with its count), so
    adding a site leaves the draws of the others as they were. On torch and numpy the backend's generator is seeded for the
    block. Each call or block starts from the seed again.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> bool(handlers.seed(model, rng_seed=0)() == handlers.seed(model, rng_seed=0)())
    True
    """

    def __init__(self, fn: Callable[..., Any] | None = None, rng_seed: Any = None, *, rng_key: Any = None) -> None:
        rng_seed = rng_key if rng_seed is None else rng_seed
        if rng_seed is None:
            raise HandlerError("seed needs rng_seed, an int or a key of the active backend; got None")
        super().__init__(fn)
        self.rng_seed = rng_seed

    def begin(self) -> None:
        """Seed the backend for this entry."""
        self._backend, self._counts = registry.active(), dict[str, int]()
        key = random.key(self.rng_seed)
        ambient = random.fold_in(key, "draws without a key")
        # Backends with a hidden state hand the same generator back; there the seeded scope alone decides.
        self._key = None if ambient is key else key
        self._scope = random.scope(self.rng_seed if self._key is None else ambient)
        self._scope.__enter__()

    def end(self, kind: Any, error: Any, traceback: Any) -> None:
        """Restore the randomness outside."""
        self._scope.__exit__(kind, error, traceback)

    def _give_key(self, message: Message) -> None:
        if self._key is None or message["rng_key"] is not None or registry.active() is not self._backend:
            return
        name = message["name"]
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        if message["value"] is not None:
            return
        folded = random.fold_in(self._key, name)
        message["rng_key"] = random.fold_in(folded, count) if count else folded

    on_sample = on_subsample = _give_key
