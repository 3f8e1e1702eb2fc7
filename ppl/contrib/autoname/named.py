"""Data structures whose parts know their own address, so that ``state.x.sample_(fn)`` needs no string.

A placeholder is replaced by its value once it has been sampled; the structures are write-once.

>>> import ppl
>>> from ppl import distributions as dist, handlers
>>> from ppl.contrib.autoname import named
>>> def model():
...     state = named.Object("state")
...     state.xs = named.List()
...     for _ in range(2):
...         state.xs.add().sample_(dist.Normal(0.0, 1.0))
...     return state.z.sample_(dist.Normal(state.xs[0] + state.xs[1], 1.0))
>>> handlers.trace(model).get_trace().stochastic_nodes
['state.xs[0]', 'state.xs[1]', 'state.z']
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.errors import HandlerError
from ppl.primitives import param, sample


class Object:
    """A node of latent state: a container of named parts, and a placeholder until :meth:`sample_` or :meth:`param_` fills it.

    :param name: its address, the name of its site.

    >>> from ppl.contrib.autoname import named
    >>> print(named.Object("state").x.y)
    state.x.y
    """

    def __init__(self, name: str) -> None:
        vars(self).update(_name=name, _set=None)

    def __str__(self) -> str:
        return str(vars(self)["_name"])

    def __repr__(self) -> str:
        return f"named.Object({self})"

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return self._place(key, Object(f"{self}.{key}"))

    def __setattr__(self, key: str, value: Any) -> None:
        held = vars(self).get(key)
        if key in vars(self) and not (isinstance(held, Object) and held._is_empty()):
            raise HandlerError(f"{self}.{key} has a value already; expected to be given one once; try another name")
        if isinstance(value, (List, Dict)):
            value._bind(f"{self}.{key}")
        vars(self)[key] = value

    def _place(self, key: str, placeholder: Object) -> Object:
        vars(placeholder)["_set"] = lambda value: vars(self).__setitem__(key, value)
        vars(self)[key] = placeholder
        return placeholder

    def _is_empty(self) -> bool:
        return not set(vars(self)) - {"_name", "_set"}

    def _fill(self, value: Any) -> Any:
        if vars(self)["_set"] is not None:
            vars(self)["_set"](value)
        return value

    def sample_(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the value of the sample site at this address, which takes the place of this object.

        :param fn: a distribution; the other arguments are those of :func:`ppl.sample`.
        """
        return self._fill(sample(str(self), fn, *args, **kwargs))

    def param_(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value of the parameter at this address, which takes the place of this object.

        The arguments are those of :func:`ppl.param` after the name.
        """
        return self._fill(param(str(self), *args, **kwargs))


class _Bound:
    """What containers share: an address, given at once or by the object that they are stored in."""

    _name: str | None = None

    def _bind(self, name: str) -> None:
        if self._name is not None:
            raise HandlerError(f"{self._name} cannot be stored again as {name}; expected a container without a name")
        self._name = name

    def _address(self) -> str:
        if self._name is None:
            raise HandlerError("this container has no name yet; expected one; try named.List('name') or store it in an Object")
        return self._name

    def __str__(self) -> str:
        return self._address()

    def _adopt(self, key: Any, value: Any) -> None:
        if isinstance(value, (List, Dict)):
            value._bind(f"{self._address()}[{key!r}]")


class List(_Bound, list[Any]):
    """A list of latent state; its elements know their index.

    :param name: its address; without one it must be stored in an :class:`Object` first.

    >>> from ppl.contrib.autoname import named
    >>> xs = named.List("xs")
    >>> print(xs.add(), xs.add())
    xs[0] xs[1]
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self._name = name

    def add(self) -> Object:
        """Append a placeholder and return it.

        :raises HandlerError: if the list has no name yet.
        """
        index = len(self)
        placeholder = Object(f"{self._address()}[{index}]")
        vars(placeholder)["_set"] = lambda value: list.__setitem__(self, index, value)
        super().append(placeholder)
        return placeholder

    def append(self, value: Any) -> None:
        """Append a value."""
        self._adopt(len(self), value)
        super().append(value)

    def __setitem__(self, index: Any, value: Any) -> None:
        held = self[index]
        if not (isinstance(held, Object) and held._is_empty()):
            raise HandlerError(f"{self}[{index}] has a value already; expected to be given one once")
        self._adopt(index, value)
        super().__setitem__(index, value)


class Dict(_Bound, dict[Any, Any]):
    """A dict of latent state; an unknown key gives a placeholder that knows it.

    :param name: its address; without one it must be stored in an :class:`Object` first.

    >>> from ppl.contrib.autoname import named
    >>> print(named.Dict("ys")["foo"])
    ys['foo']
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, key: Any) -> Object:
        placeholder = Object(f"{self._address()}[{key!r}]")
        set_value: Callable[[Any], None] = lambda value: dict.__setitem__(self, key, value)  # noqa: E731
        vars(placeholder)["_set"] = set_value
        dict.__setitem__(self, key, placeholder)
        return placeholder

    def __setitem__(self, key: Any, value: Any) -> None:
        held = self.get(key)
        if key in self and not (isinstance(held, Object) and held._is_empty()):
            raise HandlerError(f"{self}[{key!r}] has a value already; expected to be given one once")
        self._adopt(key, value)
        super().__setitem__(key, value)
