"""Plates: as loops, as batch dimensions, subsampled, nested, reused; unbiasedness by standard errors."""

import math
import re

import numpy
import pytest
from generated_models import sparing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, poutine, runtime
from ppl.errors import PlateCollision, PlateError, ShapeError

pytestmark = pytest.mark.strict


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def trace_of(model, *args):
    return handlers.trace(model).get_trace(*args)


def test_a_vectorized_plate_gives_indices_and_expands(backend):
    def model():
        with ppl.plate("rows", 4) as indices:
            return indices, ppl.sample("x", dist.Normal(0.0, 1.0))

    indices, x = model()
    numpy.testing.assert_array_equal(host(indices), numpy.arange(4))
    assert tuple(x.shape) == (4,)
    assert len(set(host(x).tolist())) == 4
    node = trace_of(model).nodes["x"]
    assert tuple(node["fn"].batch_shape) == (4,)
    (frame,) = node["cond_indep_stack"]
    assert (frame.name, frame.dim, frame.size, frame.full_size, frame.vectorized) == ("rows", -1, 4, 4, True)


def test_a_sequential_plate_is_a_loop_of_independent_steps(backend):
    def model():
        return [ppl.sample(f"x{i}", dist.Normal(0.0, 1.0)) for i in ppl.plate("rows", 3)]

    assert [tuple(x.shape) for x in model()] == [(), (), ()]
    trace = trace_of(model)
    frames = [trace.nodes[f"x{i}"]["cond_indep_stack"][0] for i in range(3)]
    assert [frame.counter for frame in frames] == [1, 2, 3]
    assert not any(frame.vectorized for frame in frames)


def test_two_loops_over_one_plate_have_the_same_steps(backend):
    def model():
        rows = ppl.plate("rows", 2)
        first = [ppl.sample(f"x{i}", dist.Normal(0.0, 1.0)) for i in rows]
        return [ppl.sample(f"y{i}", dist.Normal(first[i], 1.0)) for i in rows]

    # The second loop depends on the first step by step; steps of one plate are independent of each other.
    assert handlers.trace(model, graph_type="dense").get_trace().edges == [("x0", "y0"), ("x1", "y1")]


def test_nested_plates_take_free_dims_from_the_right(backend):
    def model():
        with ppl.plate("outer", 2), ppl.plate("inner", 3):
            both = ppl.sample("both", dist.Normal(0.0, 1.0))
        with ppl.plate("fixed", 4, dim=-2), ppl.plate("free", 5):
            fixed = ppl.sample("fixed_x", dist.Normal(0.0, 1.0))
        with ppl.plate("left", 2, dim=-3):
            vector = ppl.sample("vector", dist.Normal(ops.zeros(6), 1.0).to_event(1))
        return both, fixed, vector

    both, fixed, vector = model()
    assert (tuple(both.shape), tuple(fixed.shape), tuple(vector.shape)) == ((3, 2), (4, 5), (2, 1, 1, 6))
    stack = trace_of(model).nodes["both"]["cond_indep_stack"]
    assert [(frame.name, frame.dim) for frame in stack] == [("outer", -1), ("inner", -2)]


def test_two_axes_are_reused_alone_and_together(backend):
    x_axis, y_axis = ppl.plate("x_axis", 3, dim=-1), ppl.plate("y_axis", 2, dim=-2)
    with x_axis:
        x_noise = ppl.sample("x_noise", dist.Normal(0.0, 1.0))
    with y_axis:
        y_noise = ppl.sample("y_noise", dist.Normal(0.0, 1.0))
    with x_axis, y_axis:
        xy_noise = ppl.sample("xy_noise", dist.Normal(x_noise + y_noise, 1.0))
    assert tuple(x_noise.shape) == (3,)
    assert tuple(y_noise.shape) == (2, 1)
    assert tuple(xy_noise.shape) == (2, 3)
    for _ in range(2):
        with y_axis, x_axis:
            assert tuple(ppl.sample("again", dist.Normal(0.0, 1.0)).shape) == (2, 3)


def test_a_free_dim_is_chosen_anew_at_each_entry(backend):
    a, b = ppl.plate("a", 2), ppl.plate("b", 3)
    with a, b:
        assert tuple(ppl.sample("x", dist.Normal(0.0, 1.0)).shape) == (3, 2)
    with b, a:
        assert tuple(ppl.sample("x", dist.Normal(0.0, 1.0)).shape) == (2, 3)


def test_a_plate_without_a_size_only_declares(backend):
    data = numpy.array([0.1, 0.2, -0.7])

    def model():
        with ppl.plate("data") as indices:
            assert indices is None
            return ppl.sample("x", dist.Normal(0.0, 1.0), obs=data)

    trace = trace_of(model)
    assert number(trace.log_prob_sum()) == pytest.approx(stats.norm.logpdf(data).sum(), rel=1e-10)
    assert trace.nodes["x"]["cond_indep_stack"][0].size is None
    with pytest.raises(PlateError, match="loop without a size"):
        list(ppl.plate("data"))


@st.composite
def nests(draw):
    """Sizes of plates, and an event shape."""
    sizes, events = (st.just(3), st.just([2])) if sparing() else (st.integers(1, 3), st.sampled_from([[], [2], [1]]))
    return draw(st.lists(sizes, min_size=1, max_size=3)), draw(events)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nest=nests())
def test_shapes_and_densities_of_any_nest(backend, nest):
    sizes, event = nest

    def model():
        with_plates = [ppl.plate(f"p{i}", size, dim=-1 - i) for i, size in enumerate(sizes)]
        for plate in with_plates:
            plate.__enter__()
        x = ppl.sample("x", dist.Normal(ops.zeros(tuple(event)), 2.0).to_event(len(event)))
        for plate in reversed(with_plates):
            plate.__exit__(None, None, None)
        return x

    trace = trace_of(model)
    value = host(trace.nodes["x"]["value"])
    assert value.shape == (*reversed(sizes), *event)
    trace.compute_log_prob()
    assert tuple(trace.nodes["x"]["log_prob"].shape) == tuple(reversed(sizes))
    assert number(trace.log_prob_sum()) == pytest.approx(stats.norm.logpdf(value, 0.0, 2.0).sum(), rel=1e-9)
    assert runtime.STACK.get() == ()


def test_a_subsample_is_distinct_indices_and_scales(backend):
    def model():
        with ppl.plate("rows", 10, subsample_size=4) as indices:
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=ops.zeros(4))
            return indices

    trace = trace_of(model)
    indices = host(trace.nodes["rows"]["value"])
    assert sorted(set(indices.tolist())) == sorted(indices.tolist())
    assert len(indices) == 4
    assert indices.min() >= 0
    assert indices.max() < 10
    assert trace.nodes["rows"]["type"] == "subsample"
    assert poutine.util.site_is_subsample(trace.nodes["rows"])
    assert "rows" not in poutine.util.prune_subsample_sites(trace)
    assert number(trace.log_prob_sum()) == pytest.approx(2.5 * 4 * stats.norm.logpdf(0.0), rel=1e-10)
    frame = trace.nodes["x"]["cond_indep_stack"][0]
    assert (frame.size, frame.full_size) == (4, 10)
    again = handlers.trace(handlers.replay(model, trace=trace)).get_trace()
    numpy.testing.assert_array_equal(host(again.nodes["_RETURN"]["value"]), indices)
    fixed = handlers.trace(handlers.substitute(model, data={"rows": ops.array([3, 1, 7, 0])})).get_trace()
    numpy.testing.assert_array_equal(host(fixed.nodes["_RETURN"]["value"]), [3, 1, 7, 0])


def test_custom_indices_and_nested_minibatches(backend):
    def model():
        with ppl.plate("rows", 10, subsample=[1, 5]) as rows, ppl.plate("columns", 6, subsample=ops.array([0, 2, 4])):
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=ops.zeros((3, 2)))
            return rows

    trace = trace_of(model)
    numpy.testing.assert_array_equal(host(trace.nodes["_RETURN"]["value"]), [1, 5])
    assert number(trace.log_prob_sum()) == pytest.approx(5 * 2 * 6 * stats.norm.logpdf(0.0), rel=1e-10)


def test_a_sequential_minibatch_yields_its_indices(backend):
    def model():
        for i in ppl.plate("rows", 10, subsample=[7, 2]):
            ppl.sample(f"x{i}", dist.Normal(0.0, 1.0), obs=0.0)

    trace = trace_of(model)
    assert trace.observation_nodes == ["x7", "x2"]
    assert number(trace.log_prob_sum()) == pytest.approx(10 * stats.norm.logpdf(0.0), rel=1e-10)
    assert all(isinstance(i, int) for i in ppl.plate("rows", 10, subsample_size=3))


def test_minibatches_are_unbiased(backend, rng):
    data = rng.normal(0.5, 1.0, size=12)
    full = stats.norm.logpdf(data).sum()
    array = ops.array(data)

    def model(scale):
        with ppl.plate("rows", len(data), subsample_size=3) as indices, handlers.scale(scale=scale):
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=ops.take(array, indices, axis=0))

    def z_score(scale):
        draws = numpy.array([number(trace_of(model, scale).log_prob_sum()) for _ in range(200)])
        return abs(draws.mean() - full) / (draws.std(ddof=1) / math.sqrt(len(draws)))

    assert z_score(1.0) < 4.9
    assert z_score(0.75) > 4.9


def test_every_index_is_equally_likely(backend):
    counts = numpy.zeros(5)
    for _ in range(600):
        counts[host(ppl.plate("rows", 5, subsample_size=2).indices)] += 1

    def p_value(counts):
        # Counts of pairs without replacement have covariance n (0.3 I - 0.06 J), so this is chi-square of 4 degrees of freedom.
        return stats.chi2(4).sf(((counts - 240) ** 2).sum() / (0.3 * 600))

    assert p_value(counts) > 2e-5
    assert p_value(counts + numpy.array([80, 0, 0, 0, -80])) < 2e-5


def test_a_seed_fixes_the_minibatch(backend):
    def model():
        with ppl.plate("rows", 1000, subsample_size=3) as indices:
            return host(indices).tolist()

    assert handlers.seed(model, rng_seed=1)() == handlers.seed(model, rng_seed=1)()
    assert handlers.seed(model, rng_seed=1)() != handlers.seed(model, rng_seed=2)()


def test_parameters_are_indexed_by_the_minibatch(backend):
    def model():
        with ppl.plate("rows", 4, subsample=[2, 0]):
            by_row = ppl.param("by_row", lambda: ops.reshape(ops.arange(0.0, 12.0), (4, 3)), event_dim=1)
            shared = ppl.param("shared", lambda: ops.ones((1, 3)), event_dim=1)
            whole = ppl.param("whole", lambda: ops.ones(4))
        return by_row, shared, whole

    with handlers.trace() as recorder:
        by_row, shared, whole = model()
    numpy.testing.assert_array_equal(host(by_row), [[6.0, 7.0, 8.0], [0.0, 1.0, 2.0]])
    assert tuple(shared.shape) == (1, 3)
    assert tuple(whole.shape) == (4,)
    assert tuple(ppl.get_param_store()["by_row"].shape) == (4, 3)
    assert recorder.get_trace().param_nodes == ["by_row", "shared", "whole"]
    with pytest.raises(PlateError, match=r"'by_row' has size 4 along plate 'other' .* size is 5"):
        with ppl.plate("other", 5, subsample=[1]):
            ppl.param("by_row", lambda: ops.zeros((4, 3)), event_dim=1)
    assert not runtime.am_i_wrapped()


def test_indices_follow_the_device(backend):
    with ppl.plate("rows", 3, device="cpu") as indices:
        assert ops.device(indices) == "cpu"


def test_a_whole_plate_may_be_made_twice(backend):
    def model():
        for name in "xy":
            with ppl.plate("rows", 3):
                ppl.sample(name, dist.Normal(0.0, 1.0))

    assert trace_of(model).stochastic_nodes == ["x", "y"]


def test_indep_messenger_is_the_plain_frame(backend):
    x_axis = poutine.indep_messenger.IndepMessenger("outer", 5, dim=-1)
    with x_axis:
        assert tuple(ppl.sample("x", dist.Normal(0.0, 1.0)).shape) == (5,)
    numpy.testing.assert_array_equal(host(x_axis.indices), numpy.arange(5))
    assert x_axis.counter == 0
    x_axis.next_context()
    assert x_axis.counter == 1


def enter(*plates):
    def model():
        for plate in plates:
            plate.__enter__()
        ppl.sample("x", dist.Normal(0.0, 1.0))

    def guarded():
        with handlers.trace():
            model()

    return guarded


def in_plate(plate, fn, obs=None):
    def model():
        with plate:
            ppl.sample("y", fn, obs=obs)

    return model


BAD = {
    "collision": (
        lambda: enter(ppl.plate("rows", 3, dim=-1), ppl.plate("items", 10, dim=-1)),
        PlateCollision,
        "plates 'rows' and 'items' both use dim=-1 at the entry of 'items'; expected distinct dims; "
        "try ppl.plate('items', 10, dim=-2)",
    ),
    "collision with a chosen dim": (
        lambda: enter(ppl.plate("rows", 3), ppl.plate("items", 10, dim=-1)), PlateCollision, "both use dim=-1"
    ),
    "the same plate": (lambda: enter(*[ppl.plate("rows", 3)] * 2), PlateCollision, "plate 'rows' is entered twice"),
    "the same name": (lambda: enter(ppl.plate("rows", 3), ppl.plate("rows", 3)), PlateCollision, "plate 'rows' is entered twice"),
    "positive dim": (lambda: lambda: ppl.plate("rows", 3, dim=0), PlateError, "got dim=0; expected a negative int"),
    "no name": (lambda: lambda: ppl.plate(3), PlateError, "name is a str"),
    "negative size": (lambda: lambda: ppl.plate("rows", -1), PlateError, "size=-1"),
    "fractional size": (lambda: lambda: ppl.plate("rows", 2.5), PlateError, "size=2.5; expected an int"),
    "subsample too large": (lambda: lambda: ppl.plate("rows", 3, subsample_size=4), PlateError, "expected at most 3"),
    "empty subsample": (lambda: lambda: ppl.plate("rows", 3, subsample_size=0), PlateError, "empty subsample"),
    "subsample of nothing": (lambda: lambda: ppl.plate("rows", subsample_size=4), PlateError, "expected size"),
    "two sizes": (lambda: lambda: ppl.plate("rows", 5, subsample_size=4, subsample=[1]), PlateError, "expected equal numbers"),
    "indices outside": (lambda: lambda: ppl.plate("rows", 5, subsample=[1, 5]), PlateError, "outside range(5)"),
    "batch of another size": (
        lambda: in_plate(ppl.plate("rows", 3), dist.Normal(ops.zeros(4), 1.0)),
        PlateError,
        "site 'y' has batch shape (4,) but plate 'rows' has size 3 at dim=-1",
    ),
    "data of another size": (
        lambda: in_plate(ppl.plate("rows", 3), dist.Normal(0.0, 1.0), ops.zeros(4)),
        PlateError,
        "the observed value of site 'y' has size 4 at dim=-1, but plate 'rows' has size 3",
    ),
    "data of another size than the minibatch": (
        lambda: in_plate(ppl.plate("rows", 8, subsample_size=3), dist.Normal(0.0, 1.0), ops.zeros(8)),
        PlateError,
        "the observed value of site 'y' has size 8 at dim=-1, but plate 'rows' has size 3",
    ),
    "an event shape of another size": (
        lambda: in_plate(ppl.plate("rows", 3), dist.Normal(ops.zeros(2), 1.0).to_event(1), ops.zeros((3, 4))),
        ShapeError,
        "expected it to end in the event shape (2,)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_plates_get_a_sentence_and_leave_no_handler(backend, case):
    build, error, text = BAD[case]
    with pytest.raises(error, match=re.escape(text)):
        handlers.trace(build()).get_trace()
    assert runtime.STACK.get() == ()
    with ppl.plate("rows", 3):
        assert tuple(ppl.sample("x", dist.Normal(0.0, 1.0)).shape) == (3,)


def test_a_replayed_minibatch_of_another_size_is_refused(backend):
    def model(count):
        with ppl.plate("rows", 10, subsample_size=count) as indices:
            return indices

    trace = trace_of(model, 3)
    with pytest.raises(PlateError, match=r"plate 'rows' has a subsample of 4, but its indices have shape \(3,\)"):
        handlers.replay(model, trace=trace)(4)


@pytest.mark.backends("jax")
def test_indices_of_a_trace_do_not_leak_out_of_it(backend):
    import jax

    rows = ppl.plate("rows", 3)

    def total():
        with rows as indices:
            return ops.sum(indices)

    assert number(jax.jit(total)()) == number(total()) == 3.0
    numpy.testing.assert_array_equal(host(rows.indices), numpy.arange(3))


@pytest.mark.backends("jax")
def test_minibatches_work_inside_jit(backend):
    import jax

    data = ops.arange(0.0, 20.0)

    def model():
        with ppl.plate("rows", 20, subsample_size=5) as indices:
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=ops.take(data, indices, axis=0))

    def density(key):
        trace = handlers.trace(handlers.seed(model, rng_seed=key)).get_trace()
        return trace.nodes["rows"]["value"], trace.log_prob_sum()

    indices, total = jax.jit(density)(jax.random.key(3))
    assert number(total) == pytest.approx(4 * stats.norm.logpdf(numpy.asarray(indices)).sum(), rel=1e-9)
