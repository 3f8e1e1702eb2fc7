"""Which relaxed draw stands behind a quantized one.

A straight-through draw is discrete going forward, while its density is that of the relaxed draw it was rounded from. Arrays of
most libraries hold no attributes, so the pair is remembered here by identity, for as long as the quantized array lives. An array
that merely has the same entries, such as a copy, a slice or a compiled function's result, is unknown.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

from ppl import ops
from ppl.errors import ConstraintError
from ppl.ops import autodiff

# Values that cannot be referenced weakly (scalars and recorded values of numpy) are kept alive until so many younger ones came.
KEPT = 64

_weak: dict[int, tuple[Any, Any]] = {}
_kept: OrderedDict[int, tuple[Any, Any]] = OrderedDict()


def quantized(hard: Any, soft: Any) -> Any:
    """Return ``hard`` with the gradient of ``soft``, and remember where it came from."""
    value = ops.autodiff.stop_gradient(hard) + (soft - ops.autodiff.stop_gradient(soft))
    remember(value, soft)
    return value


def remember(value: Any, soft: Any) -> None:
    """Note that ``value`` was rounded from ``soft``."""
    key = id(value)
    try:
        _weak[key] = weakref.ref(value, lambda gone: _weak.pop(key, None)), soft
    except TypeError:
        _kept[key] = value, soft
        _kept.move_to_end(key)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)


def relaxed(value: Any) -> Any:
    """Return the relaxed draw that ``value`` was rounded from, or ``None`` if none is known."""
    key = id(value)
    if key in _weak:
        reference, soft = _weak[key]
        return soft if reference() is value else None
    kept, soft = _kept.get(key, (None, None))
    return soft if kept is value else None


def check_source(family: str, value: Any, hard: Any) -> None:
    """Refuse a quantized value whose relaxed draw is not known; compiled code, which sees no entries, passes.

    :param hard: where ``value`` is a corner of the relaxed support.
    :raises ConstraintError: if ``hard`` holds anywhere and ``value`` was not remembered.
    """
    if relaxed(value) is None and not autodiff.is_tracing() and bool(ops.any(hard)):
        raise ConstraintError(
            f"{family}: the density of a quantized value is that of the relaxed draw behind it, which is not known for this one; "
            "expected the very array that rsample or sample returned, received another one with entries at the corners of the "
            "support; try the relaxed values themselves, or to score the draw before it is copied, sliced or compiled away"
        )
