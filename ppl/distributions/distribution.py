"""What every distribution has: shapes, draws, densities, and the ways to reshape it."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl import ops
from ppl.backend import Backend
from ppl.constraints import Constraint, dependent, is_dependent
from ppl.distributions import validation
from ppl.distributions.dispatch import DistributionMeta, blank, checked_inside, derived_parameter, revive
from ppl.distributions.score_parts import ScoreParts
from ppl.errors import ConstraintError, GapError, PplError, ShapeError
from ppl.registry import active
from ppl.transforms import as_constraint
from ppl.typing import Shape


class Distribution(metaclass=DistributionMeta):
    """A probability distribution over arrays, on whichever backend is active when it is made.

    :param batch_shape: shape of independent, not identical, copies: that of the parameters.
    :param event_shape: shape of one draw of one copy.
    :param validate_args: whether to check parameters and values; ``None`` follows ``ppl.enable_validation``.

    Draws have the shape ``sample_shape + batch_shape + event_shape`` and log densities ``sample_shape + batch_shape``. A family
    defines ``arg_constraints``, ``support``, ``__init__``, ``sample`` (or ``rsample`` with ``has_rsample = True``) and
    ``log_prob``; its parameters are attributes of the same names. An operation that a family lacks stands with the reason in its
    ``gaps``, and raises it. All of it is written over :mod:`ppl.ops`, so it runs on each backend.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.Normal(ops.zeros((3,)), 1.0)
    >>> tuple(d.sample((2,)).shape), tuple(d.log_prob(0.5).shape)
    ((2, 3), (3,))
    """

    arg_constraints: ClassVar[Any] = {}
    support: Any = dependent
    has_rsample: Any = False
    has_enumerate_support: Any = False
    gaps: ClassVar[dict[str, str]] = {}

    backend: ClassVar[Backend | None] = None
    backend_name: ClassVar[str | None] = None
    definition: ClassVar[type]
    wrappers: ClassVar[dict[str, Any]] = {}
    _validates = True
    _given: str | None = None

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = tuple(batch_shape), tuple(event_shape)
        self._check_parameters(validate_args)

    def _check_parameters(self, validate_args: bool | None) -> None:
        self._validates = validates = validation.wanted(validate_args)
        if validates:
            validation.check_parameters(type(self).__name__, self.arg_constraints, self.__dict__)

    # -- parameters --

    @staticmethod
    def promote(*parameters: Any) -> list[Any]:
        """Return ``parameters`` as floating arrays of the active backend, broadcast against each other.

        Arrays keep their floating dtype; Python scalars follow the arrays beside them, else take the default dtype.
        """
        arrays = as_floating(*parameters)
        if len(arrays) > 1:
            shape = arrays[0].shape
            if any(array.shape != shape for array in arrays):
                shape = ops.broadcast_shapes(*(tuple(array.shape) for array in arrays))
                return [array if tuple(array.shape) == shape else ops.broadcast_to(array, shape) for array in arrays]
        return arrays

    @staticmethod
    def promote_events(*parameters: tuple[Any, int]) -> tuple[list[Any], Shape]:
        """Return arrays whose batch axes are broadcast, and the batch shape; each parameter comes with its event_dim."""
        arrays = as_floating(*(parameter for parameter, _ in parameters))
        splits = [len(array.shape) - event_dim for array, (_, event_dim) in zip(arrays, parameters, strict=True)]
        shapes = [tuple(array.shape) for array in arrays]
        if min(splits) < 0:
            raise ShapeError(f"parameters of shapes {shapes} need at least {[dim for _, dim in parameters]} dimensions")
        batch = ops.broadcast_shapes(*(shape[:split] for shape, split in zip(shapes, splits, strict=True)))
        return [
            array if shape[:split] == batch else ops.broadcast_to(array, batch + shape[split:])
            for array, shape, split in zip(arrays, shapes, splits, strict=True)
        ], batch

    def one_of(self, **spellings: Any) -> str:
        """Return the name of the one keyword that is not ``None``.

        :raises ConstraintError: if none or several are given.
        """
        given = [name for name, value in spellings.items() if value is not None]
        if len(given) != 1:
            raise ConstraintError(
                f"{type(self).__name__} takes exactly one of {', '.join(spellings)}; received {', '.join(given) or 'none'}"
            )
        return given[0]

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters."""
        for name in self.arg_constraints:
            value = self.__dict__.get(name)
            if value is not None and hasattr(value, "dtype"):
                return value.dtype
        return None

    # -- shapes --

    @property
    def batch_shape(self) -> Shape:
        """The shape of the independent copies."""
        return self._batch_shape

    @property
    def event_shape(self) -> Shape:
        """The shape of one draw of one copy."""
        return self._event_shape

    @property
    def event_dim(self) -> int:
        """The number of dimensions of one event."""
        return len(self.event_shape)

    def shape(self, sample_shape: Any = ()) -> Shape:
        """Return the shape of ``sample(sample_shape)``."""
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    @property
    def is_discrete(self) -> bool:
        """Whether values are counted rather than measured."""
        support = as_constraint(self.support)
        return bool(getattr(support, "is_discrete", False))

    # -- draws and densities --

    def __call__(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw, with gradients where the family has them."""
        return self.rsample(sample_shape, rng_key) if self.has_rsample else self.sample(sample_shape, rng_key)

    def sample(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw, without gradients.

        :param sample_shape: shape of independent, identical draws.
        :param rng_key: a key of :mod:`ppl.ops.random`, or ``None`` for the stream in scope; it may also come first.
        """
        if not self.has_rsample:
            raise self._lacks("sample")
        return ops.autodiff.stop_gradient(self.rsample(sample_shape, rng_key))

    def rsample(self, sample_shape: Any = (), rng_key: Any = None) -> Any:
        """Draw, with gradients from the draws to the parameters."""
        raise self._lacks("rsample")

    def log_prob(self, value: Any) -> Any:
        """Return the log density, or log probability, of each event of ``value``.

        :raises ConstraintError: with validation on, if a value lies outside the support.
        :raises ShapeError: with validation on, if the shape of ``value`` does not fit.
        """
        raise self._lacks("log_prob")

    def _check_value(self, value: Any) -> None:
        shape = value.shape
        if shape != self._batch_shape or self._event_shape:
            validation.check_value_shape(type(self).__name__, self.batch_shape, self.event_shape, value)
        validation.check_value(type(self).__name__, self.support, value)

    def _knows_support(self) -> bool:
        """Return whether a value that reaches :meth:`log_prob` has been found in the support."""
        return self._validates and not ops.autodiff.is_tracing()

    @checked_inside
    def score_parts(self, value: Any) -> ScoreParts:
        """Return the parts of a gradient estimator; right for draws that are reparameterised in full or not at all."""
        log_prob = self.log_prob(value)
        return ScoreParts(log_prob, 0.0, log_prob) if self.has_rsample else ScoreParts(log_prob, log_prob, 0.0)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Return all values along a new leading axis, broadcast to the batch shape or, without ``expand``, of size 1 there.

        :raises GapError: if the support is not a finite set.
        """
        raise self._lacks("enumerate_support")

    def _enumerated(self, values: Any, expand: bool) -> Any:
        """Shape a vector of values as :meth:`enumerate_support` returns them."""
        values = ops.reshape(values, (-1,) + (1,) * len(self.batch_shape))
        return ops.broadcast_to(values, (values.shape[0], *self.batch_shape)) if expand else values

    @property
    def mean(self) -> Any:
        """The expectation."""
        raise self._lacks("mean")

    @property
    def variance(self) -> Any:
        """The variance of each coordinate."""
        raise self._lacks("variance")

    @property
    def stddev(self) -> Any:
        """The standard deviation of each coordinate."""
        return ops.sqrt(self.variance)

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw not above ``value``."""
        raise self._lacks("cdf")

    def icdf(self, value: Any) -> Any:
        """Return the quantile of each probability."""
        raise self._lacks("icdf")

    def entropy(self) -> Any:
        """Return the entropy in nats."""
        raise self._lacks("entropy")

    def _lacks(self, operation: str) -> GapError:
        """Return the error that says why ``operation`` is missing."""
        reason = self.gaps.get(operation, "the family does not define it")
        return GapError(f"{type(self).__name__} has no {operation}: {reason}")

    # -- reshaping --

    def expand(self, batch_shape: Any) -> Distribution:
        """Return a copy whose parameters are broadcast to ``batch_shape``.

        :raises ShapeError: if the present batch shape does not broadcast to it.

        >>> from ppl import distributions as dist
        >>> tuple(dist.Normal(0.0, 1.0).expand((3,)).batch_shape)
        (3,)
        """
        batch_shape = tuple(batch_shape)
        if batch_shape == tuple(self.batch_shape):
            return self
        self._check_expandable(batch_shape)
        state = dict(self.__dict__)
        for name, value in self.__dict__.items():
            if ops.is_array(value):
                constraint = as_constraint(self.arg_constraints.get(name))
                if constraint is None:
                    return self.wrappers["expanded"](self, batch_shape)
                split = len(value.shape) - self._parameter_event_dim(name, constraint)
                state[name] = ops.broadcast_to(value, batch_shape + tuple(value.shape[split:]))
            elif isinstance(value, Distribution):
                return self.wrappers["expanded"](self, batch_shape)
        state["_batch_shape"] = batch_shape
        return blank(type(self), state)

    def _check_expandable(self, batch_shape: Shape) -> None:
        mine = tuple(self.batch_shape)
        aligned = batch_shape[len(batch_shape) - len(mine) :]
        if len(batch_shape) < len(mine) or any(size not in (1, target) for size, target in zip(mine, aligned, strict=True)):
            raise ShapeError(
                f"{type(self).__name__} of batch shape {mine} cannot expand to {batch_shape}; expected one it broadcasts to"
            )

    def _current_batch_shape(self) -> Shape:
        """Return the batch shape that the parameters have, whatever was recorded when they had other leading axes."""
        for name, constraint in self.arg_constraints.items():
            value = self.__dict__.get(name)
            if value is not None:
                shape = tuple(value.shape)
                return shape[: max(0, len(shape) - self._parameter_event_dim(name, as_constraint(constraint)))]
        return self._batch_shape

    def _parameter_event_dim(self, name: str, constraint: Any) -> int:
        """Return how many trailing axes of a parameter belong to one copy."""
        if isinstance(constraint, Constraint) and not is_dependent(constraint):
            return constraint.event_dim
        return 0

    def expand_by(self, sample_shape: Any) -> Distribution:
        """Return a copy with ``sample_shape`` added on the left of its batch shape."""
        return self.expand(tuple(sample_shape) + tuple(self.batch_shape))

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Distribution:
        """Return a copy whose rightmost batch dimensions, all by default, count as event dimensions.

        :raises ShapeError: if there are not so many.

        >>> from ppl import distributions as dist, ops
        >>> d = dist.Normal(ops.zeros((2, 3)), 1.0).to_event(1)
        >>> tuple(d.batch_shape), tuple(d.event_shape)
        ((2,), (3,))
        """
        count = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return self if count == 0 else self.wrappers["independent"](self, count)

    independent = to_event

    def reshape(self, sample_shape: Any = None, extra_event_dims: int | None = None) -> Distribution:
        """Return ``expand_by(sample_shape)`` followed by ``to_event(extra_event_dims)``; either may be left out."""
        expanded = self if sample_shape is None else self.expand_by(sample_shape)
        return expanded if extra_event_dims is None else expanded.to_event(extra_event_dims)

    def mask(self, mask: Any) -> Distribution:
        """Return a copy whose log density is zero where ``mask``, a bool or an array over the batch, is false.

        >>> from ppl import distributions as dist, ops
        >>> d = dist.Uniform(ops.zeros((2,)), 4.0).mask(ops.array([True, False]))
        >>> [round(float(term), 4) for term in d.log_prob(1.0)]
        [-1.3863, 0.0]
        """
        return self.wrappers["masked"](self, mask)

    # -- copies and text --

    def __reduce__(self) -> Any:
        if self.backend is None:
            raise PplError(f"{type(self).__name__} has no backend; expected an object made by calling its public class")
        return revive, (self.definition, self.backend.address, dict(self.__dict__))

    def _shown_parameters(self) -> dict[str, Any]:
        return {
            name: self.__dict__[name] for name in self.arg_constraints if name in self.__dict__ and not self._is_computed(name)
        }

    def _is_computed(self, name: str) -> bool:
        """Return whether a parameter of several spellings was given by another one."""
        return (
            self._given is not None
            and name != self._given
            and isinstance(getattr(self.definition, name, None), derived_parameter)
        )

    def __repr__(self) -> str:
        parts = [f"{name}: {_brief(value)}" for name, value in self._shown_parameters().items()]
        return f"{type(self).__name__}({', '.join(parts)})"


def _brief(value: Any) -> str:
    shape = tuple(getattr(value, "shape", ()))
    return f"array of shape {shape}" if shape else str(value)


def as_floating(*parameters: Any) -> list[Any]:
    """Return ``parameters`` as floating arrays of the active backend, shapes unchanged."""
    xp = active().ops
    if all(type(parameter) is float for parameter in parameters):
        return [xp.array(parameter) for parameter in parameters]
    arrays: list[Any] = []
    dtype = None
    for parameter in parameters:
        if isinstance(parameter, (bool, int, float)):
            arrays.append(None)
            continue
        array = parameter if xp.is_array(parameter) else xp.array(parameter)
        if not xp.is_floating(array):
            array = xp.astype(array, xp.default_dtype())
        dtype = array.dtype
        arrays.append(array)
    return [
        xp.array(float(parameter), dtype=dtype) if array is None else array
        for parameter, array in zip(parameters, arrays, strict=True)
    ]
