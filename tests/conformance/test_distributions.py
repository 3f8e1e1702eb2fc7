"""Every row of the table of distributions, on every backend. Oracles: scipy.stats, finite differences, quadrature."""

import re

import numpy as np
import pytest
from cases import CASES
from cases.foundation import LOC
from scipy import integrate

from ppl import constraints, ops
from ppl import distributions as dist
from ppl.errors import GapError
from ppl.testing import assert_close, goodness_of_fit, monte_carlo_z, numerical_gradient, to_host
from ppl.transforms import as_constraint

pytestmark = pytest.mark.strict

DRAWS = 10_000
ids = [str(case) for case in CASES]
every_case = pytest.mark.parametrize("case", CASES, ids=ids)


def build(case, **replaced):
    return case.build(**replaced)


def is_discrete(case):
    return not hasattr(case.reference, "pdf") and hasattr(case.reference, "logpmf")


def is_missing(d, operation):
    """Return whether the family declares that it lacks ``operation``, once that has been seen to raise the declared reason."""
    reason = type(d).gaps.get(operation)
    if reason is None:
        return False
    arguments = (np.zeros(()),) if operation in ("cdf", "icdf", "log_prob") else ()
    with pytest.raises(GapError, match=re.escape(reason)):
        getattr(d, operation)(*arguments)
    return True


@every_case
def test_shapes_dtype_and_support(backend, case):
    d = build(case)
    assert tuple(d.batch_shape) == case.batch_shape
    assert tuple(d.event_shape) == case.event_shape
    assert d.event_dim == len(case.event_shape) == d.support.event_dim
    assert d.is_discrete is is_discrete(case)
    for sample_shape in [(), (2, 3)]:
        x = d.sample(sample_shape)
        assert tuple(x.shape) == sample_shape + case.batch_shape + case.event_shape == tuple(d.shape(sample_shape))
        assert ops.dtype_name(x) == (case.dtype)
        assert bool(ops.all(d.support(x)))
        log_prob = d.log_prob(x)
        assert tuple(log_prob.shape) == sample_shape + case.batch_shape
        assert ops.dtype_name(log_prob) == "float64"


@every_case
def test_log_prob_is_the_oracles(backend, case, rng):
    values = case.draw((5,), rng)
    assert_close(build(case).log_prob(values), case.log_density(values))


@every_case
def test_gradient_is_that_of_finite_differences(backend, case, rng):
    value = case.draw((2,), rng)
    for name in case.differentiable:

        def total(parameter, name=name):
            return ops.sum(build(case, **{name: parameter}, validate_args=False).log_prob(value))

        point = case.arrays[name]
        assert_close(ops.autodiff.grad(total)(ops.array(point)), numerical_gradient(total, point), "finite_difference")
    if not is_discrete(case):
        d = build(case, validate_args=False)
        gradient = ops.autodiff.grad(lambda x: ops.sum(d.log_prob(x)))(ops.array(value))
        assert_close(gradient, numerical_gradient(lambda x: ops.sum(d.log_prob(x)), value, 1e-5), "finite_difference")


@every_case
def test_moments_are_the_oracles(backend, case):
    d = build(case)
    if not case.moments:
        return
    if not is_missing(d, "mean"):
        assert_close(d.mean, np.broadcast_to(case.reference.mean(), d.shape()))
    if not is_missing(d, "variance"):
        assert_close(d.variance, np.broadcast_to(case.reference.var(), d.shape()))
        assert_close(d.stddev, np.broadcast_to(np.sqrt(case.reference.var()), d.shape()))


@every_case
def test_cdf_quantile_and_entropy_are_the_oracles(backend, case, rng):
    d, reference = build(case), case.reference
    if not is_missing(d, "cdf"):
        points = case.draw((7,), rng)
        assert_close(d.cdf(points), reference.cdf(points), rtol=1e-8)
    if not is_missing(d, "icdf"):
        points = rng.uniform(size=(7, *case.batch_shape))
        assert_close(d.icdf(points), reference.ppf(points), rtol=1e-8)
    if not is_missing(d, "entropy"):
        assert_close(d.entropy(), np.broadcast_to(reference.entropy(), case.batch_shape), rtol=1e-8)


@every_case
def test_expand_repeats_the_batch(backend, case, rng):
    d = build(case)
    wide = d.expand((4, *case.batch_shape))
    assert isinstance(wide, getattr(dist, case.name))
    assert tuple(wide.batch_shape) == (4, *case.batch_shape) == tuple(d.expand_by((4,)).batch_shape)
    value = case.draw((), rng)
    assert_close(wide.log_prob(value), np.broadcast_to(to_host(d.log_prob(value)), (4, *case.batch_shape)))
    draws = to_host(wide.sample())
    assert draws.shape == (4, *case.batch_shape, *case.event_shape)
    if case.batch_shape:
        with pytest.raises(ValueError, match="expand"):
            d.expand((case.batch_shape[-1] + 1,))


@every_case
def test_to_event_sums(backend, case, rng):
    d = build(case).expand((4, *case.batch_shape))
    value = case.draw((4,), rng)
    joint = d.to_event()
    assert tuple(joint.batch_shape) == ()
    assert tuple(joint.event_shape) == (4, *case.batch_shape, *case.event_shape)
    assert_close(joint.log_prob(value), to_host(d.log_prob(value)).sum())
    assert joint.support.event_dim == joint.event_dim
    assert isinstance(joint, dist.Independent)
    assert d.to_event(0) is d


@every_case
def test_mask_silences(backend, case, rng):
    d = build(case).expand((3, *case.batch_shape))
    value = case.draw((3,), rng)
    mask = np.array([True, False, True]).reshape(3, *(1 for _ in case.batch_shape))
    value[1] = np.nan if not is_discrete(case) else -7
    masked = d.mask(mask)
    feasible = value.copy()
    feasible[1] = value[0]
    expected = np.where(mask, to_host(d.log_prob(feasible)), 0.0)
    assert_close(masked.log_prob(value), expected)
    assert_close(d.mask(False).log_prob(feasible), np.zeros(d.batch_shape))
    assert_close(d.mask(True).log_prob(feasible), to_host(d.log_prob(feasible)))
    for name in case.differentiable[:1]:
        gradient = ops.autodiff.grad(lambda p, name=name: ops.sum(
            build(case, **{name: p}).expand(d.batch_shape).mask(mask).log_prob(value)))(ops.array(case.arrays[name]))  # fmt: skip
        assert np.isfinite(to_host(gradient)).all()


@every_case
def test_draws_fit_the_oracle_and_not_another(backend, case):
    d = build(case)
    draws = to_host(d.sample((DRAWS,)))
    if case.event_shape and case.marginal is None:
        z = monte_carlo_z(draws, case.reference.mean())
        assert np.abs(z).max() < 4.9
        return
    reference = case.marginal(**case.arrays) if case.event_shape else case.reference
    if case.event_shape:
        draws = draws.reshape(*draws.shape[: draws.ndim - len(case.event_shape)], -1)[..., 0]
    elif case.batch_shape:
        index = (0,) * len(case.batch_shape)
        draws, wide = draws[(slice(None), *index)], reference
        if not hasattr(wide, "cdf"):
            reference = wide.rows[0]
        else:
            cdf = wide.cdf
            reference = type("Element", (), {"cdf": staticmethod(lambda x: np.array(
                [cdf(point)[index] for point in np.unique(x)])[np.unique(x, return_inverse=True)[1]])})  # fmt: skip
    discrete = is_discrete(case)
    assert goodness_of_fit(draws, reference.cdf, discrete) > 2e-5
    assert goodness_of_fit(draws, lambda x: np.asarray(reference.cdf(x)) ** 1.3, discrete) < 2e-5


REPARAMETERISED = [
    case for case in CASES if case.pathwise and not case.batch_shape and not case.event_shape and not is_discrete(case)
]


@pytest.mark.parametrize("case", REPARAMETERISED, ids=[str(case) for case in REPARAMETERISED])
def test_pathwise_gradient_of_an_expectation(backend, case):
    """Per-draw gradients of ``tanh(x)`` average to the derivative of its expectation, found by quadrature and differences."""
    assert build(case).has_rsample
    for name in case.differentiable:
        value = case.arrays[name]
        repeated = np.full(4000, float(value))
        gradients = to_host(ops.autodiff.grad(lambda p, name=name: ops.sum(ops.tanh(build(case, **{name: p}).rsample())))(
            ops.array(repeated)))  # fmt: skip

        def expectation(parameter, name=name):
            reference = case.oracle(**{**case.arrays, name: parameter})
            return integrate.quad(lambda u: np.tanh(reference.ppf(u)), 0.0, 1.0, epsabs=1e-10, epsrel=1e-10, limit=400)[0]

        step = 1e-3
        slope = (expectation(value + step) - expectation(value - step)) / (2 * step)
        assert abs(monte_carlo_z(gradients, slope)) < 4.9
        scale = gradients.std() / np.sqrt(gradients.size)
        assert abs(monte_carlo_z(gradients, slope + 20 * scale)) > 4.9


def test_pathwise_gradient_of_vector_families(backend):
    """E[x0 x1]: for the Dirichlet a0 a1 / (A (A + 1)), for the normal mu0 mu1 + cov01; derivatives in closed form."""
    a = np.array([0.7, 2.0, 5.0])
    gradients = to_host(ops.autodiff.grad(lambda p: _product(dist.Dirichlet(p)))(ops.array(np.tile(a, (4000, 1)))))
    total = a.sum()
    shared = -a[0] * a[1] * (2 * total + 1) / (total * (total + 1)) ** 2
    exact = np.array([a[1], a[0], 0.0]) / (total * (total + 1)) + shared
    assert np.abs(monte_carlo_z(gradients, exact)).max() < 4.9

    factor = np.array([[1.2, 0.0], [-0.4, 0.7]])
    gradients = to_host(ops.autodiff.grad(lambda p: _product(dist.MultivariateNormal(np.array(LOC[:2]), scale_tril=p)))(
        ops.array(np.tile(factor, (4000, 1, 1)))))  # fmt: skip
    exact = np.array([[factor[1, 0], 0.0], [factor[0, 0], 0.0]])
    assert np.abs(monte_carlo_z(gradients[:, [0, 1, 1], [0, 0, 1]], exact[[0, 1, 1], [0, 0, 1]])).max() < 4.9


def _product(d):
    x = d.rsample()
    return ops.sum(x[..., 0] * x[..., 1])


@every_case
def test_enumerated_support_carries_all_mass(backend, case):
    d = build(case)
    if not d.has_enumerate_support:
        assert is_missing(d, "enumerate_support")
        return
    if case.mixed_counts:
        with pytest.raises(GapError, match="total_count"):
            d.enumerate_support()
        return
    values = d.enumerate_support()
    narrow = d.enumerate_support(expand=False)
    assert tuple(values.shape)[1:] == case.batch_shape + case.event_shape
    assert tuple(narrow.shape)[1:] == (1,) * len(case.batch_shape) + case.event_shape
    assert_close(ops.sum(ops.exp(d.log_prob(values)), axis=0), np.ones(case.batch_shape))
    assert_close(d.log_prob(narrow), to_host(d.log_prob(values)))
    assert bool(ops.all(d.support(values)))


@every_case
def test_score_parts(backend, case, rng):
    d = build(case)
    value = case.draw((2,), rng)
    parts = d.score_parts(value)
    log_prob = to_host(d.log_prob(value))
    assert_close(parts.log_prob, log_prob)
    pathwise, score = (log_prob, 0.0) if d.has_rsample else (0.0, log_prob)
    assert_close(parts.entropy_term, pathwise)
    assert_close(parts.score_function, score)


@every_case
def test_an_object_is_of_its_public_class(backend, case):
    d = build(case)
    assert isinstance(d, getattr(dist, case.name))
    assert isinstance(d, dist.Distribution)
    assert not isinstance(d, dist.Delta)
    assert d.backend.name == backend
    assert case.name in repr(d)


@every_case
def test_support_is_reached_from_unconstrained_space(backend, case, rng):
    d = build(case)
    if d.is_discrete:
        with pytest.raises(NotImplementedError, match="discrete"):
            dist.biject_to(d.support)
        return
    if as_constraint(d.support) is constraints.sphere:
        with pytest.raises(GapError, match="bijection"):
            dist.biject_to(d.support)
        return
    transform = dist.biject_to(d.support)
    value = ops.array(case.draw((3,), rng))
    assert_close(transform(transform.inv(value)), to_host(value), rtol=1e-9)
    assert bool(ops.all(d.support(transform(transform.inv(value)))))
    assert isinstance(transform.codomain, constraints.Constraint)
