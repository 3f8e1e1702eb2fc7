"""Which transform reaches which constraint from unconstrained space.

>>> from ppl import constraints, ops, transforms
>>> round(float(transforms.biject_to(constraints.interval(0.0, 4.0))(ops.array(0.0))), 4)
2.0
>>> tuple(transforms.biject_to(constraints.simplex)(ops.zeros((2,))).shape)
(3,)
>>> tuple(transforms.transform_to(constraints.simplex)(ops.zeros((3,))).shape)
(3,)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import constraints
from ppl.constraints import Constraint, is_dependent
from ppl.errors import GapError
from ppl.registry import active
from ppl.transforms.affine import AffineTransform
from ppl.transforms.compose import ComposeTransform
from ppl.transforms.corr_cholesky import CorrCholeskyTransform
from ppl.transforms.exp import ExpTransform
from ppl.transforms.identity import IdentityTransform
from ppl.transforms.independent import IndependentTransform
from ppl.transforms.inside import KeepInside
from ppl.transforms.l1_ball import L1BallTransform
from ppl.transforms.lower_cholesky import (
    CholeskyProductTransform,
    CorrMatrixCholeskyTransform,
    LowerCholeskyTransform,
    LowerTriangularTransform,
    ScaledUnitLowerCholeskyTransform,
    SoftplusLowerCholeskyTransform,
    SymmetricTransform,
    UnitLowerCholeskyTransform,
)
from ppl.transforms.ordered import OrderedTransform, PositiveOrderedTransform
from ppl.transforms.orthonormal import ZeroSumTransform
from ppl.transforms.side_by_side import CatTransform, StackTransform
from ppl.transforms.sigmoid import SigmoidTransform
from ppl.transforms.softmax import SoftmaxTransform
from ppl.transforms.softplus import SoftplusTransform
from ppl.transforms.sphere import SphereTransform
from ppl.transforms.stick_breaking import StickBreakingTransform
from ppl.transforms.transform import Transform

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """A table from constraint to the transform whose codomain it is; calling it looks one up.

    :param name: shown in errors.

    >>> from ppl import constraints, ops, transforms
    >>> reach = transforms.ConstraintRegistry("reach")
    >>> factory = reach.register(constraints.positive, lambda constraint: transforms.ExpTransform())
    >>> float(reach(constraints.positive)(ops.array(0.0)))
    1.0
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._factories: dict[type, Factory] = {}
        self._gaps: dict[type, str] = {}

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Register ``factory(constraint) -> transform`` for a constraint or a class of them; usable as a decorator."""
        if factory is None:
            return lambda fn: self.register(constraint, fn)
        cls = _class_of(constraint)
        self._factories[cls] = factory
        self._gaps.pop(cls, None)
        return factory

    def declare_gap(self, constraint: Any, reason: str) -> None:
        """State why a constraint or a class of them has no transform."""
        self._gaps[_class_of(constraint)] = reason

    def __call__(self, constraint: Any) -> Transform:
        """Return the transform from unconstrained space to ``constraint``.

        :raises GapError: a NotImplementedError with the reason why there is none, as for discrete sets.
        """
        constraint = as_constraint(constraint)
        for cls in type(constraint).__mro__:
            if cls in self._gaps:
                raise self._gap(constraint, self._gaps[cls])
            if cls in self._factories:
                return self._factories[cls](constraint)
        if is_dependent(constraint):
            raise self._gap(constraint, "it is known only on an instance")
        raise self._gap(constraint, "it is discrete" if getattr(constraint, "is_discrete", False) else "none is registered")

    def _gap(self, constraint: Any, reason: str) -> GapError:
        return GapError(
            f"{self.name}({constraint!r}) has no transform: {reason}; expected a continuous constraint; "
            f"try {self.name}.register(type(constraint), factory)"
        )

    def __repr__(self) -> str:
        return self.name


def as_constraint(constraint: Any) -> Any:
    """Return the constraint of this library that means the same as one of the active backend's library."""
    if isinstance(constraint, Constraint):
        return constraint
    convert = getattr(active().distributions, "convert_constraint", None)
    return convert(constraint) if convert else constraint


def as_transform(transform: Any) -> Any:
    """Return the transform of this library that means the same as one of the active backend's library."""
    if isinstance(transform, Transform):
        return transform
    convert = getattr(active().distributions, "convert_transform", None)
    return convert(transform) if convert else transform


biject_to = ConstraintRegistry("biject_to")
transform_to = ConstraintRegistry("transform_to")


def _class_of(constraint: Any) -> type:
    return constraint if isinstance(constraint, type) else type(constraint)


def _is_number(bound, number):
    return isinstance(bound, (int, float)) and bound == number


def _to_greater_than(constraint):
    if _is_number(constraint.lower_bound, 0):
        return ExpTransform()
    return _from_positive(constraint, constraint.lower_bound, 1.0)


def _to_less_than(constraint):
    return _from_positive(constraint, constraint.upper_bound, -1.0)


def _to_half_line(constraint):
    return _from_positive(constraint, constraint.bound, constraint.direction)


def _from_positive(constraint, bound, direction):
    affine = AffineTransform(bound, direction, domain=constraints.positive)
    return ComposeTransform([ExpTransform(), affine, KeepInside(constraint)])


def _to_interval(constraint):
    low, high = constraint.lower_bound, constraint.upper_bound
    if _is_number(low, 0) and _is_number(high, 1):
        return SigmoidTransform()
    parts = [SigmoidTransform(), AffineTransform(low, high - low, domain=constraints.unit_interval)]
    is_open = isinstance(constraint, (constraints.open_interval, constraints.half_open_interval))
    return ComposeTransform([*parts, KeepInside(constraint)] if is_open else parts)


def _to_symmetric_product(constraint):
    return ComposeTransform([LowerCholeskyTransform(), CholeskyProductTransform()])


def _to_corr_matrix(constraint):
    return ComposeTransform([CorrCholeskyTransform(), CorrMatrixCholeskyTransform().inv])


def _independent(registry):
    return lambda constraint: IndependentTransform(registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims)


def _cat(registry):
    def factory(constraint):
        parts = [registry(part) for part in constraint.cseq]
        before, after = _event_dims(parts)
        lengths = constraint.lengths
        if constraint.dim == -1 and (before, after) == (1, 1):
            lengths = [part.inverse_shape((length,))[0] for part, length in zip(parts, lengths, strict=True)]
        return CatTransform(parts, _axis_before(constraint.dim, before, after), lengths)

    return factory


def _stack(registry):
    def factory(constraint):
        parts = [registry(part) for part in constraint.cseq]
        return StackTransform(parts, _axis_before(constraint.dim, *_event_dims(parts)))

    return factory


def _event_dims(parts):
    return max(part.domain.event_dim for part in parts), max(part.codomain.event_dim for part in parts)


def _axis_before(dim, before, after):
    """Return the axis of the input that stands where axis ``dim`` of the output does, outside the events."""
    return dim if dim >= 0 or -dim <= after else dim + after - before


REACHED = {
    constraints.real: IdentityTransform,
    constraints.real_vector: IdentityTransform,
    constraints.real_matrix: IdentityTransform,
    constraints.square: IdentityTransform,
    constraints.greater_than: _to_greater_than,
    constraints.less_than: _to_less_than,
    constraints.half_line: _to_half_line,
    constraints.interval: _to_interval,
    constraints.softplus_positive: lambda constraint: SoftplusTransform(),
    constraints.ordered_vector: lambda constraint: OrderedTransform(),
    constraints.positive_ordered_vector: lambda constraint: PositiveOrderedTransform(),
    constraints.zero_sum: lambda constraint: ZeroSumTransform(constraint.event_dim),
    constraints.l1_ball: lambda constraint: L1BallTransform(),
    constraints.symmetric: lambda constraint: SymmetricTransform(),
    constraints.positive_semidefinite: _to_symmetric_product,
    constraints.positive_definite: _to_symmetric_product,
    constraints.corr_matrix: _to_corr_matrix,
    constraints.lower_triangular: lambda constraint: LowerTriangularTransform(),
    constraints.lower_cholesky: lambda constraint: LowerCholeskyTransform(),
    constraints.softplus_lower_cholesky: lambda constraint: SoftplusLowerCholeskyTransform(),
    constraints.scaled_unit_lower_cholesky: lambda constraint: ScaledUnitLowerCholeskyTransform(),
    constraints.unit_lower_cholesky: lambda constraint: UnitLowerCholeskyTransform(),
    constraints.corr_cholesky: lambda constraint: CorrCholeskyTransform(),
}
for _registry in (biject_to, transform_to):
    for _constraint, _factory in REACHED.items():
        _registry.register(_constraint, _factory)
    _registry.register(constraints.independent, _independent(_registry))
    _registry.register(constraints.cat, _cat(_registry))
    _registry.register(constraints.stack, _stack(_registry))
biject_to.register(constraints.simplex, lambda constraint: StickBreakingTransform())
transform_to.register(constraints.simplex, lambda constraint: SoftmaxTransform())
biject_to.declare_gap(
    constraints.sphere, "no bijection from the reals covers a sphere; transform_to has one that is not bijective"
)
transform_to.register(constraints.sphere, lambda constraint: SphereTransform())
