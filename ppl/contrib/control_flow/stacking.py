"""The distributions of one site at all steps as one distribution, time a batch dimension."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ppl import ops
from ppl.distributions.dispatch import blank
from ppl.distributions.distribution import Distribution
from ppl.errors import ConstraintError, PplError
from ppl.ops import autodiff
from ppl.runtime import is_distribution
from ppl.transforms import Transform


@dataclass(frozen=True)
class _Slot:
    """The place of an array."""

    index: int


@dataclass(frozen=True)
class _Mould:
    """An object without its arrays."""

    kind: type
    state: dict[str, Any]


def take_apart(value: Any, arrays: list[Any]) -> Any:
    """Append the arrays of a distribution, or of anything that it may hold, to ``arrays`` and return the mould around them."""
    if ops.is_array(value):
        arrays.append(value)
        return _Slot(len(arrays) - 1)
    if isinstance(value, Transform) or is_distribution(value):
        return _Mould(type(value), {name: take_apart(part, arrays) for name, part in vars(value).items()})
    if type(value) in (list, tuple):
        return type(value)(take_apart(part, arrays) for part in value)
    if type(value) is dict:
        return {key: take_apart(part, arrays) for key, part in value.items()}
    return value


def put_together(mould: Any, arrays: list[Any], leading: tuple[int, ...] = ()) -> Any:
    """Return the object of a mould filled with ``arrays``.

    :param leading: axes that the arrays have in front of those which were taken out.
    """
    if isinstance(mould, _Slot):
        return arrays[mould.index]
    if isinstance(mould, _Mould):
        state = {name: put_together(part, arrays, leading) for name, part in mould.state.items()}
        if leading and "_batch_shape" in state:
            batch_shape = state["_batch_shape"]
            state["_batch_shape"] = type(batch_shape)((*leading, *batch_shape))
        return blank(mould.kind, state)
    if type(mould) in (list, tuple):
        return type(mould)(put_together(part, arrays, leading) for part in mould)
    if type(mould) is dict:
        return {key: put_together(part, arrays, leading) for key, part in mould.items()}
    return mould


def unlike(first: Any, second: Any) -> str | None:
    """Return how two moulds differ in what cannot be stacked, ``None`` if they do not."""
    for one, other in _differences(first, second):
        return f"{one} and {other}"
    return None


def _differences(first: Any, second: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(first, _Mould) and isinstance(second, _Mould):
        if first.kind is not second.kind:
            yield first.kind.__name__, second.kind.__name__
        else:
            for name in first.state.keys() & second.state.keys():
                yield from _differences(first.state[name], second.state[name])
    elif type(first) in (list, tuple) and type(second) is type(first):
        if len(first) != len(second):
            yield first, second
        else:
            for one, other in zip(first, second, strict=True):
                yield from _differences(one, other)
    elif isinstance(first, (bool, int, float, str, _Slot)) and (type(first) is not type(second) or first != second):
        yield first, second


def stacked(fn: Any, mould: Any, arrays: list[Any], length: int, value: Any) -> Any:
    """Return the distribution of all steps, of batch shape ``(length, *fn.batch_shape)``.

    :param fn: the distribution of one step, that ``mould`` was taken from.
    :param arrays: its arrays, each with a leading axis of ``length``.
    :param value: a value of one step.
    """
    if _is_aligned(fn) or _broadcasts(fn, mould, value):
        return put_together(mould, arrays, (length,))
    return Steps(fn, mould, arrays, length)


def _is_aligned(fn: Any) -> bool:
    """Return whether each array of a distribution is a parameter that has all axes of the batch."""
    rank = len(fn.batch_shape)
    for name, value in vars(fn).items():
        if ops.is_array(value):
            event_dim = getattr(fn.arg_constraints.get(name), "event_dim", None)
            if not isinstance(event_dim, int) or ops.ndim(value) != rank + event_dim:
                return False
        elif is_distribution(value) or (isinstance(value, (Transform, list, tuple, dict)) and not _is_plain(value)):
            return False
    return True


def _is_plain(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, int) for item in value)


def _broadcasts(fn: Any, mould: Any, value: Any) -> bool:
    """Return whether a leading axis of all arrays becomes a leading axis of the batch.

    Parameters that were left without some axes of the batch would meet the others one axis off; with a length that no axis has,
    the shape of the log density shows it.
    """
    batch, event = tuple(fn.batch_shape), tuple(fn.event_shape)
    length = 2
    while length in batch or length in event:
        length += 1
    arrays: list[Any] = []
    take_apart(fn, arrays)
    copies = [ops.broadcast_to(array, (length, *ops.shape(array))) for array in arrays]
    several = put_together(mould, copies, (length,))
    if tuple(several.batch_shape) != (length, *batch):
        return False
    try:
        log_prob = several.log_prob(ops.broadcast_to(value, (length, *batch, *event)))
    except ConstraintError:
        # The value is at fault, which the density of the site will say.
        return True
    except (PplError, ValueError, RuntimeError, IndexError, TypeError):
        return False
    return tuple(log_prob.shape) == (length, *batch)


class Steps(Distribution):
    """The distributions of all steps of a family whose parameters cannot be stacked.

    :param fn: the distribution of one step.
    :param mould: what :func:`take_apart` made of it.
    :param arrays: its arrays, each with a leading axis of ``length``.
    :param length: number of steps.
    """

    def __init__(self, fn: Any, mould: Any, arrays: list[Any], length: int) -> None:
        self._one, self._mould, self._arrays, self._length = fn, mould, list(arrays), length
        super().__init__((length, *fn.batch_shape), tuple(fn.event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """The support of one step."""
        return self._one.support

    @property
    def has_rsample(self) -> bool:
        """Whether the family's draws have gradients."""
        return bool(self._one.has_rsample)

    def _step(self, arrays: list[Any]) -> Any:
        return put_together(self._mould, list(arrays))

    def rsample(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw each step by itself."""
        keys = [None] * self._length if rng_key is None else ops.random.split(rng_key, self._length)
        steps = [self._step([array[t] for array in self._arrays]) for t in range(self._length)]
        draws = [step(tuple(sample_shape), rng_key=key) for step, key in zip(steps, keys, strict=True)]
        return ops.stack(draws, axis=len(tuple(sample_shape)))

    def sample(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw each step by itself, without gradients."""
        return autodiff.stop_gradient(self.rsample(sample_shape, rng_key))

    def log_prob(self, value: Any) -> Any:
        """Return the log density of each step."""
        shape = tuple(self.shape())
        if ops.ndim(value) <= len(shape):
            value = ops.broadcast_to(value, shape)
            return autodiff.vmap(lambda arrays, one: self._step(arrays).log_prob(one))(self._arrays, value)
        axis = ops.ndim(value) - len(shape)
        mapped = autodiff.vmap(lambda arrays, one: self._step(arrays).log_prob(one), in_axes=(0, axis), out_axes=axis)
        return mapped(self._arrays, value)


class TimeInside(Distribution):
    """A distribution whose first batch dimension, time, stands at another place: left of it are those of particles and the like.

    :param base: a distribution of batch shape ``(T, *left, 1, *right)``.
    :param dim: where time goes, negative: the place of the batch dimension of size 1.
    """

    def __init__(self, base: Any, dim: int) -> None:
        self._base, self._dim = base, dim
        batch = list(base.batch_shape)
        batch[dim] = batch.pop(0)
        super().__init__(tuple(batch), tuple(base.event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the distribution as it was."""
        return self._base.support

    @property
    def has_rsample(self) -> bool:
        """Whether draws have gradients."""
        return bool(self._base.has_rsample)

    def rsample(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw, with gradients."""
        drawn = self._base(tuple(sample_shape), rng_key=rng_key)
        axis = self._dim - self.event_dim
        return ops.moveaxis(ops.squeeze(drawn, axis), len(tuple(sample_shape)), axis)

    def sample(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw, without gradients."""
        return autodiff.stop_gradient(self.rsample(sample_shape, rng_key))

    def log_prob(self, value: Any) -> Any:
        """Return the log density of each event."""
        rank = len(self.shape())
        if ops.ndim(value) < rank:
            value = ops.broadcast_to(value, tuple(self.shape()))
        first, axis = ops.ndim(value) - rank, self._dim - self.event_dim
        inside = self._base.log_prob(ops.expand_dims(ops.moveaxis(value, axis, first), axis))
        return ops.moveaxis(ops.squeeze(inside, self._dim), first, self._dim)


def place_time(array: Any, dim: int) -> Any:
    """Return an array of shape ``(T, *rest)`` with time at the negative axis ``dim``, where ``rest`` has size 1 or no axis."""
    shape = tuple(ops.shape(array))
    missing = -dim - len(shape)
    if missing >= 0:
        return ops.reshape(array, (shape[0], *(1,) * missing, *shape[1:])) if missing else array
    return ops.moveaxis(ops.squeeze(array, dim), 0, dim)


def take_time(array: Any, dim: int) -> Any:
    """Return an array with time at the negative axis ``dim`` as one of shape ``(T, *rest)``, undoing :func:`place_time`."""
    if ops.ndim(array) == -dim:
        return array
    return ops.expand_dims(ops.moveaxis(array, dim, 0), dim)
