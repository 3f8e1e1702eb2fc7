"""Log likelihoods over draws, against scipy and against the model draw by draw."""

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, runtime
from ppl.errors import ConcreteValueError, InferenceError, SiteError
from ppl.infer import draws as draws_module

X = numpy.array([-1.0, 0.5, 2.0])
Y = numpy.array([0.3, -0.2, 1.7])


def line(x, y, z=None):
    slope = ppl.sample("slope", dist.Normal(0.0, 1.0))
    noise = ppl.sample("noise", dist.HalfNormal(1.0))
    with ppl.plate("rows", 3):
        mean = ppl.deterministic("mean", slope * x)
        ppl.sample("y", dist.Normal(mean, noise), obs=y)
    ppl.sample("z", dist.Poisson(ops.exp(slope)), obs=z)
    ppl.sample("pair", dist.MultivariateNormal(ops.zeros(2), ops.eye(2)), obs=ops.array([0.5, -0.5]))


def samples_of(rng, shape):
    return {"slope": rng.normal(size=shape), "noise": rng.uniform(0.5, 2.0, size=shape)}


def exact(samples):
    slope, noise = samples["slope"][..., None], samples["noise"][..., None]
    return {
        "y": stats.norm(slope * X, noise).logpdf(Y),
        "z": stats.poisson(numpy.exp(samples["slope"])).logpmf(4),
        "pair": numpy.full(samples["slope"].shape, stats.multivariate_normal(numpy.zeros(2)).logpdf([0.5, -0.5])),
    }


def check_values(rng, parallel):
    samples = samples_of(rng, (2, 3))
    found = infer.log_likelihood(line, samples, X, Y, z=ops.array(4.0), parallel=parallel, batch_ndims=2)
    assert list(found) == ["y", "z", "pair"]
    for name, values in exact(samples).items():
        assert ops.is_array(found[name])
        numpy.testing.assert_allclose(ops.to_numpy(found[name]), values, rtol=1e-10)


def test_values_are_scipys(backend, rng):
    check_values(rng, parallel=True)


# jax compiles each operation that it runs by itself, which takes long and shows nothing about these lines.
@pytest.mark.backends("numpy", "torch")
def test_values_draw_by_draw_are_scipys(backend, rng):
    check_values(rng, parallel=False)


@pytest.mark.backends("numpy", "torch")
def test_blocks_join_seamlessly(backend, rng, monkeypatch):
    monkeypatch.setattr(draws_module, "DRAWS_A_BLOCK", 3)
    samples = samples_of(rng, (7,))
    found = infer.log_likelihood(line, samples, X, Y, 4.0)
    for name, values in exact(samples).items():
        numpy.testing.assert_allclose(ops.to_numpy(found[name]), values, rtol=1e-10)


def test_scales_do_not_count_and_masks_do(backend):
    def model(y):
        mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
        with handlers.scale(scale=7.0), handlers.mask(mask=ops.array([True, False, True])), ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(mean, 1.0), obs=y)
        with handlers.mask(mask=False):
            ppl.sample("unseen", dist.Normal(mean, 1.0), obs=ops.array(1.0))

    means = numpy.array([0.0, 2.0])
    found = infer.log_likelihood(model, {"mean": means}, numpy.array([1.0, numpy.nan, 3.0]))
    expected = stats.norm(means[:, None], 1.0).logpdf([1.0, 0.0, 3.0])
    expected[:, 1] = 0.0
    numpy.testing.assert_allclose(ops.to_numpy(found["y"]), expected, rtol=1e-12)
    numpy.testing.assert_array_equal(ops.to_numpy(found["unseen"]), [0.0, 0.0])


def test_params_come_from_the_store_or_the_call(backend):
    def model(y):
        noise = ppl.param("noise", 2.0, constraint=dist.constraints.positive)
        mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(mean, noise), obs=y)

    for params, noise in (({}, 2.0), ({"noise": 0.5}, 0.5)):
        found = infer.log_likelihood(model, {"mean": ops.array([0.0, 1.0])}, ops.array(0.7), params=params)["y"]
        numpy.testing.assert_allclose(ops.to_numpy(found), stats.norm([0.0, 1.0], noise).logpdf(0.7), rtol=1e-12)


def test_a_model_that_branches_on_values_goes_draw_by_draw(backend):
    def model(y):
        mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
        scale = 1.0 if bool(ops.to_numpy(ops.autodiff.stop_gradient(mean)) > 0.0) else 3.0
        ppl.sample("y", dist.Normal(mean, scale), obs=y)

    means = numpy.array([-1.0, 2.0, 0.5])
    draws = infer.Posterior({"mean": means[None]}, model=model, args=(ops.array(0.2),))
    if backend == "jax":
        # There the structure of a model is found without values.
        with pytest.raises(
            ConcreteValueError, match=r"`scale = 1.0 if .* \(test_log_likelihood.py:.* as a numpy array.*try ops.where"
        ):
            draws.log_likelihood()
        return
    found = draws.log_likelihood()["y"]
    exact = stats.norm(means, numpy.where(means > 0, 1.0, 3.0)).logpdf(0.2)
    numpy.testing.assert_allclose(ops.to_numpy(found), exact[None], rtol=1e-12)


def test_data_outside_their_support_are_named(backend):
    def model(y):
        width = ppl.sample("width", dist.Exponential(1.0))
        with ppl.plate("rows", 2):
            ppl.sample("y", dist.Uniform(0.0, width), obs=y)

    widths, y = ops.array([3.0, 1.0, 2.5]), ops.array([0.5, 2.0])
    with pytest.raises(SiteError, match="observed value of site 'y'"):
        infer.log_likelihood(model, {"width": widths}, y)
    with ppl.validation_enabled(False):
        found = ops.to_numpy(infer.log_likelihood(model, {"width": widths}, y)["y"])
    numpy.testing.assert_allclose(found[[0, 2]], -numpy.log([[3.0, 3.0], [2.5, 2.5]]), rtol=1e-12)
    assert not runtime.am_i_wrapped()


def test_incomplete_questions_are_refused(backend, rng):
    def minibatch(y):
        mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 10, subsample_size=3):
            ppl.sample("y", dist.Normal(mean, 1.0), obs=y)

    samples = samples_of(rng, (2,))
    with pytest.raises(InferenceError, match=r"lack the latent site 'noise'; .* received \['slope'\]"):
        infer.log_likelihood(line, {"slope": samples["slope"]}, X, Y, 4.0)
    with pytest.raises(InferenceError, match="lack the latent site 'z'"):
        infer.log_likelihood(line, samples, X, Y)
    with pytest.raises(InferenceError, match="plate 'rows' is subsampled"):
        infer.log_likelihood(minibatch, {"mean": numpy.zeros(2)}, numpy.zeros(3))
    with pytest.raises(InferenceError, match="observes nothing"):
        infer.log_likelihood(lambda: ppl.sample("x", dist.Normal(0.0, 1.0)), {"x": numpy.zeros(2)})
    with pytest.raises(InferenceError, match="disagree on the number of draws"):
        infer.log_likelihood(line, {"slope": numpy.zeros(2), "noise": numpy.ones(3)}, X, Y, 4.0)
    with pytest.raises(InferenceError, match="received none"):
        infer.log_likelihood(line, {}, X, Y, 4.0)
    assert not runtime.am_i_wrapped()


@pytest.mark.backends("numpy", "torch")
def test_large_sites_make_small_blocks(backend, rng, monkeypatch):
    sizes = []
    real = draws_module.autodiff.vmap

    def counting(fn, in_axes):
        mapped = real(fn, in_axes=in_axes)

        def run(block, data):
            sizes.append(len(block["slope"]))
            return mapped(block, data)

        return run

    monkeypatch.setattr(draws_module.autodiff, "vmap", counting)
    # A draw of this model holds slope, noise, mean, y, z and pair: 1 + 1 + 3 + 3 + 1 + 2 numbers.
    monkeypatch.setattr(draws_module, "NUMBERS_A_BLOCK", 25)
    samples = samples_of(rng, (5,))
    found = infer.log_likelihood(line, samples, X, Y, 4.0)
    assert sizes == [2, 2, 2]
    numpy.testing.assert_allclose(ops.to_numpy(found["y"]), exact(samples)["y"], rtol=1e-10)
