"""Make a run reproducible."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ppl import registry
from ppl.errors import HandlerError
from ppl.handlers.messenger import Handler
from ppl.ops import random
from ppl.typing import Message


class seed(Handler):
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
        self._entered: list[tuple[Any, Any, dict[str, int], AbstractContextManager[Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            return super().__call__(*args, **kwargs)
        # A copy for each run, so that threads and recursive calls that share the handler do not share its counts.
        with self._fresh():
            return self.fn(*args, **kwargs)

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` running from this seed."""
        return seed(fn, self.rng_seed)

    def _fresh(self) -> seed:
        fresh = copy.copy(self)
        fresh._entered = []
        return fresh

    def __enter__(self) -> seed:
        key = random.key(self.rng_seed)
        ambient = random.fold_in(key, "draws without a key")
        # Backends with a hidden state hand the same generator back; there the seeded scope alone decides.
        explicit = ambient is not key
        scope = random.scope(ambient if explicit else self.rng_seed)
        scope.__enter__()
        self._entered.append((registry.active(), key if explicit else None, {}, scope))
        super().__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool | None:
        super().__exit__(kind, error, traceback)
        self._entered.pop()[3].__exit__(kind, error, traceback)
        return None

    def _give_key(self, message: Message) -> None:
        backend, key, counts, _ = self._entered[-1]
        if key is None or message["rng_key"] is not None or registry.active() is not backend:
            return
        name = message["name"]
        count = counts.get(name, 0)
        counts[name] = count + 1
        if message["value"] is not None:
            return
        folded = backend.random.fold_in(key, name)
        message["rng_key"] = backend.random.fold_in(folded, count) if count else folded

    on_sample = on_subsample = _give_key
