"""Velocity fields of mixtures and normals: they solve the transport equation, and gradients through draws are unbiased.

Densities come from scipy.stats and their derivatives from finite differences; expectations from Gauss-Hermite quadrature.
"""

import itertools

import numpy as np
import pytest
from cases import estimators
from numpy.polynomial.hermite_e import hermegauss
from scipy import special, stats

from ppl import distributions as dist
from ppl import ops
from ppl.distributions import mixture_of_diag_normals
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, monte_carlo_z, numerical_gradient, numerical_jacobian, to_host

pytestmark = pytest.mark.strict

DRAWS = 10_000
POINTS = 6
STEP = 1e-3
UNBATCHED = [case for case in estimators.CASES if not case.batch_shape]
# A parameter that is triangular moves entry by entry within the triangle; the control variate moves nothing.
MOVING = [(case, name) for case in UNBATCHED for name in case.params if name != "control_var"]
each_parameter = pytest.mark.parametrize(("case", "name"), MOVING, ids=[f"{case}-{name}" for case, name in MOVING])


def named(family):
    return next(case for case in UNBATCHED if case.name == family)


def build(case, **replaced):
    return getattr(dist, case.name)(**{**case.arrays, **replaced}, validate_args=False)


def entries(name, value):
    """Return the indices at which a parameter is free."""
    return [index for index in np.ndindex(value.shape) if name != "scale_tril" or index[0] >= index[1]]


def velocities(case, name, points):
    """Return the velocity of each free entry of a parameter at ``points``, shape ``(entries, points, D)``."""
    value = case.arrays[name]

    def moved(parameter):
        d = build(case, **{name: parameter})
        if case.name == "AVFMultivariateNormal":
            points_in = np.linalg.solve(case.arrays["scale_tril"], (points - case.arrays["loc"])[..., None])[..., 0]
            return d._attach_gradients(ops.array(points_in))
        return d._attach_gradients(ops.array(points))

    fields = []
    for index in entries(name, value):
        direction = np.zeros_like(value)
        direction[index] = 1.0
        drawn, field = ops.autodiff.jvp(moved, (ops.array(value),), (ops.array(direction),))
        assert_close(drawn, points, rtol=1e-12)
        fields.append(to_host(field))
    return np.stack(fields)


def transport_residual(case, name, rng):
    """Return the derivative of the density and the divergence of its flow, each of shape ``(entries, points)``."""
    points = case.draw((POINTS,), rng)
    dim = points.shape[-1]
    offsets = STEP * np.concatenate([sign * size * np.eye(dim) for sign, size in itertools.product((1, -1), (1.0, 0.5))])
    around = points + offsets[:, None]
    density = np.exp(case.log_density(around.reshape(-1, dim))).reshape(-1, POINTS, 1)
    flow = density * velocities(case, name, around)
    above, above_half, below, below_half = (
        np.stack([flow[:, part * dim + i, :, i] for i in range(dim)]).sum(0) for part in range(4)
    )
    coarse, fine = (above - below) / (2 * STEP), (above_half - below_half) / STEP
    divergence = (4 * fine - coarse) / 3

    def of_parameter(entry):
        return np.exp(case.oracle(**{**case.arrays, name: entry}).logpdf(points))

    slope = numerical_jacobian(of_parameter, case.arrays[name])
    return np.stack([slope[(slice(None), *index)] for index in entries(name, case.arrays[name])]), divergence


@each_parameter
def test_velocities_satisfy_the_transport_equation(backend, case, name, rng):
    slope, divergence = transport_residual(case, name, rng)
    assert np.abs(slope).max(axis=1).min() > 1e-4
    assert_close(slope + divergence, np.zeros_like(slope), atol=1e-9)


def no_flow(value, log_density, locs, *_):
    return ops.zeros_like(value[..., None, :] - locs)


@pytest.mark.parametrize("term", ["pairwise_field", "_stretching_field"])
def test_the_transport_equation_needs_each_term(backend, rng, monkeypatch, term):
    monkeypatch.setattr(mixture_of_diag_normals, term, no_flow)
    slope, divergence = transport_residual(named("MixtureOfDiagNormals"), "component_logits", rng)
    assert np.abs(slope + divergence).max() > 1e-4


# --- expectations ---


def odd(x):
    """A test function without symmetry, for arrays of any library that ``ops`` or numpy serves."""
    tanh = np.tanh if isinstance(x, np.ndarray) else ops.tanh
    return tanh(x[..., 0] + 0.5) * (1.0 + 0.7 * x[..., x.shape[-1] // 2]) + 0.3 * x[..., -1] * x[..., -1] * (x[..., 0] + 0.4)


def expectation(case, function=odd, **replaced):
    """Return E[function(x)] by tensor Gauss-Hermite quadrature over each component."""
    parameters = {**case.arrays, **replaced}
    nodes, weights = hermegauss(40)
    dim = case.event_shape[0]
    noise = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weight = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * dim, indexing="ij"), axis=-1), axis=-1).reshape(-1)
    if "scale_tril" in parameters:
        return weight @ function(parameters["loc"] + noise @ parameters["scale_tril"].T)
    if "component_scale" in parameters:
        scales = parameters["component_scale"][:, None] * parameters["coord_scale"]
        locs = np.zeros_like(scales)
    else:
        locs = parameters["locs"]
        scales = np.broadcast_to(parameters["coord_scale"], locs.shape)
    probs = special.softmax(parameters["component_logits"])
    return sum(p * (weight @ function(m + noise * s)) for p, m, s in zip(probs, locs, scales, strict=True))


def draw_gradients(case, name, function=odd):
    """Return one gradient a draw, each of a copy of the parameter of its own."""
    value = case.arrays[name]
    repeated = ops.array(np.broadcast_to(value, (DRAWS, *value.shape)).copy())
    return to_host(ops.autodiff.grad(lambda p: ops.sum(function(build(case, **{name: p}).rsample())))(repeated))


@each_parameter
def test_gradients_through_draws_are_unbiased(backend, case, name):
    free = entries(name, case.arrays[name])
    exact = numerical_gradient(lambda p: np.asarray(expectation(case, **{name: p})), case.arrays[name])
    exact = np.array([exact[index] for index in free])
    gradients = draw_gradients(case, name)
    gradients = np.stack([gradients[(slice(None), *index)] for index in free], axis=-1)
    assert np.abs(monte_carlo_z(gradients, exact)).max() < 4.9
    assert np.abs(monte_carlo_z(gradients, np.roll(exact, 1))).max() > 4.9
    assert np.abs(monte_carlo_z(gradients, np.zeros_like(exact))).max() > 4.9


def test_gradients_without_the_flow_of_the_weights_are_biased(backend, monkeypatch):
    case, name = named("MixtureOfDiagNormals"), "component_logits"
    exact = numerical_gradient(lambda p: np.asarray(expectation(case, **{name: p})), case.arrays[name])
    monkeypatch.setattr(mixture_of_diag_normals, "_stretching_field", no_flow)
    assert np.abs(monte_carlo_z(draw_gradients(case, name), exact)).max() > 4.9


# --- optimal transport ---

CORRELATED = np.array([[1.0, 0.0, 0.0], [1.5, 0.8, 0.0], [-1.0, 0.7, 0.6]])


def factor_gradients(family, function, **parameters):
    """Return the gradient of each draw with respect to the factor."""
    repeated = ops.array(np.broadcast_to(CORRELATED, (DRAWS, 3, 3)).copy())

    def total(factor):
        return ops.sum(function(family(loc=np.zeros(3), scale_tril=factor, validate_args=False, **parameters).rsample()))

    return to_host(ops.autodiff.grad(total)(repeated))


@pytest.mark.parametrize("function", [lambda x: ops.sum(ops.cos(x), axis=-1), lambda x: ops.sum(x * x, axis=-1)],
                         ids=["cosine", "quadratic"])  # fmt: skip
def test_optimal_transport_has_gradients_of_less_variance(backend, function):
    """As Jankowiak and Obermeyer (2018) report for the factor of a correlated normal."""
    optimal = np.tril(factor_gradients(dist.OMTMultivariateNormal, function).var(axis=0)).sum()
    trick = np.tril(factor_gradients(dist.MultivariateNormal, function).var(axis=0)).sum()
    assert optimal < 0.9 * trick


def test_optimal_velocities_are_symmetric_and_of_least_motion(backend):
    """A gradient field: its matrix is symmetric, and no other velocity of the same effect has less mean square."""
    case = named("OMTMultivariateNormal")
    covariance = case.arrays["scale_tril"] @ case.arrays["scale_tril"].T
    matrices = np.swapaxes(velocities(case, "scale_tril", case.arrays["loc"] + np.eye(3)), -1, -2)
    assert_close(matrices, np.swapaxes(matrices, -1, -2), atol=1e-14)
    energy = np.trace(matrices @ covariance @ matrices, axis1=-2, axis2=-1)
    # The reparameterisation trick moves one coordinate by a standard normal number.
    assert (energy < 1.0 + 1e-12).all()
    assert energy.min() < 0.9


# --- adaptive velocity fields ---


def adaptive(control_var, factor=CORRELATED):
    return dist.AVFMultivariateNormal(np.zeros(3), factor, control_var)


def test_second_moment_is_that_of_the_gradients(backend):
    control = np.array(estimators.CONTROL)
    moment = adaptive(control).gradient_second_moment(odd, (DRAWS,), ops.random.key(0))
    repeated = ops.array(np.broadcast_to(CORRELATED, (DRAWS, 3, 3)).copy())
    gradients = ops.autodiff.grad(lambda p: ops.sum(odd(adaptive(control, p).rsample((), ops.random.key(0)))))(repeated)
    assert_close(moment, np.square(to_host(gradients)).sum((-2, -1)).mean(), rtol=1e-9)

    def loss(control):
        return adaptive(control).gradient_second_moment(odd, (50,), ops.random.key(1))

    assert_close(ops.autodiff.grad(loss)(ops.array(control)), numerical_gradient(loss, control), "finite_difference")


def test_a_backward_pass_reaches_the_control_variate_on_torch(backend):
    control = ops.array(estimators.CONTROL)
    slope = ops.autodiff.grad(lambda c: odd(adaptive(c).rsample((), ops.random.key(0))))(control)
    moment = ops.autodiff.grad(lambda c: adaptive(c).gradient_second_moment(odd, (), ops.random.key(0)))(control)
    assert np.abs(to_host(moment)).max() > 1e-2
    assert_close(slope, (0.5 if backend == "torch" else 0.0) * to_host(moment))


def wave(x):
    return ops.cos(ops.sum(x, axis=-1))


def test_a_learnt_control_variate_lowers_the_variance_and_leaves_the_mean(backend, rng):
    slope = ops.autodiff.grad(lambda c, key: adaptive(c).gradient_second_moment(wave, (100,), key))
    control, key = ops.array(0.1 * rng.normal(size=(2, 2, 3))), ops.random.key(0)
    for step in range(80):
        control = control - 0.2 * slope(control, ops.random.fold_in(key, step))
    plain = factor_gradients(dist.MultivariateNormal, wave)
    learnt = factor_gradients(dist.AVFMultivariateNormal, wave, control_var=to_host(control))
    below = np.tril_indices(3, -1)
    assert learnt.var(axis=0)[below].sum() < 0.85 * plain.var(axis=0)[below].sum()
    # The sum is normal, and the expectation of its cosine exp(-variance / 2).
    exact = -np.exp(-0.5 * np.square(CORRELATED.sum(0)).sum()) * np.broadcast_to(CORRELATED.sum(0), (3, 3))
    triangle = np.tril_indices(3)
    assert np.abs(monte_carlo_z(learnt[:, *triangle], exact[triangle])).max() < 4.9
    assert np.abs(monte_carlo_z(learnt[:, *triangle], 1.3 * exact[triangle])).max() > 4.9


# --- edges ---


def gradients_of_draws(build_one, parameters, draws=50):
    """Return gradients of a sum over draws of one key with respect to each of ``parameters``."""

    def total(chosen):
        return ops.sum(odd(build_one(**chosen, validate_args=False).rsample((draws,), ops.random.key(0))))

    gradients = ops.autodiff.grad(total)({name: ops.array(value) for name, value in parameters.items()})
    return {name: to_host(gradient) for name, gradient in gradients.items()}


def test_one_component_is_a_normal(backend):
    loc, scale = np.array([0.3, -0.7]), np.array([0.5, 1.5])
    d = dist.MixtureOfDiagNormals(loc[None], scale[None], np.zeros(1))
    assert_close(d.log_prob(np.ones(2)), stats.norm(loc, scale).logpdf(np.ones(2)).sum())
    parameters = {"locs": loc[None], "coord_scale": scale[None], "component_logits": [2.0]}
    mixed = gradients_of_draws(dist.MixtureOfDiagNormals, parameters)
    assert_close(mixed["component_logits"], np.zeros(1), atol=1e-12)
    draws = to_host(d.sample((50,), ops.random.key(0)))
    slope = to_host(ops.autodiff.grad(lambda x: ops.sum(odd(x)))(ops.array(draws)))
    assert_close(mixed["locs"][0], slope.sum(0))
    assert_close(mixed["coord_scale"][0], (slope * (draws - loc) / scale).sum(0))


def test_equal_scales_are_a_shared_covariance(backend):
    parameters = {"locs": np.array(estimators.LOCS), "component_logits": np.array(estimators.LOGITS)}
    scale = np.array([0.7, 1.3])
    own = gradients_of_draws(dist.MixtureOfDiagNormals, {**parameters, "coord_scale": np.tile(scale, (3, 1))})
    shared = gradients_of_draws(dist.MixtureOfDiagNormalsSharedCovariance, {**parameters, "coord_scale": scale})
    assert_close(own["locs"], shared["locs"], "gradient")
    assert_close(own["component_logits"], shared["component_logits"], "gradient")
    assert_close(own["coord_scale"].sum(0), shared["coord_scale"], "gradient")


def test_components_that_coincide_exchange_no_mass(backend):
    same = {"locs": np.ones((2, 2)), "coord_scale": np.ones((2, 2)), "component_logits": np.array([0.0, 1.0])}
    assert_close(gradients_of_draws(dist.MixtureOfDiagNormals, same)["component_logits"], np.zeros(2), atol=1e-12)
    round_one = {"coord_scale": np.ones(3), "component_logits": np.array([0.0, 1.0]), "component_scale": np.ones(2)}
    assert_close(gradients_of_draws(dist.GaussianScaleMixture, round_one)["component_logits"], np.zeros(2), atol=1e-12)


EXTREMES = [
    (dist.MixtureOfDiagNormals,
     {"locs": [[0.0, 0.0], [far, -far]], "coord_scale": [[small, 1.0], [1.0, large]], "component_logits": [0.0, logit]})
    for far, small, large, logit in itertools.product((0.0, 1e6), (1e-6, 1.0), (1.0, 1e6), (-1e6, 0.0))
] + [
    (dist.GaussianScaleMixture,
     {"coord_scale": [small, 1.0, large], "component_logits": [0.0, logit], "component_scale": [1.0, small]})
    for small, large, logit in itertools.product((1e-6, 1.0), (1.0, 1e6), (-1e6, 0.0))
]  # fmt: skip


def test_gradients_of_draws_are_finite_at_extremes(backend):
    for family in (dist.MixtureOfDiagNormals, dist.GaussianScaleMixture):
        rows = [parameters for chosen, parameters in EXTREMES if chosen is family]
        stacked = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}

        def total(chosen, family=family):
            return ops.sum(ops.tanh(family(**chosen, validate_args=False).rsample((20,))))

        gradients = ops.autodiff.grad(total)({name: ops.array(value) for name, value in stacked.items()})
        for name, gradient in gradients.items():
            assert np.isfinite(to_host(gradient)).all(), name


@pytest.mark.parametrize("case", [case for case in UNBATCHED if case.event_shape == (2,)], ids=str)
def test_densities_integrate_to_one(backend, case):
    """By the trapezoid rule, which is exact to rounding for smooth functions that vanish at both ends."""
    axis = np.linspace(-20.0, 20.0, 161)
    d = build(case)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    assert float(ops.sum(ops.exp(d.log_prob(grid)))) * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("case", UNBATCHED, ids=str)
def test_draws_keep_precision_and_expansion_the_class(backend, case):
    d = getattr(dist, case.name)(**{name: value.astype("float32") for name, value in case.arrays.items()})
    assert ops.dtype_name(d.rsample((2,))) == "float32"
    assert ops.dtype_name(d.log_prob(d.sample())) == "float32"
    wide = d.expand((1, 1)).expand((3, 2))
    assert type(wide) is type(d)
    assert tuple(wide.sample().shape) == (3, 2, *case.event_shape)
    assert isinstance(d, dist.MultivariateNormal) is case.name.endswith("MultivariateNormal")


def test_draws_of_an_expanded_copy_differ(backend):
    draws = to_host(build(named("MixtureOfDiagNormals")).expand((3, 2)).rsample((4,)))
    assert len(np.unique(draws)) == draws.size


@pytest.mark.parametrize("family", ["MixtureOfDiagNormals", "GaussianScaleMixture", "OMTMultivariateNormal"])
def test_gradients_of_draws_compile(backend, family, rng):
    """Nothing on the way looks at values: the compiled gradient is right at parameters that it was not compiled for."""
    case = named(family)
    points = ops.array(case.draw((4,), rng))
    name = "scale_tril" if case.name == "OMTMultivariateNormal" else "component_logits"
    gradient = ops.autodiff.grad(lambda p: ops.sum(odd(build(case, **{name: p})._attach_gradients(points))))
    first, other = ops.array(case.arrays[name]), ops.array(0.5 * case.arrays[name])
    compiled = ops.compile.compile(gradient, first)
    assert_close(compiled(other), to_host(gradient(other)), "gradient")
    assert np.abs(to_host(gradient(other) - gradient(first))).max() > 1e-3


@pytest.mark.parametrize("case", UNBATCHED, ids=str)
def test_draws_under_vmap(backend, case):
    name, value = next(iter(case.arrays.items()))
    stacked = ops.array(np.stack([value, 2.0 * value]))
    draw = ops.autodiff.vmap(lambda p: build(case, **{name: p}).rsample((3,), ops.random.key(0)))
    assert tuple(draw(stacked).shape) == (2, 3, *case.event_shape)
    gradient = to_host(ops.autodiff.grad(lambda p: ops.sum(odd(draw(p))))(stacked))
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max(axis=tuple(range(1, gradient.ndim))) > 1e-3).all()


def test_bad_input_is_named(backend):
    with pytest.raises(ShapeError, match=r"MixtureOfDiagNormals: .*number of components.*3 in 'locs'.*2 in 'component_logits'"):
        dist.MixtureOfDiagNormals(np.zeros((3, 2)), np.ones((3, 2)), np.zeros(2))
    with pytest.raises(ShapeError, match=r"number of coordinates.*2 in 'locs'.*3 in 'coord_scale'"):
        dist.MixtureOfDiagNormalsSharedCovariance(np.zeros((3, 2)), np.ones(3), np.zeros(3))
    with pytest.raises(ShapeError, match=r"GaussianScaleMixture: .*number of components"):
        dist.GaussianScaleMixture(np.ones(2), np.zeros(3), np.ones(2))
    with pytest.raises(ShapeError, match=r"'control_var'.*\(\.\.\., 2, M, 3\).*\(\.\.\., 2, 1, 2\)"):
        dist.AVFMultivariateNormal(np.zeros(3), np.eye(3), np.zeros((2, 1, 2)))
    with pytest.raises(ConstraintError, match=r"GaussianScaleMixture: parameter 'component_scale'.*-1.0"):
        dist.GaussianScaleMixture(np.ones(2), np.zeros(2), np.array([1.0, -1.0]))
    with pytest.raises(ConstraintError, match=r"OMTMultivariateNormal: parameter 'scale_tril'"):
        dist.OMTMultivariateNormal(np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ConstraintError, match=r"AVFMultivariateNormal: parameter 'scale_tril'"):
        dist.AVFMultivariateNormal(np.zeros(2), -np.eye(2), np.zeros((2, 1, 2)))
    with pytest.raises(GapError, match="MixtureOfDiagNormals has no entropy: it has no closed form"):
        build(named("MixtureOfDiagNormals")).entropy()
    with pytest.raises(GapError, match="OMTMultivariateNormal has no cdf: a vector"):
        dist.OMTMultivariateNormal(np.zeros(2), np.eye(2)).cdf(np.zeros(2))
