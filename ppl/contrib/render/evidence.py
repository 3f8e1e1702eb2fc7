"""What a run shows of one site: the numbers that its distribution is made of, and whether two runs show the same."""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from ppl import ops

Evidence = dict[str, Any]

# Deep enough for wrappers around wrappers around transforms with modules inside.
DEPTH = 12
OPAQUE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


def collect(**parts: Any) -> Evidence:
    """Return the numbers, texts and arrays inside ``parts`` by their path; distributions are opened, functions are not.

    >>> from ppl import distributions as dist
    >>> from ppl.contrib.render import evidence
    >>> one, two = (evidence.collect(fn=dist.Normal(loc, 1.0)) for loc in (0.0, 1.0))
    >>> evidence.same(one, one), evidence.same(one, two)
    (True, False)
    """
    found: Evidence = {}
    for name, part in parts.items():
        _walk(name, part, found, frozenset(), DEPTH)
    return found


def _walk(path: str, value: Any, found: Evidence, above: frozenset[int], depth: int) -> None:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        found[path] = value
    elif isinstance(getattr(value, "shape", None), tuple):
        found[path] = _host(value)
    elif depth == 0 or id(value) in above or isinstance(value, OPAQUE):
        return
    else:
        children = _children(value)
        found[path] = (type(value).__name__, len(children))
        for key, child in children.items():
            _walk(f"{path}.{key}", child, found, above | {id(value)}, depth - 1)


def _children(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(key): child for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return {str(index): child for index, child in enumerate(value)}
    # A cache holds what was asked of the object, not what it is.
    return {key: child for key, child in getattr(value, "__dict__", {}).items() if "cache" not in key}


def _host(array: Any) -> Any:
    try:
        return ops.to_numpy(array if ops.is_array(array) else ops.array(array))
    except (TypeError, ValueError, RuntimeError):
        # Random keys and other arrays without numbers.
        return None


def same(one: Evidence, other: Evidence) -> bool:
    """Return whether two runs show the same, to the last digit; NaN equals NaN."""
    return one.keys() == other.keys() and all(_equal(leaf, other[path]) for path, leaf in one.items())


def _equal(one: Any, other: Any) -> bool:
    if not (isinstance(getattr(one, "shape", None), tuple) and isinstance(getattr(other, "shape", None), tuple)):
        return type(one) is type(other) and (one == other or one != one)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
