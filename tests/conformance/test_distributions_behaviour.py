"""What no row of the table says: dispatch, retention of the backend, edges, errors, wrappers, user classes."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import ppl
from ppl import constraints, ops, registry
from ppl import distributions as dist
from ppl.distributions.validation import default_validate_args, set_default_validate_args
from ppl.errors import ConstraintError, ShapeError
from ppl.testing import assert_close, goodness_of_fit, to_host

pytestmark = pytest.mark.strict

INF = np.inf


def grad(fn, point):
    return to_host(ops.autodiff.grad(fn)(ops.array(point)))


# --- dispatch ---


def test_objects_keep_their_backend(backend, request):
    d = dist.Normal(np.zeros(2), 1.0).to_event(1)
    for other in ("numpy", "torch", "jax"):
        if other not in (request.config.getoption("--backends") or "numpy,torch,jax").split(","):
            continue
        with ppl.pyro_backend(other):
            assert d.backend.name == backend
            is_own = registry.load(backend).ops.is_array
            assert is_own(d.sample((3,)))
            assert is_own(d.log_prob(np.zeros(2)))
            assert is_own(d.expand((4,)).mean)
            assert d.mask(False).backend.name == backend
            fresh = dist.Normal(0.0, 1.0)
            assert fresh.backend.name == other
            assert isinstance(fresh, dist.Normal)
    assert_close(d.log_prob(np.zeros(2)), 2 * stats.norm.logpdf(0.0))


def test_copies_and_pickles_are_the_same_distribution(backend):
    d = dist.Gamma(2.0, np.array([1.0, 3.0])).expand((4, 2)).to_event(1)
    for twin in (pickle.loads(pickle.dumps(d)), copy.copy(d), copy.deepcopy(d)):
        assert isinstance(twin, dist.Independent)
        assert twin.backend is d.backend
        assert_close(twin.log_prob(np.ones(2)), to_host(d.log_prob(np.ones(2))))


class Triangle(dist.Distribution):
    """Density 2x on [0, 1], scaled: a family that a user writes over ops."""

    arg_constraints = {"scale": constraints.positive}
    has_rsample = True

    def __init__(self, scale, *, validate_args=None):
        (self.scale,) = self.promote(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self):
        return constraints.interval(0.0, self.scale)

    def rsample(self, sample_shape=(), rng_key=None):
        return self.scale * ops.sqrt(ops.random.open_uniform(rng_key, self.shape(sample_shape), self.dtype))

    def log_prob(self, value):
        return ops.log(2.0 * value) - 2.0 * ops.log(self.scale)


def test_a_users_family_works_everywhere(backend):
    d = Triangle([1.0, 3.0])
    assert isinstance(d, Triangle)
    assert d.backend.name == backend
    assert goodness_of_fit(to_host(d.sample((10_000,)))[:, 1], stats.triang(1.0, scale=3.0).cdf) > 2e-5
    assert goodness_of_fit(to_host(d.sample((10_000,)))[:, 1], stats.triang(0.9, scale=3.0).cdf) < 2e-5
    assert tuple(d.expand((5, 2)).to_event(1).log_prob(np.full((5, 2), 0.5)).shape) == (5,)
    with pytest.raises(ConstraintError, match=r"Triangle: parameter 'scale'.*positive.*-1.0"):
        Triangle(-1.0)
    with pytest.raises(ConstraintError, match=r"Triangle: value.*2.0 at index \(0,\)"):
        d.log_prob(2.0)


def test_a_family_with_undeclared_arrays_expands_by_wrapping(backend):
    class Shifted(dist.Distribution):
        support = constraints.real

        def __init__(self, hidden):
            self.hidden = ops.array(hidden)
            super().__init__(self.hidden.shape)

        def sample(self, sample_shape=(), rng_key=None):
            return self.hidden + ops.random.normal(rng_key, self.shape(sample_shape))

        def log_prob(self, value):
            return -0.5 * (value - self.hidden) ** 2

    d = Shifted([[100.0], [0.0]])
    wide = d.expand((4, 2, 3))
    draws = to_host(wide.sample((5,)))
    assert draws.shape == (5, 4, 2, 3)
    assert (draws[:, :, 0] > 50).all()
    assert (draws[:, :, 1] < 50).all()
    assert len(np.unique(draws)) == draws.size
    assert tuple(wide.log_prob(draws).shape) == (5, 4, 2, 3)
    assert tuple(wide.expand((6, 4, 2, 3)).batch_shape) == (6, 4, 2, 3)


# --- spellings and conversion ---


def test_parameters_are_converted_once(backend):
    assert ops.dtype_name(dist.Normal(0, 1).loc) == "float64"
    assert ops.dtype_name(dist.Normal(np.arange(3), 1).loc) == "float64"
    assert ops.dtype_name(dist.Normal(np.zeros(3, "float32"), 1.0).scale) == "float32"
    assert tuple(dist.Normal([0.0, 1.0], 1.0).scale.shape) == (2,)
    assert_close(dist.Poisson(3).log_prob(2), stats.poisson(3).logpmf(2))
    assert_close(dist.Bernoulli(0.3).log_prob(np.array([True, False])), np.log([0.3, 0.7]))
    assert_close(dist.MultivariateNormal(0.0, np.eye(2)).log_prob([0.0, 0.0]), -np.log(2 * np.pi))


def test_sample_takes_shapes_and_keys_in_every_spelling(backend):
    key = ops.random.key(3)
    d = dist.Normal(np.zeros(2), 1.0)
    for draw in (d.sample(key, (4,)), d.sample((4,), key), d.sample((4,), rng_key=key), d.sample(key=key, sample_shape=(4,)),
                 d.sample(4, key), d([4])):  # fmt: skip
        assert tuple(draw.shape) == (4, 2)
    assert_close(d.sample(ops.random.key(5), (4,)), to_host(d.sample((4,), rng_key=ops.random.key(5))))


# --- edges ---


def test_probabilities_at_zero_and_one(backend):
    certain = dist.Bernoulli(np.array([0.0, 1.0]))
    assert_close(certain.log_prob([0.0, 1.0]), [0.0, 0.0])
    assert_close(certain.log_prob([1.0, 0.0]), [-INF, -INF])
    assert_close(dist.Binomial(4, np.array([0.0, 1.0])).log_prob([0.0, 4.0]), [0.0, 0.0])
    assert_close(dist.Categorical([0.0, 1.0, 0.0]).log_prob([0, 1]), [-INF, 0.0])
    assert_close(dist.Poisson(0.0).log_prob([0.0, 1.0]), [0.0, -INF])
    assert_close(dist.Bernoulli(logits=800.0).log_prob([1.0, 0.0]), [0.0, -800.0])
    assert grad(lambda p: dist.Bernoulli(p).log_prob(0.0), 0.0) == -1.0
    assert grad(lambda p: dist.Bernoulli(p).log_prob(1.0), 1.0) == 1.0
    assert grad(lambda r: dist.Poisson(r).log_prob(0.0), 0.0) == -1.0


def test_densities_on_the_boundary(backend):
    assert_close(dist.Beta(1.0, 1.0).log_prob([0.0, 1.0]), [0.0, 0.0])
    assert_close(dist.Gamma(1.0, 2.0).log_prob(0.0), np.log(2.0))
    assert_close(dist.Uniform(0.0, 2.0).log_prob([0.0, 2.0]), np.log([0.5, 0.5]))
    assert_close(dist.Dirichlet([1.0, 1.0, 1.0]).log_prob([0.0, 0.0, 1.0]), np.log(2.0))
    outside = [dist.Uniform(0.0, 1.0), dist.HalfNormal(1.0), dist.HalfCauchy(1.0), dist.Exponential(1.0)]
    for d in outside:
        silent = type(d).definition(*(getattr(d, name) for name in d.arg_constraints), validate_args=False)
        assert to_host(silent.log_prob(-0.5)) == -INF


def test_student_of_many_degrees_is_normal(backend):
    assert_close(dist.StudentT(1e10).log_prob(1.3), stats.norm.logpdf(1.3), rtol=1e-7)


# --- errors ---


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.Normal(0.0, [1.0, 2.0, -3.0]), r"Normal: parameter 'scale'.*positive.*-3.0 at index \(2,\)"),
    (lambda: dist.Normal(np.nan, 1.0), "Normal: parameter 'loc'.*real.*nan"),
    (lambda: dist.HalfNormal(0.0), "HalfNormal: parameter 'scale'.*positive.*0.0"),
    (lambda: dist.Beta(1.0, -1.0), "Beta: parameter 'concentration0'.*positive"),
    (lambda: dist.Bernoulli(1.5), "Bernoulli: parameter 'probs'.*unit_interval.*1.5"),
    (lambda: dist.Bernoulli(), "Bernoulli takes exactly one of probs, logits; received none"),
    (lambda: dist.Categorical([1.0], [0.0]), "Categorical takes exactly one of probs, logits; received probs, logits"),
    (lambda: dist.Categorical([-0.5, 1.5]), "Categorical: parameter 'probs'.*simplex"),
    (lambda: dist.Dirichlet([1.0, 0.0]), r"Dirichlet: parameter 'concentration'.*independent\(positive, 1\)"),
    (lambda: dist.Uniform(1.0, 0.0), "Uniform: parameter 'high'.*greater_than"),
    (lambda: dist.MultivariateNormal(0.0), "MultivariateNormal takes exactly one of"),
    (lambda: dist.MultivariateNormal(0.0, [[1.0, 2.0], [2.0, 1.0]]), "'covariance_matrix'.*positive_definite"),
    (lambda: dist.Gamma(1.0).log_prob([0.5, -0.5]), r"Gamma: value.*nonnegative.*-0.5 at index \(1,\)"),
    (lambda: dist.Poisson(1.0).log_prob(0.5), "Poisson: value.*nonnegative_integer.*0.5"),
    (lambda: dist.Categorical([0.5, 0.5]).log_prob(2), "Categorical: value.*integer_interval"),
    (lambda: dist.Normal(0.0, 1.0).log_prob(np.nan), "Normal: value.*real.*nan"),
])  # fmt: skip
def test_bad_parameters_and_values_get_a_sentence(backend, make, sentence):
    with pytest.raises(ConstraintError, match=sentence):
        make()


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.Normal(0.0, [1.0, 2.0]).log_prob([0.0, 0.0, 0.0]), r"batch_shape \(2,\).*received \(3,\)"),
    (lambda: dist.Dirichlet([1.0, 1.0]).log_prob([0.2, 0.3, 0.5]), r"event_shape \(2,\).*received \(3,\)"),
    (lambda: dist.Normal(0.0, 1.0).to_event(2), r"to_event\(2\).*between 0 and 0"),
    (lambda: dist.Normal([0.0, 1.0], 1.0).expand((3,)), r"\(2,\) cannot expand to \(3,\)"),
    (lambda: dist.Delta(0.0, event_dim=1), "event_dim=1"),
    (lambda: dist.Normal([0.0, 1.0], [1.0, 1.0, 1.0]), "broadcast"),
])  # fmt: skip
def test_shapes_that_do_not_fit_get_a_sentence(backend, make, sentence):
    with pytest.raises(ShapeError, match=sentence):
        make()


def test_validation_can_be_switched_off(backend):
    assert default_validate_args()
    dist.Normal(0.0, -1.0, validate_args=False)
    set_default_validate_args(False)
    try:
        d = dist.HalfNormal(-1.0)
        d.log_prob(-2.0)
        with pytest.raises(ConstraintError):
            dist.HalfNormal(-1.0, validate_args=True)
    finally:
        set_default_validate_args(True)


# --- wrappers ---


def test_delta(backend):
    d = dist.Delta(np.array([[1.0, 2.0], [3.0, 4.0]]), log_density=np.array([0.0, -1.5]), event_dim=1)
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2,), (2,))
    assert_close(d.log_prob([[1.0, 2.0], [3.0, 4.0]]), [0.0, -1.5])
    assert_close(d.log_prob([1.0, 2.0]), [0.0, -INF])
    assert_close(d.sample((3,)), np.broadcast_to([[1.0, 2.0], [3.0, 4.0]], (3, 2, 2)))
    assert tuple(d.expand((5, 2)).sample().shape) == (5, 2, 2)
    assert grad(lambda v: ops.sum(dist.Delta(v).rsample((3,))), 2.0) == 3.0
    assert ops.dtype_name(dist.Delta(np.array([1, 2])).sample()) == "int64"


def test_transformed_is_its_closed_form(backend):
    d = dist.TransformedDistribution(dist.Normal(np.array([0.4, 1.0]), 0.6), dist.transforms.ExpTransform())
    oracle = stats.lognorm(0.6, scale=np.exp([0.4, 1.0]))
    x = np.array([[0.3, 2.0], [1.0, 5.0]])
    assert_close(d.log_prob(x), oracle.logpdf(x))
    assert_close(d.cdf(x), oracle.cdf(x))
    assert_close(d.icdf([0.2, 0.9]), oracle.ppf([0.2, 0.9]))
    assert d.support == constraints.positive
    draw, stages = d.sample_with_intermediates((4,))
    assert_close(d.log_prob(draw, stages), to_host(d.log_prob(draw)))
    assert goodness_of_fit(to_host(d.sample((10_000,)))[:, 0], stats.lognorm(0.6, scale=np.exp(0.4)).cdf) > 2e-5
    falling = dist.TransformedDistribution(dist.Uniform(0.0, 1.0), dist.transforms.AffineTransform(1.0, -2.0))
    assert_close(falling.cdf([-0.5, 0.5]), [0.25, 0.75])
    with pytest.raises(ConstraintError, match="support"):
        d.log_prob(-1.0)


def test_transformed_shapes_follow_the_transforms(backend):
    stick = dist.TransformedDistribution(dist.Normal(np.zeros((2, 3)), 1.0), dist.transforms.StickBreakingTransform())
    assert (tuple(stick.batch_shape), tuple(stick.event_shape)) == ((2,), (4,))
    x = stick.sample((5,))
    assert tuple(stick.log_prob(x).shape) == (5, 2)
    assert tuple(stick.expand((7, 2)).sample().shape) == (7, 2, 4)
    assert tuple(stick.to_event(1).log_prob(x).shape) == (5,)
    wide = dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(np.zeros(3), 2.0))
    assert tuple(wide.batch_shape) == (3,)
    assert len(np.unique(to_host(wide.sample()))) == 3


def test_nested_wrappers_agree_with_sums_by_hand(backend, rng):
    mask = np.array([[True, False, True], [False, True, True]])
    x = rng.normal(size=(2, 3))
    d = dist.Normal(np.zeros((2, 3)), 2.0).mask(mask).to_event(1).expand((4, 2))
    by_hand = np.where(mask, stats.norm(0, 2).logpdf(x), 0.0).sum(-1)
    assert_close(d.log_prob(x), np.broadcast_to(by_hand, (4, 2)))
    assert_close(d.score_parts(x).log_prob, np.broadcast_to(by_hand, (4, 2)))
    assert tuple(dist.Normal(0.0, 1.0).reshape((2, 3), 1).event_shape) == (3,)


def test_masked_nan_reaches_no_gradient(backend):
    y = np.array([1.0, np.nan])
    mask = ~np.isnan(y)
    assert grad(lambda m: ops.sum(dist.Normal(m, 1.0).mask(mask).log_prob(y)), 0.0) == 1.0


@given(concentration=st.floats(0.05, 200.0), rate=st.floats(1e-3, 1e3), x=st.floats(1e-6, 1e3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_gamma_over_its_whole_range(backend, concentration, rate, x):
    expected = stats.gamma(concentration, scale=1.0 / rate).logpdf(x)
    assert_close(dist.Gamma(concentration, rate).log_prob(x), expected, rtol=1e-9, atol=1e-9)


@given(df=st.floats(0.1, 1e4), loc=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), z=st.floats(-50, 50))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_student_over_its_whole_range(backend, df, loc, scale, z):
    expected = stats.t(df, loc, scale).logpdf(loc + scale * z)
    assert_close(dist.StudentT(df, loc, scale).log_prob(loc + scale * z), expected, rtol=1e-8, atol=1e-8)


@given(n=st.integers(0, 200), probs=st.floats(0.0, 1.0, allow_subnormal=False), share=st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_binomial_over_its_whole_range(backend, n, probs, share):
    k = round(share * n)
    assert_close(dist.Binomial(n, probs).log_prob(float(k)), stats.binom(n, probs).logpmf(k), rtol=1e-9, atol=1e-9)


@pytest.mark.backends("numpy", "torch")
def test_binomial_of_a_subnormal_probability(backend):
    """On jax XLA takes subnormal numbers for zero, which its ``gaps`` declare."""
    assert_close(dist.Binomial(1, 5e-324).log_prob(1.0), stats.binom(1, 5e-324).logpmf(1))


# --- torch and jax ---


@pytest.mark.backends("torch")
def test_torchs_families_are_torchs_classes(backend):
    import torch

    for name in ("Normal", "Gamma", "Bernoulli", "LogNormal", "Dirichlet"):
        assert issubclass(type(_some(name)), getattr(torch.distributions, name))
        assert isinstance(_some(name).expand((3,)), getattr(torch.distributions, name))
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    assert_close(torch.distributions.kl_divergence(p, q), np.log(2.0) + 2.0 / 8.0 - 0.5)
    joint = torch.distributions.kl_divergence(p.expand((3,)).to_event(1), q.expand((3,)).to_event(1))
    assert_close(joint, 3 * (np.log(2.0) + 2.0 / 8.0 - 0.5))
    assert isinstance(dist.Delta(0.0), torch.distributions.Distribution)
    assert isinstance(p.batch_shape, torch.Size)
    outer = torch.distributions.TransformedDistribution(p, [torch.distributions.transforms.ExpTransform()])
    assert_close(outer.log_prob(torch.tensor(2.0)), stats.lognorm(1.0).logpdf(2.0))
    theirs = dist.TransformedDistribution(p, [torch.distributions.transforms.ExpTransform()])
    assert_close(theirs.log_prob(2.0), stats.lognorm(1.0).logpdf(2.0))


def _some(name):
    return {"Normal": lambda: dist.Normal(0.0, 1.0), "Gamma": lambda: dist.Gamma(1.0), "Bernoulli": lambda: dist.Bernoulli(0.5),
            "LogNormal": lambda: dist.LogNormal(), "Dirichlet": lambda: dist.Dirichlet([1.0, 2.0])}[name]()  # fmt: skip


@pytest.mark.backends("torch")
def test_a_users_torch_classes(backend):
    import torch
    from torch.distributions import constraints as theirs

    class Plain(dist.TorchDistribution):
        arg_constraints = {"rate": theirs.positive}
        support = theirs.positive
        has_rsample = True

        def __init__(self, rate, validate_args=None):
            self.rate = rate
            super().__init__(rate.shape, torch.Size(), validate_args=validate_args)

        def rsample(self, sample_shape=()):
            return torch.rand(self.shape(sample_shape)) / self.rate

        def log_prob(self, value):
            return torch.log(self.rate).expand(value.shape)

    class Wrapped(torch.distributions.Gumbel, dist.torch_distribution.TorchDistributionMixin):
        pass

    d = Plain(torch.tensor([1.0, 2.0]))
    assert isinstance(d, dist.Distribution)
    assert tuple(d.to_event(1).log_prob(d((3,))).shape) == (3,)
    with pytest.raises(ConstraintError, match="Plain: parameter 'rate'"):
        Plain(torch.tensor(-1.0))
    wrapped = Wrapped(torch.tensor(0.0), torch.tensor(1.0))
    assert tuple(wrapped.mask(True).log_prob(wrapped()).shape) == ()
    with ppl.pyro_backend("numpy"):
        assert d.backend.name == "torch"
        assert isinstance(d.sample(), torch.Tensor)


@pytest.mark.backends("jax")
def test_jax_distributions_are_pytrees(backend):
    import jax
    import jax.numpy as jnp

    d = dist.Normal(jnp.zeros(3), jnp.ones(3)).to_event(1)
    x = jnp.arange(3.0)
    assert_close(jax.jit(lambda d, x: d.log_prob(x))(d, x), to_host(d.log_prob(x)))
    made = jax.jit(lambda m: dist.Gamma(m, 2.0).expand((4,)))(1.5)
    assert isinstance(made, dist.Gamma)
    assert made.batch_shape == (4,)
    batch = dist.Normal(jnp.arange(5.0), jnp.ones(5))
    assert_close(jax.vmap(lambda d, v: d.log_prob(v))(batch, jnp.zeros(5)), to_host(batch.log_prob(jnp.zeros(5))))
    assert jax.vmap(lambda m: dist.Normal(m, 1.0).to_event(0))(jnp.zeros(6)).batch_shape == (6,)
    _, rows = jax.lax.scan(lambda c, d: (c + d.log_prob(0.0), d.mean), 0.0, batch)
    assert_close(rows, np.arange(5.0))
    masked = dist.Normal(jnp.zeros(3), 1.0).mask(jnp.array([True, False, True]))
    assert_close(jax.jit(lambda d: d.log_prob(jnp.zeros(3)))(masked), to_host(masked.log_prob(jnp.zeros(3))))
    moved = dist.TransformedDistribution(dist.Normal(jnp.zeros(2), 1.0), [dist.transforms.AffineTransform(jnp.ones(2), 3.0)])
    assert_close(jax.jit(lambda d: d.log_prob(jnp.zeros(2)))(moved), to_host(moved.log_prob(jnp.zeros(2))))
    leaves, structure = jax.tree.flatten(dist.Categorical(logits=jnp.zeros((2, 3))))
    assert len(leaves) == 1
    assert jax.tree.unflatten(structure, leaves).batch_shape == (2,)
    assert structure == jax.tree.structure(dist.Categorical(logits=jnp.ones((2, 3))))


@pytest.mark.backends("jax")
def test_compiled_code_skips_validation_and_keeps_gradients(backend):
    import jax

    compiled = jax.jit(jax.grad(lambda m: dist.Normal(m, 2.0).log_prob(3.0)))
    assert_close(compiled(1.0), 0.5)
    assert_close(jax.jit(lambda v: dist.HalfNormal(1.0).log_prob(v))(-1.0), -INF)


@pytest.mark.backends("jax")
def test_wrappers_follow_their_leaves_through_vmap(backend):
    import jax
    import jax.numpy as jnp

    made = jax.vmap(lambda m: dist.Normal(m, jnp.ones(3)).to_event(1))(jnp.zeros(6))
    assert (made.batch_shape, made.event_shape) == ((6,), (3,))
    stick_breaking = dist.transforms.StickBreakingTransform()
    made = jax.vmap(lambda m: dist.TransformedDistribution(dist.Normal(m, jnp.ones(3)), stick_breaking))(jnp.zeros(6))
    assert (made.batch_shape, made.event_shape) == ((6,), (4,))
