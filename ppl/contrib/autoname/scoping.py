"""Prefixes and counters for the names of sites."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ppl.errors import HandlerError
from ppl.handlers.entry import PerEntry
from ppl.runtime import STACK
from ppl.typing import Message


class NameCountMessenger(PerEntry):
    """Appends ``__`` and a counter to each name of a sample site, and of a scope, that comes again within a run.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.contrib.autoname.scoping import NameCountMessenger
    >>> with handlers.trace() as recorder, NameCountMessenger():
    ...     draws = [ppl.sample("x", dist.Normal(0.0, 1.0)) for _ in range(2)]
    >>> recorder.trace.stochastic_nodes
    ['x', 'x__1']
    """

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self._counts: dict[tuple[str, str], int] = {}

    def begin(self) -> None:
        """Count anew."""
        self._counts = {}

    def reset(self) -> None:
        """Count anew."""
        self._counts = {}

    def counted(self, kind: str, name: str) -> str:
        """Return the suffix that makes ``name`` distinct among the names of its kind met so far."""
        number = self._counts.get((kind, name), 0)
        self._counts[kind, name] = number + 1
        return f"__{number}" if number else ""

    def on_sample(self, message: Message) -> None:
        """Make the name of the site distinct."""
        message["name"] += self.counted("site", message["name"])


class ScopeMessenger(PerEntry):
    """Puts ``prefix`` and a slash before the names of the sample sites inside.

    :param prefix: a string; a decorated function lends its own name by default.
    :param inner: whether counters of :func:`name_count` belong to the names inside (``a/x__1``) instead of to the scope that is
        entered again (``a__1/x``).
    :raises HandlerError: if it is entered without a prefix.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.contrib.autoname.scoping import ScopeMessenger
    >>> with handlers.trace() as recorder, ScopeMessenger("a"):
    ...     draw = ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> recorder.trace.stochastic_nodes
    ['a/x']
    """

    def __init__(self, prefix: str | None = None, inner: bool | None = None) -> None:
        super().__init__()
        self.prefix = prefix
        self.inner = bool(inner)
        self._path = ""

    def begin(self) -> None:
        """Find the prefix of this entry.

        :raises HandlerError: if there is none.
        """
        if self.prefix is None:
            raise HandlerError("scope has no prefix; expected one, or a function to take the name of; try scope(prefix='name')")
        self._path = self.prefix + ("" if self.inner else self._suffix(self.prefix))

    @staticmethod
    def _suffix(prefix: str) -> str:
        """Return what the nearest counter outside adds to this entrance."""
        path = [prefix]
        for handler in reversed(STACK.get()):
            if isinstance(handler, NameCountMessenger):
                return handler.counted("scope", "/".join(reversed(path)))
            if isinstance(handler, ScopeMessenger):
                path.append(handler._path)
        return ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return self.bind(args[0])
        return super().__call__(*args, **kwargs)

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` running in this scope, under its own name if the scope has no prefix."""
        prefix = self.prefix or getattr(fn, "__name__", type(fn).__name__)

        @functools.wraps(fn, updated=())
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            # A scope of its own for each call: a recursive function is in several at once.
            with ScopeMessenger(prefix, self.inner):
                return fn(*args, **kwargs)

        return wrapped

    def on_sample(self, message: Message) -> None:
        """Prefix the name of the site."""
        message["name"] = f"{self._path}/{message['name']}"


def scope(fn: Callable[..., Any] | None = None, prefix: str | None = None, inner: bool | None = None) -> Any:
    """Put a prefix and a slash before the names of the sample sites inside; scopes nest.

    :param fn: a model; without it the result is a context manager and a decorator.
    :param prefix: by default the name of the decorated function.
    :param inner: whether counters of :func:`name_count` belong to the names inside instead of to the scope.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.contrib.autoname import scope
    >>> @scope
    ... def model():
    ...     with scope(prefix="a"):
    ...         return ppl.sample("x", dist.Bernoulli(0.5))
    >>> handlers.trace(model).get_trace().stochastic_nodes
    ['model/a/x']
    """
    messenger = ScopeMessenger(prefix, inner)
    return messenger if fn is None else messenger.bind(fn)


def name_count(fn: Callable[..., Any] | None = None) -> Any:
    """Append ``__`` and a counter to names, of sample sites and of scopes, that come again within a run of ``fn``.

    :param fn: a model; without it the result is a context manager and a decorator.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.contrib.autoname import name_count, scope
    >>> @name_count
    ... def model():
    ...     for _ in range(2):
    ...         with scope(prefix="a"):
    ...             ppl.sample("x", dist.Bernoulli(0.5))
    >>> handlers.trace(model).get_trace().stochastic_nodes
    ['a/x', 'a__1/x']
    """
    if fn is None:
        return NameCountMessenger()

    @functools.wraps(fn, updated=())
    def counted(*args: Any, **kwargs: Any) -> Any:
        with NameCountMessenger():
            return fn(*args, **kwargs)

    return counted
