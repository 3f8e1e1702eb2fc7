"""Sets that parameters and values must lie in.

A constraint's ``check(value)`` gives one boolean an event: an array of the shape of ``value`` without its last ``event_dim``
axes. Names follow torch.distributions.constraints, and NumPyro's and Pyro's where torch has none.

    >>> from ppl import ops
    >>> from ppl.constraints import lower_cholesky, one_hot, positive, positive_definite, simplex, unit_interval
    >>> bool(positive.check(2.0)), unit_interval
    (True, unit_interval)
    >>> [bool(simplex.check(ops.array(value))) for value in ([0.25, 0.75], [0.5, 0.75])]
    [True, False]
    >>> [bool(one_hot.check(ops.array(value))) for value in ([0.0, 1.0], [1.0, 1.0])]
    [True, False]
    >>> [bool(lower_cholesky.check(ops.array(value))) for value in ([[1.0, 0.0], [2.0, 3.0]], [[1.0, 0.0], [2.0, -3.0]])]
    [True, False]
    >>> [bool(positive_definite.check(ops.array(value))) for value in ([[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]])]
    [True, False]
"""

from ppl.constraints.combinations import cat, independent, stack
from ppl.constraints.constraint import ByValue as ByValue
from ppl.constraints.constraint import Constraint, dependent, dependent_property, is_dependent
from ppl.constraints.matrices import (
    corr_cholesky,
    corr_matrix,
    lower_cholesky,
    lower_triangular,
    positive_definite,
    positive_semidefinite,
    real_matrix,
    scaled_unit_lower_cholesky,
    softplus_lower_cholesky,
    square,
    symmetric,
    unit_lower_cholesky,
)
from ppl.constraints.scalars import (
    boolean,
    circular,
    greater_than,
    greater_than_eq,
    half_line,
    half_open_interval,
    integer,
    integer_greater_than,
    integer_greater_than_eq,
    integer_interval,
    interval,
    less_than,
    less_than_eq,
    nonnegative,
    nonnegative_integer,
    open_interval,
    positive,
    positive_integer,
    real,
    softplus_positive,
    unit_interval,
)
from ppl.constraints.vectors import (
    l1_ball,
    multinomial,
    one_hot,
    ordered_vector,
    positive_ordered_vector,
    real_vector,
    simplex,
    sphere,
    zero_sum,
)

__all__ = ["Constraint", "boolean", "cat", "circular", "corr_cholesky", "corr_matrix", "dependent",
           "dependent_property", "greater_than", "greater_than_eq", "half_line", "half_open_interval", "independent", "integer",
           "integer_greater_than", "integer_greater_than_eq", "integer_interval", "interval", "is_dependent", "l1_ball",
           "less_than", "less_than_eq", "lower_cholesky", "lower_triangular", "multinomial", "nonnegative",
           "nonnegative_integer", "one_hot", "open_interval", "ordered_vector", "positive", "positive_definite",
           "positive_integer", "positive_ordered_vector", "positive_semidefinite", "real", "real_matrix", "real_vector",
           "scaled_unit_lower_cholesky", "simplex", "softplus_lower_cholesky", "softplus_positive", "sphere", "square",
           "stack", "symmetric", "unit_interval", "unit_lower_cholesky", "zero_sum"]  # fmt: skip
