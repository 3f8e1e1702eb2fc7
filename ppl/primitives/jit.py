"""What :func:`ppl.ops.jit.trace` does: a function's parameters become inputs of the compiled function."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ppl import ops
from ppl.errors import InferenceError, ParamError, PplWarning
from ppl.handlers.messenger import Handler
from ppl.ops import autodiff, jit
from ppl.params.param_store import get_param_store
from ppl.runtime import STACK, apply_stack, new_message
from ppl.typing import Message


class _Seen(Handler):
    """Takes note of the sites that a function shows to the handlers around it."""

    def __init__(self) -> None:
        super().__init__()
        self.params: dict[str, Message] = {}
        self.others = False

    def process_message(self, message: Message) -> None:
        if _open(message):
            self.params.setdefault(message["name"], _kept(message))
        else:
            self.others = True


class _Given(Handler):
    """Gives param sites their values and hides them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.values = values

    def on_param(self, message: Message) -> None:
        if message["name"] in self.values and _open(message):
            message["value"], message["done"], message["stop"] = self.values[message["name"]], True, True


def _open(message: Message) -> bool:
    return message["type"] == "param" and message["value"] is None and not message["done"]


def _kept(message: Message) -> Message:
    """Return a fresh message of the same param site; of an initial value that derivatives pass through, only the value."""
    name, start = message["args"]
    start = autodiff.stop_gradient(start) if ops.is_array(start) else start
    kept = new_message("param", name, message["fn"], (name, start), dict(message["kwargs"]), infer=message["infer"])
    kept["cond_indep_stack"] = message["cond_indep_stack"]
    return kept


class _Traced:
    """What is known of a function under one set of keyword arguments.

    ``params`` are its param sites, ``others`` says whether handlers around it see other sites, and ``program`` takes the values
    of the parameters and the arguments; it is ``None`` for a function that runs uncompiled.
    """

    def __init__(self, fn: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        self.fn, self.kwargs = fn, kwargs
        self.params: dict[str, Message] = {}
        self.others = False
        self.program: Callable[..., Any] | None = None

    def learn(self, args: tuple[Any, ...], values: Mapping[str, Any]) -> Any:
        """Run the function as it is, which stores new parameters, and take note of its sites.

        :param values: of parameters whose sites the handlers around have seen already.
        """
        with _Given(values), _Seen() as seen:
            result = self.fn(*args, **self.kwargs)
        if self.program is None or seen.params.keys() - self.params.keys():
            self.program = ops.compile.differentiable(self._closed())
        else:
            self.program = None
        self.params.update(seen.params)
        self.others = self.others or seen.others
        return result

    def _closed(self) -> Callable[..., Any]:
        """Return the function of parameters and arguments alone: no handler around and no stored parameter reaches it."""

        def closed(values: Mapping[str, Any], *args: Any) -> Any:
            around = STACK.set(())
            try:
                with get_param_store().scope() as met, _Given(values):
                    result = self.fn(*args, **self.kwargs)
            finally:
                STACK.reset(around)
            if met["params"]:
                raise ParamError(f"parameters {', '.join(map(repr, met['params']))} are hidden by a handler inside the function")
            return result

        closed.__name__ = getattr(self.fn, "__name__", type(self.fn).__name__)
        return closed

    def __call__(self, args: tuple[Any, ...]) -> Any:
        if self.program is None or (self.others and STACK.get()):
            return self.fn(*args, **self.kwargs)
        store = get_param_store()
        if STACK.get():
            values = {name: apply_stack(_kept(message))["value"] for name, message in self.params.items()}
        else:
            values = {name: store[name] for name in self.params}
        try:
            return self.program(values, *args)
        except ParamError as error:
            # With these arguments the function reads parameters that it has not shown so far. Its own mistakes show again here.
            result = self.learn(args, values)
            if self.program is None:
                name = getattr(self.fn, "__name__", type(self.fn).__name__)
                warnings.warn(f"jit.trace: {name!r} runs uncompiled: {error}", PplWarning, stacklevel=3)
            return result


def _trace(fn: Callable[..., Any]) -> Callable[..., Any]:
    compiled: dict[Any, _Traced] = {}

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        store = get_param_store()
        # Types belong to the key because 1, 1.0 and True are equal.
        key = store.backend.name, tuple((name, type(kwargs[name]), kwargs[name]) for name in sorted(kwargs))
        try:
            known = compiled.get(key)
        except TypeError:
            _refuse(fn, kwargs)
            raise
        if known is not None and all(name in store for name in known.params):
            return known(args)
        _refuse(fn, kwargs)
        if autodiff.is_tracing():
            # Part of what is compiled around it, whose arrays must not be kept.
            return fn(*args, **kwargs)
        entry = _Traced(fn, kwargs)
        result = entry.learn(args, {})
        compiled[key] = entry
        return result

    vars(call)["compiled"] = compiled
    return call


def _refuse(fn: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    """Raise an error for a keyword argument that cannot tell one compiled program from another."""
    for name, value in kwargs.items():
        try:
            hash(value)
        except TypeError:
            hashable = False
        else:
            hashable = not ops.is_array(value)
        if not hashable:
            raise InferenceError(
                f"keyword argument {name!r} of traced function {getattr(fn, '__name__', type(fn).__name__)!r} is static, so that "
                f"it must be hashable and no array; got {type(value).__name__}; try a tuple, or pass arrays by position"
            )


jit.install(_trace)
