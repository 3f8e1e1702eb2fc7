"""The trace: its record, log densities, score parts, graph and table."""

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.errors import DuplicateSite, HandlerError, SiteError
from ppl.handlers import Trace

pytestmark = pytest.mark.strict

Y = numpy.array([0.1, -0.4, 2.0])


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def model(shift):
    scale = ppl.param("scale", 2.0)
    z = ppl.sample("z", dist.Normal(0.0, scale))
    with ppl.plate("rows", 3):
        k = ppl.sample("k", dist.Bernoulli(0.3))
        ppl.sample("y", dist.Normal(z + shift, 1.0), obs=Y)
    return k


@pytest.fixture
def trace(backend):
    return handlers.trace(model).get_trace(0.5)


def test_it_records_inputs_sites_and_the_result(trace):
    assert list(trace.nodes) == ["_INPUT", "scale", "z", "k", "y", "_RETURN"]
    assert trace.nodes["_INPUT"]["args"] == (0.5,)
    assert trace.nodes["_RETURN"]["value"] is trace.nodes["k"]["value"]
    assert trace.param_nodes == ["scale"]
    assert trace.stochastic_nodes == ["z", "k"]
    assert trace.observation_nodes == ["y"]
    assert trace.reparameterized_nodes == ["z"]
    assert trace.nonreparam_stochastic_nodes == ["k"]
    assert [(name, node["name"]) for name, node in trace.iter_stochastic_nodes()] == [("z", "z"), ("k", "k")]
    assert "z" in trace
    assert len(trace) == 6
    assert list(trace) == list(trace.nodes)
    assert trace["z"] is trace.nodes["z"]


def test_log_densities(trace):
    z, k = number(trace.nodes["z"]["value"]), host(trace.nodes["k"]["value"])
    expected = {
        "z": stats.norm.logpdf(z, 0.0, 2.0),
        "k": stats.bernoulli.logpmf(k, 0.3),
        "y": stats.norm.logpdf(Y, z + 0.5, 1.0),
    }
    trace.compute_log_prob(lambda name, site: name != "k")
    assert "log_prob" not in trace.nodes["k"]
    trace.compute_log_prob()
    for name, terms in expected.items():
        numpy.testing.assert_allclose(host(trace.nodes[name]["log_prob"]), terms, rtol=1e-10)
        numpy.testing.assert_allclose(host(trace.nodes[name]["unscaled_log_prob"]), terms, rtol=1e-10)
        assert number(trace.nodes[name]["log_prob_sum"]) == pytest.approx(terms.sum(), rel=1e-10)
    assert number(trace.log_prob_sum()) == pytest.approx(sum(terms.sum() for terms in expected.values()), rel=1e-10)
    assert number(trace.log_prob_sum(lambda name, site: site["is_observed"])) == pytest.approx(expected["y"].sum(), rel=1e-10)
    assert Trace().log_prob_sum() == 0


def test_log_densities_are_computed_once(backend):
    calls = []

    class Counted(dist.Normal):
        def log_prob(self, value):
            calls.append(value)
            return super().log_prob(value)

    trace = handlers.trace(lambda: ppl.sample("x", Counted(0.0, 1.0))).get_trace()
    before = len(calls)
    trace.log_prob_sum()
    once = len(calls) - before
    trace.compute_log_prob()
    trace.log_prob_sum()
    assert len(calls) - before == once


def test_score_parts(backend):
    trace = handlers.trace(handlers.scale(model, scale=3.0)).get_trace(0.5)
    trace.compute_score_parts()
    k = host(trace.nodes["k"]["value"])
    parts = trace.nodes["k"]["score_parts"]
    numpy.testing.assert_allclose(host(parts.log_prob), 3 * stats.bernoulli.logpmf(k, 0.3), rtol=1e-10)
    numpy.testing.assert_allclose(host(parts.score_function), stats.bernoulli.logpmf(k, 0.3), rtol=1e-10)
    numpy.testing.assert_array_equal(host(parts.entropy_term), 0.0)
    reparameterised = trace.nodes["z"]["score_parts"]
    numpy.testing.assert_array_equal(host(reparameterised.score_function), 0.0)
    numpy.testing.assert_allclose(host(reparameterised.entropy_term), host(reparameterised.log_prob), rtol=1e-12)


@pytest.mark.parametrize("keep", [True, False, numpy.array([True, False, True])])
def test_a_mask_spares_the_score_function(backend, keep):
    def rows():
        with ppl.plate("rows", 3):
            return ppl.sample("k", dist.Bernoulli(0.3))

    by_handler = handlers.trace(handlers.mask(rows, mask=keep if isinstance(keep, bool) else ops.array(keep))).get_trace()
    by_handler.compute_score_parts()
    node = by_handler.nodes["k"]
    full = stats.bernoulli.logpmf(host(node["value"]), 0.3)
    numpy.testing.assert_allclose(host(node["log_prob"]), full * keep, rtol=1e-10)
    by_family = dist.Bernoulli(0.3).expand((3,)).mask(keep).score_parts(node["value"])
    for parts in (node["score_parts"], by_family):
        numpy.testing.assert_allclose(host(parts.log_prob), full * keep, rtol=1e-10)
        numpy.testing.assert_allclose(host(parts.score_function), full, rtol=1e-10)
        numpy.testing.assert_array_equal(host(parts.entropy_term), 0.0)


def test_score_parts_of_masked_values_outside_the_support(backend):
    keep, value = numpy.array([True, False]), ops.array([1.0, numpy.nan])
    for rate in (dist.Poisson(2.0), dist.Exponential(2.0)):
        parts = rate.expand((2,)).mask(keep).score_parts(value)
        numpy.testing.assert_allclose(host(parts.log_prob), [float(host(rate.log_prob(ops.array(1.0)))), 0.0], rtol=1e-10)


def test_score_parts_compute_the_density_once(backend):
    calls = []

    class Counted(dist.Normal):
        def log_prob(self, value):
            calls.append(value)
            return super().log_prob(value)

    traces = [handlers.trace(lambda: ppl.sample("x", Counted(0.0, 1.0))).get_trace() for _ in range(2)]
    counts = []
    for compute in (traces[0].compute_log_prob, traces[1].compute_score_parts):
        calls.clear()
        compute()
        counts.append(len(calls))
    assert counts[1] == counts[0] > 0


def test_nodes_are_added_copied_and_removed(trace):
    copied = trace.copy()
    copied.remove_node("z")
    assert "z" in trace
    assert "z" not in copied
    copied.add_node("new", type="sample", name="new", is_observed=False)
    assert "new" not in trace
    with pytest.raises(DuplicateSite, match="'new'"):
        copied.add_node("new", type="sample", name="new", is_observed=False)
    with pytest.raises(SiteError, match="no site 'z' to remove"):
        copied.remove_node("z")


def test_edges_and_order(backend):
    graph = Trace()
    for name in "dcba":
        graph.add_node(name, type="sample", name=name)
    for edge in ("ab", "bc", "ac", "cd"):
        graph.add_edge(*edge)
    assert graph.edges == [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")]
    assert graph.predecessors("c") == ["b", "a"]
    assert graph.successors("a") == ["b", "c"]
    assert graph.topological_sort() == ["a", "b", "c", "d"]
    assert graph.topological_sort(reverse=True) == ["d", "c", "b", "a"]
    copied = graph.copy()
    copied.remove_node("b")
    assert copied.edges == [("a", "c"), ("c", "d")]
    assert len(graph.edges) == 4
    graph.add_edge("d", "a")
    with pytest.raises(HandlerError, match="circle"):
        graph.topological_sort()


def test_dense_edges_stop_between_steps_of_a_loop(backend):
    def looped():
        ppl.sample("a", dist.Normal(0.0, 1.0))
        for i in ppl.plate("loop", 2):
            ppl.sample(f"b{i}", dist.Normal(0.0, 1.0))
            ppl.sample(f"c{i}", dist.Normal(0.0, 1.0))

    trace = handlers.trace(looped, graph_type="dense").get_trace()
    assert set(trace.edges) == {("a", "b0"), ("a", "c0"), ("b0", "c0"), ("a", "b1"), ("a", "c1"), ("b1", "c1")}
    assert handlers.trace(looped).get_trace().edges == []


def test_param_only(backend):
    trace = handlers.trace(model, param_only=True).get_trace(0.0)
    assert [name for name in trace.nodes if not name.startswith("_")] == ["scale"]


def test_params_may_be_read_again(backend):
    def twice():
        return ppl.param("a", 1.0) + ppl.param("a")

    assert number(handlers.trace(twice).get_trace().nodes["_RETURN"]["value"]) == 2.0


def test_the_table_of_shapes(backend):
    def shaped():
        ppl.param("loc", ops.zeros((5, 2)), event_dim=1)
        with ppl.plate("rows", 10):
            ppl.sample("x", dist.Normal(ops.zeros(2), 1.0).to_event(1))
        ppl.sample("longer_name", dist.Normal(0.0, 1.0))

    trace = handlers.trace(shaped).get_trace()
    assert trace.format_shapes() == "\n".join([
        "Trace Shapes:",
        "    Param Sites:",
        "             loc  5 |  2",
        "   Sample Sites:",
        "          x dist 10 |  2",
        "           value 10 |  2",
        "longer_name dist    |",
        "           value    |",
    ])  # fmt: skip
    assert str(trace) == trace.format_shapes()
    trace.compute_log_prob()
    assert "        log_prob 10 |" in str(trace)
    short = trace.format_shapes(title="Until x", last_site="x")
    assert short.startswith("Until x\n")
    assert "longer_name" not in short
    assert Trace().format_shapes() == "Trace Shapes:\nParam Sites:\nSample Sites:"
    assert repr(trace) == "Trace(_INPUT, loc, x, longer_name, _RETURN)"


def test_an_inner_trace_sees_what_outer_handlers_decide(backend):
    inner = handlers.trace(model)
    outer = handlers.trace(handlers.scale(handlers.condition(inner, data={"z": 1.0}), scale=2.0))
    trace = outer.get_trace(0.0)
    assert inner.trace.nodes["z"]["is_observed"]
    assert inner.trace.nodes["z"]["scale"] == 2.0
    assert number(inner.trace.log_prob_sum()) == number(trace.log_prob_sum())
    assert inner.trace.nodes["z"] is not trace.nodes["z"]


def test_get_trace_of_a_context(backend):
    with handlers.trace() as recorder:
        ppl.sample("x", dist.Normal(0.0, 1.0))
        halfway = recorder.get_trace()
        ppl.sample("y", dist.Normal(0.0, 1.0))
    assert halfway.stochastic_nodes == ["x"]
    assert recorder.get_trace().stochastic_nodes == ["x", "y"]
    with pytest.raises(HandlerError, match="wraps no function"):
        recorder.get_trace(1)


def test_each_run_is_a_new_trace(backend):
    traced = handlers.trace(model)
    first = traced.get_trace(0.0)
    second = traced.get_trace(0.0)
    assert first is not second
    assert first.stochastic_nodes == second.stochastic_nodes


def test_a_recorder_of_a_function_is_no_context(backend):
    recorder = handlers.trace(lambda: ppl.sample("x", dist.Normal(0.0, 1.0)))
    with pytest.raises(HandlerError, match="got a function and is entered as a context manager"), recorder:
        pass
    assert list(recorder.get_trace().stochastic_nodes) == ["x"]
