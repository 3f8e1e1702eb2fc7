"""Checks of parameters and values, and the switch that turns them off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ppl.constraints import Constraint, independent, is_dependent
from ppl.errors import ConstraintError, ShapeError
from ppl.ops import autodiff, host
from ppl.registry import active
from ppl.transforms import as_constraint

_default = True
_scoped: ContextVar[bool | None] = ContextVar("ppl_distribution_validation", default=None)
# From so many numbers on, two reductions cost less than an array of truth values.
MANY = 64


def set_default_validate_args(enabled: bool) -> None:
    """Choose whether distributions made from now on check their parameters and values, unless told otherwise."""
    global _default
    _default = bool(enabled)


def default_validate_args() -> bool:
    """Return whether distributions check their parameters and values here, unless told otherwise."""
    scoped = _scoped.get()
    return _default if scoped is None else scoped


@contextmanager
def validate_args_scope(enabled: bool) -> Iterator[None]:
    """Choose for a block whether distributions check themselves unless told otherwise, in this thread or task only."""
    token = _scoped.set(bool(enabled))
    try:
        yield
    finally:
        _scoped.reset(token)


def wanted(validate_args: bool | None) -> bool:
    """Return whether an object made with ``validate_args`` checks itself."""
    return default_validate_args() if validate_args is None else bool(validate_args)


def check_parameters(family: str, arg_constraints: Any, attributes: dict[str, Any]) -> None:
    """Refuse the first parameter among ``attributes`` outside its constraint; see :func:`check_parameter`."""
    backend = active()
    if backend.autodiff.is_tracing():
        return
    to_numpy = backend.ops.to_numpy
    for name, constraint in arg_constraints.items():
        value = attributes.get(name)
        if value is not None and not _holds_on_host(constraint, value, to_numpy):
            check_parameter(family, name, constraint, value)


def check_parameter(family: str, name: str, constraint: Any, value: Any) -> None:
    """Refuse a parameter outside its constraint; values that are abstract (inside compiled code) pass.

    :raises ConstraintError: naming the family, the parameter, the constraint, the first offending index and value.
    :raises ShapeError: if the parameter has too few dimensions to be judged.
    """
    constraint = as_constraint(constraint)
    if not isinstance(constraint, Constraint) or is_dependent(constraint) or autodiff.is_tracing():
        return
    if active().ops.ndim(value) < constraint.event_dim:
        raise ShapeError(
            f"{family}: parameter {name!r} needs at least {constraint.event_dim} dimension(s) to be {constraint!r}, "
            f"received shape {tuple(active().ops.shape(value))}"
        )
    if not host.evaluate(_holds, constraint, value):
        where = _first_offender(constraint.check(value), value)
        raise ConstraintError(
            f"{family}: parameter {name!r} is outside its constraint; expected {constraint!r}, received {where}; "
            "try another value, or validate_args=False to skip this check"
        )


def check_value(family: str, support: Any, value: Any) -> None:
    """Refuse a value outside ``support``, as :func:`check_parameter` does for parameters."""
    backend = active()
    if backend.autodiff.is_tracing() or _holds_on_host(support, value, backend.ops.to_numpy):
        return
    support = as_constraint(support)
    if not isinstance(support, Constraint) or is_dependent(support):
        return
    if not host.evaluate(_holds, support, value):
        where = _first_offender(support.check(value), value)
        raise ConstraintError(
            f"{family}: value is outside the support; expected {support!r}, received {where}; "
            "try another value or family, or validate_args=False to skip this check"
        )


def holds_throughout(constraint: Any, value: Any) -> bool:
    """Return whether all of ``value`` is known to lie in ``constraint``; ``False`` leaves the question open."""
    return not autodiff.is_tracing() and _holds_on_host(constraint, value, active().ops.to_numpy)


def _holds_on_host(constraint: Any, value: Any, to_numpy: Any) -> bool:
    """Check where a few comparisons cost least, if that means the same; ``False`` leaves the question open."""
    if isinstance(constraint, independent) and len(value.shape) >= constraint.event_dim:
        # All events hold if and only if all their entries do, and those need no reduction along an axis.
        constraint = constraint.base_constraint
    if not getattr(constraint, "host_checkable", False):
        return False
    try:
        if not value.shape and hasattr(value, "item"):
            return bool(constraint.check(value.item()))
        numbers = to_numpy(value)
        if not numbers.shape:
            return bool(constraint.check(numbers.item()))
        return constraint.holds_throughout(numbers) if numbers.size >= MANY else _every(constraint.check(numbers))
    except RuntimeError:
        # torch gives no storage to the values of a forward-mode derivative; its own comparisons work on them.
        return False


def check_value_shape(family: str, batch_shape: tuple, event_shape: tuple, value: Any) -> None:
    """Refuse a value whose shape does not fit.

    :raises ShapeError: if the trailing axes are not ``event_shape`` or the others do not broadcast with ``batch_shape``.
    """
    shape = tuple(active().ops.shape(value))
    split = len(shape) - len(event_shape)
    fits = split >= 0 and shape[split:] == tuple(event_shape)
    for mine, theirs in zip(reversed(shape[:split] if split > 0 else ()), reversed(batch_shape), strict=False):
        fits = fits and (mine == theirs or mine == 1 or theirs == 1)
    if not fits:
        raise ShapeError(
            f"{family}: value has the wrong shape; expected (...) + batch_shape {tuple(batch_shape)} + event_shape "
            f"{tuple(event_shape)}, received {shape}"
        )


def _holds(constraint: Any, value: Any) -> bool:
    return _every(constraint.check(value))


def _every(holds: Any) -> bool:
    return bool(holds) if getattr(holds, "ndim", 0) == 0 else bool(holds.all())


def _first_offender(holds: Any, value: Any) -> str:
    """Describe the first value for which ``holds`` is false, and where it stands."""
    to_numpy = active().ops.to_numpy
    value = to_numpy(value)
    shape = tuple(getattr(holds, "shape", ()))
    if not shape:
        return str(value.tolist())
    flat = [bool(entry) for entry in to_numpy(holds).reshape(-1)]
    index = _unravel(flat.index(False), shape)
    # A value that broadcast against array bounds has fewer axes, or axes of size one, where ``holds`` has more.
    own = [i if size > 1 else 0 for i, size in zip(index[len(shape) - min(value.ndim, len(shape)) :], value.shape, strict=False)]
    return f"{value[tuple(own)].tolist()} at index {index} of shape {tuple(value.shape)}"


def _unravel(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        position, remainder = divmod(position, size)
        index.append(remainder)
    return tuple(reversed(index))
