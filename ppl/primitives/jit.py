"""What :func:`ppl.ops.jit.trace` does: a function's parameters become inputs of the compiled function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ppl import ops, tree
from ppl.handlers.messenger import Handler
from ppl.ops import jit
from ppl.params.param_store import get_param_store
from ppl.typing import Message


class _Seen(Handler):
    """Collects the names of the param sites."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def after_param(self, message: Message) -> None:
        self.names[message["name"]] = None


class _Given(Handler):
    """Gives param sites their values."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values

    def on_param(self, message: Message) -> None:
        if message["name"] in self.values:
            message["value"], message["done"] = self.values[message["name"]], True


def _trace(fn: Callable[..., Any]) -> Callable[..., Any]:
    compiled: dict[Any, tuple[list[str], Any]] = {}

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        store = get_param_store()
        key = (store.backend.name, tuple(sorted(kwargs.items())))
        known = compiled.get(key)
        if known is None or any(name not in store for name in known[0]):
            # The first run is a plain one: it stores the parameters, which compiled code cannot do.
            with _Seen() as seen:
                result = fn(*args, **kwargs)

            def given(values: dict[str, Any], *arrays: Any) -> Any:
                with _Given(values):
                    return fn(*arrays, **kwargs)

            compiled[key] = list(seen.names), ops.compile.compile(given)
            return result
        names, program = known
        values = {name: store[name] for name in names}
        if any(getattr(leaf, "requires_grad", False) for leaf in tree.leaves((values, args))):
            # Recorded graphs of torch run without gradients; the function itself keeps them.
            return fn(*args, **kwargs)
        return program(values, *args)

    vars(call)["compiled"] = compiled
    return call


jit.install(_trace)
