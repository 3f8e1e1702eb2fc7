"""What no row says of the positive, truncated and circular families: quantiles, edges, far tails, errors, measures."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, special, stats

from ppl import constraints, ops
from ppl import distributions as dist
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, monte_carlo_z, numerical_gradient, to_host

pytestmark = pytest.mark.strict

INF = np.inf
SHARES = np.array([1e-20, 1e-5, 0.01, 0.3, 0.5, 0.77, 0.99, 1.0 - 1e-9])
DRAWS = 10_000


def grad(fn, point):
    return to_host(ops.autodiff.grad(fn)(ops.array(point)))


# --- quantiles ---

QUANTILES = [
    ("Gamma", (0.4, 3.0), stats.gamma(0.4, scale=1 / 3)),
    ("Gamma", (30.0, 0.5), stats.gamma(30.0, scale=2.0)),
    ("Gamma", (1e5, 1.0), stats.gamma(1e5)),
    ("Chi2", (3.5,), stats.chi2(3.5)),
    ("InverseGamma", (2.5, 3.0), stats.invgamma(2.5, scale=3.0)),
    ("Beta", (0.4, 0.7), stats.beta(0.4, 0.7)),
    ("Beta", (1000.0, 3.0), stats.beta(1000.0, 3.0)),
    ("FisherSnedecor", (3.5, 6.2), stats.f(3.5, 6.2)),
]


@pytest.mark.parametrize(("name", "params", "oracle"), QUANTILES, ids=[f"{row[0]}{row[1]}" for row in QUANTILES])
def test_quantiles_are_scipys(backend, name, params, oracle):
    d = getattr(dist, name)(*params)
    assert_close(d.icdf(SHARES), oracle.ppf(SHARES), rtol=1e-10)
    assert_close(d.icdf([0.0, 1.0]), oracle.ppf([0.0, 1.0]))
    assert np.isnan(to_host(d.icdf([-0.1, 1.1]))).all()


@pytest.mark.parametrize("df", [0.7, 4.0, 300.0])
def test_quantiles_of_student(backend, df):
    shares = np.array([1e-9, 1e-3, 0.3, 0.5, 0.500001, 0.77, 1.0 - 1e-9])
    with mpmath.workdps(40):
        half, middle = mpmath.mpf(df) / 2, mpmath.mpf(1) / 2
        actual = to_host(dist.StudentT(df).icdf(shares))
        for share, z in zip(shares, actual, strict=True):
            if share == 0.5:
                assert z == 0.0
                continue
            square = mpmath.mpf(float(z)) ** 2
            tail = mpmath.betainc(half, middle, 0, df / (df + square), regularized=True) / 2
            wanted = min(mpmath.mpf(float(share)), 1 - mpmath.mpf(float(share)))
            # The slope of the tail turns a relative error of z into one of the probability.
            slope = abs(float(z)) * stats.t(df).pdf(z)
            assert abs(float(tail - wanted)) < 1e-10 * slope
            assert (z < 0) == (share < 0.5)
    assert_close(dist.StudentT(df, 1.0, 2.0).icdf([0.0, 1.0]), [-INF, INF])


@pytest.mark.parametrize(("name", "params"), [("Gamma", (2.5, 3.0)), ("Beta", (2.5, 0.7)), ("StudentT", (4.0, 0.3, 2.0)),
                                              ("FisherSnedecor", (3.5, 6.2)), ("InverseGamma", (3.0, 2.0)),
                                              ("VonMises", (0.4, 3.0))])  # fmt: skip
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_quantiles_have_the_gradients_of_differences(backend, name, params, share):
    for position in range(len(params)):

        def quantile(parameter, position=position):
            return getattr(dist, name)(*params[:position], parameter, *params[position + 1 :]).icdf(share)

        point = np.array(params[position])
        assert_close(grad(quantile, point), numerical_gradient(quantile, point), rtol=1e-6, atol=1e-9)

    def inverse(p):
        return getattr(dist, name)(*params).icdf(p)

    assert_close(grad(inverse, share), numerical_gradient(inverse, np.array(share)), rtol=1e-6)


def test_student_in_the_middle_and_at_many_degrees(backend):
    assert_close(grad(lambda x: dist.StudentT(4.0).cdf(x), 0.0), stats.t(4.0).pdf(0.0))
    assert grad(lambda df: dist.StudentT(df).cdf(0.0), 4.0) == 0.0
    z = np.array([-2.5, -0.3, 0.7])
    assert_close(dist.StudentT(1e6).cdf(z), stats.t(1e6).cdf(z), rtol=1e-9)


# --- densities that integrate to one, edges ---


@pytest.mark.parametrize(("make", "low", "high"), [
    (lambda: dist.Chi2(3.0), 0.0, INF),
    (lambda: dist.InverseGamma(2.0, 3.0), 0.0, INF),
    (lambda: dist.FisherSnedecor(3.0, 5.0), 0.0, INF),
    (lambda: dist.TruncatedNormal(0.3, 1.7, low=1.0), 1.0, INF),
    (lambda: dist.TruncatedNormal(0.3, 1.7, low=-4.0, high=1.0), -4.0, 1.0),
    (lambda: dist.TruncatedCauchy(0.3, 1.7, high=1.0), -INF, 1.0),
    (lambda: dist.VonMises(0.3, 3.0), -np.pi, np.pi),
])  # fmt: skip
def test_densities_integrate_to_one(backend, make, low, high):
    d = make()
    nodes, weights = np.polynomial.legendre.leggauss(400)
    u = 0.5 * (nodes + 1.0)
    if np.isinf(low) or np.isinf(high):
        end, sign = (low, 1.0) if np.isfinite(low) else (high, -1.0)
        x, jacobian = end + sign * u / (1.0 - u), 1.0 / (1.0 - u) ** 2
    else:
        x, jacobian = low + (high - low) * u, high - low
    total = (0.5 * weights * jacobian * np.exp(to_host(d.log_prob(x)))).sum()
    assert_close(total, 1.0, rtol=1e-5)
    assert abs(1.01 * total - 1.0) > 1e-3


@pytest.mark.parametrize(("make", "outside"), [
    (lambda: dist.Gamma(2.0, 1.0, validate_args=False), [-1.0]),
    (lambda: dist.Beta(2.0, 0.5, validate_args=False), [-0.5, 1.5]),
    (lambda: dist.Chi2(3.0, validate_args=False), [-1.0]),
    (lambda: dist.InverseGamma(3.0, 1.0, validate_args=False), [-1.0, 0.0]),
    (lambda: dist.FisherSnedecor(3.0, 4.0, validate_args=False), [-1.0]),
    (lambda: dist.TruncatedNormal(0.0, 1.0, low=0.0, high=1.0, validate_args=False), [-0.1, 1.1]),
    (lambda: dist.TruncatedCauchy(0.0, 1.0, low=0.0, validate_args=False), [-0.1]),
])  # fmt: skip
def test_nothing_lies_outside_the_support(backend, make, outside):
    d = make()
    assert (to_host(d.log_prob(outside)) == -INF).all()
    assert np.isin(to_host(d.cdf(outside)), [0.0, 1.0]).all()
    name = next(iter(d.arg_constraints))
    rebuilt = {key: getattr(d, key) for key in d.arg_constraints if getattr(d, key) is not None}

    def total(parameter):
        moved = type(d).definition(**{**rebuilt, name: parameter}, validate_args=False)
        return ops.sum(moved.log_prob(ops.array([*outside, 0.5])))

    assert np.isfinite(grad(total, to_host(getattr(d, name)))).all()


def test_moments_that_do_not_exist(backend):
    assert_close(dist.InverseGamma([0.5, 1.5], 1.0).mean, [INF, 2.0])
    assert_close(dist.InverseGamma([1.5, 3.0], 1.0).variance, [INF, 0.25])
    assert_close(dist.FisherSnedecor(3.0, [1.0, 3.0]).mean, [INF, 3.0])
    assert_close(dist.FisherSnedecor(3.0, [3.0, 6.0]).variance, [INF, stats.f(3.0, 6.0).var()])
    assert to_host(dist.TruncatedCauchy(0.0, 1.0, low=0.0).mean) == INF
    assert to_host(dist.TruncatedCauchy(0.0, 1.0, high=0.0).mean) == -INF
    assert np.isnan(to_host(dist.TruncatedCauchy(0.0, 1.0).mean))


def test_chi2_is_a_gamma(backend):
    d = dist.Chi2([3.0, 5.0])
    assert isinstance(d, dist.Gamma)
    assert_close(d.concentration, [1.5, 2.5])
    assert_close(d.rate, [0.5, 0.5])
    assert_close(d.expand((4, 2)).concentration, np.broadcast_to([1.5, 2.5], (4, 2)))


# --- truncation ---


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (None, 1.0), (3.0, 3.5), (1e6, None), (None, -1e6), (1.0, 1.0001),
                                           (-1e-4, 1e-4), (-100.0, 100.0), (1e6, 1e6 + 1e-5)])  # fmt: skip
def test_the_truncated_normal_keeps_its_digits(backend, low, high):
    """Against 60 digits, at points inside: the density, the mean and the variance."""
    d = dist.TruncatedNormal(0.0, 1.0, low=low, high=high)
    with mpmath.workdps(60):
        start, end = (mpmath.mpf(side * float("inf") if bound is None else bound) for bound, side in ((low, -1), (high, 1)))
        if start > 0:
            mass = (mpmath.erfc(start / mpmath.sqrt(2)) - mpmath.erfc(end / mpmath.sqrt(2))) / 2
        else:
            mass = (mpmath.erfc(-end / mpmath.sqrt(2)) - mpmath.erfc(-start / mpmath.sqrt(2))) / 2
        near = high if low is None else low
        step = 1e-6 if abs(near) > 1e3 else 0.3
        points = [near + (step * share if high is None else -step * share if low is None else (high - low) * share)
                  for share in (0.0, 0.4, 0.9)]  # fmt: skip
        expected = [float(mpmath.log(mpmath.npdf(mpmath.mpf(x)) / mass)) for x in points]
        ends = [(mpmath.npdf(x), 0 if mpmath.isinf(x) else x * mpmath.npdf(x)) for x in (start, end)]
        mean = (ends[0][0] - ends[1][0]) / mass
        variance = 1 + (ends[0][1] - ends[1][1]) / mass - mean**2
    assert_close(d.log_prob(points), expected)
    assert_close(d.mean, float(mean))
    assert_close(d.variance, float(variance))


@pytest.mark.parametrize(("low", "high"), [(50.0, None), (None, -50.0), (-1.0, 2.0), (30.0, 30.05), (9.0, 40.0)])
def test_truncated_normal_draws_and_quantiles_in_the_tail(backend, low, high):
    d = dist.TruncatedNormal(0.0, 1.0, low=low, high=high)
    shares = np.array([0.01, 0.3, 0.7, 0.99])
    x = to_host(d.icdf(shares))
    with mpmath.workdps(700):
        tails = [mpmath.erfc(mpmath.mpf(side * float("inf") if bound is None else bound) / mpmath.sqrt(2)) / 2
                 for bound, side in ((low, -1), (high, 1))]  # fmt: skip
        beyond = [mpmath.erfc(mpmath.mpf(float(point)) / mpmath.sqrt(2)) / 2 for point in x]
        back = [float((tails[0] - tail) / (tails[0] - tails[1])) for tail in beyond]
    assert_close(back, shares, rtol=1e-9)
    draws = to_host(d.sample((DRAWS,)))
    uniform = to_host(d.cdf(draws))
    assert stats.kstest(uniform, "uniform").pvalue > 2e-5
    assert stats.kstest(uniform**1.2, "uniform").pvalue < 2e-5


@pytest.mark.parametrize("bounds", [{"low": 0.4, "high": 1.5}, {"low": 40.0}, {"high": 0.2}])
def test_truncated_normal_quantiles_have_the_gradients_of_differences(backend, bounds):
    params = {"loc": 0.3, "scale": 1.7, **bounds}
    for name, value in params.items():

        def quantile(parameter, name=name):
            return dist.TruncatedNormal(**{**params, name: parameter}).icdf(0.3)

        assert_close(grad(quantile, value), numerical_gradient(quantile, np.array(value)), rtol=1e-5, atol=1e-8)


def test_truncated_cauchy_far_out(backend):
    d = dist.TruncatedCauchy(0.0, 1.0, low=1e6)
    # Far out the density is that of a Pareto variable: its quantile is low / (1 - p), to the order of 1 / low**2.
    shares = np.array([0.0, 0.3, 0.9, 0.999])
    assert_close(d.icdf(shares), 1e6 / (1.0 - shares), rtol=1e-10)
    assert_close(d.cdf(1e6 / (1.0 - shares)), shares, rtol=1e-10)
    narrow = dist.TruncatedCauchy(0.0, 1.0, low=50.0, high=50.01)
    weight = lambda k: integrate.quad(lambda s: s**k / (1.0 + (50.0 + s) ** 2), 0.0, 0.01, epsabs=0.0)[0]  # noqa: E731
    assert_close(narrow.variance, weight(2) / weight(0) - (weight(1) / weight(0)) ** 2, rtol=1e-9)


# --- directions ---


@pytest.mark.parametrize("concentration", [1e-6, 0.5, 3.0, 1e3, 1e6])
def test_von_mises_pathwise_gradient(backend, concentration):
    """E[cos(x - mu)] = A(k), whose derivative is 1 - A / k - A**2; E[sin x] = A sin(mu)."""
    repeated = ops.array(np.full(DRAWS, concentration))
    with mpmath.workdps(40):
        ratio = mpmath.besseli(1, concentration) / mpmath.besseli(0, concentration)
        slope, length = float(1 - ratio / concentration - ratio**2), float(ratio)
    cosines = to_host(ops.autodiff.grad(lambda k: ops.sum(ops.cos(dist.VonMises(0.7, k).rsample() - 0.7)))(repeated))
    scale = cosines.std() / np.sqrt(DRAWS)
    assert abs(monte_carlo_z(cosines, slope)) < 4.9
    assert abs(monte_carlo_z(cosines, slope + 20 * scale)) > 4.9
    turned = to_host(ops.autodiff.grad(lambda m: ops.sum(ops.sin(dist.VonMises(m, concentration).rsample())))(
        ops.array(np.full(DRAWS, 0.7))))  # fmt: skip
    assert abs(monte_carlo_z(turned, length * np.cos(0.7))) < 4.9


def test_von_mises_is_normal_where_it_is_narrow(backend):
    d = dist.VonMises(0.5, 1e6)
    z = np.array([-3.0, -0.5, 0.0, 2.0])
    # The next term of the expansion in 1 / concentration is below 1e-5 here.
    assert_close(d.log_prob(0.5 + z / 1e3), stats.norm.logpdf(z) + np.log(1e3), rtol=1e-5)
    assert_close(d.cdf(0.5 + z / 1e3), stats.norm.cdf(z), rtol=1e-4)
    assert_close(d.variance, 0.5e-6, rtol=1e-6)
    assert_close(d.log_prob(0.5 + 2 * np.pi), to_host(d.log_prob(0.5)), rtol=1e-6)
    assert (np.abs(to_host(dist.VonMises(3.0, 2.0).sample((100,)))) <= np.pi).all()


def test_von_mises_quantiles_invert_an_integral(backend):
    x = np.array([-3.0, -1.0, 0.5, 2.9])
    for concentration in (0.3, 4.0):
        areas = [integrate.quad(stats.vonmises(concentration, loc=2.5).pdf, -np.pi, end, epsabs=1e-13)[0] for end in x]
        assert_close(dist.VonMises(2.5, concentration).cdf(x), areas, rtol=1e-9)
        assert_close(dist.VonMises(2.5, concentration).icdf(areas), x, rtol=1e-8)


def test_von_mises_3d(backend):
    pole = dist.VonMises3D([0.0, 0.0, 0.0])
    draws = to_host(pole.sample((DRAWS,)))
    assert_close(pole.log_prob(draws[:3]), np.full(3, -np.log(4 * np.pi)))
    assert_close(pole.variance, np.full(3, 1 / 3))
    assert_close(pole.entropy(), np.log(4 * np.pi))
    assert np.abs(monte_carlo_z(draws, np.zeros(3))).max() < 4.9
    assert_close(grad(lambda c: dist.VonMises3D(c).log_prob(draws[0]), np.zeros(3)), draws[0])
    for length in (1e-6, 0.29, 0.31, 2.0, 1e3, 1e6):
        with mpmath.workdps(60):
            k = mpmath.mpf(length)
            along = mpmath.coth(k) - 1 / k
            spread = 1 / k**2 - 1 / mpmath.sinh(k) ** 2
        d = dist.VonMises3D([0.0, length, 0.0])
        assert_close(d.mean, [0.0, float(along), 0.0])
        assert_close(d.variance, [float(along / k), float(spread), float(along / k)], rtol=1e-9)
    with pytest.raises(ShapeError, match=r"shape \(\.\.\., 3\), received \(2,\)"):
        dist.VonMises3D([1.0, 0.0])
    with pytest.raises(ConstraintError, match=r"VonMises3D: value.*sphere"):
        pole.log_prob([1.0, 1.0, 0.0])


def test_von_mises_3d_pathwise_gradient(backend):
    """E[x] = A(k) c / k, whose derivative along c is A' and across it A / k."""
    c = np.array([0.0, 0.0, 2.0])
    along, across = 1 / 4 - 1 / np.sinh(2.0) ** 2, (1 / np.tanh(2.0) - 0.5) / 2.0
    repeated = ops.array(np.tile(c, (DRAWS, 1)))
    for axis, slope in ((0, across), (2, along)):
        gradients = to_host(ops.autodiff.grad(lambda p, axis=axis: ops.sum(dist.VonMises3D(p).rsample()[..., axis]))(repeated))
        exact = np.zeros(3)
        exact[axis] = slope
        assert np.abs(monte_carlo_z(gradients, exact)).max() < 4.9
        assert np.abs(monte_carlo_z(gradients, 2.0 * exact)).max() > 4.9


# --- exponential families, measures ---


class Waiting(dist.ExponentialFamily):
    """An exponential variable whose entropy comes from its log normalizer."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, rate, *, validate_args=None):
        (self.rate,) = self.promote(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def _natural_params(self):
        return (-self.rate,)

    def _log_normalizer(self, natural):
        return -ops.log(-natural)


class Die(dist.ExponentialFamily):
    """A categorical variable with vectors of natural parameters."""

    arg_constraints = {"logits": constraints.real_vector}

    def __init__(self, logits, *, validate_args=None):
        (self.logits,), batch_shape = self.promote_events((logits, 1))
        super().__init__(batch_shape, validate_args=validate_args)

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, logits):
        return ops.logsumexp(logits, axis=-1)


def test_exponential_families(backend):
    for name in ("Normal", "Gamma", "Beta", "Dirichlet", "Exponential", "Bernoulli", "Poisson", "Chi2"):
        assert issubclass(getattr(dist, name), dist.ExponentialFamily)
    for name in ("StudentT", "Uniform", "Categorical"):
        assert not issubclass(getattr(dist, name), dist.ExponentialFamily)
    rates = np.array([0.5, 2.0])
    assert_close(Waiting(rates).entropy(), stats.expon(scale=1 / rates).entropy())
    assert_close(grad(lambda r: ops.sum(Waiting(r).entropy()), rates), -1 / rates)
    logits = np.array([[0.0, 1.0, -2.0], [1.0, 1.0, 1.0]])
    assert_close(Die(logits).entropy(), stats.entropy(special.softmax(logits, -1), axis=-1))
    with pytest.raises(GapError, match="natural parameters"):
        dist.ExponentialFamily().entropy()


def test_unit(backend):
    d = dist.Unit(np.array([0.5, -2.0]))
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2,), (0,))
    assert tuple(d.sample((3,)).shape) == (3, 2, 0)
    assert_close(d.log_prob(np.zeros((3, 2, 0))), np.broadcast_to([0.5, -2.0], (3, 2)))
    assert_close(grad(lambda w: ops.sum(dist.Unit(w).log_prob(np.zeros((3, 2, 0)))), np.zeros(2)), [3.0, 3.0])
    assert tuple(d.expand((4, 2)).sample().shape) == (4, 2, 0)
    assert_close(d.to_event(1).log_prob(np.zeros((2, 0))), -1.5)
    for operation in ("entropy", "enumerate_support"):
        with pytest.raises(GapError, match="Unit has no"):
            getattr(d, operation)()


def test_improper_uniform(backend):
    d = dist.ImproperUniform(constraints.positive, (2,), (3,))
    assert d.support.event_dim == d.event_dim == 1
    assert_close(d.log_prob(np.ones((4, 2, 3))), np.zeros((4, 2)))
    with pytest.raises(ConstraintError, match="ImproperUniform: value is outside"):
        d.log_prob(-np.ones((2, 3)))
    silent = dist.ImproperUniform(constraints.positive, (2,), (3,), validate_args=False)
    assert_close(silent.log_prob(np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])), [0.0, -INF])
    assert tuple(d.expand((4, 2)).log_prob(np.ones(3)).shape) == (4, 2)
    assert dist.ImproperUniform(constraints.simplex, (), (3,)).support is constraints.simplex
    with pytest.raises(GapError, match="ImproperUniform has no sample: it is not a normalised distribution"):
        d.sample()
    with pytest.raises(ShapeError, match="at least 1 dimension"):
        dist.ImproperUniform(constraints.simplex, (), ())


# --- errors ---


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: dist.Chi2([1.0, -2.0]), r"Chi2: parameter 'df'.*positive.*-2.0 at index \(1,\)"),
    (lambda: dist.InverseGamma(0.0, 1.0), "InverseGamma: parameter 'concentration'.*positive"),
    (lambda: dist.FisherSnedecor(1.0, -1.0), "FisherSnedecor: parameter 'df2'.*positive"),
    (lambda: dist.TruncatedNormal(0.0, -1.0), "TruncatedNormal: parameter 'scale'.*positive"),
    (lambda: dist.TruncatedNormal(low=1.0, high=0.0), "TruncatedNormal: parameter 'high'.*greater_than"),
    (lambda: dist.TruncatedCauchy(low=1.0, high=1.0), "TruncatedCauchy: parameter 'high'.*greater_than"),
    (lambda: dist.VonMises(0.0, 0.0), "VonMises: parameter 'concentration'.*positive"),
    (lambda: dist.TruncatedNormal(low=1.0).log_prob(0.5), "TruncatedNormal: value.*greater_than_eq.*0.5"),
    (lambda: dist.TruncatedCauchy(high=1.0).log_prob(1.5), "TruncatedCauchy: value.*less_than_eq.*1.5"),
    (lambda: dist.InverseGamma(1.0).log_prob(0.0), "InverseGamma: value.*positive.*0.0"),
])  # fmt: skip
def test_bad_parameters_and_values_get_a_sentence(backend, make, sentence):
    with pytest.raises(ConstraintError, match=sentence):
        make()


def test_gaps_say_why(backend):
    with pytest.raises(GapError, match="TruncatedCauchy has no entropy: it has no closed form"):
        dist.TruncatedCauchy(0.0, 1.0).entropy()
    with pytest.raises(GapError, match="VonMises3D has no cdf: a vector"):
        dist.VonMises3D([0.0, 0.0, 1.0]).cdf([0.0, 0.0, 1.0])
    with pytest.raises(GapError, match="Gamma has no enumerate_support: the support is not a finite set"):
        dist.Gamma(1.0).enumerate_support()
