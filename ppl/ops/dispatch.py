"""How a declaration in :mod:`ppl.ops` reaches the active backend's function of the same name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ppl.backend import CONTRACT
from ppl.errors import GapError
from ppl.registry import active, gap

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def dispatched(part: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Declare a function of the contract: the body is empty, the signature and docstring bind every backend.

    :param part: the field of :class:`ppl.backend.Backend` that implements it.
    """

    def decorate(declaration: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        name = declaration.__name__
        CONTRACT.setdefault(part, set()).add(name)

        @functools.wraps(declaration)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
            backend = active()
            try:
                implementation = getattr(getattr(backend, part), name)
            except AttributeError:
                undeclared = GapError(f"{name} is not available on backend {backend.name!r}: its part {part!r} lacks it")
                raise gap(name) or undeclared from None
            return implementation(*args, **kwargs)

        vars(call)["part"] = part
        return call

    return decorate


def derived(definition: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Mark a function written once over other ops; a backend's ``ops`` may override it by name."""
    name = definition.__name__

    @functools.wraps(definition)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        return getattr(active().ops, name, definition)(*args, **kwargs)

    vars(call)["generic"] = definition
    return call
