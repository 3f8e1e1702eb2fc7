"""Where a run takes the arguments of its steps from: the same each time, or one batch after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ppl.errors import InferenceError
from ppl.infer.potential import ModelArguments


class Feed(ABC):
    """The arguments of the steps of one run.

    ``num_steps`` is how many steps were asked for, ``None`` if the batches decide; ``ended`` says whether there were fewer.
    """

    num_steps: int | None
    ended = False

    @abstractmethod
    def chunks(self, room: Callable[[], int]) -> Iterator[tuple[ModelArguments, int]]:
        """Yield arguments and the number of steps to take with them, at most ``room()``."""


class Same(Feed):
    """The same arguments in each step."""

    def __init__(self, arguments: ModelArguments, num_steps: int) -> None:
        self.arguments = arguments
        self.num_steps = num_steps

    def chunks(self, room: Callable[[], int]) -> Iterator[tuple[ModelArguments, int]]:
        """Yield the arguments until the steps are taken."""
        left = self.num_steps or 0
        while left:
            count = min(room(), left)
            yield self.arguments, count
            left -= count


class Batches(Feed):
    """One batch after the other.

    :param batches: an iterable. What can be iterated anew (a list, a loader) begins again at its end; an iterator ends the run.
    :param num_steps: how many steps, ``None`` for one pass.
    :param arguments: ``arguments(args, kwargs)`` of a step, from what the batch adds.
    :raises InferenceError: if it is no iterable.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        num_steps: int | None,
        arguments: Callable[[tuple[Any, ...], dict[str, Any]], ModelArguments],
    ) -> None:
        if not isinstance(batches, Iterable) or isinstance(batches, (str, Mapping)):
            raise InferenceError(
                f"batches is an iterable whose items are the arguments of a step, received {type(batches).__name__}; "
                "try a list of tuples, a generator or a data loader"
            )
        self.num_steps = num_steps
        self._batches = batches
        self._arguments = arguments

    def chunks(self, room: Callable[[], int]) -> Iterator[tuple[ModelArguments, int]]:
        """Yield each batch for one step.

        :raises InferenceError: if there is not even one.
        """
        taken, iterator = 0, iter(self._batches)
        only_once = iterator is self._batches
        while self.num_steps is None or taken < self.num_steps:
            fresh = taken
            for batch in iterator:
                yield self._arguments(*_as_arguments(batch)), 1
                taken += 1
                if taken == self.num_steps:
                    return
            if taken == fresh:
                raise InferenceError(
                    "the batches gave none: an empty iterable, or an iterator that was used up before; expected at least one; "
                    "try a list, a data loader or a fresh generator"
                )
            if only_once or self.num_steps is None:
                self.ended = self.num_steps is not None
                return
            iterator = iter(self._batches)


def _as_arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments in a batch: those in a tuple or list, keyword arguments in a dict, anything else by itself."""
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch), {}) if isinstance(batch, (tuple, list)) else ((batch,), {})
