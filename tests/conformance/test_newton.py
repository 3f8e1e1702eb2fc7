"""Newton steps and the optimizers that take the loss: closed-form minimizers, finite differences, trust regions."""

import numpy
import pytest
import scipy.optimize

import ppl
from ppl import ops, optim, registry
from ppl.errors import GapError, InferenceError, ShapeError
from ppl.ops import autodiff, newton

SIZES = [1, 2, 3, 5]


def bowls(rng, size, batch=(4,)):
    """Return positive definite matrices and targets of a batch of quadratics."""
    roots = rng.normal(size=(*batch, size, size))
    return roots @ numpy.swapaxes(roots, -1, -2) + numpy.eye(size), rng.normal(size=(*batch, size))


def quadratic(matrix, target):
    matrix, target = ops.array(matrix), ops.array(target)

    def loss(x):
        offset = x - target
        return 0.5 * ops.sum(offset * ops.sum(matrix * offset[..., None, :], axis=-1))

    return loss


def stepper(size):
    return getattr(newton, f"newton_step_{size}d", newton.newton_step)


def quick(function):
    """Compile where each operation would otherwise be compiled by itself."""
    return ops.compile.compile(function) if registry.active().optim.STEP == "compiled" else function


@pytest.mark.parametrize("size", SIZES)
def test_step_reaches_the_minimum_of_a_quadratic(backend, rng, size):
    matrix, target = bowls(rng, size, (2, 2) if size == 2 else (4,))
    take = quick(lambda x: stepper(size)(quadratic(matrix, target), x))
    mode, cov = take(ops.array(rng.normal(size=target.shape)))
    numpy.testing.assert_allclose(ops.to_numpy(mode), target, rtol=0, atol=1e-9)
    numpy.testing.assert_allclose(ops.to_numpy(cov), numpy.linalg.inv(matrix), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_trust_region_binds_and_does_not(backend, rng, size):
    matrix, target = bowls(rng, size)
    start = target + 5.0 * rng.normal(size=target.shape)
    loss, radii = quadratic(matrix, target), (0.01, 0.5, 1e6)
    take = quick(lambda x: [newton.newton_step(loss, x, radius) for radius in radii])
    small, large, (free, _) = take(ops.array(start))
    for radius, (mode, cov) in ((0.01, small), (0.5, large)):
        gradient = numpy.einsum("bij,bj->bi", matrix, start - target)
        shift = numpy.maximum(numpy.linalg.norm(gradient, axis=-1) / radius - numpy.linalg.eigvalsh(matrix)[:, 0], 1e-8)
        regularized = matrix + shift[:, None, None] * numpy.eye(size)
        expected = start - numpy.linalg.solve(regularized, gradient[..., None])[..., 0]
        numpy.testing.assert_allclose(ops.to_numpy(mode), expected, rtol=0, atol=1e-7)
        numpy.testing.assert_allclose(ops.to_numpy(cov), numpy.linalg.inv(regularized), rtol=1e-6, atol=1e-9)
        moved = numpy.linalg.norm(ops.to_numpy(mode) - start, axis=-1)
        assert (moved <= radius * (1 + 1e-9)).all()
        assert (moved > 0).all()
    numpy.testing.assert_allclose(ops.to_numpy(free), target, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_step_goes_downhill_where_the_hessian_is_not_positive(backend, size):
    start = ops.array(numpy.full((1, size), 0.3))

    def loss(x):
        return ops.sum(ops.cos(x))

    (downhill, _), (uphill, _) = quick(lambda x: (newton.newton_step(loss, x, 0.5), newton.newton_step(loss, x)))(start)
    assert float(loss(downhill)) < float(loss(start)) < float(loss(uphill))


def rosenbrock(x, scale):
    return ops.sum((1.0 - x[..., 0]) ** 2 + scale * (x[..., 1] - x[..., 0] ** 2) ** 2)


def test_iterations_find_a_curved_minimum(backend):
    x = ops.array([[-1.0, 1.0], [0.5, 2.0]])
    take = quick(lambda x: newton.newton_step_2d(lambda value: rosenbrock(value, 10.0), x, 1.0))
    for _ in range(60):
        x, cov = take(x)
    numpy.testing.assert_allclose(ops.to_numpy(x), numpy.ones((2, 2)), rtol=0, atol=1e-8)
    hessian = numpy.array([[2.0 + 80.0, -40.0], [-40.0, 20.0]])
    numpy.testing.assert_allclose(ops.to_numpy(cov), numpy.stack([numpy.linalg.inv(hessian)] * 2), rtol=1e-5)


def tilted(x, tilt):
    """A strictly convex loss whose minimizer depends on ``tilt`` and has no closed form."""
    return ops.sum(ops.exp(x) + 0.5 * x * x) + 0.1 * ops.sum(x) ** 2 - ops.sum(tilt * x)


@pytest.mark.parametrize("size", SIZES)
def test_derivative_at_the_minimum_is_that_of_the_minimizer(backend, rng, size):
    tilt = rng.normal(size=size)

    def minimizer(tilt):
        def slope(x):
            return numpy.exp(x) + x + 0.2 * numpy.sum(x) - tilt

        return scipy.optimize.root(slope, numpy.zeros(size), jac=lambda x: numpy.diag(numpy.exp(x) + 1.0) + 0.2, tol=1e-14).x

    best, weights = minimizer(tilt), rng.normal(size=size)

    def projected(tilt):
        mode, _ = newton.newton_step(lambda x: tilted(x, tilt), ops.array(best), 10.0)
        return ops.sum(mode * ops.array(weights))

    found = ops.to_numpy(quick(autodiff.grad(projected))(ops.array(tilt)))
    width = 1e-4
    differences = [
        weights @ (minimizer(tilt + width * unit) - minimizer(tilt - width * unit)) / (2 * width) for unit in numpy.eye(size)
    ]
    numpy.testing.assert_allclose(found, differences, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, *(pytest.param(size, marks=pytest.mark.nightly) for size in (1, 5))])
@pytest.mark.parametrize("radius", [None, 0.3])
def test_derivative_of_a_step_by_finite_differences(backend, rng, size, radius):
    tilt, start, weights = rng.normal(size=size), rng.normal(size=size) + 1.0, rng.normal(size=size)

    def projected(tilt):
        mode, cov = newton.newton_step(lambda x: tilted(x, tilt) + ops.sum(tilt**2 * x**2), ops.array(start), radius)
        return ops.sum(mode * ops.array(weights)) + ops.sum(cov)

    found = ops.to_numpy(quick(autodiff.grad(projected))(ops.array(tilt)))
    value, width = quick(projected), 1e-5
    differences = [
        float(value(ops.array(tilt + width * unit)) - value(ops.array(tilt - width * unit))) / (2 * width)
        for unit in numpy.eye(size)
    ]
    numpy.testing.assert_allclose(found, differences, rtol=1e-5, atol=1e-7)


def test_bad_shapes(backend):
    def loss(x):
        return ops.sum(x * x)

    for call, message in [
        (lambda: newton.newton_step(loss, ops.array(1.0)), "received a scalar"),
        (lambda: newton.newton_step_2d(loss, ops.zeros((4, 3))), r"newton_step_2d needs x of shape \(\.\.\., 2\)"),
        (lambda: newton.newton_step_1d(loss, ops.array(1.0)), "newton_step_1d needs"),
        (lambda: newton.newton_step(loss, ops.zeros((4, 3)), 0.0), "trust radius above zero"),
    ]:
        with pytest.raises(ShapeError, match=message):
            call()


@pytest.mark.backends("numpy", "jax")
def test_array_as_loss_is_a_declared_gap(backend):
    x = ops.zeros((1,))
    for call in (
        lambda: newton.newton_step(ops.sum(x * x), x),
        lambda: optim.PyroMultiOptimizer(optim.SGD(lr=0.1)).step(ops.sum(x * x), {"x": x}),
    ):
        with pytest.raises(GapError, match="derivatives of an array is not available"):
            call()


@pytest.mark.backends("torch")
def test_tensor_as_loss(backend, rng):
    torch = pytest.importorskip("torch")
    matrix, target = (torch.tensor(value) for value in bowls(rng, 2))
    target.requires_grad_()
    x = torch.zeros_like(target).detach().requires_grad_()
    offset = x - target
    loss = 0.5 * (offset * (matrix * offset[..., None, :]).sum(-1)).sum()
    mode, cov = newton.newton_step_2d(loss, x)
    torch.testing.assert_close(mode, target, rtol=0, atol=1e-9)
    torch.testing.assert_close(cov, torch.linalg.inv(matrix))
    (slope,) = torch.autograd.grad(mode[0, 1], target)
    expected = torch.zeros_like(target)
    expected[0, 1] = 1.0
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-9)
    with pytest.raises(InferenceError, match="scalar tensor computed from parameters"):
        newton.newton_step(loss.detach(), x)


def stored(values):
    """Return the unconstrained entries of the param store that stand for ``values``."""
    store = ppl.get_param_store()
    for name, value in values.items():
        ppl.param(name, ops.array(value))
    return {name: store.get_unconstrained(name) for name in values}


def two_bowls(params):
    return ops.sum((params["x"] - 3.0) ** 2) + ops.sum((params["y"] + 1.0) ** 2)


def test_newton_minimizes_in_one_step(backend):
    params = stored({"x": numpy.zeros((3, 2)), "y": numpy.zeros(1)})
    found = optim.Newton().step(two_bowls, params)
    for name, minimum in (("x", 3.0), ("y", -1.0)):
        numpy.testing.assert_allclose(ops.to_numpy(found[name]), minimum, atol=1e-9)
        numpy.testing.assert_allclose(ops.to_numpy(ppl.param(name)), minimum, atol=1e-9)


def test_newton_stays_within_its_radii(backend):
    params = {"x": ops.zeros((3, 2)), "y": ops.zeros((1,))}
    found = quick(lambda params: optim.Newton(trust_radii={"x": 0.1}).get_step(two_bowls, params))(params)
    distance = numpy.linalg.norm(ops.to_numpy(found["x"]), axis=-1)
    numpy.testing.assert_allclose(distance, 0.1, rtol=1e-6)
    numpy.testing.assert_allclose(ops.to_numpy(found["y"]), -1.0, atol=1e-9)
    numpy.testing.assert_array_equal(ops.to_numpy(params["x"]), numpy.zeros((3, 2)))


def test_get_step_is_differentiable(backend):
    def reached(target):
        found = optim.Newton().get_step(lambda params: ops.sum((params["x"] - 2.0 * target) ** 2), {"x": ops.zeros((1,))})
        return ops.sum(found["x"])

    assert abs(float(autodiff.grad(reached)(ops.array(1.5))) - 2.0) < 1e-9


@pytest.mark.parametrize("wrapper", ["pyro", "native"])
def test_first_order_optimizers_take_the_loss(backend, wrapper):
    params = stored({"x": numpy.zeros(2), "y": numpy.zeros(1)})
    wrapped = (
        optim.PyroMultiOptimizer(optim.SGD(lr=0.1)) if wrapper == "pyro" else optim.TorchMultiOptimizer(optim.SGD, {"lr": 0.1})
    )
    found = params
    for _ in range(2):
        found = wrapped.step(two_bowls, found)
    # a step of 0.1 down (x - a)^2 leaves 0.8 of the distance
    numpy.testing.assert_allclose(ops.to_numpy(found["x"]), 3.0 * (1 - 0.8**2), rtol=1e-9)
    numpy.testing.assert_allclose(ops.to_numpy(ppl.param("y")), -(1 - 0.8**2), rtol=1e-9)
    with pytest.raises(InferenceError, match="no differentiable step"):
        wrapped.get_step(two_bowls, found)


def coupled(params):
    return ops.sum((params["x"] - params["y"]) ** 2) + ops.sum(params["y"] ** 2)


def test_parts_of_a_mixture_start_from_one_point(backend):
    params = stored({"x": numpy.zeros(1), "y": numpy.ones(1)})
    mixture = optim.MixedMultiOptimizer([(["x"], optim.Newton()), (["y"], optim.SGD(lr=0.25))])
    found = mixture.step(coupled, params)
    # Newton: x = y = 1; the gradient by y at (0, 1) is -2 (0 - 1) + 2 = 4
    numpy.testing.assert_allclose(ops.to_numpy(found["x"]), [1.0], atol=1e-9)
    numpy.testing.assert_allclose(ops.to_numpy(ppl.param("y")), [0.0], atol=1e-9)


def test_mixture_of_newtons_has_a_differentiable_step(backend):
    mixture = optim.MixedMultiOptimizer([(["x"], optim.Newton()), (["y"], optim.Newton({"y": 0.1}))])
    found = mixture.get_step(two_bowls, {"x": ops.zeros((1,)), "y": ops.zeros((1,))})
    assert list(found) == ["x", "y"]
    numpy.testing.assert_allclose(ops.to_numpy(found["x"]), [3.0], atol=1e-9)
    numpy.testing.assert_allclose(ops.to_numpy(found["y"]), [-0.1], rtol=1e-6)


def test_bad_mixtures(backend):
    newton_part, one = optim.Newton(), ops.zeros((1,))
    for call, message in [
        (lambda: optim.MixedMultiOptimizer([(["x"], newton_part), (["y", "x"], newton_part)]), "part 0 and by part 1"),
        (lambda: optim.MixedMultiOptimizer([("xy", newton_part)]), "a list of names"),
        (lambda: optim.MixedMultiOptimizer([(["x"], object())]), "an optimizer of ppl.optim"),
        (
            lambda: optim.MixedMultiOptimizer([(["x"], newton_part)]).step(two_bowls, {"x": one, "y": one}),
            r"without part \['y'\]",
        ),
        (lambda: optim.MixedMultiOptimizer([(["x"], newton_part)]).get_step(two_bowls, {"y": one}), r"without value \['x'\]"),
        (lambda: optim.MultiOptimizer().step(two_bowls, {"x": one}), "no differentiable step"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.backends("torch")
def test_tensors_move_in_place(backend):
    torch = pytest.importorskip("torch")
    params = {"x": torch.zeros(1, requires_grad=True), "y": torch.ones(1, requires_grad=True)}
    mixture = optim.MixedMultiOptimizer(
        [(["x"], optim.Newton()), (["y"], optim.TorchMultiOptimizer(torch.optim.SGD, {"lr": 0.25}))]
    )
    found = mixture.step(coupled(params), params)
    assert found["x"] is params["x"]
    assert found["y"] is params["y"]
    assert abs(params["x"].item() - 1.0) < 1e-6
    assert abs(params["y"].item()) < 1e-6
    assert params["x"].requires_grad
    assert params["x"].is_leaf
