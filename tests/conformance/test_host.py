"""Small calculations on the host before a fit: the same numbers, and nothing that has no numbers yet or is the user's own."""

import numpy as np
import pytest
import scipy.stats

import ppl
from ppl import constraints, ops, registry
from ppl import distributions as dist
from ppl.distributions import validation
from ppl.errors import ConstraintError
from ppl.ops import autodiff, compile, host
from ppl.transforms import biject_to, transform_to

POINTS = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])


def where(*_):
    """Return the name of the backend that works."""
    return registry.active().name


def test_work_is_done_by_numpy_where_single_operations_are_compiled_and_only_inside(backend):
    compiled = registry.active().optim.STEP == "compiled"
    with host.preferred():
        inside = host.evaluate(where, ops.ones((2,)))
    assert inside == ("numpy" if compiled else backend)
    assert host.evaluate(where, ops.ones((2,))) == backend


def score(fn, value):
    return fn.log_prob(value)


def test_densities_and_points_come_back_as_arrays_of_the_backend(backend):
    fn = dist.Dirichlet(ops.array([1.5, 2.0, 3.0])).expand([2]).to_event(1)
    with host.preferred():
        found = host.evaluate(score, fn, ops.array(POINTS, dtype=ops.default_dtype()))
        point = host.evaluate(lambda t, x: t(t.inv(x)), biject_to(fn.support), ops.array(POINTS, dtype=ops.default_dtype()))
        stays = host.evaluate(lambda fn, x: ops.to_numpy(fn.log_prob(x)), fn, ops.array(POINTS), stays=True)
    expected = sum(scipy.stats.dirichlet([1.5, 2.0, 3.0]).logpdf(row) for row in POINTS)
    assert ops.is_array(found)
    assert ops.dtype_name(found) == ops.default_dtype()
    np.testing.assert_allclose([ops.to_numpy(found), stays], expected, rtol=1e-5)
    np.testing.assert_allclose(ops.to_numpy(point), POINTS, rtol=1e-5)


def test_a_derivative_passes_through(backend):
    def density(loc):
        return host.evaluate(score, dist.Normal(loc, 2.0), ops.array(3.0))

    with host.preferred():
        slope = autodiff.grad(density)(ops.array(1.0))
    # (x - loc) / scale ** 2
    np.testing.assert_allclose(ops.to_numpy(slope), 0.5, rtol=1e-6)


def test_compiled_code_is_recorded_and_not_worked_out(backend):
    with host.preferred():
        shares = compile.compile(lambda x: host.evaluate(lambda x: x / ops.sum(x), x))
        np.testing.assert_allclose(ops.to_numpy(shares(ops.array([1.0, 3.0]))), [0.25, 0.75])
        np.testing.assert_allclose(ops.to_numpy(shares(ops.array([1.0, 1.0]))), [0.5, 0.5])


def test_a_distribution_of_the_user_stays(backend):
    class Mine(dist.Normal):
        def log_prob(self, value):
            seen.append(registry.active().name)
            return super().log_prob(value)

    seen = []
    with host.preferred():
        found = host.evaluate(score, Mine(0.0, 1.0), ops.array(0.5))
    assert seen == [backend]
    np.testing.assert_allclose(ops.to_numpy(found), scipy.stats.norm.logpdf(0.5), rtol=1e-6)


def test_a_failure_is_told_at_home(backend):
    seen = []

    def fail(value):
        seen.append(registry.active().name)
        raise ValueError("no")

    with host.preferred(), pytest.raises(ValueError, match="no"):
        host.evaluate(fail, ops.ones((2,)))
    assert seen[-1] == backend


def test_draws_repeat_and_follow_the_distribution(backend):
    fn = dist.Gamma(ops.array([2.0, 8.0]), 2.0)
    with host.preferred():
        draws = ops.to_numpy(host.draw(fn, (4000,), ppl.ops.random.key(3)))
        again = ops.to_numpy(host.draw(fn, (4000,), ppl.ops.random.key(3)))
        other = ops.to_numpy(host.draw(fn, (4000,), ppl.ops.random.key(4)))
    np.testing.assert_array_equal(draws, again)
    assert (draws != other).any()
    # Gamma(a, rate 2) has mean a / 2 and standard deviation sqrt(a) / 2.
    errors = np.sqrt([2.0, 8.0]) / 2.0 / np.sqrt(4000)
    assert (abs(draws.mean(0) - [1.0, 4.0]) < 5.0 * errors).all()
    assert not (abs(draws.mean(0) - [1.2, 4.0]) < 5.0 * errors).all()


def test_refusals_are_the_same(backend):
    weights = ops.array([[0.5, 0.5], [0.9, 0.3]])
    told = []
    for context in (host.preferred, lambda: validation.validate_args_scope(True)):
        with context(), pytest.raises(ConstraintError) as caught:
            validation.check_parameter("Family", "probs", constraints.simplex, weights)
        told.append(str(caught.value))
    assert told[0] == told[1]
    with host.preferred():
        validation.check_parameter("Family", "probs", constraints.simplex, weights[:1])


def test_params_store_and_read_the_same(backend):
    values = np.array([0.2, 0.5, 0.3])
    ppl.clear_param_store()
    store = ppl.get_param_store()
    with host.preferred():
        store.setdefault("shares", ops.array(values), constraints.simplex)
        inside = ops.to_numpy(store["shares"])
    np.testing.assert_allclose([inside, ops.to_numpy(store["shares"])], [values, values], rtol=1e-5)
    free = store.get_unconstrained("shares")
    np.testing.assert_allclose(ops.to_numpy(transform_to(constraints.simplex)(free)), values, rtol=1e-5)
    ppl.clear_param_store()
