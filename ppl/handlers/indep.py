"""Frames of conditional independence: the part of a plate that handlers and inference see."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl import ops
from ppl.errors import PlateCollision, PlateError
from ppl.handlers.entry import PerEntry
from ppl.runtime import STACK, is_distribution
from ppl.typing import Message


class CondIndepStackFrame(NamedTuple):
    """One plate around a site.

    :param name: its name.
    :param dim: its batch dimension, negative; ``None`` for a sequential plate.
    :param size: how many elements a site has along it, ``None`` if the plate declares none.
    :param counter: the step of a sequential plate.
    :param full_size: the size before subsampling.
    :param independent: whether its elements are independent of each other; time is a dimension whose elements are not.
    """

    name: str
    dim: int | None
    size: int | None
    counter: int
    full_size: int | None = None
    independent: bool = True

    @property
    def vectorized(self) -> bool:
        """Return whether the plate is a dimension, rather than a loop."""
        return self.dim is not None


def _check_dim(name: str, dim: Any) -> None:
    if dim is not None and (not isinstance(dim, int) or isinstance(dim, bool) or dim >= 0):
        raise PlateError(f"plate {name!r} got dim={dim!r}; expected a negative int, counted from the right, or None; try dim=-1")


class IndepMessenger(PerEntry):
    """Declares the sites inside as independent along a batch dimension, or from step to step.

    :param name: a name for messages and for matching models and guides.
    :param size: number of elements, ``None`` if unknown.
    :param dim: batch dimension, negative; by default the rightmost one that no active plate uses.
    :param device: where the indices lie; by default where the backend puts arrays.

    Distributions at the sites inside are expanded to ``size`` along ``dim`` where their batch shape broadcasts.
    """

    frame: CondIndepStackFrame

    def __init__(self, name: str | None = None, size: int | None = None, dim: int | None = None, device: Any = None) -> None:
        super().__init__()
        _check_dim(name or "", dim)
        self.name = name or ""
        self.size = size
        self.device = device
        self.counter = 0
        self._requested_dim = dim
        self._latest_dim = dim
        self._length = size
        # The elements of a minibatch, else ``None``.
        self._chosen: Any = None

    @property
    def dim(self) -> int | None:
        """The batch dimension here; outside of any entry that of the latest one, or the one that was asked for."""
        entry = self.entry()
        return self._latest_dim if entry is None else entry.frame.dim

    @property
    def indices(self) -> Any:
        """The indices of the elements, a 1-d integer array; ``None`` for a plate without a size."""
        if self._chosen is not None or self.size is None:
            return self._chosen
        # Made anew each time, since the next entry may be under another backend, or inside a trace.
        indices = ops.arange(0, self.size)
        return indices if self.device is None else ops.to_device(indices, self.device)

    def next_context(self) -> None:
        """Count one step of a sequential plate."""
        self.counter += 1

    def begin(self) -> None:
        """Choose the dimension of this entry."""
        dim = self._claim()
        self.frame = CondIndepStackFrame(self.name, dim, self._length, self.counter, self.size)

    def __enter__(self) -> Any:
        super().__enter__()
        self._latest_dim = self.dim
        return self

    def _claim(self) -> int:
        taken = {}
        for handler in STACK.get():
            if isinstance(handler, IndepMessenger):
                frame = handler.frame
                if frame.name == self.name:
                    raise PlateCollision(
                        f"plate {self.name!r} is entered twice; expected each plate once around a site; try another name for "
                        f"the inner one"
                    )
                if frame.dim is not None:
                    taken[frame.dim] = frame.name
        free = -1
        while free in taken:
            free -= 1
        if self._requested_dim is None:
            return free
        if self._requested_dim in taken:
            raise PlateCollision(
                f"plates {taken[self._requested_dim]!r} and {self.name!r} both use dim={self._requested_dim} at the entry of "
                f"{self.name!r}; "
                f"expected distinct dims; try ppl.plate({self.name!r}, {self.size}, dim={free})"
            )
        return self._requested_dim

    def process_message(self, message: Message) -> None:
        """Add this frame to the message and expand the distribution of a sample site."""
        frame = self.frame
        message["cond_indep_stack"] = (frame, *message["cond_indep_stack"])
        if message["type"] == "sample" and frame.dim is not None and frame.size is not None:
            fn = message["fn"]
            if is_distribution(fn) and not message["infer"].get("_deterministic"):
                self._expand(message, fn, frame.name, frame.dim, frame.size)

    def _expand(self, message: Message, fn: Any, plate: str, dim: int, size: int) -> None:
        batch = tuple(fn.batch_shape)
        rank = len(batch)
        present = batch[dim] if -dim <= rank else 1
        if present == size and -dim <= rank:
            return
        if present not in (1, size):
            raise PlateError(
                f"site {message['name']!r} has batch shape {batch} but plate {plate!r} has size {size} at dim={dim}; "
                f"expected size 1 "
                f"or {size} there; try ppl.plate({plate!r}, {present}), or .to_event(n) if the dimension is not a plate's"
            )
        target = [1] * (-dim - rank) + list(batch)
        target[dim] = size
        message["fn"] = fn.expand(tuple(target))
