"""What a family refuses, and in which sentence: parameters, values, shapes, spellings."""

import numpy as np
import pytest
from cases import CASES
from generated import arrays_of, constraint_of, offender, parameter_event_dim

from ppl import distributions as dist
from ppl.errors import ConstraintError, ShapeError
from ppl.transforms import as_constraint

pytestmark = pytest.mark.strict

FIRST = {}
for _case in CASES:
    if not _case.batch_shape:
        FIRST.setdefault((_case.name, frozenset(_case.params)), _case)
ROWS = list(FIRST.values())
each_row = pytest.mark.parametrize("case", ROWS, ids=[str(case) for case in ROWS])


def build(case, **replaced):
    return case.build(**replaced)


@each_row
def test_a_parameter_outside_its_constraint_is_named(backend, case):
    template = build(case)
    for name, value in arrays_of(case).items():
        constraint = constraint_of(template, name)
        number = None if constraint is None else offender(constraint)
        if number is None:
            continue
        twice = np.stack([value, value])
        # The second copy is wrong in its last entry, on the diagonal of a matrix.
        twice[(1, *(-1,) * value.ndim)] = number
        event_dim = parameter_event_dim(template, name, value)
        with pytest.raises(ConstraintError) as caught:
            build(case, **{name: twice})
        text = str(caught.value)
        assert case.name in text
        assert repr(name) in text
        assert repr(constraint) in text
        first = (1, *(size - 1 for size in value.shape[: value.ndim - event_dim]))
        assert f"index {first}" in text, text
        shown = twice[first].tolist()
        assert str(shown) in text


@each_row
def test_a_value_outside_the_support_is_named(backend, case, rng):
    d = build(case)
    support = as_constraint(d.support)
    number = offender(support)
    if number is None:
        return
    value = case.draw((2,), rng)
    value[(1, *(-1,) * len(case.event_shape))] = number
    with pytest.raises(ConstraintError) as caught:
        d.log_prob(value)
    text = str(caught.value)
    assert "support" in text
    assert repr(support) in text
    assert "index (1,)" in text, text
    assert str(value[1].tolist()) in text


@each_row
def test_shapes_that_do_not_broadcast_are_both_shown(backend, case):
    template = build(case)
    named = list(arrays_of(case).items())
    if len(named) < 2:
        return
    wide = {}
    for (name, value), size in zip(named[:2], (2, 3), strict=True):
        wide[name] = np.broadcast_to(value, (size, *value.shape)).copy()
        if value.ndim > parameter_event_dim(template, name, value):
            return
    with pytest.raises(ShapeError, match=r"\(2,.*\(3,|\(3,.*\(2,"):
        build(case, **wide)


def named_with(spelling):
    return {case.name for case in CASES if spelling in case.params}


SPELLINGS = sorted(named_with("probs") & named_with("logits"))


@pytest.mark.parametrize("name", SPELLINGS)
def test_both_or_neither_spelling_is_one_sentence(backend, name):
    by_probs = next(case for case in CASES if case.name == name and "probs" in case.params)
    rest = {key: value for key, value in by_probs.arrays.items() if key != "probs"}
    with pytest.raises(ConstraintError, match=rf"{name} takes exactly one of .*probs.*logits.*received none"):
        getattr(dist, name)(**rest)
    both = {"probs": by_probs.arrays["probs"], "logits": by_probs.arrays["probs"]}
    with pytest.raises(ConstraintError, match=rf"{name} takes exactly one of .*; received probs, logits"):
        getattr(dist, name)(**rest, **both)


@pytest.mark.parametrize("name", ["MultivariateNormal"])
def test_forms_of_a_covariance_exclude_each_other(backend, name):
    family = getattr(dist, name)
    with pytest.raises(ConstraintError, match="exactly one of covariance_matrix, precision_matrix, scale_tril; received none"):
        family(np.zeros(2))
    with pytest.raises(ConstraintError, match="received covariance_matrix, scale_tril"):
        family(np.zeros(2), covariance_matrix=np.eye(2), scale_tril=np.eye(2))


def test_most_rows_are_judged(backend):
    """The three tests above skip what they cannot make; they must not skip nearly all."""
    templates = [build(case) for case in ROWS]
    judged = [
        any(constraint_of(d, name) is not None and offender(constraint_of(d, name)) is not None for name in arrays_of(case))
        for d, case in zip(templates, ROWS, strict=True)
    ]
    assert sum(judged) > 0.7 * len(ROWS)
    assert sum(offender(as_constraint(d.support)) is not None for d in templates) > 0.7 * len(ROWS)
