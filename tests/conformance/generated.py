"""Parameters made from constraints: ordinary ones, extreme ones, and ones that must be refused."""

import itertools

import numpy as np

from ppl import constraints
from ppl.transforms import as_constraint

EXTREMES = (1e-6, 1e-3, 1e3, 1e6)
LAYOUTS = ((), (3,), (2, 1), (2, 3))


def constraint_of(d, name):
    """Return the constraint of a parameter, ``None`` if it depends on others."""
    constraint = as_constraint(type(d).arg_constraints.get(name))
    return constraint if isinstance(constraint, constraints.Constraint) and not constraints.is_dependent(constraint) else None


def parameter_event_dim(d, name, value):
    constraint = constraint_of(d, name)
    return 0 if constraint is None else min(constraint.event_dim, np.ndim(value))


def _positive_definite(rng, shape, size):
    factor = rng.normal(size=(*shape, size, size))
    return factor @ np.swapaxes(factor, -1, -2) + 0.5 * np.eye(size)


def ordinary(constraint, rng, shape, event_shape):
    """Return parameters of ``shape + event_shape`` inside ``constraint``, or ``None`` if none are known."""
    full = (*shape, *event_shape)
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if constraint is constraints.real or constraint is constraints.real_vector:
        return rng.uniform(-3.0, 3.0, full)
    if constraint in (constraints.positive, constraints.nonnegative):
        return np.exp(rng.uniform(np.log(0.2), np.log(12.0), full))
    if constraint is constraints.unit_interval:
        return rng.uniform(0.05, 0.95, full)
    if constraint in (constraints.nonnegative_integer, constraints.positive_integer):
        return rng.integers(1, 12, full).astype(float)
    if constraint is constraints.simplex:
        return rng.dirichlet(np.full(event_shape[-1], 3.0), shape)
    if constraint is constraints.positive_definite:
        return _positive_definite(rng, shape, event_shape[-1])
    if constraint is constraints.lower_cholesky:
        return np.linalg.cholesky(_positive_definite(rng, shape, event_shape[-1]))
    return None


def arrays_of(case):
    """Return the parameters that are arrays of numbers; the others (whole numbers, flags, names) stay as they are."""
    return {name: value for name, value in case.arrays.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"}


def random_parameters(case, d, rng, layouts):
    """Return parameters near the row's in kind and anywhere in their constraints, each with a batch shape of ``layouts``."""
    parameters = dict(case.arrays)
    for (name, value), layout in zip(arrays_of(case).items(), itertools.cycle(layouts), strict=False):
        event_shape = value.shape[value.ndim - parameter_event_dim(d, name, value) :]
        if name in case.generate:
            parameters[name] = case.generate[name](rng, layout)
            continue
        made = ordinary(constraint_of(d, name), rng, layout, event_shape)
        parameters[name] = np.broadcast_to(value, (*layout, *event_shape)).copy() if made is None else made
    return parameters


def extreme_values(case, d, name, value):
    """Return the list of arrays to try for one parameter, in shape of ``value``."""
    if name in case.extremes:
        return [np.asarray(extreme, dtype="float64") for extreme in case.extremes[name]] or [value]
    constraint = constraint_of(d, name)
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if constraint is constraints.real or constraint is constraints.real_vector:
        return [np.zeros_like(value), np.full_like(value, -1e6), np.full_like(value, 1e6)]
    if constraint in (constraints.positive, constraints.nonnegative):
        return [np.full_like(value, extreme) for extreme in EXTREMES]
    if constraint is constraints.unit_interval:
        return [np.full_like(value, extreme) for extreme in (1e-6, 0.5, 1.0 - 1e-6)]
    if constraint is constraints.simplex:
        corner = np.full_like(value, 1e-6)
        corner[..., -1] = 1.0 - 1e-6 * (value.shape[-1] - 1)
        return [value, corner]
    if constraint is constraints.positive_definite:
        return [1e-6 * value, value, 1e6 * value]
    if constraint is constraints.lower_cholesky:
        return [1e-3 * value, value, 1e3 * value]
    return [value]


def extreme_grid(case, d):
    """Return parameters with one leading batch axis that runs through every combination of extremes."""
    named = arrays_of(case)
    choices = [extreme_values(case, d, name, value) for name, value in named.items()]
    combinations = list(itertools.product(*choices))
    stacked = {name: np.stack([row[i] for row in combinations]) for i, name in enumerate(named)}
    return {**case.arrays, **stacked}, len(combinations)


OFFENDERS = [
    (constraints.positive, -1.0),
    (constraints.nonnegative, -1.0),
    (constraints.unit_interval, 1.5),
    (constraints.real, np.nan),
    (constraints.real_vector, np.nan),
    (constraints.nonnegative_integer, -1.0),
    (constraints.positive_integer, 0.5),
    (constraints.boolean, 0.5),
    (constraints.simplex, -0.5),
    (constraints.one_hot, 0.5),
    (constraints.positive_definite, -1.0),
    (constraints.lower_cholesky, -1.0),
    (constraints.corr_cholesky, -1.0),
]


def offender(constraint):
    """Return a number that violates ``constraint`` in any entry, or ``None``."""
    base = constraint
    while isinstance(base, constraints.independent):
        base = base.base_constraint
    for known, number in OFFENDERS:
        if base is known:
            return number
    if isinstance(base, constraints.integer_interval):
        return 0.5
    if isinstance(base, (constraints.greater_than, constraints.less_than, constraints.interval)):
        return np.nan
    return None
