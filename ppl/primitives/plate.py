"""Conditionally independent repetitions, as a loop or as a batch dimension, all of them or a random few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppl import ops
from ppl.errors import PlateError
from ppl.handlers.indep import CondIndepStackFrame, IndepMessenger
from ppl.handlers.messenger import Handler
from ppl.ops import autodiff, random
from ppl.runtime import STACK, apply_stack, new_message
from ppl.typing import Message


class _Subsample:
    """Draws the indices of a plate."""

    def __init__(self, name: str, size: int, subsample_size: int) -> None:
        self.name = name
        self.size = size
        self.subsample_size = subsample_size

    def __call__(self, rng_key: Any = None) -> Any:
        if rng_key is None:
            rng_key = random.next_key(self.name)
        return random.choice(rng_key, self.size, self.subsample_size)

    def __repr__(self) -> str:
        return f"Subsample({self.subsample_size} of {self.size})"


class plate(IndepMessenger):
    """Declare sites as conditionally independent.

    :param name: a name, by which inference matches model and guide.
    :param size: number of elements; ``None`` declares a batch dimension of any size.
    :param subsample_size: size of a random minibatch; by default all elements.
    :param subsample: indices of a minibatch of one's own choice, anything with ``len``.
    :param dim: the batch dimension, negative; by default the rightmost one that no active plate uses.
    :param use_cuda: deprecated; ``True`` means ``device="cuda"``.
    :param device: where the indices lie.
    :raises PlateError: if the sizes contradict each other.
    :raises PlateCollision: when entered inside a plate of the same dimension or name.

    ``for i in plate("rows", 10)`` is a loop whose steps are independent. ``with plate("rows", 10) as indices`` makes ``dim`` a
    batch dimension of every site inside. A minibatch scales the log densities inside by ``size / len(indices)``; its indices
    are a site of type ``"subsample"`` under the plate's name, so that a trace holds and ``replay`` fixes them. A plate may be
    entered many times, also together with others.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> with ppl.plate("rows", 3):
    ...     tuple(ppl.sample("x", dist.Normal(0.0, 1.0)).shape)
    (3,)
    >>> [index for index in ppl.plate("steps", 3)]
    [0, 1, 2]
    """

    def __init__(
        self,
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: Any = None,
        dim: int | None = None,
        use_cuda: bool | None = None,
        device: Any = None,
    ) -> None:
        if not isinstance(name, str):
            raise PlateError(f"a plate's name is a str, got {name!r}; try ppl.plate('rows', size)")
        if use_cuda is not None and device is None:
            device = "cuda" if use_cuda else "cpu"
        size, subsample_size = _count(name, "size", size), _count(name, "subsample_size", subsample_size)
        super().__init__(name, size, dim, device)
        self.subsample_size = _subsample_size(name, size, subsample_size, subsample)
        self._length = self.subsample_size
        self._factor = 1.0
        count = self.subsample_size
        if size is not None and count is not None and (subsample is not None or count != size):
            self._choose(subsample, size, count)

    def _choose(self, subsample: Any, size: int, count: int) -> None:
        fn = _Subsample(self.name, size, count)
        value = None if subsample is None else ops.array(subsample)
        if value is not None and not autodiff.is_tracing() and count and not bool(ops.all((value >= 0) & (value < size))):
            raise PlateError(f"plate {self.name!r} got indices outside range({size}); expected a subsample of them")
        if STACK.get():
            infer = {"_subsample": True, "_subsampled": count != size or subsample is not None}
            message = apply_stack(new_message("subsample", self.name, fn, value=value, infer=infer))
            value = message["value"]
            if message["infer"].get("_whole"):
                # A handler takes every element in place of a few.
                self.subsample_size = self._length = size
                return
        elif value is None:
            value = fn()
        if tuple(value.shape) != (count,):
            raise PlateError(
                f"plate {self.name!r} has a subsample of {count}, but its indices have shape {tuple(value.shape)} from an "
                f"earlier run or a "
                f"handler; expected shape ({count},); try the same subsample_size in both"
            )
        self._chosen = value if self.device is None else ops.to_device(value, self.device)
        self._factor = size / count

    def __enter__(self) -> Any:
        super().__enter__()
        return self.indices

    def __iter__(self) -> Iterator[Any]:
        if self.size is None:
            raise PlateError(f"plate {self.name!r} is used as a loop without a size; expected ppl.plate({self.name!r}, size)")
        steps = range(self.size) if self._chosen is None else [int(index) for index in ops.to_numpy(self._chosen)]
        for counter, step in enumerate(steps, self.counter + 1):
            with _Step(self, counter):
                yield step

    def process_message(self, message: Message) -> None:
        """Add the frame, expand the site's distribution, scale its log density."""
        super().process_message(message)
        if self._factor != 1.0:
            message["scale"] = message["scale"] * self._factor

    def after_param(self, message: Message) -> None:
        """Index a parameter's batch dimension by the indices of a minibatch."""
        event_dim = message["kwargs"].get("event_dim")
        dim = self.frame.dim
        if event_dim is None or dim is None or self.subsample_size == self.size:
            return
        value = message["value"]
        axis = dim - event_dim
        if len(value.shape) < -axis or value.shape[axis] == 1:
            return
        if value.shape[axis] != self.size:
            raise PlateError(
                f"parameter {message['name']!r} has size {value.shape[axis]} along plate {self.name!r} (dim={dim}, "
                f"event_dim={event_dim}), whose "
                f"size is {self.size}; expected {self.size}, or 1 to share it"
            )
        message["value"] = ops.take(value, self._chosen, axis=axis)


class _Step:
    """One step of a plate used as a loop."""

    def __init__(self, loop: plate, counter: int) -> None:
        self.entry = loop.fresh()
        self.entry.frame = CondIndepStackFrame(loop.name, None, loop._length, counter, loop.size)

    def __enter__(self) -> None:
        Handler.__enter__(self.entry)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        Handler.__exit__(self.entry, kind, error, traceback)


def _count(name: str, what: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise PlateError(f"plate {name!r} got {what}={value!r}; expected an int; try {what}=len(data)") from None
    if number < 0:
        raise PlateError(f"plate {name!r} got {what}={number}; expected zero or more; try {what}=len(data)")
    return int(number)


def _subsample_size(name: str, size: int | None, subsample_size: int | None, subsample: Any) -> int | None:
    if subsample is not None:
        length = len(subsample)
        if subsample_size is not None and subsample_size != length:
            raise PlateError(
                f"plate {name!r} got subsample_size={subsample_size} and {length} indices; expected equal numbers; try one of "
                f"them"
            )
        subsample_size = length
    if subsample_size is None:
        return size
    if size is None:
        raise PlateError(
            f"plate {name!r} takes a subsample of an unknown number; expected size; try ppl.plate({name!r}, len(data), ...)"
        )
    if subsample_size > size and subsample is None:
        raise PlateError(
            f"plate {name!r} got subsample_size={subsample_size} of size={size}; expected at most {size}; "
            f"try subsample_size={size}"
        )
    if subsample_size == 0 and size > 0:
        raise PlateError(
            f"plate {name!r} got an empty subsample of size={size}; expected at least one index; try subsample_size=1"
        )
    return subsample_size
