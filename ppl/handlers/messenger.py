"""The base of every effect handler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from types import MethodType
from typing import Any, ClassVar, NoReturn

from ppl.errors import HandlerError
from ppl.runtime import STACK
from ppl.typing import Message

Hook = Callable[[Any, Message], Any]

# The handler whose function is about to run, which alone may be entered with one.
_CALLED: ContextVar[Any] = ContextVar("ppl_called_handler", default=None)


class Messenger:
    """A handler: it sees the message of each site and may change it.

    :param fn: the function to run under the handler; without it the handler is a context manager and a decorator.

    A subclass defines ``on_<type>(self, message)``, called before the value is drawn, and ``after_<type>(self, message)``,
    called once it stands, for instance ``on_sample`` and ``after_param``; or overrides :meth:`process_message` and
    :meth:`postprocess_message` to see every type. The names ``_pyro_<type>``, ``_pyro_post_<type>``, ``_process_message``
    and ``_postprocess_message`` are understood too. See :mod:`ppl.runtime` for the keys of a message.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> class announce(handlers.Messenger):
    ...     def on_sample(self, message):
    ...         print("site", message["name"])
    >>> with announce():
    ...     draw = ppl.sample("x", dist.Normal(0.0, 1.0))
    site x
    """

    fn: Callable[..., Any] | None = None
    _before: ClassVar[dict[str, Hook]] = {}
    _after: ClassVar[dict[str, Hook]] = {}

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        self._wrap(fn)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._before = dict(cls._before)
        cls._after = dict(cls._after)
        for name, member in list(vars(cls).items()):
            if name.startswith("on_"):
                cls._before[name.removeprefix("on_")] = member
            elif name.startswith("after_"):
                cls._after[name.removeprefix("after_")] = member
            elif name.startswith("_pyro_post_"):
                cls._after[name.removeprefix("_pyro_post_")] = member
            elif name.startswith("_pyro_"):
                cls._before[name.removeprefix("_pyro_")] = member
        if "_process_message" in vars(cls):
            cls.process_message = cls._process_message  # type: ignore[method-assign]  # the hook's older name
        if "_postprocess_message" in vars(cls):
            cls.postprocess_message = cls._postprocess_message  # type: ignore[method-assign]  # as above

    def _wrap(self, fn: Callable[..., Any] | None) -> None:
        if fn is None:
            return
        if not callable(fn):
            raise HandlerError(
                f"{type(self).__name__} wraps a function, got {type(fn).__name__}; pass its other arguments by keyword"
            )
        self.fn = fn
        functools.update_wrapper(self, fn, updated=())

    def process_message(self, message: Message) -> None:
        """Look at a message on its way out."""
        hook = self._before.get(message["type"])
        if hook is not None:
            hook(self, message)

    def postprocess_message(self, message: Message) -> None:
        """Look at a message that has its value."""
        hook = self._after.get(message["type"])
        if hook is not None:
            hook(self, message)

    _process_message = process_message
    _postprocess_message = postprocess_message

    def reset(self) -> None:
        """Forget the state of an unfinished run; called when a model is left at a site and run again."""

    def abandon(self) -> None:
        """Release what is held; called when a handler further out is left and this one never was."""

    def check_entry(self) -> None:
        """Raise if this handler is entered as a context manager although it has a function to run.

        :raises HandlerError: if so.
        """
        if self.fn is None or type(self).__call__ is not Messenger.__call__:
            return
        called = _CALLED.get()
        _CALLED.set(None)
        if called is not self:
            self.refuse_entry()

    def refuse_entry(self) -> NoReturn:
        """Raise the error of a handler that got both a function and a context.

        :raises HandlerError: always.
        """
        raise HandlerError(
            f"{type(self).__name__} got a function and is entered as a context manager; expected one of the two; try to "
            "call it, or to make it without the function"
        )

    def __enter__(self) -> Any:
        self.check_entry()
        STACK.set((*STACK.get(), self))
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool | None:
        stack = STACK.get()
        if stack and stack[-1] is self:
            STACK.set(stack[:-1])
            return None
        # Handlers above this one were abandoned, for instance by a generator that nobody closed.
        for position in range(len(stack) - 1, -1, -1):
            if stack[position] is self:
                STACK.set(stack[:position])
                for handler in reversed(stack[position + 1 :]):
                    handler.abandon()
                break
        return None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            if len(args) != 1 or kwargs or not callable(args[0]):
                raise HandlerError(
                    f"{type(self).__name__} has no function to run; expected to decorate one, "
                    f"got {len(args)} positional and {len(kwargs)} keyword arguments"
                )
            return self.bind(args[0])
        _CALLED.set(self)
        with self:
            return self.fn(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` running under this handler."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return functools.update_wrapper(wrapped, fn, updated=())

    @classmethod
    def register(cls, fn: Callable[[Message], Any] | None = None, type: str | None = None, post: bool | None = None) -> Any:
        """Add an operation for messages of ``type`` to this handler and those derived from it afterwards.

        :param fn: a function of the message.
        :param type: the message type; by default the name of ``fn``.
        :param post: whether to run it after the value is drawn.
        """
        if fn is None:
            return functools.partial(cls.register, type=type, post=post)
        name = type or fn.__name__

        def hook(self: Any, message: Message) -> Any:
            return fn(message)

        vars(hook)["registered"] = fn
        table = cls._after if post else cls._before
        if table is (Messenger._after if post else Messenger._before) and cls is not Messenger:
            table = dict(table)
            setattr(cls, "_after" if post else "_before", table)
        table[name] = hook
        return fn

    @classmethod
    def unregister(cls, fn: Callable[[Message], Any] | None = None, type: str | None = None) -> Any:
        """Remove the operation that :meth:`register` added.

        :raises HandlerError: if there is none.
        """
        name = type if fn is None else type or fn.__name__
        if name is None:
            raise HandlerError(f"{cls.__name__}.unregister needs the function or the type of the operation, got neither")
        removed = [table.pop(name) for table in (cls._before, cls._after) if hasattr(table.get(name), "registered")]
        if not removed:
            raise HandlerError(f"{cls.__name__} has no registered operation for messages of type {name!r}")
        return fn


Handler = Messenger
