"""Parallel enumeration: the sum over the enumerated dimensions is the sum over all assignments, counted one by one."""

import functools
import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from enumeration import DATA, MEANS, PARALLEL, TRANSITION, enumerated_dims, hmm, host, log_evidence, traced
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, poutine
from ppl.errors import HandlerError, PlateCollision, ShapeError, SiteError
from ppl.handlers.allocator import DimAllocator
from ppl.poutine.enum_messenger import EnumMessenger

pytestmark = pytest.mark.strict


def test_one_bernoulli(backend):
    def model():
        x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
        ppl.sample("y", dist.Normal(2.0 * x, 1.0), obs=0.7)

    trace = traced(model, -1)
    assert host(trace.nodes["x"]["value"]).tolist() == [0, 1]
    assert trace.nodes["x"]["infer"]["_enumerate_dim"] == -1
    assert trace.nodes["x"]["infer"]["enumerate"] == "parallel"
    by_hand = math.log(0.7 * stats.norm.pdf(0.7, 0.0) + 0.3 * stats.norm.pdf(0.7, 2.0))
    direct = special.logsumexp(host(trace.nodes["x"]["log_prob"]) + host(trace.nodes["y"]["log_prob"]))
    assert direct == pytest.approx(by_hand, rel=1e-10)
    assert log_evidence(trace) == pytest.approx(by_hand, rel=1e-10)


def test_two_dependent_categoricals(backend):
    second = numpy.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    first, means = numpy.array([0.5, 0.2, 0.3]), numpy.array([-2.0, 0.0, 1.0, 3.0])

    def model(expand):
        infer = {**PARALLEL, "expand": expand}
        a = ppl.sample("a", dist.Categorical(ops.array(first)), infer=infer)
        b = ppl.sample("b", dist.Categorical(ops.array(second)[a]), infer=infer)
        ppl.sample("y", dist.Normal(ops.array(means)[b], 1.0 + a), obs=0.4)

    by_hand = math.log(
        sum(first[a] * second[a, b] * stats.norm.pdf(0.4, means[b], 1.0 + a) for a, b in itertools.product(range(3), range(4)))
    )
    thin, wide = traced(model, -1, False), traced(model, -1, True)
    assert log_evidence(thin) == pytest.approx(by_hand, rel=1e-10)
    assert log_evidence(wide) == pytest.approx(by_hand, rel=1e-10)
    assert enumerated_dims(thin) == enumerated_dims(wide) == {"a": -1, "b": -2}
    assert tuple(thin.nodes["b"]["value"].shape) == (4, 1)
    assert tuple(wide.nodes["b"]["value"].shape) == (4, 3)


def test_plates_stay_to_the_right(backend, rng):
    """A mixture: one weight for all, a component for each datum. The plate is summed after its local site."""
    data, weights, means = rng.normal(size=4), numpy.array([0.2, 0.8]), numpy.array([[-1.0, 1.0], [0.5, 3.0]])

    def model():
        shared = ppl.sample("shared", dist.Categorical(ops.array(weights)), infer=PARALLEL)
        with ppl.plate("data", 4, dim=-1):
            local = ppl.sample("local", dist.Bernoulli(0.3 + 0.4 * shared), infer=PARALLEL)
            ppl.sample("y", dist.Normal(ops.array(means)[shared, ops.astype(local, "int64")], 1.0), obs=ops.array(data))

    trace = traced(model, -2)
    assert enumerated_dims(trace) == {"shared": -2, "local": -3}
    assert tuple(trace.nodes["local"]["value"].shape) == (2, 1, 1)
    local = host(trace.nodes["local"]["log_prob"]) + host(trace.nodes["y"]["log_prob"])
    assert local.shape == (2, 2, 4)
    shared = special.logsumexp(local, axis=0).sum(axis=-1) + host(trace.nodes["shared"]["log_prob"])[:, 0]
    by_hand = 0.0
    for s, bits in itertools.product(range(2), itertools.product(range(2), repeat=4)):
        p = 0.3 + 0.4 * s
        terms = [(p if b else 1.0 - p) * stats.norm.pdf(y, means[s, b], 1.0) for b, y in zip(bits, data, strict=True)]
        by_hand += weights[s] * math.prod(terms)
    assert special.logsumexp(shared) == pytest.approx(math.log(by_hand), rel=1e-10)


def test_nested_plates(backend, rng):
    data = rng.normal(size=(2, 3))

    def model(expand):
        infer = {**PARALLEL, "expand": expand}
        with ppl.plate("columns", 3, dim=-1):
            with ppl.plate("rows", 2, dim=-2):
                cell = ppl.sample("cell", dist.Bernoulli(0.4), infer=infer)
                ppl.sample("y", dist.Normal(3.0 * cell, 1.0), obs=ops.array(data))
            column = ppl.sample("column", dist.Bernoulli(0.1), infer=infer)
            ppl.sample("z", dist.Normal(column, 1.0), obs=0.5)

    by_hand = numpy.log(0.6 * stats.norm.pdf(data) + 0.4 * stats.norm.pdf(data, 3.0)).sum()
    by_hand += 3 * math.log(0.9 * stats.norm.pdf(0.5) + 0.1 * stats.norm.pdf(0.5, 1.0))
    for expand, shapes in ((False, [(2, 1, 1), (2, 1, 1, 1)]), (True, [(2, 2, 3), (2, 1, 1, 3)])):
        trace = traced(model, -3, expand)
        assert enumerated_dims(trace) == {"cell": -3, "column": -4}
        assert [tuple(trace.nodes[name]["value"].shape) for name in ("cell", "column")] == shapes
        cell = host(trace.nodes["cell"]["log_prob"]) + host(trace.nodes["y"]["log_prob"])
        column = host(trace.nodes["column"]["log_prob"])[:, 0, 0] + host(trace.nodes["z"]["log_prob"])[:, 0, 0]
        assert (cell.shape, column.shape) == ((2, 2, 3), (2, 3))
        total = special.logsumexp(cell, axis=0).sum() + special.logsumexp(column, axis=0).sum()
        assert total == pytest.approx(by_hand, rel=1e-10)


def test_vector_events(backend):
    def model():
        x = ppl.sample("x", dist.OneHotCategorical(ops.array(TRANSITION[1])), infer=PARALLEL)
        ppl.sample("y", dist.Normal(ops.sum(x * ops.array(MEANS), axis=-1), 1.0), obs=0.3)

    trace = traced(model, -2)
    assert tuple(trace.nodes["x"]["value"].shape) == (3, 1, 3)
    by_hand = math.log((TRANSITION[1] * stats.norm.pdf(0.3, MEANS)).sum())
    assert log_evidence(trace) == pytest.approx(by_hand, rel=1e-10)


def test_what_is_not_marked_or_has_a_value_is_left_alone(backend):
    def model():
        ppl.sample("sequential", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})
        ppl.sample("plain", dist.Bernoulli(0.5))
        ppl.sample("observed", dist.Bernoulli(0.5), obs=ops.array(1.0), infer=PARALLEL)
        ppl.sample("given", dist.Bernoulli(0.5), infer=PARALLEL)
        ppl.sample("marked", dist.Bernoulli(0.5), infer=PARALLEL)
        ppl.deterministic("twice", 2.0)

    given = handlers.substitute(model, data={"given": ops.array(0.0)})
    trace = traced(given, -1)
    assert enumerated_dims(trace) == {"marked": -1}
    assert all(
        tuple(trace.nodes[name]["value"].shape) == () for name in trace.nodes if name not in ("marked", "_INPUT", "_RETURN")
    )


def test_observing_from_outside_takes_the_mark_away(backend):
    def model():
        x = ppl.sample("x", dist.Bernoulli(0.25), infer=PARALLEL)
        ppl.sample("y", dist.Normal(x, 1.0), obs=0.5)

    conditioned = handlers.condition(handlers.enum(model, first_available_dim=-1), data={"x": 1.0})
    trace = handlers.trace(conditioned).get_trace()
    assert enumerated_dims(trace) == {}
    expected = math.log(0.25) + stats.norm.logpdf(0.5, 1.0)
    assert float(host(trace.log_prob_sum())) == pytest.approx(expected, rel=1e-10)


def test_num_samples_draws_along_the_dimension(backend):
    """The average of the density of the data over the draws is unbiased; its standard error is the oracle's width."""
    count = 40_000

    def model(probability):
        with ppl.plate("rows", 2, dim=-1):
            x = ppl.sample("x", dist.Bernoulli(probability), infer={**PARALLEL, "num_samples": count})
            ppl.sample("y", dist.Normal(3.0 * x, 1.0), obs=ops.array([0.2, 2.5]))

    def averages(probability):
        trace = traced(model, -2, probability)
        assert tuple(trace.nodes["x"]["value"].shape) == (count, 2)
        assert enumerated_dims(trace) == {"x": -2}
        terms = numpy.exp(host(trace.nodes["y"]["log_prob"]))
        return terms.mean(axis=0), terms.std(axis=0) / math.sqrt(count)

    data = numpy.array([0.2, 2.5])
    exact = 0.7 * stats.norm.pdf(data) + 0.3 * stats.norm.pdf(data, 3.0)
    mean, error = averages(0.3)
    assert (numpy.abs(mean - exact) < 5 * error).all()
    mean, error = averages(0.35)
    assert (numpy.abs(mean - exact) > 5 * error).all(), "negative control: another probability must be told apart"


def test_draws_under_one_seed_repeat(backend):
    def model():
        return ppl.sample("x", dist.Normal(0.0, 1.0), infer={**PARALLEL, "num_samples": 5})

    seeded = handlers.seed(handlers.enum(model, first_available_dim=-1), rng_seed=3)
    assert host(seeded()).tolist() == host(seeded()).tolist()
    assert len(set(host(seeded()).tolist())) == 5


def test_replay_of_an_enumerated_guide(backend):
    """A model that follows an enumerated guide keeps its dimensions, and gives others to the left of them."""

    def guide():
        ppl.sample("x", dist.Bernoulli(0.5), infer=PARALLEL)

    def model():
        u = ppl.sample("u", dist.Bernoulli(0.9), infer=PARALLEL)
        x = ppl.sample("x", dist.Bernoulli(0.2))
        ppl.sample("y", dist.Normal(x + 2.0 * u, 1.0), obs=0.3)

    guided = traced(guide, -1)
    before = dict(guided.nodes["x"]["infer"])
    trace = traced(handlers.replay(model, trace=guided), -2)
    assert enumerated_dims(trace) == {"u": -2, "x": -1}
    assert guided.nodes["x"]["infer"] == before
    terms = [
        (0.9 if u else 0.1) * (0.2 if x else 0.8) * stats.norm.pdf(0.3, x + 2.0 * u)
        for u, x in itertools.product(range(2), repeat=2)
    ]
    assert log_evidence(trace) == pytest.approx(math.log(sum(terms)), rel=1e-10)


def test_call_decorator_context_and_messenger_agree(backend):
    def model():
        x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
        ppl.sample("y", dist.Normal(x, 1.0), obs=0.7)

    def in_context():
        with handlers.enum(first_available_dim=-2):
            model()

    models = [
        handlers.enum(model, first_available_dim=-2),
        handlers.enum(first_available_dim=-2)(model),
        in_context,
        poutine.enum(model, -2),
        EnumMessenger(-2)(model),
        poutine.enum_messenger.EnumMessenger(first_available_dim=-2)(model),
    ]
    for each in models:
        trace = handlers.trace(each).get_trace()
        assert enumerated_dims(trace) == {"x": -2}
        assert tuple(trace.nodes["x"]["value"].shape) == (2, 1)


def test_one_handler_serves_many_threads(backend):
    enumerated = handlers.enum(functools.partial(hmm, DATA), first_available_dim=-1)

    def run(_):
        with ppl.pyro_backend(backend):
            return enumerated_dims(handlers.trace(enumerated).get_trace())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(12)))
    assert found == [enumerated_dims(traced(hmm, -1, DATA))] * 12


def test_density_of_an_enumerated_model_is_differentiable(backend):
    """The gradient of the log evidence in a probability is the closed form's."""

    def log_evidence_of(probability):
        def model():
            x = ppl.sample("x", dist.Bernoulli(probability), infer=PARALLEL)
            ppl.sample("y", dist.Normal(2.0 * x, 1.0), obs=0.7)

        trace = handlers.trace(handlers.enum(model, first_available_dim=-1)).get_trace()
        trace.compute_log_prob()
        return ops.logsumexp(trace.nodes["x"]["log_prob"] + trace.nodes["y"]["log_prob"], axis=-1)

    off, on = stats.norm.pdf(0.7, 0.0), stats.norm.pdf(0.7, 2.0)
    expected = (on - off) / (0.7 * off + 0.3 * on)
    assert float(host(ops.autodiff.grad(log_evidence_of)(ops.array(0.3)))) == pytest.approx(expected, rel=1e-9)


# -- refusals --


@pytest.mark.parametrize("dim", [None, 0, 1, True, -1.0, "left"])
def test_first_available_dim_is_a_negative_int(backend, dim):
    with pytest.raises(HandlerError, match="negative int"):
        handlers.enum(lambda: None, first_available_dim=dim)


def test_a_plate_in_the_way_is_named_with_the_shapes_so_far(backend):
    def model():
        ppl.sample("before", dist.Normal(ops.zeros((4,)), 1.0).to_event(1))
        with ppl.plate("columns", 3, dim=-1), ppl.plate("rows", 2, dim=-2):
            ppl.sample("x", dist.Bernoulli(0.5), infer=PARALLEL)

    with pytest.raises(PlateCollision) as caught:
        handlers.enum(model, first_available_dim=-2)()
    message = str(caught.value)
    assert "plate 'rows' uses dim=-2 at site 'x'" in message
    assert "try first_available_dim=-3" in message
    assert "before dist | 4" in " ".join(message.split())
    assert not ppl.runtime.am_i_wrapped()
    assert enumerated_dims(traced(model, -3)) == {"x": -3}


def test_a_stray_batch_dimension_is_refused(backend):
    def model():
        ppl.sample("x", dist.Normal(ops.zeros((5,)), 1.0))

    with pytest.raises(ShapeError, match=r"site 'x' has batch shape \(5,\), whose dim=-1 of size 5.*to_event\(1\)"):
        handlers.enum(model, first_available_dim=-1)()
    assert not ppl.runtime.am_i_wrapped()
    with ppl.validation_enabled(False):
        assert tuple(handlers.trace(handlers.enum(model, first_available_dim=-1)).get_trace().nodes["x"]["value"].shape) == (5,)


def test_a_family_without_finite_support_is_refused(backend):
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0), infer=PARALLEL)

    with pytest.raises(SiteError, match=r"site 'x' is marked.*finite support.*num_samples"):
        handlers.enum(model, first_available_dim=-1)()
    assert not ppl.runtime.am_i_wrapped()


def test_allocator_alone(backend):
    """Global sites keep their dimension; the sites of a chain give theirs back."""
    allocator = DimAllocator(-4)
    assert allocator.allocate({"name": "a"}) == -4
    allocator.record({"name": "a"}, {-4: "a"})
    assert allocator.visible({"name": "b"}) == {-4: "a"}
    assert allocator.unexplained({"name": "b"}, (2, 1, 1, 1)) is None
    assert allocator.unexplained({"name": "b"}, (3, 2, 1, 1, 1)) == -5
    assert allocator.unexplained({"name": "b"}, (7, 7, 7)) is None


def test_enumerated_density_compiles(backend):
    """Compiled for arrays of numbers, an enumerated chain gives the same sum and the same gradient."""

    def density(shift):
        def model():
            x = None
            for t in ppl.markov(range(2)):
                x = ppl.sample(f"x{t}", dist.Bernoulli(0.3 if x is None else 0.2 + 0.5 * x), infer=PARALLEL)
                ppl.sample(f"y{t}", dist.Normal(x + shift, 1.0), obs=DATA[t])

        trace = handlers.trace(handlers.enum(model, first_available_dim=-1)).get_trace()
        trace.compute_log_prob()
        first = trace.nodes["x0"]["log_prob"] + trace.nodes["y0"]["log_prob"]
        second = trace.nodes["x1"]["log_prob"] + trace.nodes["y1"]["log_prob"]
        return ops.logsumexp(ops.reshape(first + second, (-1,)), axis=-1)

    def by_hand(shift):
        total = 0.0
        for a, b in itertools.product(range(2), repeat=2):
            prior = (0.3 if a else 0.7) * ((0.2 + 0.5 * a) if b else (0.8 - 0.5 * a))
            total += prior * stats.norm.pdf(DATA[0], a + shift) * stats.norm.pdf(DATA[1], b + shift)
        return math.log(total)

    compiled = ops.compile.compile(ops.autodiff.value_and_grad(density), ops.array(0.1))
    value, gradient = compiled(ops.array(0.4))
    assert float(host(value)) == pytest.approx(by_hand(0.4), rel=1e-10)
    assert float(host(gradient)) == pytest.approx((by_hand(0.4 + 1e-6) - by_hand(0.4 - 1e-6)) / 2e-6, rel=1e-6)
