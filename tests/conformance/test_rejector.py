"""Rejection sampling as a distribution. Oracles: the gamma of scipy by the sampler of Marsaglia and Tsang, closed forms."""

import pickle

import numpy as np
import pytest
from scipy import special, stats

from ppl import distributions as dist
from ppl import ops
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, goodness_of_fit, monte_carlo_z, to_host

pytestmark = pytest.mark.strict

DRAWS = 10_000


def marsaglia_tsang(concentration):
    """Gamma of rate one and concentration at least 1: ``z = d (1 + c x)^3`` of a normal ``x``, accepted with probability
    ``exp(x^2 / 2 + d (1 - v + log v))``, ``v = (1 + c x)^3`` (Marsaglia and Tsang 2000, "A simple method for generating gamma
    variables", sec. 2). The proposal is a transformed normal.
    """
    (a,) = dist.Distribution.promote(concentration)
    d = a - 1.0 / 3.0
    c = 1.0 / ops.sqrt(9.0 * d)
    cube = _Cube(d, c)
    normal = dist.Normal(ops.zeros_like(a), ops.ones_like(a))

    def log_prob_accept(z):
        v = z / d
        positive = v > 0
        v = ops.where(positive, v, ops.ones_like(v))
        x = (v ** (1.0 / 3.0) - 1.0) / c
        return ops.where(positive, 0.5 * x * x + d * (1.0 - v + ops.log(v)), -np.inf)

    # The integral of the accepted part over x, with z for the variable: Gamma(a) e^d d^(2/3 - d) / (3 c d sqrt(2 pi)).
    log_scale = ops.gammaln(a) + d + (2.0 / 3.0 - d) * ops.log(d) - ops.log(3.0 * c * d) - 0.5 * np.log(2.0 * np.pi)
    return dist.Rejector(dist.TransformedDistribution(normal, cube), log_prob_accept, log_scale)


class _Cube(dist.transforms.Transform):
    """``d (1 + c x)^3``, on the whole line."""

    sign = 1

    def __init__(self, d, c):
        self.d, self.c = d, c

    def __call__(self, x):
        return self.d * (1.0 + self.c * x) ** 3

    def _inverse(self, y):
        ratio = y / self.d
        return (ops.sign(ratio) * ops.abs(ratio) ** (1.0 / 3.0) - 1.0) / self.c

    def log_abs_det_jacobian(self, x, y):
        return ops.log(3.0 * self.c * self.d) + 2.0 * ops.log(ops.abs(1.0 + self.c * x))


def probit(loc):
    """Normals of mean ``loc`` accepted with probability Phi(z): a smooth acceptance that matters. Z = Phi(loc / sqrt 2)."""
    return dist.Rejector(dist.Normal(loc, 1.0), ops.log_ndtr, ops.log_ndtr(ops.array(loc) / np.sqrt(2.0)))


def probit_mean(loc):
    """E[z] by completing the square."""
    t = loc / np.sqrt(2.0)
    return loc + stats.norm.pdf(t) / (np.sqrt(2.0) * stats.norm.cdf(t))


def estimates(make, fn, point, corrected=True):
    """Return one reparameterised-rejection estimate of the derivative of ``E[fn(z)]`` for each of 4000 draws."""

    def surrogate(parameter):
        d = make(parameter)
        z = d.rsample()
        score = d.score_parts(z).score_function
        cost = ops.autodiff.stop_gradient(fn(z))
        return ops.sum(fn(z) + (cost * score if corrected else 0.0))

    return to_host(ops.autodiff.grad(surrogate)(ops.array(np.full(4000, point))))


@pytest.mark.parametrize("concentration", [1.0, 2.7, 40.0])
def test_gamma_by_marsaglia_and_tsang(backend, concentration):
    d, oracle = marsaglia_tsang(concentration), stats.gamma(concentration)
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((), ())
    points = oracle.ppf([0.01, 0.3, 0.5, 0.99])
    assert_close(d.log_prob(points), oracle.logpdf(points))
    draws = to_host(d.sample((DRAWS,)))
    assert goodness_of_fit(draws, oracle.cdf) > 2e-5
    assert goodness_of_fit(draws, lambda x: oracle.cdf(x) ** 1.3) < 2e-5
    assert_close(d.log_prob(-1.0), -np.inf)


def test_gradients_of_the_gamma_expectations(backend):
    """d E[z] / da = 1 and d E[log z] / da is the trigamma function."""
    for fn, slope in [(lambda z: z, 1.0), (ops.log, special.polygamma(1, 1.4))]:
        found = estimates(marsaglia_tsang, fn, 1.4)
        assert abs(monte_carlo_z(found, slope)) < 4.9
        assert abs(monte_carlo_z(found, 0.7 * slope)) > 4.9


def test_the_score_function_makes_the_gradient_right(backend):
    """Without it the derivative of E[z] to the proposal's mean would be that of the proposal, 1."""
    loc, step = -0.8, 1e-4
    slope = (probit_mean(loc + step) - probit_mean(loc - step)) / (2 * step)
    assert abs(monte_carlo_z(estimates(probit, lambda z: z, loc), slope)) < 4.9
    without = estimates(probit, lambda z: z, loc, corrected=False)
    assert_close(without, np.ones(4000))
    assert abs(slope - 1.0) > 0.2


def test_density_and_parts_of_a_smooth_acceptance(backend):
    d = probit(np.array([-0.8, 0.5]))
    z = np.array([[0.3, -1.0], [2.0, 0.0]])
    accept = stats.norm.logcdf(z) - stats.norm.logcdf(np.array([-0.8, 0.5]) / np.sqrt(2.0))
    log_prob = stats.norm([-0.8, 0.5], 1.0).logpdf(z) + accept
    for other, total, score in [
        (d, log_prob, accept),
        (d.to_event(1), log_prob.sum(-1), accept.sum(-1)),
        (d.expand((2, 2)), log_prob, accept),
        (d.mask(np.array([True, False])), log_prob * [1.0, 0.0], accept),
    ]:
        assert_close(other.log_prob(z), total)
        parts = other.score_parts(z)
        assert_close(parts.log_prob, total)
        assert_close(parts.score_function, score)
        assert_close(parts.entropy_term, total)
    moved = dist.TransformedDistribution(d, dist.transforms.ExpTransform())
    parts = moved.score_parts(np.exp(z))
    assert_close(parts.log_prob, log_prob - z)
    assert_close(parts.score_function, accept)
    assert_close(parts.entropy_term, log_prob - z)
    draws = to_host(d.sample((DRAWS,)))
    assert np.abs(monte_carlo_z(draws, probit_mean(np.array([-0.8, 0.5])))).max() < 4.9
    assert np.abs(monte_carlo_z(draws, np.array([-0.8, 0.5]))).min() > 4.9
    assert tuple(d.expand((3, 2)).rsample((4,)).shape) == (4, 3, 2)


def half_squared_norm(z):
    return -0.5 * ops.sum(z * z, axis=-1)


def test_vectors_are_accepted_as_wholes(backend):
    """A standard normal plane accepted with probability exp(-|z|^2 / 2) is normal of variance one half; Z = 1 / 2."""
    for propose in (dist.Normal(np.zeros(2), 1.0).to_event(1), dist.MultivariateNormal(np.zeros(2), np.eye(2))):
        d = dist.Rejector(propose, half_squared_norm, -np.log(2.0))
        assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((), (2,))
        z = np.array([[0.3, -1.0], [2.0, 0.0]])
        assert_close(d.log_prob(z), stats.norm(0.0, 0.5**0.5).logpdf(z).sum(-1))
        draws = to_host(d.rsample((DRAWS,)))
        assert goodness_of_fit(draws[:, 0], stats.norm(0.0, 0.5**0.5).cdf) > 2e-5
        assert goodness_of_fit(draws[:, 0], stats.norm(0.0, 1.0).cdf) < 2e-5
        assert abs(monte_carlo_z(draws[:, 0] * draws[:, 1], 0.0)) < 4.9
    declared = dist.Rejector(dist.Normal(np.zeros(2), 1.0), half_squared_norm, -np.log(2.0), batch_shape=(3,), event_shape=(2,))
    assert tuple(declared.sample((4,)).shape) == (4, 3, 2)
    assert_close(declared.log_prob(z[0]), np.full(3, stats.norm(0.0, 0.5**0.5).logpdf(z[0]).sum()))
    assert_close(pickle.loads(pickle.dumps(declared)).log_prob(z[0]), to_host(declared.log_prob(z[0])))
    with pytest.raises(ShapeError, match=r"Rejector: proposals have events of shape \(2,\), received \(3,\)"):
        dist.Rejector(dist.Normal(np.zeros(2), 1.0), half_squared_norm, 0.0, event_shape=(3,))


def test_a_proposal_follows_its_parameters_at_fixed_noise(backend):
    """All proposals are accepted here, so draws are those of the proposal and derivatives those of its closed form."""

    def always(z):
        return ops.zeros_like(z)

    def whole(z):
        return ops.zeros_like(z[..., 0])

    stretch = dist.transforms.AffineTransform
    for make, exact in [
        (lambda p: dist.Rejector(dist.Normal(1.0, p), always, 0.0), lambda z: (z - 1.0) / 2.0),
        (lambda p: dist.Rejector(dist.Exponential(p), always, 0.0), lambda z: -z / 2.0),
        (lambda p: dist.Rejector(dist.Delta(p), always, 0.0), np.ones_like),
        (lambda p: dist.Rejector(dist.TransformedDistribution(dist.Normal(0.0, 1.0), [stretch(p, 3.0 * p)]), always, 0.0),
         lambda z: z / 2.0),
        (lambda p: dist.Rejector(dist.MultivariateNormal(np.zeros(2), scale_tril=ops.eye(2) * p), whole, 0.0), lambda z: z / 2.0),
    ]:  # fmt: skip
        z = to_host(make(ops.array(2.0)).rsample((), ops.random.key(1)))
        found = ops.autodiff.grad(lambda p, make=make: ops.sum(make(p).rsample((), ops.random.key(1))))(ops.array(2.0))
        assert_close(found, np.sum(exact(z)))


def half_always(z):
    return ops.full_like(z[..., 0], np.log(0.5))


@pytest.mark.backends("numpy", "torch")
def test_other_proposals_are_followed_through_the_loop(backend):
    """Half of all Dirichlet draws, whichever, are Dirichlet: E[x0] = a0 / A."""
    a = np.array([0.7, 2.0, 5.0])

    def total(parameter):
        return ops.sum(dist.Rejector(dist.Dirichlet(parameter), half_always, np.log(0.5)).rsample()[:, 0])

    found = to_host(ops.autodiff.grad(total)(ops.array(np.tile(a, (4000, 1)))))
    exact = np.array([1.0, 0.0, 0.0]) / a.sum() - a[0] / a.sum() ** 2
    assert np.abs(monte_carlo_z(found, exact)).max() < 4.9
    assert np.abs(monte_carlo_z(found, -exact)).max() > 4.9


def above_zero(z):
    return ops.where(z > 0, 0.0, -np.inf)


def test_counts_above_zero(backend):
    d = dist.Rejector(dist.Poisson(1.3), above_zero, np.log1p(-np.exp(-1.3)))
    truncated = stats.rv_discrete(values=(np.arange(1, 40), stats.poisson(1.3).pmf(np.arange(1, 40)) / -np.expm1(-1.3)))
    assert d.is_discrete
    assert not d.has_rsample
    assert_close(d.log_prob([0.0, 1.0, 4.0]), [-np.inf, *truncated.logpmf([1, 4])])
    draws = to_host(d.sample((DRAWS,)))
    assert goodness_of_fit(draws, truncated.cdf, True) > 2e-5
    assert goodness_of_fit(draws, lambda x: truncated.cdf(x) ** 1.3, True) < 2e-5
    parts = d.score_parts(2.0)
    assert_close(parts.score_function, truncated.logpmf(2))
    assert_close(parts.entropy_term, 0.0)
    with pytest.raises(GapError, match="Poisson has no rsample"):
        d.rsample()


def test_what_is_no_probability_is_refused(backend):
    normal = dist.Normal(0.0, 1.0)
    for wrong, received in [(lambda z: ops.zeros_like(z) + 0.5, "0.5"), (lambda z: ops.zeros_like(z) + np.nan, "nan")]:
        with pytest.raises(ConstraintError, match=f"Rejector: log_prob_accept gives logarithms of probabilities.*{received}"):
            dist.Rejector(normal, wrong, 0.0).sample((3,))
    silent = dist.Rejector(normal, lambda z: ops.where(z > 0, np.nan, 0.0), 0.0, validate_args=False)
    draws = to_host(silent.sample((50,)))
    assert (np.isnan(draws) | (draws <= 0)).all()
    assert np.isnan(draws).any()
    d = dist.Rejector(normal, above_zero, np.log(0.5))
    calls = {
        "mean": lambda: d.mean, "variance": lambda: d.variance, "cdf": lambda: d.cdf(0.5), "icdf": lambda: d.icdf(0.5),
        "entropy": d.entropy, "enumerate_support": d.enumerate_support,
    }  # fmt: skip
    for operation, call in calls.items():
        with pytest.raises(GapError, match=f"Rejector has no {operation}"):
            call()
    with pytest.raises(ConstraintError, match=r"Exponential: value.*-1\.0"):
        dist.Rejector(dist.Exponential(1.0), above_zero, 0.0).log_prob(-1.0)


@pytest.mark.backends("jax")
def test_rejection_in_compiled_code(backend):
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(lambda key: marsaglia_tsang(2.7).sample((DRAWS,), key))(keys[0])
    assert goodness_of_fit(to_host(draws), stats.gamma(2.7).cdf) > 2e-5
    each = jax.jit(jax.vmap(lambda key: marsaglia_tsang(2.7).sample((), key)))(keys)
    assert goodness_of_fit(to_host(each), stats.gamma(2.7).cdf) > 2e-5
    assert goodness_of_fit(to_host(each), stats.gamma(3.0).cdf) < 2e-5

    @jax.jit
    @jax.grad
    def slope(a):
        d = marsaglia_tsang(jnp.full(4000, a))
        z = d.rsample((), keys[1])
        return jnp.mean(z + jax.lax.stop_gradient(z) * d.score_parts(z).score_function)

    assert abs(float(slope(2.7)) - 1.0) < 0.1
    lost = jax.jit(lambda key: dist.Rejector(dist.Normal(0.0, 1.0), lambda z: z * np.nan, 0.0).sample((2,), key))(keys[2])
    assert np.isnan(to_host(lost)).all()
    through = dist.Rejector(dist.Dirichlet(np.ones(3)), half_always, np.log(0.5))
    assert through.rsample((2,), keys[3]).shape == (2, 3)
    with pytest.raises(ValueError, match="Reverse-mode"):
        jax.grad(lambda p: dist.Rejector(dist.Dirichlet(p), half_always, np.log(0.5)).rsample((), keys[3])[0])(jnp.ones(3))
