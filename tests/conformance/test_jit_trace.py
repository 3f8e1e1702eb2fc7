"""Compiled functions that read parameters, against the arithmetic written out."""

import contextlib
import warnings

import numpy
import pytest

import ppl
from ppl import constraints, handlers, ops
from ppl import distributions as dist
from ppl.errors import BackendError, InferenceError, ParamError, PplWarning

pytestmark = pytest.mark.usefixtures("no_parameters")


@pytest.fixture
def no_parameters(backend):
    ppl.clear_param_store()
    yield
    ppl.clear_param_store()


def host(x):
    return numpy.asarray(ops.to_numpy(x))


def quadratic(runs, **options):
    """Return the traced function ``scale * sum(x**2)``; ``runs`` grows by one whenever Python runs it."""

    @ppl.ops.jit.trace
    def energy(x):
        runs.append(1)
        return ops.sum(ppl.param("scale", 3.0, **options) * x**2)

    return energy


def in_argument(backend, fn, x):
    """Return value and gradient in the one argument: by attribute on torch, by transformation elsewhere."""
    if backend != "torch":
        return ops.autodiff.value_and_grad(fn)(x)
    x = x.detach().requires_grad_(True)
    value = fn(x)
    value.backward()
    return value, x.grad


def test_equals_the_plain_function_and_sees_new_parameter_values(backend):
    runs = []

    @ppl.ops.jit.trace
    def scaled(x, power=1):
        runs.append(power)
        return ppl.param("scale", 3.0) * x**power

    for _ in range(4):
        assert float(host(scaled(ops.array(2.0)))) == pytest.approx(6.0)
    once = len(runs)
    assert float(host(scaled(ops.array(2.0), power=2))) == pytest.approx(12.0)
    ppl.get_param_store()["scale"] = ops.array(5.0)
    assert float(host(scaled(ops.array(2.0)))) == pytest.approx(10.0)
    assert runs[once:] == [2]
    if backend != "torch":
        assert once == 2  # one plain run and one compilation; torch also looks for captured tensors that require gradients


def test_gradient_in_an_argument(backend):
    energy, x = quadratic(runs := []), ops.array(numpy.array([1.0, 2.0]))
    energy(x)
    for scale in (3.0, 7.0):
        ppl.get_param_store()["scale"] = ops.array(scale)
        value, slope = in_argument(backend, energy, x)
        assert float(host(value)) == pytest.approx(5.0 * scale)
        numpy.testing.assert_allclose(host(slope), [2.0 * scale, 4.0 * scale], rtol=1e-6)
        numpy.testing.assert_allclose(host(ops.autodiff.grad(energy)(x)), [2.0 * scale, 4.0 * scale], rtol=1e-6)
    assert runs


def test_gradient_in_a_parameter(backend):
    energy, x = quadratic([], constraint=constraints.positive), ops.array(numpy.array([1.0, 2.0]))
    energy(x)

    def of_scale(scale):
        with handlers.substitute(data={"scale": scale}):
            return energy(x)

    for scale in (3.0, 0.5):
        assert float(host(ops.autodiff.grad(of_scale)(ops.array(scale)))) == pytest.approx(5.0)
    if backend == "torch":
        leaf = ppl.get_param_store().get_unconstrained("scale")
        for count in (1, 2):
            energy(x).backward()
            # The scale is exp(leaf), so that the derivative in the leaf is the energy, 15; backward adds up.
            assert float(leaf.grad) == pytest.approx(15.0 * count, rel=1e-5)


def test_python_does_not_run_again_however_often_gradients_are_taken(backend):
    energy, x = quadratic(runs := []), ops.array(numpy.array([1.0, 2.0]))
    # Elsewhere the gradient of a traced function is compiled together with it.
    step = (lambda x: in_argument(backend, energy, x)) if backend == "torch" else None
    step = step or ops.compile.compile(ops.autodiff.value_and_grad(energy))
    energy(x)
    for _ in range(2):
        step(x)
    fixed = len(runs)
    for scale in (2.0, 4.0, 6.0):
        if backend == "torch":
            ppl.get_param_store()["scale"] = ops.array(scale)
        _, slope = step(x)
        numpy.testing.assert_allclose(host(slope), [4.0, 8.0] * numpy.array(scale / 2 if backend == "torch" else 1.5), rtol=1e-6)
    assert len(runs) == fixed <= 4
    step(ops.array(numpy.array([1.0, 2.0, 3.0])))
    assert len(runs) > fixed  # another shape is compiled anew: the counter counts


def test_second_derivatives(backend):
    @ppl.ops.jit.trace
    def quartic(x):
        return ppl.param("scale", 3.0) * ops.sum(x**4)

    x = ops.array(numpy.array([1.0, 2.0]))
    quartic(x)
    expected = [36.0, 144.0]  # 3 * 12 x**2
    if backend == "torch":
        import torch

        x.requires_grad_(True)
        for _ in range(2):
            (slope,) = torch.autograd.grad(quartic(x), x, create_graph=True)
            (curvature,) = torch.autograd.grad(slope.sum(), x)
            numpy.testing.assert_allclose(host(curvature), expected, rtol=1e-5)
        x = x.detach()
    curvature = ops.autodiff.grad(lambda x: ops.sum(ops.autodiff.grad(quartic)(x)))(x)
    numpy.testing.assert_allclose(host(curvature), expected, rtol=1e-5)


def test_second_derivatives_of_a_function_that_draws(backend):
    @ppl.ops.jit.trace
    def noisy(x):
        return ppl.param("scale", 3.0) * x**2 * ppl.sample("noise", dist.Normal(0.0, 1.0))

    noisy(ops.array(2.0))
    slope, curvature = ops.autodiff.value_and_grad(ops.autodiff.grad(noisy))(ops.array(2.0))
    assert float(host(slope)) == pytest.approx(2.0 * float(host(curvature)), rel=1e-5)
    if backend == "torch":
        import torch

        x = ops.array(2.0).requires_grad_(True)
        with pytest.raises(BackendError, match=r"'noisy' draws random numbers and has no second derivatives.*try"):
            torch.autograd.grad(noisy(x), x, create_graph=True)


def test_gradients_of_a_result_of_several_parts(backend):
    runs = []

    @ppl.ops.jit.trace
    def parts(x, y):
        runs.append(1)
        return {"product": x * y, "place": ops.argmax(x), "shifted": (ppl.param("shift", 1.0) + x, y, ops.array(2.0))}

    x, y = ops.array(numpy.array([1.0, 2.0])), ops.array(numpy.array([3.0, 5.0]))

    def total(x, y):
        found = parts(x, y)
        assert int(host(ops.autodiff.stop_gradient(found["place"]))) == 1 if backend == "torch" else True
        first, second, third = found["shifted"]
        return ops.sum(found["product"]) + ops.sum(first * second) + third * ops.sum(x)

    def pair(x):
        # Both arguments depend on x: the derivative of sum(2x**2 + (1 + x) 2x + 2x) is 8x + 4.
        return total(x, 2.0 * x)

    total(x, y)
    for _ in range(3):
        _, slope = in_argument(backend, pair, x)
        numpy.testing.assert_allclose(host(slope), [12.0, 20.0], rtol=1e-6)
    if backend == "torch":
        import torch

        fixed = len(runs)
        x = x.requires_grad_(True)
        (slope,) = torch.autograd.grad(pair(x), x, create_graph=True)
        assert len(runs) > fixed  # only derivatives of derivatives run the function itself
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        numpy.testing.assert_allclose(host(curvature), [8.0, 8.0], rtol=1e-6)


@pytest.mark.parametrize("size", [(), (4,)], ids=["scalar", "vector"])
def test_value_and_gradient_see_the_same_draws(backend, size):
    @ppl.ops.jit.trace
    def noisy(x):
        noise = ppl.sample("noise", dist.Normal(0.0, 1.0).expand(size).to_event(len(size)))
        return ppl.param("scale", 2.0) * x * noise

    x, seen = ops.array(3.0), []
    noisy(x)
    for _ in range(5):
        value, slope = in_argument(backend, lambda x: ops.sum(noisy(x)), x)
        assert float(host(value)) == pytest.approx(3.0 * float(host(slope)), rel=1e-5)
        seen.append(float(host(value)))
    assert len(set(seen)) == 5


def test_compiled_draws_have_the_moments_of_their_distribution(backend):
    @ppl.ops.jit.trace
    def draws(scale):
        return scale * ppl.sample("noise", dist.Normal(1.0, 1.0).expand((1000,)).to_event(1))

    ppl.set_rng_seed(0)
    found = numpy.concatenate([host(draws(ops.array(2.0))) for _ in range(5)])
    error = 2.0 / numpy.sqrt(found.size)
    assert abs(found.mean() - 2.0) < 4.0 * error
    assert abs(found.mean() - 2.3) > 4.0 * error
    assert len(set(found.tolist())) == found.size  # no call repeats another's draws


def test_what_the_function_captures_keeps_its_gradient(backend):
    if backend == "torch":
        weight = ops.array(2.0).requires_grad_(True)
        captured = ppl.ops.jit.trace(lambda x: weight * x**2)
        x = ops.array(3.0).requires_grad_(True)
        for count in range(1, 4):
            captured(x).backward()
            assert (float(weight.grad), float(x.grad)) == pytest.approx((9.0 * count, 12.0 * count))
        return

    def outer(weight):
        return ppl.ops.jit.trace(lambda x: weight * x**2)(ops.array(3.0))

    assert float(host(ops.autodiff.grad(outer)(ops.array(2.0)))) == pytest.approx(9.0)


def test_handlers_outside_see_the_parameters(backend):
    energy, x = quadratic(runs := []), ops.array(numpy.array([1.0, 2.0]))
    for _ in range(3):
        energy(x)
    fixed = len(runs)
    with handlers.trace(param_only=True) as recorder:
        assert float(host(energy(x))) == pytest.approx(15.0)
    record = recorder.get_trace()
    assert list(record.nodes) == record.param_nodes == ["scale"]
    assert float(host(record.nodes["scale"]["value"])) == 3.0

    with handlers.trace() as recorder, handlers.block(hide=["scale"]):
        assert float(host(energy(x))) == pytest.approx(15.0)
    assert not recorder.get_trace().nodes
    assert len(runs) == fixed

    for value in (4.0, 5.0, 6.0):
        with handlers.trace() as recorder, handlers.substitute(data={"scale": ops.array(value)}):
            assert float(host(energy(x))) == pytest.approx(5.0 * value)
        assert float(host(recorder.get_trace().nodes["scale"]["value"])) == value
        assert float(host(energy(x))) == pytest.approx(15.0)
    # A value that needs no gradient, or has another type, may ask for a program of its own, but all such values for one.
    assert len(runs) <= fixed + 1

    prior = {"scale": dist.Exponential(0.3)}
    with handlers.trace() as recorder, handlers.lift(prior=prior), handlers.seed(rng_seed=1):
        value = energy(x)
    site = recorder.get_trace().nodes["scale"]
    assert site["type"] == "sample"
    assert isinstance(site["fn"], dist.Exponential)
    assert float(host(value)) == pytest.approx(5.0 * float(host(site["value"])), rel=1e-5)
    assert float(host(site["value"])) != 3.0
    assert ppl.runtime.STACK.get() == ()


def test_sites_other_than_parameters_run_the_function_itself_under_handlers(backend):
    @ppl.ops.jit.trace
    def log_density(x):
        model = handlers.condition(lambda: ppl.sample("y", dist.Normal(ppl.param("loc", 1.0), 1.0)), data={"y": x})
        return handlers.trace(model).get_trace().log_prob_sum()

    expected = -0.5 * 2.0**2 - 0.5 * numpy.log(2.0 * numpy.pi)
    for _ in range(3):
        assert float(host(log_density(ops.array(3.0)))) == pytest.approx(expected, rel=1e-5)
    with handlers.trace() as recorder:
        log_density(ops.array(3.0))
    record = recorder.get_trace()
    assert (record.param_nodes, record.observation_nodes) == (["loc"], ["y"])
    _, slope = in_argument(backend, log_density, ops.array(3.0))
    assert float(host(slope)) == pytest.approx(-2.0, rel=1e-5)


@pytest.mark.parametrize("inside", [False, True], ids=["around", "inside"])
def test_a_plate_indexes_a_parameter(backend, inside):
    def plate():
        return ppl.plate("rows", 4, subsample=[1, 3])

    @ppl.ops.jit.trace
    def chosen(x):
        with plate() if inside else contextlib.nullcontext():
            return x * ppl.param("weights", ops.array([1.0, 2.0, 3.0, 4.0]), event_dim=0)

    for factor in (1.0, 10.0, 100.0):
        with contextlib.nullcontext() if inside else plate():
            numpy.testing.assert_allclose(host(chosen(ops.array(factor))), [2.0 * factor, 4.0 * factor])


def test_a_function_met_under_lift_reads_its_parameter_afterwards(backend):
    energy, x = quadratic([]), ops.array(1.0)
    with handlers.lift(prior=dist.Delta(ops.array(7.0))):
        for _ in range(3):
            assert float(host(energy(x))) == pytest.approx(7.0)
    for value in (3.0, 3.0, 5.0, 6.0):
        if value != 3.0:
            ppl.get_param_store()["scale"] = ops.array(value)
        assert float(host(energy(x))) == pytest.approx(value)


def test_parameters_that_a_handler_inside_hides_are_not_frozen(backend):
    @ppl.ops.jit.trace
    def hidden(x):
        return handlers.block(lambda: ppl.param("hidden", 2.0))() * ppl.param("shown", 1.0) * x

    hidden(ops.array(3.0))
    with pytest.warns(PplWarning, match="'hidden' runs uncompiled"):
        assert float(host(hidden(ops.array(3.0)))) == pytest.approx(6.0)
    ppl.get_param_store()["hidden"] = ops.array(5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(host(hidden(ops.array(3.0)))) == pytest.approx(15.0)


def test_parameters_that_arguments_of_another_shape_need(backend):
    @ppl.ops.jit.trace
    def either(x):
        return ppl.param("vector", 2.0) * x if x.ndim else ppl.param("number", 3.0) * x

    for _ in range(2):
        assert float(host(either(ops.array(1.0)))) == pytest.approx(3.0)
    for value in (2.0, 2.0, 4.0, 5.0):
        if value != 2.0:
            ppl.get_param_store()["vector"] = ops.array(value)
        numpy.testing.assert_allclose(host(either(ops.array([1.0, 2.0]))), [value, 2.0 * value])
        assert float(host(either(ops.array(1.0)))) == pytest.approx(3.0)


def test_a_mistake_of_the_function_is_its_own_error(backend):
    @ppl.ops.jit.trace
    def misshapen(x):
        return ops.sum(ppl.param("p", ops.zeros(x.shape)) + x)

    for _ in range(2):
        misshapen(ops.zeros(2))
    with pytest.raises(ParamError, match=r"'p' returns with .*\(3,\)"):
        misshapen(ops.zeros(3))
    assert float(host(misshapen(ops.ones(2)))) == 2.0


@pytest.mark.parametrize("value", ["list", "array"])
def test_a_keyword_argument_that_cannot_be_static(backend, value):
    @ppl.ops.jit.trace
    def scaled(x, powers=(1,)):
        return ppl.param("scale", 3.0) * x ** powers[0]

    assert float(host(scaled(ops.array(2.0), powers=(2,)))) == pytest.approx(12.0)
    given = [2] if value == "list" else ops.array([2])
    with pytest.raises(InferenceError, match=r"'powers' of traced function 'scaled'.*hashable.*got \w+; try a tuple"):
        scaled(ops.array(2.0), powers=given)


def test_equal_keyword_arguments_of_different_types_are_told_apart(backend):
    traced = ppl.ops.jit.trace(lambda x, flag: x + (10.0 if flag is True else 0.0))
    for _ in range(2):
        assert [float(host(traced(ops.array(1.0), flag=flag))) for flag in (1, True, 1.0)] == [1.0, 11.0, 1.0]


def test_a_decorator_with_options_and_the_attribute_compiled(backend):
    @ppl.ops.jit.trace(ignore_warnings=True, jit_options={"optimize": False})
    def doubled(x, offset=0.0):
        return 2.0 * x + offset

    assert [float(host(doubled(ops.array(1.0)))) for _ in range(2)] == [2.0, 2.0]
    assert doubled.__name__ == "doubled"
    assert len(doubled.compiled) == 1
    doubled(ops.array(1.0), offset=1.0)
    assert len(doubled.compiled) == 2
