"""What every optimizer has in common: arguments by parameter, a pure core, and the stateful face that ``SVI.step`` uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from ppl import registry, tree
from ppl.errors import BackendError, InferenceError
from ppl.optim.files import read, write
from ppl.params import get_param_store
from ppl.typing import Tree

MODULE_DIVIDER = "$$$"
"""Stands between a module's name and its parameter's name in the param store."""

NAMES = ("Adadelta", "Adagrad", "AdagradRMSProp", "Adam", "AdamW", "Adamax", "ASGD", "ClippedAdam", "LBFGS", "RMSprop", "Rprop",
         "SGD", "SparseAdam")  # fmt: skip
"""The optimizers of this package, which an error can recommend."""


@dataclass(frozen=True)
class Rule:
    """The declaration of an optimizer that each backend implements under :attr:`name` in its ``optim`` module.

    :param name: key of the backend's ``RULES``.
    :param defaults: every argument and its default, in torch.optim's words.
    :param aliases: other spellings of arguments.
    :param check: ``check(arguments)`` raises for values that make no sense.
    :param together: whether the rule sees all parameters as one vector, so that their arguments must be equal.
    """

    name: str
    defaults: Mapping[str, Any]
    aliases: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] = lambda arguments: None
    together: bool = False

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments, ``given`` over the defaults.

        :raises InferenceError: for an argument that the rule lacks or a value out of its range.
        """
        renamed = {self.aliases.get(key, key): value for key, value in given.items()}
        unknown = sorted(set(renamed) - set(self.defaults))
        if unknown:
            raise InferenceError(
                f"optimizer {self.name!r} has no argument {unknown[0]!r}; expected some of {sorted(self.defaults)}"
            )
        arguments = {**self.defaults, **renamed}
        if "lr" in arguments and (isinstance(arguments["lr"], (str, type(None))) or not arguments["lr"] >= 0):
            raise InferenceError(
                f"optimizer {self.name!r} needs a learning rate of zero or more, received lr={arguments['lr']!r}"
            )
        self.check(arguments)
        return arguments


def merge_arguments(optim_args: Any, lr: Any, keywords: Mapping[str, Any], rate: str = "lr") -> Any:
    """Return the arguments of an optimizer from its three spellings: a dict or callable, a positional rate, keywords.

    :param rate: name of the positional argument.
    :raises InferenceError: if they are mixed.
    """
    if isinstance(optim_args, (int, float)) and not isinstance(optim_args, bool):
        if lr is not None or rate in keywords:
            given_twice = lr if lr is not None else keywords[rate]
            raise InferenceError(f"the learning rate is given twice, {optim_args!r} and {rate}={given_twice!r}; try one of them")
        optim_args, lr = None, optim_args
    given = {**({} if lr is None else {rate: lr}), **keywords}
    if optim_args is None:
        return given
    if given:
        raise InferenceError(
            f"arguments come in a dict (or callable) or as keywords, received both: {optim_args!r} and {given!r}"
        )
    return optim_args


class PyroOptim:
    """An optimizer of named parameters; parameters may appear while it runs.

    :param optim_constructor: an optimizer of this package such as ``ppl.optim.Adam`` (or its :class:`Rule`), or the active
        library's own: a ``torch.optim`` class on torch, an ``optax`` gradient transformation on jax.
    :param optim_args: a dict of arguments, or a callable that takes a parameter's name (or module name and parameter name)
        and returns such a dict.
    :raises InferenceError: if either has the wrong type or an argument is unknown.

    The pure core is ``state = init(params)`` and ``params, state = update(gradients, state, params)`` on trees of arrays; on
    torch, leaves that require gradients are updated in place. The stateful face keeps the state itself: :meth:`step` and, for
    torch's ``.grad``, calling the optimizer.

    >>> from ppl import ops, optim
    >>> optimizer = optim.PyroOptim(optim.SGD, lambda name: {"lr": 0.5 if name == "scale" else 0.1})
    >>> one = ops.array(1.0)
    >>> new = optimizer.step({"scale": one, "loc": one}, {"scale": one, "loc": one})
    >>> round(float(new["scale"]), 3), round(float(new["loc"]), 3)
    (0.5, 0.9)
    """

    def __init__(self, optim_constructor: Any, optim_args: Any = None) -> None:
        optim_args = {} if optim_args is None else optim_args
        if _is_of_this_package(optim_constructor):
            made = optim_constructor(optim_args)
            optim_constructor, optim_args = made.constructor, made.optim_args
        if not callable(optim_args) and not isinstance(optim_args, Mapping):
            raise InferenceError(
                f"optimizer arguments are a dict or a callable that returns one, received {type(optim_args).__name__}; "
                "try optim.Adam({'lr': 0.01})"
            )
        self.constructor = optim_constructor
        self.optim_args = optim_args
        self.state: Any = None
        self._backend: Any = None
        self._pending: dict[str, dict[str, Any]] = {}
        self._arguments: dict[str, dict[str, Any]] = {}
        if isinstance(optim_constructor, Rule) and isinstance(optim_args, Mapping):
            optim_constructor.complete(optim_args)

    def __repr__(self) -> str:
        name = self.constructor.name if isinstance(self.constructor, Rule) else self.constructor
        return f"{type(self).__name__}({name!r}, {self.optim_args!r})"

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments that apply to the parameter ``name``, asked for once per name.

        :raises InferenceError: if the callable does not return a dict.
        """
        if name not in self._arguments:
            given = self.optim_args
            if not isinstance(given, Mapping):
                given = _call_per_parameter(given, name)
            self._arguments[name] = self.constructor.complete(given) if isinstance(self.constructor, Rule) else dict(given)
        return self._arguments[name]

    def _native(self) -> tuple[Any, Any]:
        backend = registry.active()
        if isinstance(self.constructor, Rule):
            if self.constructor.name not in backend.optim.RULES:
                raise InferenceError(
                    f"backend {backend.name!r} has no optimizer {self.constructor.name!r}; "
                    f"expected one of {sorted(backend.optim.RULES)}"
                )
            return backend.optim, self.constructor.name
        native = backend.optim.adopt(self.constructor)
        if native is None:
            raise InferenceError(
                f"{_describe(self.constructor)} is not an optimizer of backend {backend.name!r}; {_advice(self.constructor)}"
            )
        return backend.optim, native

    def _arguments_of(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the arguments of each name.

        :raises InferenceError: if they differ though the rule sees all parameters as one.
        """
        found = {name: self.arguments(name) for name in names}
        if isinstance(self.constructor, Rule) and self.constructor.together:
            different = [name for name, own in found.items() if own != next(iter(found.values()))]
            if different:
                raise InferenceError(
                    f"optimizer {self.constructor.name!r} moves all params as one vector; expected equal arguments for all, "
                    f"received {found[different[0]]} for {different[0]!r} but {next(iter(found.values()))} for "
                    f"{next(iter(found))!r}; try a dict of arguments"
                )
        return found

    def init(self, params: Tree) -> Any:
        """Return the state for ``params``, a tree of arrays."""
        return self._start(dict(_named_leaves(params)), {})

    def update(self, gradients: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
        """Return new ``params`` and state after one step; a pure function, but that torch's leaves move in place.

        :param gradients: a tree like ``params``; where a named gradient is missing the parameter stays.
        """
        flat = dict(_named_leaves(params))
        new, state = self._move(dict(_named_leaves(gradients)), state, flat)
        return tree.unflatten(params, [new[name] for name in flat]), state

    def _start(self, params: dict[str, Any], exported: dict[str, dict[str, Any]]) -> Any:
        """Return a state for named ``params``, those in ``exported`` as that says."""
        native, rule = self._native()
        arguments = self._arguments_of(params)
        return native.restore(rule, exported, params, arguments) if exported else native.init(rule, params, arguments)

    def _move(self, gradients: dict[str, Any], state: Any, params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        native, rule = self._native()
        moved: tuple[dict[str, Any], Any] = native.update(rule, gradients, state, params, self._arguments_of(params))
        return moved

    def _merge(self, state: Any, more: Any) -> Any:
        """Return ``state`` with the parameters of ``more``, none of which it knows."""
        return self._native()[0].merge(state, more)

    def _export(self, state: Any) -> dict[str, dict[str, Any]]:
        """Return what :meth:`_start` needs to make an equal state."""
        exported: dict[str, dict[str, Any]] = self._backend.optim.export(state)
        return exported

    def step(self, gradients: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``params`` after one step along ``gradients`` and keep the state for the next."""
        new, self.state = self._move(dict(gradients), self.state_for(params), dict(params))
        return new

    def state_for(self, params: Mapping[str, Any]) -> Any:
        """Return the kept state, made for ``params`` (or restored by :meth:`set_state`) if there is none yet.

        :raises BackendError: if the kept state belongs to another backend.
        """
        backend = registry.active()
        if self._backend is not None and self._backend is not backend:
            raise BackendError(
                f"the optimizer holds state of backend {self._backend.name!r} but was called under {backend.name!r}; "
                "try a new optimizer"
            )
        self._backend = backend
        waiting = {name: own for name, own in self._pending.items() if name in params or name == "*"}
        if self.state is None:
            self.state = self._start(dict(params), waiting)
        elif waiting:
            self.state = self._merge(self.state, self._start({name: params[name] for name in waiting}, waiting))
        for name in waiting:
            del self._pending[name]
        return self.state

    def __call__(self, params: Iterable[Any], gradients: Mapping[str, Any] | None = None) -> None:
        """Move parameters of the param store one step.

        :param params: names, or the store's unconstrained arrays themselves.
        :param gradients: by name; ``None`` takes torch's ``.grad``.
        :raises InferenceError: if there is neither.
        """
        store = get_param_store()
        names = [param if isinstance(param, str) else _name_in(store, param) for param in params]
        values = {name: store.get_unconstrained(name) for name in names}
        if gradients is None:
            gradients = {name: getattr(value, "grad", None) for name, value in values.items()}
            gradients = {name: gradient for name, gradient in gradients.items() if gradient is not None}
            if values and not gradients:
                raise InferenceError(
                    "no parameter has a gradient; expected loss.backward() before optim(params) on torch, "
                    "or gradients by name: optim(names, gradients)"
                )
        for name, value in self.step(gradients, values).items():
            if value is not values[name]:
                store.set_unconstrained(name, value)

    def get_state(self) -> dict[str, dict[str, Any]]:
        """Return ``{param name: {entry: number or numpy array}}``; another optimizer of the same kind and backend can take it."""
        waiting = {name: dict(own) for name, own in self._pending.items()}
        return waiting if self.state is None else {**waiting, **self._export(self.state)}

    def set_state(self, state_dict: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from a state that :meth:`get_state` gave; it reaches a parameter when the optimizer next sees it.

        :raises InferenceError: if it is not a dict of dicts.
        """
        if not isinstance(state_dict, Mapping) or not all(isinstance(own, Mapping) for own in state_dict.values()):
            raise InferenceError(f"an optimizer state is a dict of dicts by parameter name, received {type(state_dict).__name__}")
        self._pending = {name: dict(own) for name, own in state_dict.items()}
        self.state = None

    def save(self, filename: str | PathLike[str]) -> None:
        """Write the state to a safetensors file whose header holds the numbers as JSON; no pickle."""
        write(filename, self.get_state(), self._kind(), (self._backend or registry.active()).name)

    def load(self, filename: str | PathLike[str]) -> None:
        """Read what :meth:`save` wrote.

        :raises InferenceError: if the file is missing, damaged, not an optimizer's, or of another optimizer or backend; the
            state then stays as it was.
        """
        self.set_state(read(filename, self._kind(), registry.active().name))

    def _kind(self) -> str:
        """Return what tells this optimizer's states from those of others."""
        if isinstance(self.constructor, Rule):
            return self.constructor.name
        constructor = getattr(self.constructor, "func", self.constructor)
        return str(getattr(constructor, "__name__", type(constructor).__name__))


def _name_in(store: Any, param: Any) -> str:
    name = store.param_name(param)
    if name is None:
        raise InferenceError(
            f"an array of shape {tuple(param.shape)} is not in the param store; "
            "expected names, or the store's unconstrained arrays"
        )
    return str(name)


def _call_per_parameter(optim_args: Callable[..., Any], name: str) -> Mapping[str, Any]:
    positional = [
        p for p in inspect.signature(optim_args).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    module, _, own = name.partition(MODULE_DIVIDER)
    given = optim_args(module, own or name) if len(positional) > 1 else optim_args(name)
    if not isinstance(given, Mapping):
        raise InferenceError(
            f"the callable of per-parameter arguments must return a dict, for {name!r} it returned {type(given).__name__}"
        )
    return given


def _named_leaves(params: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf with its path, in the order of :func:`ppl.tree.leaves`."""
    if params is None:
        return
    if isinstance(params, Mapping):
        children = [(str(key), params[key]) for key in sorted(params)]
    elif isinstance(params, (list, tuple)):
        children = [(str(index), child) for index, child in enumerate(params)]
    else:
        yield prefix, params
        return
    for key, child in children:
        yield from _named_leaves(child, f"{prefix}.{key}" if prefix else key)


def _is_of_this_package(value: Any) -> bool:
    return inspect.isfunction(value) and value.__module__.startswith(__package__ + ".")


def _library(value: Any) -> str:
    owner = value if isinstance(value, type) or callable(value) else type(value)
    return str(getattr(owner, "__module__", "")).partition(".")[0]


def _describe(value: Any) -> str:
    """Return what a caller gave instead of an optimizer: its name, whether it is built already, and its library."""
    name = getattr(value, "__name__", None)
    library = _library(value) if name else type(value).__module__.partition(".")[0]
    shown = f"{name!r}" if name else f"an instance of {type(value).__name__!r}"
    return shown if library in ("builtins", "") else f"{shown} of library {library!r}"


def _advice(value: Any) -> str:
    """Return what to use instead of ``value``: the optimizer of that name if there is one."""
    name = getattr(value, "__name__", type(value).__name__)
    return f"try ppl.optim.{name}" if name in NAMES else "try one of ppl.optim, such as optim.Adam(lr=0.01)"
