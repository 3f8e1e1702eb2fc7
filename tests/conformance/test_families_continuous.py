"""Edges, tails and extreme parameters of the continuous families. Oracles: mpmath on the published densities, closed forms."""

import mpmath
import numpy as np
import pytest
from mpmath import mp

from ppl import constraints, ops
from ppl import distributions as dist
from ppl.errors import ConstraintError, GapError
from ppl.testing import assert_close, to_host

pytestmark = pytest.mark.strict

INF, NAN = np.inf, np.nan
DIGITS = 60


def exact(fn):
    """Return ``fn`` of mpmath numbers as a function of arrays, worked out in many digits."""

    def call(*arguments):
        with mpmath.workdps(DIGITS):
            return np.vectorize(lambda *numbers: float(fn(*(mp.mpf(float(x)) for x in numbers))), otypes=[float])(*arguments)

    return call


def grad(fn, point):
    return to_host(ops.autodiff.grad(fn)(ops.array(point)))


# --- extreme parameters ---

TINY, HUGE = 1e-6, 1e6
MOST_COMBINATIONS = 27
LOCATIONS = {"loc": (0.0, -1e3, HUGE), "scale": (TINY, 0.7, HUGE)}


def _two_sided(x, loc, left, right):
    return -abs(x - loc) / (left if x < loc else right) - mp.log(left + right)


# Name: parameters that are tried in all combinations, their quantile, their log density.
EXTREMES = {
    "Cauchy": (LOCATIONS, lambda p, m, s: m + s * mp.tan(mp.pi * (p - mp.mpf(1) / 2)),
               lambda x, m, s: -mp.log(mp.pi * s * (1 + ((x - m) / s) ** 2))),
    "Laplace": (LOCATIONS, lambda p, m, s: m + s * (mp.log(2 * p) if p < 0.5 else -mp.log(2 - 2 * p)),
                lambda x, m, s: -abs(x - m) / s - mp.log(2 * s)),
    "Gumbel": (LOCATIONS, lambda p, m, s: m - s * mp.log(-mp.log(p)),
               lambda x, m, s: -(x - m) / s - mp.exp(-(x - m) / s) - mp.log(s)),
    "SoftLaplace": (LOCATIONS, lambda p, m, s: m + s * mp.log(mp.tan(mp.pi * p / 2)),
                    lambda x, m, s: -mp.log(mp.pi * s * mp.cosh((x - m) / s))),
    "AsymmetricLaplace": ({**LOCATIONS, "asymmetry": (1e-3, 1.0, 1e3)},
                          lambda p, m, s, k: m + (s * k * mp.log(2 * p) if p < 0.5 else -s / k * mp.log(2 - 2 * p)),
                          lambda x, m, s, k: _two_sided(x, m, s * k, s / k)),
    "SkewLaplace": ({"loc": (0.0, HUGE), "left_scale": (TINY, HUGE), "right_scale": (TINY, 0.3, HUGE)},
                    lambda p, m, a, b: m + (a * mp.log(2 * p) if p < 0.5 else -b * mp.log(2 - 2 * p)), _two_sided),
    "Pareto": ({"scale": (TINY, 1.0, HUGE), "alpha": (0.03, 1.0, HUGE)}, lambda p, s, a: s * (1 - p) ** (-1 / a),
               lambda x, s, a: mp.log(a) + a * mp.log(s) - (a + 1) * mp.log(x)),
    "Weibull": ({"scale": (TINY, 1.0, HUGE), "concentration": (0.03, 1.0, HUGE)},
                lambda p, s, k: s * (-mp.log(1 - p)) ** (1 / k),
                lambda x, s, k: mp.log(k / s) + (k - 1) * mp.log(x / s) - (x / s) ** k),
    "Kumaraswamy": ({"concentration1": (0.03, 1.0, 300.0, HUGE), "concentration0": (0.3, 1.0, 300.0, HUGE)},
                    lambda p, a, b: (1 - (1 - p) ** (1 / b)) ** (1 / a),
                    lambda x, a, b: mp.log(a * b) + (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x**a)),
    "LogUniform": ({"low": (TINY, 0.5), "high": (0.5 + TINY, HUGE)}, lambda p, a, b: a * (b / a) ** p,
                   lambda x, a, b: -mp.log(x * mp.log(b / a))),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTREMES)
def test_densities_and_gradients_at_extreme_parameters(backend, name):
    grid, quantile, log_density = EXTREMES[name]
    columns = [column.reshape(-1, 1) for column in np.meshgrid(*grid.values(), indexing="ij")]
    values = exact(quantile)(np.array([0.01, 0.4, 0.9]), *columns)
    parameters = dict(zip(grid, columns, strict=True))
    family = getattr(dist, name)
    # A log density is as exact as the sum of its terms, which reach 1e6 times a logarithm near zero here.
    assert_close(family(**parameters).log_prob(values), exact(log_density)(values, *columns), rtol=1e-10, atol=1e-10)
    for varied, column in parameters.items():

        def total(p, varied=varied):
            return ops.sum(family(**{**parameters, varied: p}, validate_args=False).log_prob(values))

        assert np.isfinite(grad(total, column)).all()
    fixed = family(**parameters, validate_args=False)
    assert np.isfinite(grad(lambda x: ops.sum(fixed.log_prob(x)), values)).all()


def test_draws_at_extreme_parameters_are_in_the_support(backend):
    for name, (grid, _, _) in EXTREMES.items():
        columns = [np.resize(column, MOST_COMBINATIONS) for column in np.meshgrid(*grid.values(), indexing="ij")]
        d = getattr(dist, name)(*columns)
        draws = d.sample((50,))
        assert not bool(ops.any(ops.isnan(draws)))
        assert bool(ops.all(d.support(draws)))


def test_variances_that_cancel(backend):
    k = np.array([0.5, 3.0, 49.0, 51.0, 1e3, 1e6])
    weibull = exact(lambda k: mp.gamma(1 + 2 / k) - mp.gamma(1 + 1 / k) ** 2)
    assert_close(dist.Weibull(1.0, k).variance, weibull(k), rtol=1e-9)
    b = np.array([[0.2], [1.0], [30.0]])
    kumaraswamy = exact(lambda a, b: b * mp.beta(1 + 2 / a, b) - (b * mp.beta(1 + 1 / a, b)) ** 2)
    assert_close(dist.Kumaraswamy(k, b).variance, kumaraswamy(k, b), rtol=1e-9)
    high = np.array([1.0 + 1e-8, 1.01, 2.0, 2.8, 1e6])
    log_uniform = exact(lambda b: (b**2 - 1) / (2 * mp.log(b)) - ((b - 1) / mp.log(b)) ** 2)
    assert_close(dist.LogUniform(1.0, high).variance, log_uniform(high), rtol=1e-9)
    for variance in (
        lambda p: dist.Weibull(1.0, p).variance,
        lambda p: dist.Kumaraswamy(p, b).variance,
        lambda p: dist.LogUniform(1.0, 1.0 + p).variance,
    ):
        assert np.isfinite(grad(lambda p, variance=variance: ops.sum(variance(p)), k)).all()


# --- tails and edges ---


def test_distribution_functions_keep_the_digits_of_the_tails(backend):
    far = np.array([-1e20, -1e5, -3.0])
    assert_close(dist.Cauchy().cdf(far), exact(lambda x: mp.acot(-x) / mp.pi)(far))
    low = np.array([-700.0, -40.0])
    assert_close(dist.Laplace().cdf(low), exact(lambda x: mp.exp(x) / 2)(low))
    assert_close(dist.SoftLaplace(0.0, 1.0).cdf(low), exact(lambda x: 2 * mp.atan(mp.exp(x)) / mp.pi)(low))
    assert_close(dist.Normal().cdf([-30.0, -9.0]), exact(mp.ncdf)([-30.0, -9.0]))
    small = np.array([1e-300, 1e-20, 1e-3])
    assert_close(dist.Cauchy().icdf(small), exact(lambda p: -mp.cot(mp.pi * p))(small))
    assert_close(dist.Laplace().icdf(small), exact(lambda p: mp.log(2 * p))(small))
    assert_close(dist.SoftLaplace(0.0, 1.0).icdf(small), exact(lambda p: mp.log(mp.tan(mp.pi * p / 2)))(small))
    assert_close(dist.HalfNormal().cdf(small), exact(lambda x: mp.erf(x / mp.sqrt(2)))(small))
    assert_close(dist.Exponential().cdf(small), exact(lambda x: -mp.expm1(-x))(small))
    assert_close(dist.Weibull(1.0, 0.5).cdf(small), exact(lambda x: -mp.expm1(-mp.sqrt(x)))(small))
    assert_close(dist.Kumaraswamy(0.5, 3.0).cdf(small), exact(lambda x: 1 - (1 - mp.sqrt(x)) ** 3)(small))
    near_one = np.array([1.0 - 1e-12, 0.999])
    assert_close(dist.HalfCauchy().icdf(near_one), exact(lambda p: mp.tan(mp.pi * p / 2))(near_one))
    assert_close(dist.Cauchy().icdf(near_one), exact(lambda p: -mp.cot(mp.pi * p))(near_one))


@pytest.mark.parametrize(("make", "ends"), [
    (lambda: dist.Cauchy(), (-INF, INF)),
    (lambda: dist.Laplace(), (-INF, INF)),
    (lambda: dist.Gumbel(), (-INF, INF)),
    (lambda: dist.SoftLaplace(0.0, 1.0), (-INF, INF)),
    (lambda: dist.AsymmetricLaplace(0.0, 1.0, 2.0), (-INF, INF)),
    (lambda: dist.SkewLaplace(0.0, 1.0, 2.0), (-INF, INF)),
    (lambda: dist.Pareto(2.0, 3.0), (2.0, INF)),
    (lambda: dist.Weibull(2.0, 3.0), (0.0, INF)),
    (lambda: dist.Kumaraswamy(2.0, 3.0), (0.0, 1.0)),
    (lambda: dist.LogUniform(1.0, 4.0), (1.0, 4.0)),
    (lambda: dist.HalfCauchy(2.0), (0.0, INF)),
    (lambda: dist.HalfNormal(2.0), (0.0, INF)),
    (lambda: dist.LogNormal(), (0.0, INF)),
])  # fmt: skip
def test_quantiles_of_zero_and_one_are_the_ends(backend, make, ends):
    assert_close(make().icdf([0.0, 1.0]), ends)


@pytest.mark.parametrize(("make", "low", "high"), [
    (lambda: dist.Pareto(2.0, 3.0, validate_args=False), 1.0, None),
    (lambda: dist.Weibull(2.0, 3.0, validate_args=False), -1.0, None),
    (lambda: dist.Kumaraswamy(2.0, 3.0, validate_args=False), -1.0, 1.5),
    (lambda: dist.LogUniform(1.0, 4.0, validate_args=False), -1.0, 5.0),
    (lambda: dist.HalfNormal(1.0, validate_args=False), -1.0, None),
    (lambda: dist.HalfCauchy(1.0, validate_args=False), -1.0, None),
    (lambda: dist.Exponential(1.0, validate_args=False), -1.0, None),
    (lambda: dist.LogNormal(0.0, 1.0, validate_args=False), -1.0, None),
    (lambda: dist.Uniform(1.0, 4.0, validate_args=False), -1.0, 5.0),
])  # fmt: skip
def test_outside_the_support_there_is_no_mass(backend, make, low, high):
    d = make()
    for value, below in ((low, 0.0), (high, 1.0)):
        if value is not None:
            assert_close(d.log_prob(value), -INF)
            assert_close(d.cdf(value), below)
            assert grad(lambda x: d.log_prob(x), value) == 0.0


def test_densities_on_the_boundary(backend):
    assert_close(dist.Weibull(2.0, [0.5, 1.0, 3.0]).log_prob(0.0), [INF, -np.log(2.0), -INF])
    assert_close(dist.Kumaraswamy([0.5, 1.0, 3.0], 2.5).log_prob(0.0), [INF, np.log(2.5), -INF])
    assert_close(dist.Kumaraswamy(2.5, [0.5, 1.0, 3.0]).log_prob(1.0), [INF, np.log(2.5), -INF])
    assert_close(dist.Pareto(2.0, 3.0).log_prob(2.0), np.log(1.5))
    assert_close(dist.LogUniform(1.0, 4.0).log_prob([1.0, 4.0]), -np.log([np.log(4.0), 4.0 * np.log(4.0)]))
    assert_close(dist.AsymmetricLaplace(1.0, 2.0, 2.0).log_prob(1.0), -np.log(5.0))
    # At concentration one a Weibull is exponential: its slope at zero is minus the rate, in the scale as in the value.
    assert_close(grad(lambda x: dist.Weibull(2.0, 1.0).log_prob(x), 0.0), -0.5)
    assert_close(grad(lambda s: dist.Weibull(s, 1.0).log_prob(0.0), 2.0), -0.5)
    assert_close(grad(lambda b: dist.Kumaraswamy(1.0, b).log_prob(0.0), 2.0), 0.5)
    assert_close(grad(lambda a: dist.Pareto(2.0, a).log_prob(2.0), 4.0), 0.25)


# --- moments that are infinite or undefined ---


def test_moments_that_do_not_exist(backend):
    alpha = np.array([0.5, 1.0, 1.5, 2.0, 4.0])
    assert_close(dist.Pareto(3.0, alpha).mean, [INF, INF, 9.0, 6.0, 4.0])
    assert_close(dist.Pareto(3.0, alpha).variance, [INF, INF, INF, INF, 2.0])
    slope = grad(lambda a: ops.sum(ops.where(a > 1, dist.Pareto(3.0, a).mean, 0.0)), alpha)
    assert_close(slope, [0.0, 0.0, -12.0, -3.0, -1.0 / 3.0])
    assert np.isnan(to_host(dist.Cauchy([0.0, 1.0], 1.0).mean)).all()
    assert_close(dist.Cauchy([0.0, 1.0], 1.0).variance, [INF, INF])
    assert_close(dist.Cauchy(0.0, 2.0).entropy(), np.log(8.0 * np.pi))
    assert_close(dist.LogNormal([-1e4, 0.0], [100.0, 1e-6]).variance, exact(
        lambda m, s: mp.expm1(s**2) * mp.exp(2 * m + s**2))([-1e4, 0.0], [100.0, 1e-6]))  # fmt: skip


# --- spellings ---


def test_the_two_laplaces_with_two_sides_are_one(backend):
    skew, other = dist.SkewLaplace(0.5, 2.0, 0.5), dist.AsymmetricLaplace(0.5, 1.0, 2.0)
    assert_close([skew.scale, skew.asymmetry], [1.0, 2.0])
    assert_close([other.left_scale, other.right_scale], [2.0, 0.5])
    values = np.array([-3.0, 0.5, 0.7])
    oracle = exact(lambda x: _two_sided(x, mp.mpf(1) / 2, mp.mpf(2), mp.mpf(1) / 2))(values)
    assert_close(skew.log_prob(values), oracle)
    assert_close(other.log_prob(values), oracle)


def test_arguments_by_keyword(backend):
    assert_close(dist.Weibull(concentration=2.0, scale=3.0).log_prob(1.0), np.log(2.0 / 9.0) - 1.0 / 9.0)
    assert_close(dist.Kumaraswamy(concentration0=3.0, concentration1=2.0).log_prob(0.5), np.log(3.0 * 0.75**2))
    assert_close(dist.Pareto(alpha=2.0, scale=3.0).log_prob(6.0), np.log(18.0 / 6.0**3))
    for d in (dist.Cauchy(), dist.Laplace(), dist.Gumbel(), dist.AsymmetricLaplace()):
        assert (to_host(d.loc), to_host(d.scale)) == (0.0, 1.0)


def test_single_precision_is_kept(backend):
    for name, (grid, _, _) in EXTREMES.items():
        d = getattr(dist, name)(*(np.full((2,), 0.5 + i, "float32") for i in range(len(grid))))
        draw = d.sample()
        for result in (draw, d.log_prob(draw), d.cdf(draw), d.icdf(d.cdf(draw)), d.entropy(), d.mean, d.variance):
            assert ops.dtype_name(result) == "float32"


# --- errors ---


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.Cauchy(0.0, [1.0, -2.0]), r"Cauchy: parameter 'scale'.*positive.*-2.0 at index \(1,\)"),
    (lambda: dist.Laplace(NAN, 1.0), "Laplace: parameter 'loc'.*real.*nan"),
    (lambda: dist.Gumbel(0.0, 0.0), "Gumbel: parameter 'scale'.*positive.*0.0"),
    (lambda: dist.SoftLaplace(0.0, -1.0), "SoftLaplace: parameter 'scale'.*positive"),
    (lambda: dist.AsymmetricLaplace(0.0, 1.0, -1.0), "AsymmetricLaplace: parameter 'asymmetry'.*positive"),
    (lambda: dist.SkewLaplace(0.0, 1.0, 0.0), "SkewLaplace: parameter 'right_scale'.*positive"),
    (lambda: dist.Pareto(1.0, -3.0), "Pareto: parameter 'alpha'.*positive.*-3.0"),
    (lambda: dist.Weibull(-1.0, 1.0), "Weibull: parameter 'scale'.*positive"),
    (lambda: dist.Kumaraswamy(1.0, 0.0), "Kumaraswamy: parameter 'concentration0'.*positive"),
    (lambda: dist.LogUniform(2.0, 1.0), "LogUniform: parameter 'high'.*greater_than"),
    (lambda: dist.LogUniform(-1.0, 1.0), "LogUniform: parameter 'low'.*positive"),
    (lambda: dist.Pareto(2.0, 3.0).log_prob([3.0, 1.0]), r"Pareto: value.*greater_than_eq.*1.0 at index \(1,\)"),
    (lambda: dist.Weibull(2.0, 3.0).log_prob(-1.0), "Weibull: value.*nonnegative.*-1.0"),
    (lambda: dist.Kumaraswamy(2.0, 3.0).log_prob(1.5), "Kumaraswamy: value.*unit_interval.*1.5"),
    (lambda: dist.LogUniform(1.0, 2.0).log_prob(2.5), "LogUniform: value.*interval.*2.5"),
])  # fmt: skip
def test_bad_parameters_and_values_get_a_sentence(backend, make, sentence):
    with pytest.raises(ConstraintError, match=sentence):
        make()


def test_what_is_missing_says_why(backend):
    for d in (dist.Cauchy(), dist.Normal(), dist.Uniform(), dist.LogNormal(), dist.HalfNormal(), dist.HalfCauchy(),
              dist.Exponential()):  # fmt: skip
        with pytest.raises(GapError, match=f"{type(d).__name__} has no enumerate_support: the support is not a finite set"):
            d.enumerate_support()
    with pytest.raises(GapError, match="Delta has no enumerate_support: its one value"):
        dist.Delta(0.0).enumerate_support()
    with pytest.raises(GapError, match="Delta of event_dim=1 has no cdf: a vector"):
        dist.Delta([0.0, 1.0], event_dim=1).cdf([0.0, 1.0])


def test_the_steps_of_a_point_mass(backend):
    d = dist.Delta([1.0, 2.0], log_density=-0.5)
    assert_close(d.cdf(1.5), [1.0, 0.0])
    assert_close(d.cdf([1.0, 2.0]), [1.0, 1.0])
    assert_close(d.icdf([[0.1, 0.2], [0.5, 1.0]]), [[1.0, 2.0], [1.0, 2.0]])
    assert_close(d.entropy(), [0.5, 0.5])


# --- torch and jax ---


@pytest.mark.backends("torch")
def test_torchs_families_are_torchs_classes(backend):
    import torch

    for name in ("Cauchy", "Laplace", "Gumbel", "Pareto", "Weibull", "Kumaraswamy"):
        d = getattr(dist, name)(1.5, 2.0)
        theirs = getattr(torch.distributions, name)
        assert isinstance(d, theirs)
        assert isinstance(d.expand((3,)), theirs)
        value = d.icdf(0.3)
        assert_close(d.expand((3,)).log_prob(value), theirs(torch.tensor(1.5), torch.tensor(2.0)).log_prob(value).expand(3))


@pytest.mark.backends("jax")
@pytest.mark.parametrize("name", [*EXTREMES, "SpanningTree"])
def test_draws_compile_and_map(backend, name):
    import jax
    import jax.numpy as jnp

    count = 1 if name == "SpanningTree" else len(EXTREMES[name][0])
    parameters = [jnp.array([0.3, 1.0, 2.0])] if name == "SpanningTree" else [jnp.asarray(0.5 + i) for i in range(count)]
    d = getattr(dist, name)(*parameters)
    key = jax.random.key(1)
    draws = jax.jit(lambda k: d.sample((3,), k))(key)
    assert_close(draws, to_host(d.sample((3,), key)))
    keys = jax.random.split(key, 4)
    mapped = jax.jit(jax.vmap(lambda k: d.sample((3,), k)))(keys)
    assert_close(mapped[2], to_host(d.sample((3,), keys[2])))
    stacked = jax.vmap(getattr(dist, name))(*(jnp.stack([p, p]) for p in parameters))
    assert stacked.batch_shape == (2,)
    assert_close(jax.jit(lambda d, x: d.log_prob(x))(stacked, draws[0]), np.repeat(to_host(d.log_prob(draws[0])), 2))


def test_supports(backend):
    assert dist.Weibull(1.0, 1.0).support == constraints.nonnegative
    assert dist.Kumaraswamy(1.0, 1.0).support == constraints.unit_interval
    assert "greater_than_eq" in repr(dist.Pareto(1.0, 1.0).support)
