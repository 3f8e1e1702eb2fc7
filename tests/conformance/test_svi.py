"""Fits to closed-form posteriors, the two faces of SVI, and what it says when something is wrong."""

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, optim, registry
from ppl.distributions import constraints
from ppl.errors import InferenceError
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.svi import SVI

QUIET = {"progress_bar": False}


def value(name):
    return ops.to_numpy(ppl.get_param_store()[name]).copy()


def fit(model, guide, *args):
    """Fit and return the constrained params, averaged over the last steps."""
    svi = SVI(model, guide, optim.Adam(lr=0.02), Trace_ELBO(num_particles=10, vectorize_particles=True))
    svi.run(400, *args, **QUIET)
    tail = [svi.run(10, *args, **QUIET).params for _ in range(30)]
    return {name: numpy.mean([ops.to_numpy(params[name]) for params in tail], axis=0) for name in tail[0]}


# ---- conjugate posteriors ----


def normal_model(data):
    mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", data.shape[0]):
        ppl.sample("x", dist.Normal(mean, 1.0), obs=data)


def normal_guide(data):
    loc = ppl.param("loc", 0.0)
    scale = ppl.param("scale", 1.0, constraint=constraints.positive)
    ppl.sample("mean", dist.Normal(loc, scale))


def normal_posterior(data):
    precision = 0.25 + len(data)
    return data.sum() / precision, precision**-0.5


def test_normal_posterior(backend, rng):
    data = rng.normal(1.0, 1.0, 10)
    fitted = fit(normal_model, normal_guide, data)
    mean, sd = normal_posterior(data)
    assert abs(fitted["loc"] - mean) < 0.1 * sd
    assert abs(fitted["scale"] / sd - 1) < 0.1
    wrong = normal_posterior(data[:5])
    assert abs(fitted["scale"] / wrong[1] - 1) > 0.1


def test_beta_posterior(backend):
    data = numpy.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])

    def model(data):
        probs = ppl.sample("probs", dist.Beta(2.0, 2.0))
        with ppl.plate("rows", data.shape[0]):
            ppl.sample("x", dist.Bernoulli(probs), obs=data)

    def guide(data):
        a = ppl.param("a", 3.0, constraint=constraints.positive)
        b = ppl.param("b", 3.0, constraint=constraints.positive)
        ppl.sample("probs", dist.Beta(a, b))

    fitted = fit(model, guide, data)
    exact, found = stats.beta(8, 4), stats.beta(fitted["a"], fitted["b"])
    assert abs(found.mean() - exact.mean()) < 0.15 * exact.std()
    assert abs(found.std() / exact.std() - 1) < 0.15
    assert abs(stats.beta(3, 3).mean() - exact.mean()) > 0.15 * exact.std()


def test_gamma_posterior(backend):
    data = numpy.array([0.3, 0.8, 0.1, 0.6, 0.4, 1.1])

    def model(data):
        rate = ppl.sample("rate", dist.Gamma(2.0, 1.0))
        with ppl.plate("rows", data.shape[0]):
            ppl.sample("x", dist.Exponential(rate), obs=data)

    def guide(data):
        a = ppl.param("a", 4.0, constraint=constraints.positive)
        b = ppl.param("b", 2.0, constraint=constraints.positive)
        ppl.sample("rate", dist.Gamma(a, b))

    fitted = fit(model, guide, data)
    exact = stats.gamma(2 + len(data), scale=1 / (1 + data.sum()))
    found = stats.gamma(fitted["a"], scale=1 / fitted["b"])
    assert abs(found.mean() - exact.mean()) < 0.15 * exact.std()
    assert abs(found.std() / exact.std() - 1) < 0.15
    assert abs(stats.gamma(4, scale=0.5).mean() - exact.mean()) > 0.15 * exact.std()


def test_discrete_posterior_by_score_function(backend):
    def model():
        kind = ppl.sample("kind", dist.Bernoulli(0.3))
        ppl.sample("x", dist.Normal(2.0 * kind, 1.0), obs=ops.array(1.2))

    def guide():
        ppl.sample("kind", dist.Bernoulli(ppl.param("probs", 0.5, constraint=constraints.unit_interval)))

    fitted = fit(model, guide)
    weights = numpy.array([0.7, 0.3]) * stats.norm.pdf(1.2, [0.0, 2.0])
    assert abs(fitted["probs"] - weights[1] / weights.sum()) < 0.03
    assert abs(0.3 - weights[1] / weights.sum()) > 0.03


def test_subsampled_plate(backend, rng):
    data = rng.normal(1.0, 1.0, 60)

    def model(data):
        mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
        with ppl.plate("rows", data.shape[0], subsample_size=20) as index:
            ppl.sample("x", dist.Normal(mean, 1.0), obs=ops.take(data, index, axis=0))

    SVI(model, normal_guide, optim.Adam(lr=0.05), Trace_ELBO()).run(400, data, **QUIET)
    tail = []
    svi = SVI(model, normal_guide, optim.Adam(lr=0.005), Trace_ELBO())
    for _ in range(5):
        svi.run(60, data, **QUIET)
        tail.append(value("loc"))
    mean, sd = normal_posterior(data)
    assert abs(numpy.mean(tail) - mean) < 1.0 * sd


# ---- the faces of SVI ----


def test_step_and_run_continue_each_other(backend, rng):
    data = rng.normal(1.0, 1.0, 5)
    svi = SVI(normal_model, normal_guide, optim.Adam(lr=0.05), Trace_ELBO())
    loss = svi.step(data)
    assert isinstance(loss, float)
    before = value("loc")
    result = svi.run(5, data, **QUIET)
    assert result.losses.shape == (5,)
    assert isinstance(result.losses, numpy.ndarray)
    assert not result.interrupted
    numpy.testing.assert_array_equal(ops.to_numpy(result.params["loc"]), value("loc"))
    assert abs(value("loc") - before) < 5 * 0.06
    assert value("loc") != before
    evaluated = value("loc")
    assert isinstance(svi.evaluate_loss(data), float)
    assert value("loc") == evaluated


def test_ways_to_ask_for_steps(backend, rng):
    data = rng.normal(1.0, 1.0, 5)
    old = SVI(normal_model, normal_guide, optim.Adam({"lr": 0.05}), loss=Trace_ELBO(), num_steps=4, num_samples=3)
    assert len(old.run(data, **QUIET).losses) == 4
    new = SVI(normal_model, normal_guide, optim.Adam({"lr": 0.05}), Trace_ELBO())
    assert len(new.run(data, num_steps=3, **QUIET).losses) == 3
    for bad in (0, 2.5, True, None):
        with pytest.raises(InferenceError, match="needs the number of steps"):
            new.run(bad, data, **QUIET)


def test_a_key_makes_a_run_reproducible(backend, rng):
    data = rng.normal(1.0, 1.0, 5)

    def losses(seed):
        ppl.clear_param_store()
        svi = SVI(normal_model, normal_guide, optim.Adam(lr=0.05), Trace_ELBO())
        return svi.run(6, data, rng_key=seed, **QUIET).losses

    numpy.testing.assert_array_equal(losses(1), losses(1))
    assert numpy.abs(losses(1) - losses(2)).max() > 1e-6


def test_state_carrying_face(backend, rng):
    data = rng.normal(1.0, 1.0, 10)
    svi = SVI(normal_model, normal_guide, optim.SGD(lr=0.01), Trace_ELBO())
    state = svi.init(0, data)
    stored = value("loc")
    for _ in range(3):
        state, loss = svi.update(state, data)
    assert numpy.isfinite(float(loss))
    assert value("loc") == stored
    assert ops.to_numpy(svi.get_params(state)["loc"]) != stored
    with pytest.raises(InferenceError, match=r"get_params takes the state .* got NoneType; try svi.get_params"):
        svi.get_params(None)


def test_fit_keeps_its_backend(backend, rng):
    data = rng.normal(1.0, 1.0, 5)
    svi = SVI(normal_model, normal_guide, optim.Adam(lr=0.05), Trace_ELBO())
    with registry.using("numpy" if backend != "numpy" else registry.load("numpy")):
        svi.step(data)
        result = svi.run(2, data, **QUIET)
    assert ops.is_array(result.params["loc"])
    assert "loc" in ppl.get_param_store()


def test_new_data_of_the_same_shape_compile_nothing(backend, rng):
    calls = []

    def model(data, power):
        calls.append(1)
        normal_model(data**power)

    svi = SVI(model, lambda data, power: normal_guide(data), optim.Adam(lr=0.05), Trace_ELBO())
    data = numpy.abs(rng.normal(1.0, 1.0, 5))
    svi.run(3, data, 1, **QUIET)
    before = len(calls)
    first = svi.run(300, data + 1.0, 1, **QUIET).losses
    svi.step(data, 1)
    if backend != "jax":
        assert len(calls) == before + 301
        return
    assert len(calls) == before
    svi.run(3, data, 2, **QUIET)
    assert len(calls) > before
    assert abs(first[-20:].mean() - svi.run(20, data * 10.0, 1, **QUIET).losses.mean()) > 1.0


def test_loss_may_be_a_function(backend, rng):
    data = rng.normal(1.0, 1.0, 10)

    def loss(model, guide, *args):
        guide_trace = handlers.trace(guide).get_trace(*args)
        model_trace = handlers.trace(handlers.replay(model, trace=guide_trace)).get_trace(*args)
        return guide_trace.log_prob_sum() - model_trace.log_prob_sum()

    SVI(normal_model, normal_guide, optim.Adam(lr=0.05), loss).run(400, data, **QUIET)
    mean, sd = normal_posterior(data)
    assert abs(value("loc") - mean) < 1.0 * sd


@pytest.mark.backends("torch")
def test_custom_loop_of_torch(backend, rng):
    torch = pytest.importorskip("torch")
    data = torch.as_tensor(rng.normal(1.0, 1.0, 10))
    loss_fn = Trace_ELBO(num_particles=5).differentiable_loss
    with handlers.trace(param_only=True) as capture:
        loss_fn(normal_model, normal_guide, data)
    leaves = [site["value"].unconstrained() for site in capture.trace.nodes.values()]
    optimizer = torch.optim.Adam(leaves, lr=0.05)
    for _ in range(300):
        loss = loss_fn(normal_model, normal_guide, data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    mean, sd = normal_posterior(data.numpy())
    assert abs(value("loc") - mean) < 1.0 * sd


@pytest.mark.backends("torch")
def test_loss_and_grads_of_the_user(backend, rng):
    data = rng.normal(1.0, 1.0, 5)
    elbo = Trace_ELBO()
    svi = SVI(normal_model, normal_guide, optim.Adam(lr=0.05), elbo.loss, loss_and_grads=elbo.loss_and_grads)
    svi.run(5, data, **QUIET)
    assert value("loc") != 0.0


@pytest.mark.backends("numpy", "torch")
def test_params_may_appear_later(backend):
    def model(count):
        for index in range(count):
            ppl.sample(f"x{index}", dist.Normal(ppl.param(f"loc{index}", 0.0), 1.0), obs=ops.array(3.0))

    svi = SVI(model, lambda count: None, optim.SGD(lr=0.5), Trace_ELBO())
    svi.step(1)
    svi.step(2)
    assert value("loc0") == pytest.approx(2.25)
    assert value("loc1") == pytest.approx(1.5)
    svi.step(1)
    assert value("loc1") == pytest.approx(1.5)


@pytest.mark.backends("jax")
def test_params_that_appear_within_a_compiled_run(backend):
    tries = []

    def model():
        tries.append(1)
        ppl.sample("x", dist.Normal(ppl.param("loc", 0.0), 1.0), obs=ops.array(3.0))
        if len(tries) > 1:
            ppl.sample("y", dist.Normal(ppl.param(f"late{len(tries)}", 0.0), 1.0), obs=ops.array(3.0))

    with pytest.raises(InferenceError, match=r"param 'late\d' appeared after the fit was set up"):
        SVI(model, lambda: None, optim.SGD(lr=0.5), Trace_ELBO()).run(2, **QUIET)


# ---- bad input ----


def test_no_params(backend):
    with pytest.raises(InferenceError, match="neither model nor guide has a param"):
        SVI(lambda: None, lambda: None, optim.Adam(lr=0.1), Trace_ELBO()).step()


def test_wrong_optimizer_and_loss(backend):
    with pytest.raises(InferenceError, match=r"SVI needs an optimizer of ppl\.optim"):
        SVI(normal_model, normal_guide, "adam", Trace_ELBO())
    with pytest.raises(InferenceError, match="the loss is an ELBO or a function"):
        SVI(normal_model, normal_guide, optim.Adam(lr=0.1), "elbo")
    with pytest.raises(InferenceError, match=r"received the class Trace_ELBO; try loss=Trace_ELBO\(\)"):
        SVI(normal_model, normal_guide, optim.Adam(lr=0.1), Trace_ELBO)


def broken_model(data):
    with ppl.validation_enabled(False):
        mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
        good = ppl.sample("good", dist.Normal(mean, 1.0), obs=ops.array(0.5))
        ppl.sample("bad", dist.Normal(mean, ops.sqrt(data)), obs=good)


def broken_guide(data):
    with ppl.validation_enabled(False):
        normal_guide(data)


@pytest.mark.parametrize("face", ["step", "run"])
def test_loss_that_is_not_finite(backend, face):
    with ppl.validation_enabled(False):
        svi = SVI(broken_model, broken_guide, optim.Adam(lr=0.1), Trace_ELBO())
        svi.step(ops.array(1.0))
        before = value("loc")
        with pytest.raises(InferenceError, match=r"the loss is (nan|inf|-inf) at step 1.*model site bad.*loc = .*scale = "):
            svi.step(ops.array(-1.0)) if face == "step" else svi.run(3, ops.array(-1.0), **QUIET)
        assert value("loc") == before
        svi.step(ops.array(1.0))
        assert value("loc") != before


def test_steps_that_are_not_finite_can_be_left_out(backend):
    with ppl.validation_enabled(False):
        svi = SVI(broken_model, broken_guide, optim.Adam(lr=0.1), Trace_ELBO(), stable_update=True)
        svi.step(ops.array(1.0))
        before = value("loc")
        result = svi.run(3, ops.array(-1.0), **QUIET)
        assert result.num_skipped == 3
        assert value("loc") == before


@pytest.mark.backends("numpy", "torch")
def test_interruption_keeps_what_was_reached(backend, rng):
    data = rng.normal(1.0, 1.0, 5)
    calls = []

    def model(data):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        normal_model(data)

    result = SVI(model, normal_guide, optim.Adam(lr=0.05), Trace_ELBO()).run(100, data, **QUIET)
    assert result.interrupted
    assert 5 <= len(result.losses) <= 7
    assert ops.to_numpy(result.params["loc"]) != 0.0
