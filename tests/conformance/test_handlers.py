"""Laws of the effect handlers, on hand-written and generated models; densities come from scipy."""

import math
from queue import LifoQueue

import numpy
import pytest
from generated_models import sparing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, poutine, runtime
from ppl.errors import DuplicateSite, HandlerError, PplError, PplWarning, SiteError
from ppl.infer.reparam import LocScaleReparam
from ppl.runtime import NonlocalExit

pytestmark = pytest.mark.strict

LAWS = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def model(y=None):
    scale = ppl.param("scale", 2.0)
    z = ppl.sample("z", dist.Normal(0.5, scale))
    w = ppl.sample("w", dist.Normal(z, 1.0))
    with ppl.plate("rows", 3):
        return ppl.sample("y", dist.Normal(w, 1.0), obs=y)


def values(trace):
    return {name: host(node["value"]) for name, node in trace.nodes.items() if node["type"] == "sample"}


@st.composite
def programs(draw):
    """A model as data: per site its parent, its plate size, and whether it is observed."""
    sizes = st.sampled_from([None, 3] if sparing() else [None, None, 1, 2, 3])
    return [(draw(st.integers(0, i)) - 1, draw(sizes), draw(st.booleans())) for i in range(draw(st.integers(1, 5)))]


def run(program):
    drawn = []
    for i, (parent, size, observed) in enumerate(program):
        loc = 0.0 if parent < 0 else drawn[parent]
        obs = 0.1 * i if observed else None
        if size is None:
            drawn.append(ppl.sample(f"x{i}", dist.Normal(loc, 1.0 + i), obs=obs))
            continue
        with ppl.plate(f"plate{i}", size):
            drawn.append(ops.sum(ppl.sample(f"x{i}", dist.Normal(loc, 1.0 + i), obs=obs)))
    return drawn


def oracle(program, found):
    """The joint log density by scipy."""
    total, drawn = 0.0, []
    for i, (parent, size, _) in enumerate(program):
        loc = 0.0 if parent < 0 else drawn[parent]
        value = found[f"x{i}"]
        copies = numpy.broadcast_to(value, () if size is None else (size,))
        total += stats.norm.logpdf(copies, loc, 1.0 + i).sum()
        drawn.append(value if size is None else value.sum())
    return number(total)


@LAWS
@given(program=programs())
def test_a_trace_has_the_joint_density(backend, program):
    trace = handlers.trace(run).get_trace(program)
    assert number(trace.log_prob_sum()) == pytest.approx(oracle(program, values(trace)), rel=1e-10)
    assert trace.stochastic_nodes == [f"x{i}" for i, site in enumerate(program) if not site[2]]


@LAWS
@given(program=programs(), seed=st.integers(0, 2**31 - 1))
def test_a_seed_repeats_the_run_and_leaves_the_outside_alone(backend, program, seed):
    seeded = handlers.seed(run, rng_seed=seed)
    ppl.set_rng_seed(3)
    first = values(handlers.trace(seeded).get_trace(program))
    after = number(ppl.sample("after", dist.Normal(0.0, 1.0)))
    second = values(handlers.trace(seeded).get_trace(program))
    ppl.set_rng_seed(3)
    assert number(ppl.sample("after", dist.Normal(0.0, 1.0))) == after
    for name, value in first.items():
        numpy.testing.assert_array_equal(value, second[name])


def test_condition_observes_and_leaves_other_draws_alone(backend):
    free = handlers.trace(handlers.seed(model, rng_seed=5)).get_trace()
    fixed = {"w": free.nodes["w"]["value"]}
    conditioned = handlers.trace(handlers.condition(handlers.seed(model, rng_seed=5), data=fixed)).get_trace()
    assert conditioned.observation_nodes == ["w"]
    assert conditioned.stochastic_nodes == ["z", "y"]
    assert number(conditioned.nodes["z"]["value"]) == number(free.nodes["z"]["value"])
    of_w = conditioned.log_prob_sum(lambda name, site: name == "w")
    assert number(of_w) == number(free.log_prob_sum(lambda name, site: name == "w"))


@pytest.mark.backends("jax")
def test_sites_keep_their_draws_when_others_come_and_go(backend):
    def longer():
        ppl.sample("new", dist.Normal(0.0, 1.0))
        return model()

    short = values(handlers.trace(handlers.seed(model, rng_seed=5)).get_trace())
    long = values(handlers.trace(handlers.seed(longer, rng_seed=5)).get_trace())
    fixed = values(handlers.trace(handlers.condition(handlers.seed(model, rng_seed=5), data={"z": 0.0})).get_trace())
    numpy.testing.assert_array_equal(short["z"], long["z"])
    numpy.testing.assert_allclose(short["y"] - short["w"], long["y"] - long["w"], rtol=1e-12)
    numpy.testing.assert_allclose(short["w"] - short["z"], fixed["w"], rtol=1e-12)


def test_sites_of_one_seed_are_independent(backend):
    def pair():
        return ppl.sample("a", dist.Normal(0.0, 1.0)), ppl.sample("b", dist.Normal(0.0, 1.0))

    with handlers.seed(rng_seed=0):
        draws = [number(x) for _ in range(3) for x in pair()]
    assert len(set(draws)) == 6
    with handlers.seed(rng_seed=0):
        assert [number(x) for _ in range(3) for x in pair()] == draws
    with handlers.seed(rng_seed=1):
        assert [number(x) for _ in range(3) for x in pair()] != draws


def test_seed_reaches_sites_behind_a_block_and_plain_functions(backend):
    def noise():
        return number(dist.Normal(0.0, 1.0).sample())

    def hidden():
        return ppl.sample("x", noise), number(ppl.sample("y", dist.Normal(0.0, 1.0)))

    seeded = handlers.seed(handlers.block(hidden), rng_seed=4)
    assert seeded() == seeded()


def test_seed_takes_a_key(backend):
    a = number(handlers.seed(model, rng_seed=ops.random.key(11))()[0])
    b = number(handlers.seed(model, rng_seed=ops.random.key(11))()[0])
    assert a == b


def test_substitute_keeps_sites_latent(backend):
    data = {"z": 1.0, "w": -0.5, "y": numpy.array([0.1, 0.2, 0.3]), "scale": 3.0}
    trace = handlers.trace(handlers.substitute(model, data=data)).get_trace()
    assert trace.stochastic_nodes == ["z", "w", "y"]
    expected = (
        stats.norm.logpdf(1.0, 0.5, 3.0) + stats.norm.logpdf(-0.5, 1.0, 1.0) + stats.norm.logpdf(data["y"], -0.5, 1.0).sum()
    )
    assert number(trace.log_prob_sum()) == pytest.approx(expected, rel=1e-10)
    by_function = handlers.substitute(model, substitute_fn=lambda site: data.get(site["name"]))
    assert number(handlers.trace(by_function).get_trace().log_prob_sum()) == pytest.approx(expected, rel=1e-10)
    assert "scale" not in ppl.get_param_store()


def test_gradients_flow_through_substituted_values(backend):
    def density(z):
        trace = handlers.trace(handlers.substitute(model, data={"z": z, "w": ops.array(0.25)})).get_trace(ops.zeros(3))
        return trace.log_prob_sum()

    z = 1.5
    expected = -(z - 0.5) / 4.0 + (0.25 - z)
    assert number(ops.autodiff.grad(density)(ops.array(z))) == pytest.approx(expected, rel=1e-8)


def test_scales_multiply(backend):
    trace = handlers.trace(handlers.seed(model, rng_seed=1)).get_trace()
    scaled = handlers.scale(handlers.scale(handlers.replay(model, trace=trace), scale=0.5), scale=3.0)
    total = number(handlers.trace(scaled).get_trace().log_prob_sum())
    assert total == pytest.approx(1.5 * number(trace.log_prob_sum()), rel=1e-12)


def test_masks_are_elementwise_and_combine(backend):
    y = numpy.array([0.1, -0.4, 2.0])

    def observed():
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(0.0, 1.0), obs=y)

    terms = stats.norm.logpdf(y)
    first, second = ops.array([True, True, False]), numpy.array([0, 1, 1])
    trace = handlers.trace(handlers.mask(handlers.mask(observed, mask=first), mask=second)).get_trace()
    trace.compute_log_prob()
    numpy.testing.assert_allclose(host(trace.nodes["y"]["log_prob"]), terms * [0, 1, 0], rtol=1e-10)
    for mask, expected in ((True, terms.sum()), (False, 0.0)):
        assert number(handlers.trace(handlers.mask(observed, mask=mask)).get_trace().log_prob_sum()) == pytest.approx(expected)


def test_masked_elements_have_zero_gradient_where_the_density_is_not_finite(backend):
    y = numpy.array([0.5, math.nan, math.inf])

    def density(rate, mask):
        def observed():
            with ppl.plate("rows", 3):
                ppl.sample("y", dist.Gamma(2.0, rate), obs=y)

        return handlers.trace(handlers.mask(observed, mask=mask)).get_trace().log_prob_sum()

    keep = ops.array([True, False, False])
    value, gradient = ops.autodiff.value_and_grad(lambda rate: density(rate, keep))(ops.array(3.0))
    assert number(value) == pytest.approx(stats.gamma.logpdf(0.5, 2.0, scale=1 / 3.0), rel=1e-10)
    assert number(gradient) == pytest.approx(2.0 / 3.0 - 0.5, rel=1e-8)
    value, gradient = ops.autodiff.value_and_grad(lambda rate: density(rate, False) + 0.0 * rate)(ops.array(3.0))
    assert (number(value), number(gradient)) == (0.0, 0.0)


@pytest.mark.parametrize("arguments", [
    {"hide": ["z", "scale"]},
    {"expose": ["w", "y"]},
    {"hide_fn": lambda site: site["name"] in ("z", "scale")},
    {"expose_fn": lambda site: site["name"] in ("w", "y")},
    {"expose_types": ["observe"], "expose": ["w"]},
    {"hide_types": ["param"], "hide": ["z"]},
])  # fmt: skip
def test_block_arguments(backend, arguments):
    trace = handlers.trace(handlers.block(model, **arguments)).get_trace(ops.zeros(3))
    assert [name for name in trace.nodes if not name.startswith("_")] == ["w", "y"]


def test_block_without_arguments_hides_all_and_expose_all_none(backend):
    def sites(**arguments):
        return [name for name in handlers.trace(handlers.block(model, **arguments)).get_trace().nodes if not name.startswith("_")]

    assert sites() == []
    assert sites(hide_all=False, expose_all=True) == ["scale", "z", "w", "y"]
    assert sites(hide=[]) == ["scale", "z", "w", "y"]
    assert sites(hide_types=["sample"]) == ["scale"]


def test_replay_takes_params_and_refuses_another_type(backend):
    assert number(handlers.trace(handlers.replay(model, params={"scale": 9.0})).get_trace().nodes["scale"]["value"]) == 9.0
    trace = handlers.trace(lambda: ppl.param("z", 1.0)).get_trace()
    with pytest.raises(SiteError, match="'z' is a sample site here but a param site"):
        handlers.replay(model, trace=trace)()
    assert not runtime.am_i_wrapped()


def test_condition_takes_a_trace(backend):
    trace = handlers.trace(model).get_trace()
    again = handlers.trace(handlers.condition(model, data=trace)).get_trace()
    assert again.stochastic_nodes == []
    assert number(again.log_prob_sum()) == number(trace.log_prob_sum())


def test_misspelt_names_in_condition_warn_with_the_closest(backend):
    with pytest.warns(PplWarning, match=r"'zz', but the model has no such site; closest sites are 'z'"):
        handlers.condition(model, data={"zz": 1.0})()
    assert not runtime.am_i_wrapped()


# Of each handler the arguments, and what it changes in a run of the model; ``queue`` is no context and has a test of its own.
HANDLERS = {
    "block": (lambda: {"hide": ["w"]}, "sites"),
    "broadcast": (dict, ""),
    "condition": (lambda: {"data": {"w": 1.0}}, "is_observed"),
    "do": (lambda: {"data": {"w": 1.0}}, "sites"),
    "enum": (lambda: {"first_available_dim": -2}, "infer shape"),
    "escape": (lambda: {"escape_fn": lambda site: site["name"] == "w"}, "sites"),
    "infer_config": (lambda: {"config_fn": lambda site: {"seen": True}}, "infer"),
    "lift": (lambda: {"prior": {"scale": dist.Exponential(1.0)}}, "type"),
    "markov": (lambda: {"history": 2}, "infer markov_scopes"),
    "mask": (lambda: {"mask": False}, "mask"),
    "reparam": (lambda: {"config": {"w": LocScaleReparam(0.0)}}, "sites is_observed mask infer"),
    "replay": (lambda: {"params": {"scale": 9.0}}, "params"),
    "scale": (lambda: {"scale": 2.0}, "scale"),
    "seed": (lambda: {"rng_seed": 3}, "repeats"),
    "substitute": (lambda: {"data": {"w": 1.0, "scale": 9.0}}, "params"),
    "trace": (dict, ""),
    "uncondition": (dict, "is_observed infer"),
}


def with_a_choice():
    with ppl.plate("columns", 3, dim=-1):
        choice = ppl.sample("choice", dist.Bernoulli(0.25), infer={"enumerate": "parallel"})
    return model(y=0.5), choice


def features(run):
    """Return what two runs show: which sites, of which types, in which state; whether the draws repeat."""
    traces = []
    for _ in range(2):
        with handlers.trace() as recorder:
            try:
                run()
            except NonlocalExit as left:
                recorder.trace.nodes.pop(left.site["name"], None)
        traces.append({name: node for name, node in recorder.trace.nodes.items() if node["type"] in ("sample", "param")})
    nodes, again = traces
    samples = {name: node for name, node in nodes.items() if node["type"] == "sample"}
    found = {key: {name: node[key] for name, node in samples.items()} for key in ("is_observed", "mask", "scale")}
    found["infer"] = {name: sorted(node["infer"]) for name, node in samples.items()}
    found["markov_scopes"] = {name: len(node.get("markov_scopes", ())) for name, node in samples.items()}
    found["shape"] = {name: tuple(ops.shape(node["value"])) for name, node in samples.items() if name == "choice"}
    found["type"] = {name: node["type"] for name, node in nodes.items()}
    found["params"] = {name: number(node["value"]) for name, node in nodes.items() if node["type"] == "param"}
    found["repeats"] = "z" in nodes and number(nodes["z"]["value"]) == number(again["z"]["value"])
    return {**found, "sites": sorted(nodes)}


@pytest.mark.parametrize("name", HANDLERS)
def test_each_handler_is_a_call_a_decorator_and_a_context(backend, name):
    arguments, changes = HANDLERS[name]
    handle = ppl.markov if name == "markov" else getattr(handlers, name)
    called, decorated = handle(with_a_choice, **arguments()), handle(**arguments())(with_a_choice)
    assert decorated.__name__ == called.__name__ == "with_a_choice"

    def block():
        with handle(**arguments()):
            with_a_choice()

    plain, seen = features(with_a_choice), features(block)
    assert seen == features(called) == features(decorated)

    def alike(key):
        if isinstance(seen[key], dict):
            return all(seen[key][site] == plain[key][site] for site in seen[key].keys() & plain[key].keys())
        return seen[key] == plain[key]

    assert {key for key in plain if not alike(key)} == set(changes.split())
    assert not runtime.am_i_wrapped()
    with pytest.raises(HandlerError, match="decorate"):
        handle(**arguments())(1, 2)


def test_a_queue_is_a_call_and_a_decorator(backend):
    def flips():
        return tuple(int(host(ppl.sample(name, dist.Bernoulli(0.5)))) for name in "ab")

    def results(make):
        partial = LifoQueue()
        partial.put(handlers.Trace())
        run, found = make(partial), []
        while not partial.empty():
            found.append(run())
        return run.__name__, sorted(found)

    expected = "flips", [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert results(lambda partial: handlers.queue(flips, queue=partial)) == expected
    assert results(lambda partial: handlers.queue(queue=partial)(flips)) == expected
    with pytest.raises(HandlerError, match="got a block of code"), handlers.queue(queue=LifoQueue()):
        flips()
    with pytest.raises(HandlerError, match="wraps a function, got int"):
        handlers.queue(queue=LifoQueue())(3)
    assert not runtime.am_i_wrapped()


@pytest.mark.parametrize("name", sorted(set(HANDLERS) - {"markov", "trace"}))
def test_a_handler_with_a_function_is_no_context(backend, name):
    with pytest.raises(HandlerError, match=f"{name} got a function and is entered"):
        with getattr(handlers, name)(model, **HANDLERS[name][0]()):
            model()
    assert not runtime.am_i_wrapped()


def test_what_an_abandoned_entry_holds_is_released(backend):
    def draws():
        with handlers.seed(rng_seed=1):
            while True:
                yield number(dist.Normal(0.0, 1.0).sample())

    ppl.set_rng_seed(3)
    expected = [number(dist.Normal(0.0, 1.0).sample()) for _ in range(2)]
    ppl.set_rng_seed(3)
    first = number(dist.Normal(0.0, 1.0).sample())
    with handlers.trace():
        abandoned = draws()
        next(abandoned)
    assert [first, number(dist.Normal(0.0, 1.0).sample())] == expected
    abandoned.close()
    assert runtime.STACK.get() == ()


def test_handlers_decorate_methods(backend):
    class Owner:
        loc = 4.0

        @handlers.condition(data={"x": 1.0})
        def model(self, scale):
            return ppl.sample("x", dist.Normal(self.loc, scale))

    assert number(Owner().model(1.0)) == 1.0


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("phase", ["process_message", "postprocess_message"])
def test_the_stack_is_empty_after_an_exception_at_any_site(backend, error, position, phase):
    count = iter(range(100))

    def fail(self, message):
        if next(count) == position:
            raise error

    class Fails(handlers.Handler):
        pass

    setattr(Fails, phase, fail)

    def looped():
        model()
        for i in ppl.plate("loop", 3):
            with ppl.plate(f"inner{i}", 2):
                ppl.sample(f"x{i}", dist.Normal(0.0, 1.0))

    wrapped = handlers.trace(handlers.seed(handlers.scale(handlers.condition(looped, data={"w": 0.0}), scale=2.0), rng_seed=0))
    with pytest.raises(error), Fails():
        wrapped.get_trace()
    assert runtime.STACK.get() == ()
    assert math.isfinite(number(handlers.trace(model).get_trace().log_prob_sum()))


def test_the_stack_is_empty_after_a_loop_is_left(backend):
    for i in ppl.plate("loop", 3):
        if i == 1:
            break
    assert runtime.STACK.get() == ()

    def leaves():
        for _ in ppl.plate("loop", 3):
            raise Boom

    with pytest.raises(Boom):
        leaves()
    assert runtime.STACK.get() == ()


def test_duplicate_names_show_both_places(backend):
    def twice():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 2):
            ppl.sample("x", dist.Exponential(1.0))

    with pytest.raises(
        DuplicateSite, match=r"'x': first Normal.*then Exponential.*in plate rows.*try ppl.plate.*ppl.markov.*scope"
    ):
        handlers.trace(twice).get_trace()
    assert not runtime.am_i_wrapped()

    def two_types():
        ppl.param("x", 1.0)
        ppl.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(DuplicateSite, match=r"param site first.*sample site later"):
        handlers.trace(two_types).get_trace()


@pytest.mark.parametrize("build", [
    lambda: handlers.condition(model),
    lambda: handlers.condition(model, data=3),
    lambda: handlers.substitute(model),
    lambda: handlers.substitute(model, data={}, substitute_fn=lambda site: None),
    lambda: handlers.replay(model),
    lambda: handlers.replay(model, trace={"z": 1.0}),
    lambda: handlers.scale(model),
    lambda: handlers.scale(model, scale=-1.0),
    lambda: handlers.mask(model),
    lambda: handlers.seed(model),
    lambda: handlers.block(model, hide=["z"], expose=["z"]),
    lambda: handlers.block(model, hide_fn=bool, expose_fn=bool),
    lambda: handlers.trace(model, graph_type="sparse"),
    lambda: handlers.condition({"z": 1.0}, model),
])  # fmt: skip
def test_a_handler_built_wrongly_says_so(backend, build):
    with pytest.raises(HandlerError, match=r"needs|takes|given|got|expected|cannot"):
        build()
    assert issubclass(HandlerError, PplError)


def test_messengers_of_users(backend):
    class Count(poutine.messenger.Messenger):
        def __init__(self):
            self.seen = []

        def _pyro_sample(self, msg):
            self.seen.append(("before", msg["name"]))

        def _pyro_post_sample(self, msg):
            self.seen.append(("after", msg["name"], msg["value"] is not None))

    count = Count()
    count(model)()
    assert count.seen == [entry for name in "zwy" for entry in (("before", name), ("after", name, True))]

    class Whole(Count):
        def _process_message(self, msg):
            self.seen.append(msg["type"])
            super()._process_message(msg)

    whole = Whole()
    with whole:
        model()
    assert whole.seen[:2] == ["param", "sample"]


def test_register_and_unregister(backend):
    class Mine(poutine.messenger.Messenger):
        pass

    seen = []

    @Mine.register(type="sample")
    def note(message):
        seen.append(message["name"])

    @Mine.register(type="twice", post=True)
    def after(message):
        message["value"] = message["value"] + 1

    @runtime.effectful(type="twice")
    def twice(x):
        return 2 * x

    assert twice(3) == 6
    with Mine():
        model()
        assert twice(3) == 7
    with handlers.Handler():
        model()
        assert twice(3) == 6
    Mine.unregister(note, "sample")
    Mine.unregister(type="twice")
    with Mine():
        model()
        assert twice(3) == 6
    assert seen == ["z", "w", "y"]
    with pytest.raises(HandlerError, match="no registered operation"):
        Mine.unregister(note, "sample")


def test_documented_messenger_paths(backend):
    trace = poutine.trace_messenger.TraceMessenger()(model).get_trace()
    assert isinstance(trace, poutine.Trace)
    handler = poutine.trace_messenger.TraceHandler(poutine.trace_messenger.TraceMessenger(), model)
    handler()
    assert handler.trace.stochastic_nodes == ["z", "w", "y"]
    with poutine.trace_messenger.TraceMessenger() as messenger, poutine.block_messenger.BlockMessenger(hide=["z"]):
        model()
    assert messenger.get_trace().stochastic_nodes == ["w", "y"]
    conditioned = poutine.condition_messenger.ConditionMessenger({"z": 1.0})(model)
    scaled = poutine.scale_messenger.ScaleMessenger(2.0)(conditioned)
    replayed = poutine.replay_messenger.ReplayMessenger(trace)(scaled)
    again = poutine.trace(replayed).get_trace()
    assert again.observation_nodes == ["z"]
    assert again.nodes["w"]["scale"] == 2.0
    assert poutine.condition is handlers.condition
    assert ppl.handlers is handlers


def test_continuations_run_last(backend):
    order = []

    class Continue(handlers.Handler):
        def on_sample(self, message):
            message["continuation"] = lambda message: order.append(("continued", message["name"]))

        def after_sample(self, message):
            order.append(("after", message["name"]))

    with Continue():
        ppl.sample("x", dist.Normal(0.0, 1.0))
    assert order == [("after", "x"), ("continued", "x")]
