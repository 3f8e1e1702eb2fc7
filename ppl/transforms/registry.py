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
from ppl.constraints import Constraint
from ppl.registry import active
from ppl.transforms.affine import AffineTransform
from ppl.transforms.compose import ComposeTransform
from ppl.transforms.corr_cholesky import CorrCholeskyTransform
from ppl.transforms.exp import ExpTransform
from ppl.transforms.identity import IdentityTransform
from ppl.transforms.independent import IndependentTransform
from ppl.transforms.lower_cholesky import CholeskyProductTransform, LowerCholeskyTransform
from ppl.transforms.sigmoid import SigmoidTransform
from ppl.transforms.softmax import SoftmaxTransform
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

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Register ``factory(constraint) -> transform`` for a constraint or a class of them; usable as a decorator."""
        if factory is None:
            return lambda fn: self.register(constraint, fn)
        self._factories[constraint if isinstance(constraint, type) else type(constraint)] = factory
        return factory

    def __call__(self, constraint: Any) -> Transform:
        """Return the transform from unconstrained space to ``constraint``.

        :raises NotImplementedError: if none is registered, as for discrete sets.
        """
        constraint = as_constraint(constraint)
        for cls in type(constraint).__mro__:
            if cls in self._factories:
                return self._factories[cls](constraint)
        reason = "it is discrete" if getattr(constraint, "is_discrete", False) else "none is registered"
        raise NotImplementedError(
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


def _to_greater_than(constraint):
    if isinstance(constraint.lower_bound, float) and constraint.lower_bound == 0.0:
        return ExpTransform()
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.lower_bound, 1.0, domain=constraints.positive)])


def _to_less_than(constraint):
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.upper_bound, -1.0, domain=constraints.positive)])


def _to_interval(constraint):
    low, high = constraint.lower_bound, constraint.upper_bound
    if isinstance(low, float) and isinstance(high, float) and (low, high) == (0.0, 1.0):
        return SigmoidTransform()
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low, domain=constraints.unit_interval)])


def _to_positive_definite(constraint):
    return ComposeTransform([LowerCholeskyTransform(), CholeskyProductTransform()])


for _registry in (biject_to, transform_to):
    _registry.register(constraints.real, IdentityTransform)
    _registry.register(constraints.real_vector, IdentityTransform)
    _registry.register(constraints.greater_than, _to_greater_than)
    _registry.register(constraints.less_than, _to_less_than)
    _registry.register(constraints.interval, _to_interval)
    _registry.register(constraints.lower_cholesky, lambda constraint: LowerCholeskyTransform())
    _registry.register(constraints.corr_cholesky, lambda constraint: CorrCholeskyTransform())
    _registry.register(constraints.positive_definite, _to_positive_definite)
biject_to.register(constraints.simplex, lambda constraint: StickBreakingTransform())
transform_to.register(constraints.simplex, lambda constraint: SoftmaxTransform())


def _independent(registry):
    return lambda constraint: IndependentTransform(registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims)


for _registry in (biject_to, transform_to):
    _registry.register(constraints.independent, _independent(_registry))
