"""Sets of matrices: the last two axes are judged as one."""

from ppl import ops
from ppl.constraints.combinations import independent
from ppl.constraints.constraint import Constraint, tolerance
from ppl.constraints.scalars import real


def _every_entry(condition):
    return ops.all(condition, axis=(-2, -1))


def _identity_like(prototype):
    return ops.zeros_like(prototype) + ops.eye(ops.shape(prototype)[-1], dtype=prototype.dtype)


def _is_square(value):
    return ops.shape(value)[-1] == ops.shape(value)[-2]


class _RealMatrix(independent):
    name = "real_matrix"

    def __init__(self):
        super().__init__(real, 2)

    def __repr__(self) -> str:
        return "real_matrix"


class _Square(Constraint):
    """Matrices with as many rows as columns."""

    name = "square"
    event_dim = 2

    def check(self, value):
        return _every_entry(value == value) & _is_square(value)

    def feasible_like(self, prototype):
        return _identity_like(prototype)


class _Symmetric(_Square):
    name = "symmetric"

    def check(self, value):
        if not _is_square(value):
            return super().check(value)
        largest = ops.max(ops.abs(value), axis=(-2, -1), keepdims=True)
        return _every_entry(ops.abs(value - ops.matrix_transpose(value)) <= tolerance(value) * largest)


class _PositiveSemidefinite(_Symmetric):
    name = "positive_semidefinite"

    def check(self, value):
        if not _is_square(value):
            return super().check(value)
        finite = _every_entry(ops.isfinite(value))
        # Eigenvalues of a matrix with NaN are an error in some libraries; such a matrix is refused by the other condition.
        safe = ops.where(ops.expand_dims(ops.expand_dims(finite, -1), -1), value, ops.zeros_like(value))
        eigenvalues, _ = ops.eigh((safe + ops.matrix_transpose(safe)) / 2)
        return finite & super().check(value) & ops.all(self._admits(eigenvalues), axis=-1)

    def _admits(self, eigenvalues):
        """Return which eigenvalues are allowed: those of a singular matrix are zero up to rounding, of either sign."""
        largest = ops.max(ops.abs(eigenvalues), axis=-1, keepdims=True)
        return eigenvalues >= -tolerance(eigenvalues) * largest


class _PositiveDefinite(_PositiveSemidefinite):
    name = "positive_definite"

    def _admits(self, eigenvalues):
        return eigenvalues > 0


class _CorrMatrix(_PositiveDefinite):
    """Symmetric positive definite matrices of unit diagonal."""

    name = "corr_matrix"

    def check(self, value):
        return super().check(value) & ops.all(ops.abs(ops.diagonal(value) - 1.0) < tolerance(value), axis=-1)


class _LowerTriangular(Constraint):
    name = "lower_triangular"
    event_dim = 2

    def check(self, value):
        return _every_entry(ops.tril(value) == value)

    def feasible_like(self, prototype):
        return _identity_like(prototype)


class _LowerCholesky(_LowerTriangular):
    name = "lower_cholesky"

    def check(self, value):
        return super().check(value) & ops.all(ops.diagonal(value) > 0, axis=-1)


class _SoftplusLowerCholesky(_LowerCholesky):
    """Cholesky factors whose diagonal is reached by the softplus instead of the exponential."""

    name = "softplus_lower_cholesky"


class _ScaledUnitLowerCholesky(_LowerCholesky):
    """Cholesky factors reached as a unit lower triangular matrix times the scales of its columns."""

    name = "scaled_unit_lower_cholesky"


class _UnitLowerCholesky(_LowerTriangular):
    """Lower triangular matrices of unit diagonal."""

    name = "unit_lower_cholesky"

    def check(self, value):
        return super().check(value) & ops.all(ops.diagonal(value) == 1.0, axis=-1)


class _CorrCholesky(_LowerCholesky):
    name = "corr_cholesky"

    def check(self, value):
        off_by = ops.abs(ops.sum(value * value, axis=-1) - 1.0)
        return super().check(value) & ops.all(off_by < tolerance(value, ops.shape(value)[-1]), axis=-1)


real_matrix = _RealMatrix()
square = _Square()
symmetric = _Symmetric()
positive_semidefinite = _PositiveSemidefinite()
positive_definite = _PositiveDefinite()
corr_matrix = _CorrMatrix()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
softplus_lower_cholesky = _SoftplusLowerCholesky()
scaled_unit_lower_cholesky = _ScaledUnitLowerCholesky()
unit_lower_cholesky = _UnitLowerCholesky()
corr_cholesky = _CorrCholesky()
