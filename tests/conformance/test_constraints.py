"""Constraints: members, strangers, NaN, shapes, text and feasible points."""

import numpy as np
import pytest

from ppl import constraints as c
from ppl import ops
from ppl.errors import ConstraintError
from ppl.testing import to_host

pytestmark = pytest.mark.strict

FACTOR = [[1.0, 0.0], [0.6, 0.8]]
# constraint, members, strangers
TABLE = [
    (c.real, [0.0, -3.0, np.inf], [np.nan]),
    (c.positive, [1e-300, 2.0], [0.0, -1.0, np.nan]),
    (c.nonnegative, [0.0, 2.0], [-1e-300, np.nan]),
    (c.greater_than(2.0), [2.1], [2.0, np.nan]),
    (c.greater_than_eq(2.0), [2.0], [1.9, np.nan]),
    (c.less_than(2.0), [1.9], [2.0, np.nan]),
    (c.unit_interval, [0.0, 1.0, 0.5], [-0.1, 1.1, np.nan]),
    (c.interval(-1.0, 2.0), [-1.0, 2.0], [-1.1, 2.1, np.nan]),
    (c.half_open_interval(0.0, 1.0), [0.0], [1.0, np.nan]),
    (c.boolean, [0.0, 1.0], [0.5, 2.0, np.nan]),
    (c.integer_interval(1, 3), [1.0, 3.0], [0.0, 4.0, 1.5, np.nan]),
    (c.nonnegative_integer, [0.0, 7.0], [-1.0, 0.5, np.nan]),
    (c.positive_integer, [1.0, 7.0], [0.0, 0.5, np.nan]),
    (c.real_vector, [[0.0, 1.0]], [[0.0, np.nan]]),
    (c.simplex, [[0.2, 0.8], [0.0, 1.0]], [[0.2, 0.7], [-0.1, 1.1], [np.nan, 1.0]]),
    (c.one_hot, [[0.0, 1.0]], [[1.0, 1.0], [0.5, 0.5]]),
    (c.multinomial(3), [[1.0, 2.0]], [[1.0, 1.0], [-1.0, 4.0], [1.5, 1.5]]),
    (c.lower_triangular, [[[0.0, 0.0], [1.0, -1.0]]], [[[1.0, 2.0], [0.0, 1.0]]]),
    (c.lower_cholesky, [FACTOR], [[[1.0, 0.0], [1.0, -1.0]], [[1.0, 0.1], [0.0, 1.0]]]),
    (c.corr_cholesky, [FACTOR], [[[1.0, 0.0], [0.6, 0.9]]]),
    (
        c.positive_definite,
        [[[2.0, 0.5], [0.5, 1.0]]],
        [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]],
    ),
    (c.independent(c.positive, 1), [[1.0, 2.0]], [[1.0, -2.0]]),
]
every = pytest.mark.parametrize(("constraint", "members", "strangers"), TABLE, ids=[repr(row[0]) for row in TABLE])


@every
def test_members_and_strangers(backend, constraint, members, strangers):
    for points, expected in [(members, True), (strangers, False)]:
        holds = to_host(constraint.check(ops.array(points)))
        assert holds.dtype == bool
        assert holds.shape == np.shape(points)[: np.ndim(points) - constraint.event_dim]
        assert (holds == expected).all()
        assert (to_host(constraint(ops.array(points))) == holds).all()


@every
def test_a_feasible_point_is_a_member(backend, constraint, members, strangers):
    prototype = ops.array(members)
    point = constraint.feasible_like(prototype)
    assert tuple(point.shape) == tuple(prototype.shape)
    assert to_host(constraint(point)).all()


@every
def test_text_and_equality(constraint, members, strangers):
    assert "object at" not in repr(constraint)
    assert constraint == constraint
    assert hash(constraint) == hash(constraint)
    assert sum(constraint == other for other, _, _ in TABLE) == 1


def test_equality_is_by_meaning():
    assert c.interval(0.0, 2.0) == c.interval(0.0, 2.0)
    assert c.interval(0.0, 2.0) != c.interval(0.0, 3.0)
    assert c.independent(c.positive, 1) == c.independent(c.positive, 1)
    assert c.positive != c.real


def test_dependent_says_what_it_is(backend):
    assert c.is_dependent(c.dependent)
    assert not c.is_dependent(c.real)
    with pytest.raises(ConstraintError, match="dependent"):
        c.dependent.check(ops.array(1.0))
    with pytest.raises(ConstraintError, match=">= 0"):
        c.independent(c.real, -1)
