"""The handler stack, the message that travels through it, and what happens at a site that no handler changes.

A message is a dict with these keys:

====================  =======================================================================================================
``type``              ``"sample"``, ``"param"``, ``"subsample"`` (the indices of a plate), or the type given to :func:`effectful`
``name``              the site's name
``fn``                the distribution or function of the site
``args, kwargs``      what ``fn`` is called with
``value``             the site's value, ``None`` until it has one
``is_observed``       whether the value is data
``scale, mask``       factor of the log density; ``None``, a bool or a boolean array of the sites that count
``cond_indep_stack``  frames of the plates around the site, outermost first
``markov_scopes``     chain to what of it the site sees, only inside :func:`ppl.markov`
``infer``             metadata of the user and of inference algorithms
``rng_key``           the key that the draw uses, ``None`` for the ambient source of randomness
``done``              whether the value stands and must not be drawn
``stop``              whether handlers further out must not see the site
``continuation``      a function called with the message at the very end
====================  =======================================================================================================

Handlers see a message from the innermost outwards before the value is drawn, and in the opposite order afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ppl import registry
from ppl.errors import RandomKeyError
from ppl.typing import Message

if TYPE_CHECKING:
    from ppl.handlers.messenger import Messenger

# A tuple, so that a task which inherits the context can never see the pushes of another.
STACK: ContextVar[tuple[Messenger, ...]] = ContextVar("ppl_handler_stack", default=())


class NonlocalExit(Exception):
    """Leave a model at a site from within a handler.

    :param site: the message of the site.
    """

    def __init__(self, site: Message, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.site = site

    def reset_stack(self) -> None:
        """Reset the state of the handlers between the innermost one and the one that hid the site."""
        for handler in reversed(STACK.get()):
            handler.reset()
            if self.site["name"] in getattr(handler, "hidden_names", ()):
                break


def am_i_wrapped() -> bool:
    """Return whether any handler is active here."""
    return bool(STACK.get())


def new_message(
    type: str,
    name: str,
    fn: Any,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    value: Any = None,
    is_observed: bool = False,
    infer: dict[str, Any] | None = None,
    rng_key: Any = None,
) -> Message:
    """Return a fresh message; ``infer`` is copied, so that handlers never change what the caller holds."""
    return {
        "type": type,
        "name": name,
        "fn": fn,
        "args": args,
        "kwargs": {} if kwargs is None else kwargs,
        "value": value,
        "is_observed": is_observed,
        "scale": 1.0,
        "mask": None,
        "cond_indep_stack": (),
        "infer": {} if infer is None else dict(infer),
        "rng_key": rng_key,
        "done": False,
        "stop": False,
        "continuation": None,
    }


def draw(name: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], rng_key: Any = None) -> Any:
    """Return ``fn(*args, **kwargs)``, the randomness taken from ``rng_key`` or else from the ambient source.

    :raises RandomKeyError: inside a jax trace without a key; the message names the site.
    """
    if rng_key is None:
        try:
            return fn(*args, **kwargs)
        except RandomKeyError:
            # Asking again under the site's name makes the error name it.
            registry.active().random.next_key(name)
            raise
    if is_distribution(fn):
        return fn(*args, rng_key=rng_key, **kwargs)
    with registry.active().random.scope(rng_key):
        return fn(*args, **kwargs)


_validation_default = True
_validation: ContextVar[bool | None] = ContextVar("ppl_validation", default=None)


def is_validation_enabled() -> bool:
    """Return whether sites are checked here and now."""
    scoped = _validation.get()
    return _validation_default if scoped is None else scoped


def set_validation(is_validate: bool) -> None:
    """Switch the checks of sites on or off outside any :func:`validation_scope`."""
    global _validation_default
    _validation_default = bool(is_validate)


@contextmanager
def validation_scope(is_validate: bool) -> Iterator[None]:
    """Switch the checks of sites on or off for a block, in this thread or task only."""
    token = _validation.set(bool(is_validate))
    try:
        yield
    finally:
        _validation.reset(token)


_is_distribution: dict[type, bool] = {}


def is_distribution(fn: Any) -> bool:
    """Return whether ``fn`` follows the distribution protocol: it draws with a key and has a batch shape."""
    kind = type(fn)
    answer = _is_distribution.get(kind)
    if answer is None:
        answer = _is_distribution[kind] = hasattr(fn, "batch_shape") and hasattr(fn, "log_prob") and callable(fn)
    return answer


def default_process_message(message: Message) -> None:
    """Give the site its value if no handler did."""
    value = message["value"]
    if message["type"] == "sample":
        if value is None:
            message["value"] = draw(message["name"], message["fn"], message["args"], message["kwargs"], message["rng_key"])
        elif is_distribution(message["fn"]):
            # Data may come as numbers, lists or another library's arrays.
            backend = registry.active()
            if not backend.ops.is_array(value):
                message["value"] = backend.ops.array(value)
    elif value is None and not message["done"]:
        if message["type"] == "subsample":
            message["value"] = message["fn"](message["rng_key"])
        else:
            message["value"] = message["fn"](*message["args"], **message["kwargs"])
    message["done"] = True


def apply_stack(initial_msg: Message) -> Message:
    """Send a message through the active handlers and the default behaviour, and return it.

    :param initial_msg: the message; it is filled in place.
    """
    message = initial_msg
    stack = STACK.get()
    reached = 0
    for handler in reversed(stack):
        reached += 1
        handler.process_message(message)
        if message["stop"]:
            break
    default_process_message(message)
    for handler in stack[-reached:] if reached else ():
        handler.postprocess_message(message)
    if message["continuation"] is not None:
        message["continuation"](message)
    return message


def effectful(fn: Callable[..., Any] | None = None, type: str | None = None) -> Callable[..., Any]:
    """Make ``fn`` a primitive: its calls become messages of ``type`` that handlers see.

    :param fn: a function; the keywords ``name``, ``infer`` and ``obs`` of a call go to the message instead of to ``fn``.
    :param type: the message type.
    """
    if fn is None:
        return functools.partial(effectful, type=type)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        name = kwargs.pop("name", None)
        infer = kwargs.pop("infer", None)
        value = kwargs.pop("obs", None)
        if not STACK.get():
            return fn(*args, **kwargs) if value is None else value
        message = new_message(type or fn.__name__, name or fn.__name__, fn, args, kwargs, value, value is not None, infer)
        return apply_stack(message)["value"]

    return call
