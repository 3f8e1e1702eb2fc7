"""Every family survives what programs do to objects: copies, pickles, wrapping, printing, jax's trees and compilation, no checks.

One row a family, and the oracle of its row: what comes back has the density that scipy or the formula of the row gives.
"""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES
from generated import arrays_of, constraint_of, offender

from ppl import constraints, ops
from ppl import distributions as dist
from ppl.errors import ConstraintError
from ppl.testing import assert_close, to_host
from ppl.transforms import as_constraint

pytestmark = pytest.mark.strict

FIRST = {}
for _case in CASES:
    FIRST.setdefault(_case.name, _case)
ROWS = list(FIRST.values())
each_family = pytest.mark.parametrize("case", ROWS, ids=[case.name for case in ROWS])


def build(case, **options):
    return case.build(**options)


def draws_of(d):
    return to_host(d.sample((3,), ops.random.key(0)))


@each_family
def test_copies_and_pickles_are_the_same_distribution(backend, case, rng):
    d = build(case)
    value = case.draw((2,), rng)
    for twin in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d), copy.copy(d)):
        assert twin is not d
        assert type(twin) is type(d)
        assert isinstance(twin, getattr(dist, case.name))
        assert twin.backend is d.backend
        assert repr(twin) == repr(d)
        assert (tuple(twin.batch_shape), tuple(twin.event_shape)) == (case.batch_shape, case.event_shape)
        assert_close(twin.log_prob(value), case.log_density(value))
        if "sample" not in type(d).gaps:
            np.testing.assert_array_equal(draws_of(twin), draws_of(d))


@each_family
def test_a_copy_that_is_changed_leaves_the_original(backend, case, rng):
    d = build(case)
    value = case.draw((2,), rng)
    for twin in (copy.deepcopy(d), copy.copy(d)):
        vars(twin).clear()
    assert_close(d.log_prob(value), case.log_density(value))


@each_family
def test_wrapped_families_come_back_from_pickles(backend, case, rng):
    wide = build(case).expand((2, *case.batch_shape))
    value = case.draw((2,), rng)
    expected = case.log_density(value)
    mask = np.arange(expected.size).reshape(expected.shape) % 2 == 0
    for wrapped, log_prob in [
        (wide, expected),
        (wide.to_event(), expected.sum()),
        (wide.mask(mask), np.where(mask, expected, 0.0)),
        (wide.mask(mask).to_event(1), np.where(mask, expected, 0.0).sum(0)),
    ]:
        twin = pickle.loads(pickle.dumps(wrapped))
        assert type(twin) is type(wrapped)
        assert tuple(twin.shape()) == tuple(wrapped.shape())
        assert repr(twin) == repr(wrapped)
        assert_close(twin.log_prob(value), log_prob)


@each_family
def test_text_shows_parameters_and_no_address(backend, case):
    d = build(case)
    for shown in (d, d.expand((2, *case.batch_shape)), d.expand((2, *case.batch_shape)).to_event(1), d.mask(False)):
        text = repr(shown)
        assert case.name in text
        assert "object at" not in text
        assert "0x" not in text
    named = [name for name in case.arrays if name in getattr(dist, case.name).arg_constraints]
    assert all(name in repr(d) for name in named)


def _refused(case, d):
    """Yield parameters and a number that each refuses; a matrix that is not positive definite fails where it is factored."""
    for name in arrays_of(case):
        constraint = constraint_of(d, name)
        number = offender(constraint)
        if number is not None and constraint is not constraints.positive_definite:
            yield name, number


@each_family
def test_without_checks_anything_goes(backend, case, rng):
    """``validate_args=False`` accepts what is refused otherwise, gives the same densities, and stays through copies."""
    value = case.draw((2,), rng)
    unchecked = build(case, validate_args=False)
    assert_close(unchecked.log_prob(value), case.log_density(value))

    name, number = next(_refused(case, unchecked), (None, None))
    if name is not None:
        wrong = case.arrays[name].copy()
        wrong[(-1,) * wrong.ndim] = number
        with np.errstate(all="ignore"):
            lenient = build(case, **{name: wrong}, validate_args=False)
        assert tuple(lenient.shape()) == (*case.batch_shape, *case.event_shape)
        with pytest.raises(ConstraintError, match=name):
            build(case, **{name: wrong})

    number = offender(as_constraint(unchecked.support))
    if number is None:
        return
    outside = value.copy()
    outside[(-1, *(-1,) * (value.ndim - 1))] = number
    with pytest.raises(ConstraintError, match="support"):
        build(case, validate_args=True).log_prob(outside)
    for twin in (unchecked, pickle.loads(pickle.dumps(unchecked)), unchecked.expand(unchecked.batch_shape), copy.copy(unchecked)):
        with np.errstate(all="ignore"):
            log_prob = to_host(twin.log_prob(outside))
        assert log_prob.shape == (2, *case.batch_shape)
        assert_close(log_prob[0], case.log_density(value)[0])
    wide = unchecked.expand((2, *case.batch_shape)).to_event(1)
    with np.errstate(all="ignore"):
        assert tuple(wide.log_prob(outside).shape) == case.batch_shape


# --- jax: a distribution is a tree of arrays ---


@pytest.mark.backends("jax")
@each_family
def test_a_distribution_is_a_tree(backend, case, rng):
    import jax

    d = build(case)
    leaves, structure = jax.tree_util.tree_flatten(d)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert structure == jax.tree_util.tree_structure(build(case)), "equal families must not compile twice"
    value = case.draw((2,), rng)
    twin = jax.tree_util.tree_unflatten(structure, leaves)
    assert type(twin) is type(d)
    assert tuple(twin.shape()) == tuple(d.shape())
    assert_close(twin.log_prob(value), case.log_density(value))
    stacked = jax.tree_util.tree_map(lambda leaf: np.stack([leaf, leaf]), d)
    if leaves and not case.batch_shape:
        assert_close(jax.vmap(lambda row, x: row.log_prob(x))(stacked, value), case.log_density(value))


@pytest.mark.backends("jax")
@each_family
def test_a_distribution_crosses_into_compiled_code_and_out(backend, case, rng):
    import jax

    value = case.draw((2,), rng)
    d = build(case)
    assert_close(jax.jit(lambda d, x: d.log_prob(x))(d, value), case.log_density(value))
    made = jax.jit(lambda d: d.expand((2, *case.batch_shape)))(d)
    assert isinstance(made, getattr(dist, case.name))
    assert tuple(made.batch_shape) == (2, *case.batch_shape)
    assert_close(made.log_prob(value), case.log_density(value))
    if "sample" not in type(d).gaps:
        compiled = jax.jit(lambda d, key: d.sample((3,), key))(d, ops.random.key(0))
        assert_close(compiled, draws_of(d), rtol=1e-9)
