"""The parameters of models and guides: unconstrained values and their constraints, one store for each backend.

>>> import ppl
>>> from ppl import constraints, ops
>>> store = ppl.get_param_store()
>>> float(ops.to_numpy(store.setdefault("docs_scale", 2.0, constraints.positive)))
2.0
>>> del store["docs_scale"]
"""

from __future__ import annotations

import inspect
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from os import PathLike
from typing import Any

from ppl import constraints, ops, registry
from ppl.backend import Backend
from ppl.errors import ConstraintError, ParamError
from ppl.ops import autodiff, host, random
from ppl.params import files
from ppl.transforms import transform_to

_MODULE_DIVIDER = "$$$"


class _Contents:
    """What a store, or one scope of it, holds: unconstrained values and constraints by name."""

    __slots__ = ("constraints", "unconstrained")

    def __init__(self) -> None:
        self.unconstrained: dict[str, Any] = {}
        self.constraints: dict[str, Any] = {}


# The open scopes of this thread or task, the innermost last: another one never sees them.
_scopes: ContextVar[tuple[tuple[ParamStoreDict, _Contents], ...]] = ContextVar("ppl_param_scopes", default=())


class ParamStoreDict:
    """Maps names to parameters.

    :param backend: whose arrays it holds; by default the active one at the time of the first use.

    What is stored is the unconstrained value; ``store[name]`` is the constrained one. On torch the stored values are leaves that
    require gradients, and a constrained value knows its leaf as ``value.unconstrained()``. The store is a mapping from
    name to constrained value; it keeps its backend when another one becomes active.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._backend = backend
        self._contents = _Contents()

    def _held(self) -> _Contents:
        for store, contents in reversed(_scopes.get()):
            if store is self:
                return contents
        return self._contents

    @property
    def _unconstrained(self) -> dict[str, Any]:
        return self._held().unconstrained

    @property
    def _constraints(self) -> dict[str, Any]:
        return self._held().constraints

    def _replace(self, unconstrained: dict[str, Any], held: dict[str, Any]) -> None:
        contents = self._held()
        contents.unconstrained, contents.constraints = unconstrained, held

    @property
    def backend(self) -> Backend:
        """The backend of the stored arrays."""
        if self._backend is None:
            self._backend = registry.active()
        return self._backend

    @contextmanager
    def _home(self) -> Iterator[None]:
        if registry.active() is self.backend:
            yield
        else:
            with registry.using(self.backend):
                yield

    def __repr__(self) -> str:
        return f"ParamStoreDict({', '.join(self._unconstrained)})"

    def __len__(self) -> int:
        return len(self._unconstrained)

    def __contains__(self, name: object) -> bool:
        return name in self._unconstrained

    def __iter__(self) -> Iterator[str]:
        return iter(self._unconstrained)

    def __bool__(self) -> bool:
        return bool(self._unconstrained)

    def keys(self) -> Any:
        """Return the names."""
        return self._unconstrained.keys()

    def values(self) -> Iterator[Any]:
        """Iterate over the constrained values."""
        return (self[name] for name in list(self._unconstrained))

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over names and constrained values."""
        return ((name, self[name]) for name in list(self._unconstrained))

    def named_parameters(self) -> Any:
        """Return names and unconstrained values."""
        return self._unconstrained.items()

    def get_all_param_names(self) -> Any:
        """Return the names."""
        return self._unconstrained.keys()

    def clear(self) -> None:
        """Forget every parameter."""
        self._unconstrained.clear()
        self._constraints.clear()

    def __getitem__(self, name: str) -> Any:
        unconstrained = self.get_unconstrained(name)
        constraint = self._constraints[name]
        if constraint is constraints.real:
            value = unconstrained
        else:
            with self._home():
                value = host.evaluate(_constrained, constraint, unconstrained)
        # Only torch's tensors take attributes; custom losses written for them ask a value for its leaf.
        if hasattr(value, "requires_grad"):
            value.unconstrained = weakref.ref(unconstrained)
        return value

    def __setitem__(self, name: str, new_constrained_value: Any) -> None:
        self._store(name, new_constrained_value, self._constraints.get(name, constraints.real))

    def __delitem__(self, name: str) -> None:
        self.constraint(name)
        del self._unconstrained[name]
        del self._constraints[name]

    def _unknown(self, name: str) -> ParamError:
        close = get_close_matches(name, self._unconstrained, n=3)
        hint = f"did you mean {', '.join(map(repr, close))}?" if close else "try to give it an initial value"
        return ParamError(f"the param store of backend {self.backend.name!r} has no parameter {name!r}; {hint}")

    def constraint(self, name: str) -> Any:
        """Return the constraint of a parameter.

        :raises ParamError: if it is unknown.
        """
        if name not in self._constraints:
            raise self._unknown(name)
        return self._constraints[name]

    def get_unconstrained(self, name: str) -> Any:
        """Return the stored unconstrained value.

        :raises ParamError: if the name is unknown.
        """
        try:
            return self._unconstrained[name]
        except KeyError:
            raise self._unknown(name) from None

    def set_unconstrained(self, name: str, value: Any) -> None:
        """Replace the unconstrained value of a known parameter.

        :raises ParamError: if the name is unknown or the shape differs from the stored one.
        """
        old = self.get_unconstrained(name)
        with self._home():
            new = ops.array(value)
            if ops.shape(new) != ops.shape(old):
                raise ParamError(
                    f"parameter {name!r} has unconstrained shape {ops.shape(old)}, got a value of shape {ops.shape(new)}; "
                    "expected the same shape; try another name, or del store[name] first"
                )
            self._unconstrained[name] = _leaf(new)

    def setdefault(self, name: str, init_constrained_value: Any, constraint: Any = constraints.real) -> Any:
        """Return the constrained value of a parameter, stored from ``init_constrained_value`` if the name is new.

        :param init_constrained_value: an array, number, or a function that returns one, called only if the name is new; a
            function of one required argument gets a random key.
        :raises ConstraintError: if the initial value lies outside the constraint.
        :raises ParamError: if the name is known and the given value (not a function) has another shape.
        """
        if name not in self._unconstrained:
            with self._home():
                if autodiff.is_tracing():
                    raise ParamError(
                        f"parameter {name!r} is met for the first time inside compiled code, where it cannot be stored; "
                        f"expected it in the "
                        "store; try to run the model once outside"
                    )
                if callable(init_constrained_value):
                    init_constrained_value = _call_initializer(name, init_constrained_value)
            self._store(name, init_constrained_value, constraint)
            return self[name]
        value = self[name]
        if init_constrained_value is not None and not callable(init_constrained_value):
            shape, expected = _shape(init_constrained_value), tuple(value.shape)
            if shape != expected:
                raise ParamError(
                    f"parameter {name!r} returns with an initial value of shape {shape}, but the store holds shape {expected}; "
                    "expected one shape for a name; try another name, or ppl.clear_param_store() between models"
                )
        return value

    def _store(self, name: str, value: Any, constraint: Any) -> None:
        if not isinstance(name, str):
            raise ParamError(f"a parameter's name is a str, got {type(name).__name__}")
        with self._home():
            array = ops.array(value)
            if not ops.is_floating(array):
                array = ops.astype(array, ops.default_dtype())
            try:
                inside = autodiff.is_tracing() or _lies_inside(constraint, array)
            except NotImplementedError:
                inside = True
            if not inside:
                raise ConstraintError(
                    f"the value of parameter {name!r} lies outside its constraint {constraint!r}: {_excerpt(array)}; expected "
                    "every element inside; try another initial value or constraint"
                )
            unconstrained = host.evaluate(_unconstrained, constraint, array)
            self._unconstrained[name] = _leaf(unconstrained)
            self._constraints[name] = constraint

    def get_param(
        self, name: str, init_tensor: Any = None, constraint: Any = constraints.real, event_dim: int | None = None
    ) -> Any:
        """Return the constrained value of a parameter, created from ``init_tensor`` if the name is new.

        :param event_dim: ignored here; plates use it.
        :raises ParamError: if the name is new and there is no initial value.
        """
        if init_tensor is None:
            return self[name]
        return self.setdefault(name, init_tensor, constraint)

    def replace_param(self, param_name: str, new_param: Any, old_param: Any) -> None:
        """Set a parameter to the constrained value ``new_param``, given its present value.

        :raises ParamError: if ``old_param`` is not the present value.
        """
        known = self.get_unconstrained(param_name)
        leaf = getattr(old_param, "unconstrained", None)
        if old_param is not known and (leaf is None or leaf() is not known):
            with self._home():
                present = self[param_name]
                same = _shape(old_param) == _shape(present) and bool(ops.all(ops.equal(ops.array(old_param), present)))
            if not same:
                raise ParamError(
                    f"old_param is not the present value of parameter {param_name!r}; expected store[{param_name!r}]"
                )
        self[param_name] = new_param

    def match(self, name: str) -> dict[str, Any]:
        """Return names and constrained values of the parameters whose name the regular expression matches from its start."""
        pattern = re.compile(name)
        return {known: self[known] for known in self._unconstrained if pattern.match(known)}

    def param_name(self, p: Any) -> str | None:
        """Return the name under which the unconstrained array ``p`` is stored, or ``None``."""
        return next((name for name, value in self._unconstrained.items() if value is p), None)

    def get_state(self) -> dict[str, Any]:
        """Return copies of the unconstrained values and the constraints: ``{"params": {...}, "constraints": {...}}``."""
        with self._home():
            params = {name: ops.array(_detached_copy(value)) for name, value in self._unconstrained.items()}
        return {"params": params, "constraints": dict(self._constraints)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replace the whole content by a state of :meth:`get_state`, of this backend or another.

        :raises ParamError: if it is no such state; the store stays as it was.
        """
        if not isinstance(state, Mapping) or set(state) != {"params", "constraints"}:
            raise ParamError("a state of a param store is a dict with the keys 'params' and 'constraints'")
        params, held = state["params"], dict(state["constraints"])
        if set(params) != set(held):
            raise ParamError(f"params and constraints of the state differ in {sorted(set(params) ^ set(held))}")
        with self._home():
            values = {name: _leaf(ops.array(_foreign(value))) for name, value in params.items()}
        self._replace(values, held)

    @contextmanager
    def scope(self, state: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Use other parameters for a block: none, or those of ``state``; the old ones return afterwards.

        Other threads and tasks keep the parameters that they had.

        The yielded dict holds the state of the scope once the block has ended, to be given to a later scope.
        """
        inner: dict[str, Any] = {}
        token = _scopes.set((*_scopes.get(), (self, _Contents())))
        try:
            if state:
                self.set_state(state)
            yield inner
            inner.update(self.get_state())
        finally:
            _scopes.reset(token)

    def save(self, filename: str | PathLike[str]) -> None:
        """Write the store to a file: unconstrained values as safetensors, constraints as JSON in its header.

        The file is replaced in one step, and any backend reads it.

        :raises ParamError: if a constraint is not one of :mod:`ppl.constraints`.
        """
        with self._home():
            arrays = {name: ops.to_numpy(value) for name, value in self._unconstrained.items()}
            devices = {name: ops.device(value) for name, value in self._unconstrained.items()}
            header = {name: files.describe(name, constraint, ops.to_numpy) for name, constraint in self._constraints.items()}
        files.write(filename, arrays, header, devices)

    def load(self, filename: str | PathLike[str], map_location: Any = None) -> None:
        """Replace the content by that of a file which :meth:`save` wrote, on this backend or another.

        :param map_location: a device, a dict from saved to new device, or a function of array and saved device; by default
            arrays go where the backend puts new ones.
        :raises ParamError: if the file is missing, damaged, foreign or of a newer schema; the store stays as it was.
        """
        arrays, header, devices = files.read(filename)
        with self._home():
            held = {name: files.restore(name, description) for name, description in header.items()}
            values = {name: _leaf(_placed(ops.array(array), devices[name], map_location)) for name, array in arrays.items()}
        self._replace(values, held)


def _lies_inside(constraint: Any, array: Any) -> bool:
    if getattr(constraint, "host_checkable", False):
        # On the host, where a comparison is no program to compile.
        return bool(constraint.check(ops.to_numpy(array)).all())
    return bool(host.evaluate(_holds, constraint, array))


def _holds(constraint: Any, value: Any) -> Any:
    return ops.all(constraint.check(value))


def _constrained(constraint: Any, value: Any) -> Any:
    return transform_to(constraint)(value)


def _unconstrained(constraint: Any, value: Any) -> Any:
    return transform_to(constraint).inv(value)


def _placed(value: Any, device: str, map_location: Any) -> Any:
    if map_location is None:
        return value
    if callable(map_location):
        placed = map_location(value, device)
        return value if placed is None else placed
    if isinstance(map_location, Mapping):
        return ops.to_device(value, map_location[device]) if device in map_location else value
    return ops.to_device(value, str(map_location))


def _call_initializer(name: str, initializer: Callable[..., Any]) -> Any:
    try:
        parameters = inspect.signature(initializer).parameters.values()
    except (TypeError, ValueError):
        return initializer()
    required = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return initializer(random.next_key(name)) if len(required) == 1 else initializer()


def _detached_copy(value: Any) -> Any:
    if hasattr(value, "detach"):
        return value.detach().clone()
    if registry.active().optim.STEP == "compiled":
        # Nothing writes to arrays where whole steps are compiled.
        return value
    return value.copy() if hasattr(value, "copy") else value


def _leaf(value: Any) -> Any:
    """Return a copy that later writes to ``value`` do not reach; on torch, a leaf that requires gradients."""
    copied = _detached_copy(value)
    if hasattr(copied, "requires_grad_"):
        copied.requires_grad_(True)
    return copied


def _foreign(value: Any) -> Any:
    # Arrays of another library come over through the host.
    if ops.is_array(value):
        return value
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _shape(value: Any) -> tuple[int, ...]:
    shape = getattr(value, "shape", None)
    return tuple(shape) if shape is not None else tuple(ops.shape(ops.array(value)))


def _excerpt(array: Any) -> str:
    flat = ops.to_numpy(array).reshape(-1)
    shown = ", ".join(f"{float(number):.6g}" for number in flat[:3])
    return shown if len(flat) <= 3 else f"{shown}, ... ({len(flat)} elements)"


_stores: dict[str, ParamStoreDict] = {}
_lock = threading.Lock()


def get_param_store() -> ParamStoreDict:
    """Return the param store of the active backend; each backend has its own, and none sees another's parameters.

    >>> import ppl
    >>> rate = ppl.param("rate", 2.0)
    >>> list(ppl.get_param_store().keys())
    ['rate']
    """
    backend = registry.active()
    store = _stores.get(backend.name)
    if store is None or store.backend is not backend:
        with _lock:
            store = _stores.get(backend.name)
            if store is None or store.backend is not backend:
                store = _stores[backend.name] = ParamStoreDict(backend)
    return store


def clear_param_store() -> None:
    """Forget every parameter of the active backend.

    >>> import ppl
    >>> rate = ppl.param("rate", 2.0)
    >>> ppl.clear_param_store()
    >>> list(ppl.get_param_store().keys())
    []
    """
    get_param_store().clear()


def param_with_module_name(pyro_name: str, param_name: str) -> str:
    """Return the store's name of parameter ``param_name`` of module ``pyro_name``."""
    return f"{pyro_name}{_MODULE_DIVIDER}{param_name}"


def module_from_param_with_module_name(param_name: str) -> str:
    """Return the module part of a store's name."""
    return param_name.split(_MODULE_DIVIDER)[0]


def user_param_name(param_name: str) -> str:
    """Return the parameter part of a store's name, the whole name if there is no module part."""
    return param_name.split(_MODULE_DIVIDER)[1] if _MODULE_DIVIDER in param_name else param_name
