"""The examples of chapters 3, 9 and 13 of the documentation, in our own words: what they say holds on each backend.

Those of ``plate``, ``condition``, ``block``, ``broadcast``, ``do``, ``lift``, ``replay``, ``scale`` and ``trace`` follow the
chapters; those of ``scope``, ``name_count`` and ``named`` stand in ``test_autoname.py``.
"""

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, poutine
from ppl.poutine.block_messenger import BlockMessenger
from ppl.poutine.trace_messenger import TraceMessenger

pytestmark = pytest.mark.strict

DATA = numpy.linspace(-1.0, 1.0, 100)


@pytest.fixture(autouse=True)
def _no_parameters(backend):
    ppl.clear_param_store()


def host(value):
    return ops.to_numpy(ops.array(value))


def model(x):
    s = ppl.param("s", ops.array(0.5))
    z = ppl.sample("z", dist.Normal(x, s))
    return z**2


def test_a_sequential_plate_allows_control_flow(backend):
    z = numpy.arange(100) % 2

    def loop():
        for i in ppl.plate("data", 100, subsample_size=10):
            if z[int(i)]:
                ppl.sample(f"obs_{int(i)}", dist.Normal(0.0, 1.0), obs=DATA[int(i)])

    trace = handlers.trace(loop).get_trace()
    assert all(int(name.removeprefix("obs_")) % 2 for name in trace.observation_nodes)
    assert all(trace.nodes[name]["scale"] == 10.0 for name in trace.observation_nodes)


def test_a_plate_without_a_size_declares_independence(backend):
    def declared():
        with ppl.plate("data"):
            return ppl.sample("obs", dist.Normal(ops.zeros(100), 1.0), obs=DATA)

    assert handlers.trace(declared).get_trace().nodes["obs"]["cond_indep_stack"][0].name == "data"


@pytest.mark.parametrize("options", [{"subsample_size": 10}, {"subsample": numpy.arange(0, 100, 10)}])
def test_a_plate_subsamples(backend, options):
    def minibatch():
        with ppl.plate("data", 100, **options) as rows:
            ppl.sample("obs", dist.Normal(0.0, 1.0), obs=ops.array(DATA)[rows])
            return rows

    node = handlers.trace(minibatch).get_trace().nodes["obs"]
    assert tuple(ops.shape(node["value"])) == (10,)
    assert node["scale"] == 10.0


def test_two_plates_are_reused(backend):
    x_axis, y_axis = ppl.plate("outer", 320, dim=-1), ppl.plate("inner", 200, dim=-2)
    noise = dist.Normal(0.0, 1.0)
    with x_axis:
        assert tuple(ops.shape(ppl.sample("x_noise", noise))) == (320,)
    with y_axis:
        assert tuple(ops.shape(ppl.sample("y_noise", noise))) == (200, 1)
    with x_axis, y_axis:
        assert tuple(ops.shape(ppl.sample("xy_noise", noise))) == (200, 320)


def test_condition_is_an_observation_in_three_ways(backend):
    @ppl.condition(data={"z": 1.0})
    def decorated(x):
        return model(x)

    def context(x):
        with ppl.condition(data={"z": 1.0}):
            return model(x)

    def written(x):
        s = ppl.param("s", ops.array(0.5))
        return ppl.sample("z", dist.Normal(x, s), obs=1.0) ** 2

    expected = float(host(poutine.trace(written).get_trace(0.0).log_prob_sum()))
    for conditioned in (poutine.condition(model, data={"z": 1.0}), decorated, context):
        trace = poutine.trace(conditioned).get_trace(0.0)
        assert trace.observation_nodes == ["z"]
        assert float(host(trace.log_prob_sum())) == expected
        assert float(host(conditioned(0.0))) == 1.0


def test_an_elbo_in_three_lines(backend):
    def guide(x):
        ppl.sample("z", dist.Normal(x, 0.5))

    guide_trace = poutine.trace(guide).get_trace(0.0)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(0.0)
    # The guide is the model's own prior, so that both densities agree.
    assert float(host(model_trace.log_prob_sum() - guide_trace.log_prob_sum())) == pytest.approx(0.0, abs=1e-6)


def pair():
    a = ppl.sample("a", dist.Normal(0.0, 1.0))
    return ppl.sample("b", dist.Normal(a, 1.0))


def test_block_hides_a_site_from_outside_alone(backend):
    inner = poutine.trace(pair)
    outer = poutine.trace(poutine.block(inner, hide=["a"])).get_trace()
    assert ("a" in inner.trace, "b" in inner.trace, "a" in outer, "b" in outer) == (True, True, False, True)


def test_messengers_wrap_as_decorators(backend):
    inner = TraceMessenger()(pair)
    outer = TraceMessenger()(BlockMessenger(hide=["a"])(TraceMessenger()(pair)))
    assert {"a", "b"} <= set(inner.get_trace().nodes)
    trace = outer.get_trace()
    assert ("a" in trace, "b" in trace) == (False, True)


def test_broadcast_replaces_expanding_by_hand(backend):
    def by_hand():
        with ppl.plate("batch", 100, dim=-2), ppl.plate("components", 3, dim=-1):
            return ppl.sample("sample", dist.Bernoulli(ops.ones(3) * 0.5).expand((100, 3)))

    @poutine.broadcast
    def automatic():
        with ppl.plate("batch", 100, dim=-2), ppl.plate("components", 3, dim=-1):
            return ppl.sample("sample", dist.Bernoulli(0.5))

    assert tuple(ops.shape(by_hand())) == tuple(ops.shape(automatic())) == (100, 3)


def test_do_sets_a_site_without_observing_it(backend):
    intervened = poutine.do(model, data={"z": ops.array(1.0)})
    assert float(host(intervened(0.0))) == 1.0
    assert "z" not in poutine.trace(intervened).get_trace(0.0)


def test_lift_makes_a_parameter_a_latent_site(backend):
    lifted = poutine.lift(model, prior={"s": dist.Exponential(0.3)})
    first, second = (poutine.trace(lifted).get_trace(0.0) for _ in range(2))
    assert first.nodes["s"]["type"] == "sample"
    assert not bool(host(first.nodes["s"]["value"] == second.nodes["s"]["value"]))


def test_replay_returns_what_the_trace_returned(backend):
    old = poutine.trace(model).get_trace(1.0)
    assert bool(host(poutine.replay(model, trace=old)(0.0) == old.nodes["_RETURN"]["value"]))


def test_scale_multiplies_the_density(backend):
    observed = poutine.condition(model, data={"z": 0.3})
    scaled = poutine.trace(poutine.scale(observed, scale=0.5)).get_trace(0.0).log_prob_sum()
    whole = poutine.trace(observed).get_trace(0.0).log_prob_sum()
    assert float(host(scaled)) == pytest.approx(0.5 * float(host(whole)))


def test_a_trace_holds_the_run(backend):
    trace = poutine.trace(model).get_trace(0.0)
    assert list(trace.nodes) == ["_INPUT", "s", "z", "_RETURN"]
    assert (trace.param_nodes, trace.stochastic_nodes) == (["s"], ["z"])
    assert trace.nodes["_INPUT"]["args"] == (0.0,)
    s, z = 0.5, float(host(trace.nodes["z"]["value"]))
    expected = -0.5 * (z / s) ** 2 - numpy.log(s) - 0.5 * numpy.log(2.0 * numpy.pi)
    assert float(host(trace.log_prob_sum())) == pytest.approx(expected, rel=1e-5)
    assert {"name", "type", "fn", "value", "is_observed", "scale", "mask", "cond_indep_stack", "infer"} <= set(trace.nodes["z"])


@pytest.mark.backends("torch")
def test_gradients_reach_the_unconstrained_parameters(backend):
    import torch

    observed = poutine.condition(model, data={"z": 1.0})
    trace = poutine.trace(observed).get_trace(0.0)
    params = [trace.nodes[name]["value"].unconstrained() for name in trace.param_nodes]
    (gradient,) = torch.autograd.grad(trace.log_prob_sum(), params)
    # d/ds of -z**2 / (2 s**2) - log s at s = 1/2.
    assert float(gradient) == pytest.approx(1.0 / 0.5**3 - 1.0 / 0.5, rel=1e-5)
