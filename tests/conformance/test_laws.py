"""Laws of the language on generated models: what a handler must do, whatever the model is."""

import itertools
import math
from queue import LifoQueue

import numpy
import pytest
from generated_models import LATENT, programs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, registry, runtime

pytestmark = pytest.mark.strict

LAWS = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _no_parameters(backend):
    ppl.clear_param_store()


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def run(model, *wrappers):
    """Return the trace of a model under wrappers, the innermost first; one seed for every run."""
    for wrap in wrappers:
        model = wrap(model)
    return handlers.trace(handlers.seed(model, rng_seed=11)).get_trace()


def values(trace, names=None):
    sites = {name: host(node["value"]) for name, node in trace.nodes.items() if node["type"] == "sample"}
    return sites if names is None else {name: sites[name] for name in names}


def total(trace):
    return number(trace.log_prob_sum())


def same(first, second):
    assert list(first) == list(second)
    for name, value in first.items():
        numpy.testing.assert_array_equal(value, second[name])


def some(data, names):
    return sorted(data.draw(st.sets(st.sampled_from(names)))) if names else []


class ChangeAt(handlers.Handler):
    """Changes the messages of some sites, as ``mask`` and ``scale`` change those of all."""

    def __init__(self, names, **changes):
        super().__init__()
        self.names, self.changes = names, changes

    def on_sample(self, message):
        if message["name"] in self.names:
            message.update(self.changes)


@LAWS
@given(program=programs())
def test_replay_of_a_trace_is_the_identity(backend, program):
    trace = run(program)
    again = handlers.trace(handlers.replay(program, trace=trace)).get_trace()
    same(values(trace), values(again))
    assert total(again) == total(trace)
    numpy.testing.assert_array_equal(host(again.nodes["_RETURN"]["value"]), host(trace.nodes["_RETURN"]["value"]))


@LAWS
@given(program=programs(), data=st.data())
def test_condition_leaves_the_draws_of_other_sites_alone(backend, program, data):
    free = run(program)
    chosen = some(data, program.latent)
    fixed = {name: free.nodes[name]["value"] for name in chosen}
    conditioned = run(program, lambda model: handlers.condition(model, data=fixed))
    assert conditioned.stochastic_nodes == [name for name in program.latent if name not in chosen]
    # On jax a draw depends on its name alone; a shared stream moves by the draws that fell away, so those before are the same.
    first = min((free.stochastic_nodes.index(name) for name in chosen), default=len(program.latent))
    others = [name for name in program.latent if name not in chosen]
    kept = others if registry.active().name == "jax" else program.latent[:first]
    same(values(free, kept), values(conditioned, kept))
    if kept == others:
        assert total(conditioned) == pytest.approx(total(free), rel=1e-6)


@LAWS
@given(program=programs(), data=st.data())
def test_mask_false_is_scale_zero_is_absence(backend, program, data):
    chosen = some(data, program.names())
    trace = run(program)
    absent = number(trace.log_prob_sum(lambda name, site: name not in chosen))
    for change in ({"mask": False}, {"scale": 0.0}, {"mask": ops.array(False)}):
        changed = handlers.trace(ChangeAt(chosen, **change)(handlers.replay(program, trace=trace))).get_trace()
        assert total(changed) == pytest.approx(absent, rel=1e-6, abs=1e-6)
    for wrap in (lambda model: handlers.mask(model, mask=False), lambda model: handlers.scale(model, scale=0.0)):
        assert total(run(program, wrap)) == 0.0


@LAWS
@given(program=programs(), data=st.data())
def test_block_hides_exactly_what_it_says(backend, program, data):
    inner = handlers.trace(program)
    inner()
    nodes = [node for node in inner.trace.nodes.values() if node["type"] not in ("args", "return")]
    names = [node["name"] for node in nodes]
    kinds = {node["name"]: "observe" if node.get("is_observed") and node["type"] == "sample" else node["type"] for node in nodes}
    picked = set(some(data, names))
    types = data.draw(st.sets(st.sampled_from(["sample", "observe", "param", "subsample"])))
    # By hand, from the five rules of the documentation.
    oracle = [
        ({"hide_fn": lambda site: site["name"] in picked}, picked),
        ({"expose_fn": lambda site: site["name"] in picked}, set(names) - picked),
        ({"hide": picked}, picked),
        ({"expose": picked}, set(names) - picked),
        ({"hide_types": types}, {name for name in names if kinds[name] in types}),
        ({"expose_types": types}, {name for name in names if kinds[name] not in types}),
        ({"hide": picked, "hide_types": types}, {name for name in names if name in picked or kinds[name] in types}),
        ({"expose": picked, "expose_types": types}, {name for name in names if name not in picked and kinds[name] not in types}),
        ({"hide_all": True}, set(names)),
        ({"hide_all": False}, set()),
        ({"expose_all": True, "hide_all": False}, set()),
        ({}, set(names)),
    ]
    for arguments, hidden in oracle:
        outer = handlers.trace(handlers.block(program, **arguments)).get_trace()
        shown = [name for name in outer.nodes if not name.startswith("_")]
        assert shown == [name for name in names if name not in hidden], arguments


def subsampled_density(size, factor):
    def model():
        with ppl.plate("rows", len(ROWS), subsample_size=size) as rows:
            with handlers.scale(scale=factor):
                ppl.sample("y", dist.Normal(0.3, 1.0), obs=ops.array(ROWS)[rows])

    return numpy.array([total(handlers.trace(handlers.seed(model, rng_seed=seed)).get_trace()) for seed in range(150)])


ROWS = numpy.linspace(-2.0, 3.0, 8)


def test_minibatches_are_unbiased_and_a_wrong_scale_is_noticed(backend):
    whole = (-0.5 * (ROWS - 0.3) ** 2 - 0.5 * math.log(2.0 * math.pi)).sum()

    def deviation(found):
        return abs(found.mean() - whole) / (found.std(ddof=1) / math.sqrt(len(found)))

    found = subsampled_density(3, 1.0)
    assert deviation(found) < 4.0
    # The negative control: densities without the factor 8 / 3.
    assert deviation(found * 3.0 / 8.0) > 4.0


def test_lift_then_condition_is_the_parameter(backend):
    def model():
        rate = ppl.param("rate", 1.5)
        return ppl.sample("y", dist.Exponential(rate), obs=0.7)

    lifted = handlers.lift(model, prior={"rate": dist.Gamma(2.0, 1.0)})
    trace = handlers.trace(handlers.condition(lifted, data={"rate": 2.5})).get_trace()
    plain = handlers.trace(handlers.substitute(model, data={"rate": 2.5})).get_trace()
    assert trace.observation_nodes == ["rate", "y"]
    assert number(trace.log_prob_sum(lambda name, site: name == "y")) == pytest.approx(total(plain), rel=1e-6)
    assert total(trace) == pytest.approx(total(plain) + math.log(2.5) - 2.5, rel=1e-5)
    assert "rate" not in ppl.get_param_store()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_lifted_parameter_has_its_shape(backend, shape):
    lifted = handlers.lift(lambda: ppl.param("w", ops.zeros(shape)), prior=dist.Normal(0.0, 1.0))
    assert tuple(ops.shape(lifted())) == shape


@pytest.mark.backends("jax")
@LAWS
@given(program=programs(), place=st.integers(0, 5))
def test_a_new_site_does_not_shift_the_draws_of_others(backend, program, place):
    class Insert(handlers.Handler):
        """Draws from a new site before the site at ``place``."""

        def __init__(self):
            super().__init__()
            self.count = 0

        def on_sample(self, message):
            self.count += 1
            if self.count == place + 1:
                with handlers.block():
                    ppl.sample("new", dist.Normal(0.0, 1.0), rng_key=None)

    short = run(program)

    def longer():
        ppl.sample("new", dist.Normal(0.0, 1.0))
        return program()

    same(values(short, program.latent), values(run(longer), program.latent))
    same(values(short), values(run(program, lambda model: Insert()(model))))


class Boom(BaseException):
    """No library catches it."""


WRAPPERS = {
    "block": lambda: handlers.block(hide=["s0"]),
    "broadcast": lambda: handlers.broadcast(),
    "condition": lambda: handlers.condition(data={}),
    "do": lambda: handlers.do(data={}),
    "escape": lambda: handlers.escape(escape_fn=lambda site: False),
    "infer_config": lambda: handlers.infer_config(config_fn=lambda site: {"seen": True}),
    "lift": lambda: handlers.lift(prior={}),
    "mask": lambda: handlers.mask(mask=False),
    "replay": lambda: handlers.replay(params={}),
    "scale": lambda: handlers.scale(scale=2.0),
    "seed": lambda: handlers.seed(rng_seed=3),
    "substitute": lambda: handlers.substitute(data={}),
    "trace": lambda: handlers.trace(),
    "uncondition": lambda: handlers.uncondition(),
}


@pytest.mark.parametrize("hook", ["process_message", "postprocess_message"])
@pytest.mark.parametrize("outside", [False, True])
@LAWS
@given(program=programs(), data=st.data())
def test_the_stack_is_empty_after_an_exception_at_any_site(backend, hook, outside, program, data):
    count = itertools.count()
    messages = sum(not name.startswith("_") for name in run(program).nodes)
    position = data.draw(st.integers(0, messages - 1))

    class Fails(handlers.Handler):
        pass

    def fail(self, message):
        if next(count) == position:
            raise Boom

    setattr(Fails, hook, fail)
    model = program if outside else Fails()(program)
    for name in data.draw(st.permutations([name for name in WRAPPERS if name != "block"])):
        model = WRAPPERS[name]()(model)
    with pytest.raises(Boom):
        (Fails()(model) if outside else model)()
    assert runtime.STACK.get() == ()
    first = run(program)
    same(values(first), values(run(program)))


COMMUTING = {
    "mask": lambda name, value: ChangeAt([name], mask=False),
    "scale": lambda name, value: ChangeAt([name], scale=0.5),
    "condition": lambda name, value: handlers.condition(data={name: value}),
    "substitute": lambda name, value: handlers.substitute(data={name: value}),
    "block": lambda name, value: handlers.block(hide=[name]),
    "do": lambda name, value: handlers.do(data={name: value}),
}


@pytest.mark.parametrize("pair", list(itertools.combinations_with_replacement(COMMUTING, 2)), ids="-".join)
def test_handlers_of_disjoint_sites_commute(backend, pair):
    def model():
        a = ppl.sample("a", dist.Normal(0.0, 1.0))
        b = ppl.sample("b", dist.Normal(a, 2.0))
        with ppl.plate("rows", 3):
            return ppl.sample("c", dist.Normal(a + b, 1.0), obs=ops.zeros(3))

    first, second = COMMUTING[pair[0]]("a", 0.25), COMMUTING[pair[1]]("b", -1.5)
    one, other = run(model, first, second), run(model, second, first)
    same(values(one), values(other))
    assert total(one) == total(other)
    assert [node["is_observed"] for node in one.nodes.values() if node["type"] == "sample"] == [
        node["is_observed"] for node in other.nodes.values() if node["type"] == "sample"
    ]


def test_scales_and_masks_commute_whatever_their_sites(backend):
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.4)

    def scale(model):
        return handlers.scale(model, scale=3.0)

    def mask(model):
        return handlers.mask(model, mask=ops.array(True))

    expected = 3.0 * (-0.5 * 0.4**2 - 0.5 * math.log(2.0 * math.pi))
    assert total(run(model, scale, mask)) == total(run(model, mask, scale)) == pytest.approx(expected, rel=1e-6)


@LAWS
@given(program=programs(), data=st.data())
def test_do_cuts_the_site_out(backend, program, data):
    names = program.names(*LATENT)
    chosen = some(data, names)
    trace = run(program)
    forced = {name: trace.nodes[name]["value"] for name in chosen}
    cut = handlers.trace(handlers.do(handlers.replay(program, trace=trace), data=forced)).get_trace()
    assert [name for name in values(cut)] == [name for name in values(trace) if name not in chosen]
    expected = number(trace.log_prob_sum(lambda name, site: name not in chosen))
    assert total(cut) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_do_leaves_parents_as_they_were_where_condition_informs_them(backend):
    def model():
        cause = ppl.sample("cause", dist.Normal(0.0, 1.0))
        return ppl.sample("effect", dist.Normal(cause, 1.0))

    def density(wrap, cause):
        wrapped = handlers.condition(wrap(model, data={"effect": 2.0}), data={"cause": cause})
        return total(handlers.trace(wrapped).get_trace())

    # The prior's ratio under do, the joint's under condition.
    assert density(handlers.do, 1.0) - density(handlers.do, 0.0) == pytest.approx(-0.5, abs=1e-5)
    assert density(handlers.condition, 1.0) - density(handlers.condition, 0.0) == pytest.approx(-0.5 - 0.5 + 2.0, abs=1e-5)


@LAWS
@given(program=programs())
def test_uncondition_draws_every_observed_site(backend, program):
    trace = run(program, lambda model: handlers.uncondition(model))
    assert [name for name in trace.stochastic_nodes if name in program.names(*LATENT)] == program.names(*LATENT)
    for name in program.names("normal", observed=True):
        node = trace.nodes[name]
        assert tuple(ops.shape(node["value"])) == tuple(node["fn"].batch_shape)
        assert "obs" in node["infer"]
        assert not numpy.array_equal(host(node["value"]), host(node["infer"]["obs"]))


def test_a_queue_enumerates_every_assignment(backend):
    table = numpy.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])

    def model():
        first = int(host(ppl.sample("first", dist.Categorical(probs=ops.array([0.3, 0.3, 0.4])))))
        second = int(host(ppl.sample("second", dist.Bernoulli(ops.array(table[first, 1])))))
        if second:
            ppl.sample("third", dist.Bernoulli(0.25))
        ppl.sample("y", dist.Normal(float(first + second), 1.0), obs=0.5)

    partial = LifoQueue()
    partial.put(handlers.Trace())
    recorder = handlers.trace(handlers.queue(model, queue=partial))
    found = []
    while not partial.empty():
        trace = recorder.get_trace()
        found.append((tuple(int(value) for name, value in values(trace).items() if name != "y"), total(trace)))
    assert sorted(key for key, _ in found) == sorted(
        [(first, 0) for first in range(3)] + [(first, 1, third) for first in range(3) for third in (0, 1)]
    )
    expected = sum(
        prior * table[first, second] * math.exp(-0.5 * (0.5 - first - second) ** 2) / math.sqrt(2.0 * math.pi)
        for first, prior in enumerate([0.3, 0.3, 0.4])
        for second in range(2)
    )
    assert sum(math.exp(density) for _, density in found) == pytest.approx(expected, rel=1e-5)


@LAWS
@given(program=programs())
def test_infer_config_reaches_sample_and_param_sites_alone(backend, program):
    trace = run(program, lambda model: handlers.infer_config(model, config_fn=lambda site: {"mark": site["name"]}))
    for name, node in trace.nodes.items():
        if node["type"] in ("sample", "param"):
            assert node["infer"]["mark"] == name
        elif node["type"] == "subsample":
            assert "mark" not in node["infer"]


@LAWS
@given(program=programs())
def test_broadcast_agrees_with_the_plates(backend, program):
    plain, broadcast = run(program), run(program, lambda model: handlers.broadcast(model))
    same(values(plain), values(broadcast))
    for name in values(plain):
        assert tuple(plain.nodes[name]["fn"].batch_shape) == tuple(broadcast.nodes[name]["fn"].batch_shape)
