"""A function whose equal operations are done once while it is recorded, and so are their derivatives."""

import functools
import types

import torch
from torch.overrides import TorchFunctionMode

from ppl_torch import tracing

# Functions and methods of torch whose results depend on their arguments alone.
PURE = frozenset(
    """
    __add__ __and__ __ge__ __getitem__ __gt__ __invert__ __le__ __lt__ __mul__ __neg__ __pow__ __radd__ __rmul__ __rsub__
    __sub__ __truediv__ abs add all amax amin any arange broadcast_to cat clamp clip detach div divide eq exp expand gather
    ge gt index_select isfinite le lgamma log log1p log_softmax logical_and logical_not logical_or logsumexp lt maximum
    minimum movedim mul multiply ne neg permute pow reshape rsub softmax sqrt square squeeze stack sub sum take_along_dim to
    transpose true_divide unbind unsqueeze view where
    """.split()
)
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, types.EllipsisType)


class _Written(Exception):
    """A tensor was written into, so that two names of one result would not be the same as two results."""


def merged(fn):
    """Return ``fn`` such that, where it is recorded, operations of the same kind on the same tensors become one."""

    @functools.wraps(fn)
    def call(*args):
        if not tracing.is_recording():
            return fn(*args)
        try:
            with _Memory():
                return fn(*args)
        except _Written:
            return fn(*args)

    return call


class _Memory(TorchFunctionMode):
    """Gives the result of an operation again where it is asked for again."""

    def __init__(self):
        super().__init__()
        self._depth = tracing.depth()
        self._known = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if _writes(name) or "out" in kwargs:
            raise _Written
        # What a vmap inside makes is gone once it ends.
        if name not in PURE or tracing.depth() != self._depth:
            return func(*args, **kwargs)
        kept = []
        try:
            key = func, _key(args, kept), _key(tuple(sorted(kwargs.items())), kept)
        except TypeError:
            return func(*args, **kwargs)
        if key not in self._known:
            # The arguments are kept, so that no other tensor can take over their identity.
            self._known[key] = func(*args, **kwargs), kept
        return self._known[key][0]


def _writes(name):
    inplace = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
    return inplace or name == "__setitem__" or (name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"))


def _key(value, kept):
    if isinstance(value, torch.Tensor):
        kept.append(value)
        return "tensor", id(value)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *(_key(part, kept) for part in value)
    if isinstance(value, slice):
        return "slice", _key(value.start, kept), _key(value.stop, kept), _key(value.step, kept)
    if isinstance(value, _PLAIN):
        return type(value).__name__, value
    raise TypeError(value)
