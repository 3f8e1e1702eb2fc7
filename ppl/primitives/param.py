"""Declare a learnable parameter."""

from __future__ import annotations

from typing import Any

from ppl import constraints
from ppl.errors import ParamError
from ppl.params.param_store import get_param_store
from ppl.runtime import STACK, apply_stack, is_validation_enabled, new_message


def param(
    name: str,
    init: Any = None,
    constraint: Any = constraints.real,
    event_dim: int | None = None,
    *,
    init_tensor: Any = None,
    init_value: Any = None,
) -> Any:
    """Return the constrained value of the parameter ``name``, stored from ``init`` if it is new.

    :param name: its name in the param store.
    :param init: an array, a number, or a function that returns one and is called only if the name is new; on jax a function
        of one required argument gets a key. ``init_tensor`` and ``init_value`` are other names for it.
    :param constraint: a constraint of :mod:`ppl.constraints`.
    :param event_dim: number of rightmost dimensions that are not batch dimensions; inside a subsampled plate the batch
        dimension of the plate is then indexed by its indices.
    :raises ParamError: if the name is new and there is no initial value, or the shape differs from the stored one.
    :raises ConstraintError: if the initial value lies outside the constraint.

    >>> import ppl
    >>> from ppl import constraints, ops
    >>> scale = ppl.param("scale", 2.0, constraint=constraints.positive)
    >>> round(float(ops.to_numpy(scale)), 4)
    2.0
    """
    given = [value for value in (init, init_tensor, init_value) if value is not None]
    if len(given) > 1:
        raise ParamError(f"parameter {name!r} got {len(given)} initial values; expected one of init, init_tensor and init_value")
    start: Any = given[0] if given else None
    if not STACK.get():
        return get_param_store().get_param(name, start, constraint, event_dim)
    kwargs = {"constraint": constraint, "event_dim": event_dim}
    message = new_message("param", name, _from_store, (name, start), kwargs)
    apply_stack(message)
    value = message["value"]
    if event_dim is None and message["type"] == "param" and hasattr(start, "shape") and is_validation_enabled():
        if tuple(start.shape) != tuple(value.shape):
            raise ParamError(
                f"parameter {name!r} returns with shape {tuple(value.shape)}, but its initial value here has shape "
                f"{tuple(start.shape)}; "
                "expected one shape for a name; try another name, or ppl.clear_param_store() between models"
            )
    return value


def _from_store(name: str, init: Any, constraint: Any, event_dim: int | None) -> Any:
    return get_param_store().get_param(name, init, constraint, event_dim)
