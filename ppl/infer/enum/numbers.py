"""Numbers that are made on the host, where backends that compile each operation for each shape need not."""

from __future__ import annotations

import math
import random as python_random
from typing import Any

from ppl import constraints, ops, registry
from ppl.typing import Shape

# Arrays of more entries are data rather than tables.
SMALL = 10**5


def on_host(value: Any) -> Any:
    """Return a small array on the host, where no operation is compiled; ``None`` for a large one."""
    shape = tuple(ops.shape(value))
    if math.prod(shape) > SMALL or 0 in shape:
        return None
    try:
        return ops.to_numpy(value)
    except (TypeError, ValueError, RuntimeError):
        # Of a type that hosts have not.
        return None


def placed(host: Any, like: Any) -> Any:
    """Return a host array with the type and on the device of ``like``."""
    array = ops.array(host, dtype=ops.dtype_name(like))
    device = ops.device(like)
    return array if ops.device(array) == device else ops.to_device(array, device)


def noise(shape: Shape, name: str) -> Any:
    """Return a host array of numbers between -1 and 1, no two of them near each other, the same for a name."""
    size = math.prod(shape)
    numbers = [(2.0 * place + 1.0) / size - 1.0 for place in range(size)]
    python_random.Random(f"{name} {shape}").shuffle(numbers)
    return ops.to_numpy(ops.array(numbers)).reshape(shape)


def point_of(support: Any, shape: Shape, name: str) -> Any:
    """Return an array in a support whose draws take long to compile, ``None`` for another one or where nothing is compiled."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if registry.active().optim.STEP != "compiled" or 0 in shape or math.prod(shape) > SMALL:
        return None
    between = 0.5 + 0.45 * noise(shape, name)
    if support is constraints.simplex:
        return ops.array(between / between.sum(axis=-1, keepdims=True))
    if support is constraints.positive:
        return ops.array(2.0 * between)
    return ops.array(between) if support is constraints.unit_interval else None
