"""Constraints: members, strangers, NaN, shapes, text and feasible points."""

import json

import numpy as np
import pytest

from ppl import constraints as c
from ppl import ops
from ppl.errors import ConstraintError, ParamError, ShapeError
from ppl.params import files
from ppl.testing import to_host

pytestmark = pytest.mark.strict

FACTOR = [[1.0, 0.0], [0.6, 0.8]]
NAN_MATRIX = [[np.nan, 0.0], [0.0, 1.0]]
INDEFINITE = [[1.0, 2.0], [2.0, 1.0]]
SKEWED = [[1.0, 0.5], [0.0, 1.0]]
SINGULAR = [[1.0, 1.0], [1.0, 1.0]]
PI = float(np.pi)
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
    (c.softplus_positive, [1e-300, 2.0], [0.0, np.nan]),
    (c.less_than_eq(2.0), [2.0, -1.0], [2.1, np.nan]),
    (c.half_line(2.0, -1.0), [1.9], [2.0, 3.0, np.nan]),
    (c.open_interval(0.0, 1.0), [1e-300, 0.5], [0.0, 1.0, np.nan]),
    (c.circular, [-PI, PI, 0.0], [-3.2, 3.2, np.nan]),
    (c.integer, [-3.0, 0.0], [0.5, np.nan]),
    (c.integer_greater_than(1), [2.0], [1.0, 1.5, np.nan]),
    (c.integer_greater_than_eq(1), [1.0, 2.0], [0.0, 1.5, np.nan]),
    (c.ordered_vector, [[-1.0, 0.0, 5.0]], [[0.0, 0.0, 1.0], [1.0, 0.0, 2.0], [0.0, np.nan, 1.0], [np.nan, 0.0, 1.0]]),
    (c.positive_ordered_vector, [[1.0, 2.0]], [[0.0, 1.0], [-1.0, 1.0], [2.0, 1.0], [np.nan, 1.0]]),
    (c.sphere, [[0.6, -0.8], [0.0, 1.0]], [[0.6, 0.7], [0.0, 0.0], [np.nan, 1.0]]),
    (c.l1_ball, [[0.5, -0.5], [0.0, 0.0]], [[0.6, -0.5], [2.0, -1.0], [np.nan, 0.0]]),
    (c.zero_sum(1), [[1.0, -3.0, 2.0], [1e9, 0.0, -1e9]], [[1.0, -3.0, 2.1], [np.nan, 0.0, 0.0]]),
    (c.zero_sum(2), [[[1.0, -1.0], [-1.0, 1.0]]], [[[1.0, -1.0], [1.0, -1.0]], [[1.0, 1.0], [-1.0, -1.0]], NAN_MATRIX]),
    (c.real_matrix, [SKEWED], [NAN_MATRIX]),
    (c.square, [SKEWED], [NAN_MATRIX]),
    (c.symmetric, [INDEFINITE], [SKEWED, NAN_MATRIX]),
    (c.positive_semidefinite, [SINGULAR, [[0.0, 0.0], [0.0, 0.0]]], [INDEFINITE, SKEWED, NAN_MATRIX]),
    (c.corr_matrix, [[[1.0, 0.5], [0.5, 1.0]]], [[[2.0, 0.5], [0.5, 1.0]], SINGULAR, INDEFINITE, SKEWED, NAN_MATRIX]),
    (c.unit_lower_cholesky, [[[1.0, 0.0], [-3.0, 1.0]]], [FACTOR, [[1.0, 0.1], [0.0, 1.0]], NAN_MATRIX]),
    (c.softplus_lower_cholesky, [FACTOR], [[[1.0, 0.0], [1.0, -1.0]], NAN_MATRIX]),
    (c.scaled_unit_lower_cholesky, [FACTOR], [[[1.0, 0.0], [1.0, -1.0]], NAN_MATRIX]),
    (
        c.cat([c.simplex, c.independent(c.positive, 1)], dim=-1, lengths=[2, 1]),
        [[0.2, 0.8, 3.0]],
        [[0.2, 0.7, 3.0], [0.2, 0.8, -3.0], [0.2, 0.8, np.nan]],
    ),
    (c.cat([c.simplex, c.ordered_vector]), [[0.2, 0.8], [0.2, 0.3]], [[0.2, 0.7], [0.3, 0.2]]),
    (c.stack([c.simplex, c.ordered_vector], dim=-2), [[[0.2, 0.8], [0.2, 0.3]]], [[[0.2, 0.7], [0.3, 0.2]]]),
    (
        c.stack([c.simplex, c.ordered_vector], dim=-1),
        [[[0.2, 0.2], [0.8, 0.3]]],
        [[[0.2, 0.2], [0.7, 0.3]], [[0.2, 0.2], [0.8, 0.1]]],
    ),
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


# what is exported beside sets
NOT_SETS = {"Constraint", "dependent", "dependent_property", "is_dependent"}


def test_the_table_has_every_exported_set():
    listed = {type(constraint) for constraint, _, _ in TABLE}
    for name in set(c.__all__) - NOT_SETS:
        exported = getattr(c, name)
        assert (exported if isinstance(exported, type) else type(exported)) in listed, name
        assert isinstance(exported, type) or repr(exported) == name


def test_arrays_as_bounds_are_judged_entry_by_entry(backend):
    value = ops.array([1.0, 2.0, 3.0])
    bound = ops.array([0.0, 2.0, 4.0])
    for constraint, expected in [
        (c.greater_than(bound), [True, False, False]),
        (c.less_than_eq(bound), [False, True, True]),
        (c.half_line(bound, ops.array([1.0, 1.0, -1.0])), [True, False, True]),
        (c.open_interval(bound, bound + 2.0), [True, False, False]),
    ]:
        assert to_host(constraint(value)).tolist() == expected
        assert to_host(constraint(constraint.feasible_like(value))).all()


def test_matrices_that_are_not_square_are_no_symmetric_ones(backend):
    wide = ops.zeros((4, 2, 3))
    for constraint in (c.square, c.symmetric, c.positive_semidefinite, c.positive_definite, c.corr_matrix):
        assert to_host(constraint(wide)).tolist() == [False] * 4
    assert to_host(c.real_matrix(wide)).all()


def test_parts_side_by_side_are_judged_one_by_one(backend):
    value = ops.array([[1.0, -1.0, 0.5], [-1.0, -1.0, 2.0]])
    elementwise = c.cat([c.positive, c.real, c.unit_interval], dim=-1)
    assert elementwise.event_dim == 0
    assert to_host(elementwise(value)).tolist() == [[True, True, True], [False, True, False]]
    assert to_host(c.stack([c.positive, c.real, c.unit_interval], dim=-1)(value)).tolist() == to_host(elementwise(value)).tolist()
    rows = c.stack([c.independent(c.real, 1), c.ordered_vector], dim=0)
    assert (rows.event_dim, to_host(rows(value)).tolist()) == (1, [True, False])
    assert c.cat([c.real, c.boolean]).is_discrete
    assert not c.stack([c.real, c.positive]).is_discrete


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: c.cat([c.real, c.positive], lengths=[1]), "2 constraints and lengths"),
        (lambda: c.cat([]), "one or more"),
        (lambda: c.stack([]), "received none"),
    ],
)
def test_bad_parts_get_a_sentence(build, sentence):
    with pytest.raises(ConstraintError, match=sentence):
        build()


def test_parts_that_do_not_fit_get_a_sentence(backend):
    value = ops.zeros((3, 2))
    for constraint, sentence in [
        (c.cat([c.real, c.positive], dim=0), "do not make up"),
        (c.stack([c.real, c.positive], dim=0), "do not make up"),
        (c.cat([c.real, c.positive], dim=2), "no axis 2"),
        (c.stack([c.simplex, c.ordered_vector], dim=1), "dim=-1"),
    ]:
        with pytest.raises(ShapeError, match=sentence):
            constraint(value)


@every
def test_a_constraint_is_written_to_a_file_and_read_back(backend, constraint, members, strangers):
    description = json.loads(json.dumps(files.describe("x", constraint, ops.to_numpy)))
    assert files.restore("x", description) == constraint


def test_a_file_names_no_sequence_of_unknown_constraints(backend):
    description = files.describe("x", c.cat([c.real, c.positive]), ops.to_numpy)
    description["arguments"]["cseq"]["sequence"][0]["constraint"] = "Constraint"
    with pytest.raises(ParamError, match="unknown constraint"):
        files.restore("x", description)
